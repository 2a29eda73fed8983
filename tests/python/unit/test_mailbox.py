"""Mailboxes and deliveries, in threads: who gets what, and what comes back."""

from __future__ import annotations

import gc
import math
import queue as stdlib_queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import hermes_core as hc

#: Seconds after which a wait has failed; far beyond any honest run.
HUNG = 60

#: Seconds of a lease that is to end by itself.
SHORT = 0.02

Event = dict[str, Any]
Queue = hc.CompletionQueue[Any]


def to(key: str, number: int = 0, kind: str = "async_delegation") -> Event:
    return {"type": kind, "session_key": key, "number": number}


def until_waiting(box: hc.Mailbox, count: int) -> None:
    """Wait until so many events wait for a mailbox: those that pause are back."""
    deadline = time.monotonic() + HUNG
    while box.pending() != count and time.monotonic() < deadline:
        time.sleep(0.005)
    assert box.pending() == count


def numbers(deliveries: list[hc.Delivery]) -> list[int]:
    return [one.event["number"] for one in deliveries]


@pytest.fixture
def queue() -> Queue:
    return hc.CompletionQueue()


@pytest.fixture
def box(queue: Queue) -> hc.Mailbox:
    """A mailbox of ``a``, beside three events that wait for it."""
    for number in range(3):
        queue.put(to("a", number))
    return queue.mailbox(session_key="a")


def test_an_acked_event_is_gone(queue: Queue, box: hc.Mailbox) -> None:
    delivery = box.get_nowait()
    assert (delivery.event, delivery.attempt) == (to("a", 0), 1)
    assert (queue.qsize(), queue.unfinished_tasks, box.pending()) == (2, 3, 2)
    assert delivery.ack() is True
    assert delivery.ack() is delivery.nack() is delivery.defer() is False
    assert (queue.qsize(), queue.unfinished_tasks) == (2, 2)
    assert numbers(box.take_all(timeout=0)) == [1, 2]


@pytest.mark.parametrize(("settle", "attempt"), [("nack", 2), ("defer", 1)])
def test_a_returned_event_stands_where_it_stood(box: hc.Mailbox, settle: str, attempt: int) -> None:
    """F4, F10: before later ones of its owner; only a nack counts as an attempt."""
    first, second = box.get_nowait(), box.get_nowait()
    assert getattr(second, settle)() is True
    assert getattr(first, settle)() is True
    assert first.ack() is first.nack() is first.defer() is False
    assert [(one.event["number"], one.attempt) for one in box.take_all(timeout=0)] == [
        (0, attempt),
        (1, attempt),
        (2, 1),
    ]


def test_as_a_context_manager_it_acks_or_nacks(queue: Queue, box: hc.Mailbox) -> None:
    """F4: the exception goes through."""
    with pytest.raises(ZeroDivisionError), box.get_nowait():
        raise ZeroDivisionError
    with pytest.raises(SystemExit), box.get_nowait():
        raise SystemExit
    until_waiting(box, 3)
    with box.get_nowait() as delivery:
        assert (delivery.event["number"], delivery.attempt) == (0, 3)
    assert queue.unfinished_tasks == 2
    # What was settled inside stays as it was settled.
    with box.get_nowait() as delivery:
        assert delivery.nack()
    delivery = box.get_nowait()
    assert delivery.ack()
    with pytest.raises(ZeroDivisionError), delivery:
        raise ZeroDivisionError
    assert numbers(box.take_all(timeout=0)) == [2]


def test_a_dropped_delivery_comes_back(queue: Queue, box: hc.Mailbox) -> None:
    """F4, F10: without counting an attempt; F44: at once, the first time. Also from a cycle."""
    box.get_nowait()
    first = box.get_nowait()
    assert (first.event["number"], first.attempt) == (0, 1)
    cycle: list[Any] = [first, box.get_nowait()]
    cycle.append(cycle)
    del first, cycle
    gc.collect()
    until_waiting(box, 3)
    assert [(one.event["number"], one.attempt) for one in box.take_all(timeout=0)] == [
        (0, 1),
        (1, 1),
        (2, 1),
    ]
    assert queue.unfinished_tasks == 3


def test_a_dropped_delivery_wakes_who_waits(queue: Queue) -> None:
    """F16: whoever waits for the owner gets it at once, not when a lease ends."""
    box = queue.mailbox(session_key="a", lease=None)
    queue.put(to("a"))
    held = [box.get_nowait()]
    got: stdlib_queue.SimpleQueue[hc.Delivery] = stdlib_queue.SimpleQueue()
    threading.Thread(target=lambda: got.put(box.get()), daemon=True).start()
    held.clear()
    assert got.get(timeout=HUNG).event == to("a")


def test_a_repr_and_a_text_tell_what_it_is(box: hc.Mailbox) -> None:
    delivery = box.get_nowait()
    assert repr(delivery) == f"<Delivery attempt 1: {delivery.event!r}>"
    assert delivery.text == hc.format_process_notification(delivery.event)
    delivery.ack()
    assert repr(delivery) == f"<Delivery settled: {delivery.event!r}>"


def test_a_delayed_nack_waits_and_later_ones_pass(queue: Queue, box: hc.Mailbox) -> None:
    assert box.get_nowait().nack(delay=SHORT)
    assert numbers([box.get_nowait(), box.get_nowait()]) == [1, 2]
    again = box.get(timeout=HUNG)
    while again.event["number"] != 0:
        again.ack()
        again = box.get(timeout=HUNG)
    assert again.attempt == 2
    # For ever, but not for a shutdown or a count.
    assert again.nack(delay=math.inf)
    assert queue.unfinished_tasks >= 1


def test_a_lease_that_ends_gives_the_event_back_in_order(queue: Queue) -> None:
    """F4: the consumer died holding it. What it says later changes nothing (F11)."""
    box = queue.mailbox(session_key="a", lease=SHORT)
    for number in range(2):
        queue.put(to("a", number))
    dead = [box.get_nowait(), box.get_nowait()]
    patient = queue.mailbox(session_key="a", lease=None)
    for number, one in enumerate(dead):
        again = patient.get(timeout=HUNG)
        # The second's end may come first.
        if again.event["number"] != number:
            again.defer()
            again = patient.get(timeout=HUNG)
        assert again.attempt == 2
        assert one.ack() is one.nack() is one.defer() is False
        assert again.ack() is True
    assert queue.unfinished_tasks == 0


def test_a_thread_that_dies_with_a_delivery_gives_it_back(
    monkeypatch: pytest.MonkeyPatch, box: hc.Mailbox
) -> None:
    """F4: its frames are gone, and the delivery with them: no lease has to end."""
    # pytest's hook keeps the frames.
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def die() -> None:
        delivery = box.get_nowait()
        assert delivery.attempt == 1
        raise RuntimeError

    for _ in range(3):
        thread = threading.Thread(target=die)
        thread.start()
        thread.join(HUNG)
        until_waiting(box, 3)
    assert numbers(box.take_all(timeout=0)) == [0, 1, 2]


def test_consumers_that_raise_at_every_point_lose_nothing(queue: Queue, box: hc.Mailbox) -> None:
    """F4: in each step of a delivery once; each event arrives in the end, in order."""

    class Failed(Exception):
        pass

    def consume(fail_at: int, delivered: list[int]) -> None:
        def point(number: int) -> None:
            if number == fail_at:
                raise Failed

        point(0)
        delivery = box.get_nowait()
        point(1)
        with delivery:
            point(2)
            text = delivery.text
            point(3)
            assert text is not None
            delivered.append(delivery.event["number"])

    delivered: list[int] = []
    for _ in range(3):
        for fail_at in range(4):
            with pytest.raises(Failed):
                consume(fail_at, delivered)
            # From the second failure on it pauses.
            until_waiting(box, 3 - len(delivered))
        consume(-1, delivered)
    assert delivered == [0, 1, 2]
    assert queue.unfinished_tasks == 0


def test_an_owner_that_is_busy_for_long_spends_no_attempt(queue: Queue, box: hc.Mailbox) -> None:
    """F10: "not deliverable now" is no attempt, said a hundred times."""
    for _ in range(100):
        delivery = box.get_nowait()
        assert delivery.event["number"] == 0
        assert delivery.defer()
    delivery = box.get_nowait()
    assert delivery.attempt == 1
    assert delivery.nack()
    assert box.get_nowait().attempt == 2


def test_what_came_together_is_one_batch_of_single_acks(queue: Queue, box: hc.Mailbox) -> None:
    """F26: three in one tick are one turn; one nack among them brings one back."""
    queue.put(to("b", 7))
    with box.take_all(timeout=0) as batch:
        assert numbers(batch) == [0, 1, 2]
        assert batch[1].nack()
    again = box.take_all(timeout=0)
    assert [(one.event["number"], one.attempt) for one in again] == [(1, 2)]
    with pytest.raises(ZeroDivisionError), again:
        raise ZeroDivisionError
    with box.take_all(timeout=HUNG) as batch:
        assert [one.attempt for one in batch] == [3]
    assert queue.unfinished_tasks == 1


def test_a_batch_takes_what_comes_within_its_window(queue: Queue) -> None:
    """F26; a mailbox that closes ends the window, not the batch."""
    box = queue.mailbox(session_key="a")
    got: stdlib_queue.SimpleQueue[list[int]] = stdlib_queue.SimpleQueue()
    thread = threading.Thread(target=lambda: got.put(numbers(box.take_all(HUNG))), daemon=True)
    thread.start()
    for number in range(3):
        queue.put(to("a", number))
        while queue.qsize():
            thread.join(0.001)
    box.close()
    assert got.get(timeout=HUNG) == [0, 1, 2]


def test_a_key_that_rotates_twice_in_flight_loses_nothing(queue: Queue) -> None:
    """F13: what waits, what is out on lease, and what ends later, under each key it had."""
    box = queue.mailbox(session_key="first")
    other = queue.mailbox(session_key="other")
    queue.put(to("first", 1))
    held = box.get_nowait()
    queue.put(to("first", 2))
    box.add_key("second")
    queue.put(to("second", 3))
    box.add_key("third")
    queue.put(to("first", 4))
    queue.put(to("third", 5))
    assert held.nack()
    assert box.session_keys == ("first", "second", "third")
    with box.take_all(timeout=0) as batch:
        assert numbers(batch) == [1, 2, 3, 4, 5]
    box.remove_key("first")
    queue.put(to("first", 6))
    assert box.pending() == other.pending() == 0
    # It waits for whoever has the key next, and that may wait already.
    got: stdlib_queue.SimpleQueue[int] = stdlib_queue.SimpleQueue()
    thread = threading.Thread(target=lambda: got.put(box.get().event["number"]), daemon=True)
    thread.start()
    box.add_key("first")
    assert got.get(timeout=HUNG) == 6


def test_a_session_that_was_reset_is_not_woken_by_its_past(queue: Queue) -> None:
    """F14: what ends after the reset is parked and listed; what is dispatched then is delivered."""
    registry = hc.DelegationRegistry(queue, capacity=3)
    box = queue.mailbox(session_key="a")
    go = threading.Event()

    def dispatch(goal: str, key: str = "a") -> hc.DelegationHandle:
        return registry.dispatch(goal=goal, runner=lambda: {"in time": go.wait()}, session_key=key)

    old, others = dispatch("old"), dispatch("other's", "b")
    box.new_epoch()
    new = dispatch("new")
    go.set()
    for handle in (old, others, new):
        assert handle.result(HUNG)["in time"]
    with box.take_all(timeout=HUNG) as batch:
        assert [one.event["goal"] for one in batch] == ["new"]
    assert [one["goal"] for one in queue.parked()] == ["old"]
    assert [one["goal"] for one in queue.pending()] == ["other's"]
    assert queue.mailbox(session_key="b").get(timeout=HUNG).event["goal"] == "other's"


def test_a_reset_parks_what_waits_and_what_is_out_on_lease(queue: Queue) -> None:
    """F14: a lease that goes on may still be acked; given back, it is parked."""
    registry = hc.DelegationRegistry(queue, capacity=3)
    box = queue.mailbox(session_key="a")
    for goal in ("acked", "nacked", "waits"):
        registry.dispatch(goal=goal, runner=dict, session_key="a").result(HUNG)
    acked, nacked = box.get_nowait(), box.get_nowait()
    queue.put(to("a", 7, "completion"))
    assert queue.new_epoch("a") == 2
    assert [one["goal"] for one in queue.parked()] == ["waits"]
    assert acked.ack()
    assert nacked.nack()
    assert [one["goal"] for one in queue.parked()] == ["nacked", "waits"]
    # What ends no delegation has no epoch.
    assert numbers(box.take_all(timeout=0)) == [7]


def test_an_empty_key_matches_nobody(queue: Queue) -> None:
    """F2: nobody's events go to who asks for them by kind, or for everything."""
    queue.put(to("", 1, "completion"))
    queue.put(to("a", 2, "completion"))
    queue.put(to("", 3, "watch_match"))
    for keys in ("", ["a", ""], [""]):
        with pytest.raises(ValueError, match="unaddressed"):
            queue.mailbox(session_key=keys)
    box = queue.mailbox(session_key="a")
    with pytest.raises(ValueError, match="unaddressed"):
        box.add_key("")
    with pytest.raises(ValueError, match="unaddressed"):
        box.remove_key("")
    assert box.session_keys == ("a",)
    none = queue.mailbox(session_key=())
    assert none.pending() == 0
    nobodys = queue.mailbox(session_key="", unaddressed={"completion"})
    assert numbers(nobodys.take_all(timeout=0)) == [1]
    assert box.pending() == 1
    assert queue.mailbox(session_key="a", unaddressed=["watch_match"]).pending() == 2
    assert queue.mailbox(types=["watch_match"]).pending() == 1
    assert queue.mailbox().pending() == 3


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"session_key": 7}, TypeError, None),
        ({"session_key": [7]}, TypeError, "a session key must be a str, not int"),
        ({"session_key": [b"a"]}, TypeError, "a session key must be a str, not bytes"),
        ({"types": "completion"}, TypeError, "types must be a list, tuple or set of kinds"),
        ({"types": [7]}, TypeError, None),
        ({"unaddressed": "completion"}, TypeError, "unaddressed must be a list, tuple or set"),
        ({"unaddressed": [None]}, TypeError, None),
        ({"lease": "1"}, TypeError, "'lease' must be a number of seconds or None"),
        ({"lease": -1}, ValueError, "'lease' must be a non-negative number"),
        ({"lease": math.nan}, ValueError, "'lease' must be a non-negative number"),
    ],
)
def test_wrong_arguments_of_a_mailbox(
    queue: Queue, arguments: dict[str, Any], error: type[Exception], says: str | None
) -> None:
    queue.put(to("a"))
    with pytest.raises(error, match=says):
        queue.mailbox(**arguments)
    assert queue.mailbox(session_key="a").get_nowait().ack()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda box: box.get(timeout="1"), TypeError, "'timeout' must be a number"),
        (lambda box: box.get(timeout=-1), ValueError, "'timeout' must be a non-negative"),
        (lambda box: box.get("yes"), TypeError, "block must be True or False"),
        (lambda box: box.add_key(7), TypeError, "a session key must be a str, not int"),
        (lambda box: box.remove_key(None), TypeError, "a session key must be a str"),
        (lambda box: box.take_all("1"), TypeError, None),
    ],
    ids=["timeout", "negative timeout", "block", "add_key", "remove_key", "window"],
)
def test_wrong_arguments_of_a_mailboxs_methods(
    box: hc.Mailbox, call: Callable[[hc.Mailbox], object], error: type[Exception], says: str | None
) -> None:
    """None of them takes or loses anything."""
    with pytest.raises(error, match=says):
        call(box)
    gc.collect()
    assert numbers(box.take_all(timeout=0)) == [0, 1, 2]
    assert box.session_keys == ("a",)


def test_block_is_any_flag_that_queue_takes(box: hc.Mailbox) -> None:
    """Rule 9: as ``queue.Queue.get``."""
    for flag in (1, True, 0, False, None):
        assert box.get(flag).defer()  # type: ignore[arg-type]


@pytest.mark.parametrize("settle", ["nack", "defer"])
@pytest.mark.parametrize(
    ("delay", "error", "says"),
    [
        ("1", TypeError, "'delay' must be a number of seconds"),
        (-1, ValueError, "'delay' must be a non-negative number"),
        (math.nan, ValueError, "'delay' must be a non-negative number"),
    ],
)
def test_a_wrong_delay_settles_nothing(
    box: hc.Mailbox, settle: str, delay: object, error: type[Exception], says: str | None
) -> None:
    delivery = box.get_nowait()
    with pytest.raises(error, match=says):
        getattr(delivery, settle)(delay)
    assert delivery.ack()


@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_the_end_wakes_who_waits_and_leases_go_on(queue: Queue, end: str) -> None:
    """F16: each blocked consumer ends with ``ShutDown``; what is on lease may still be settled."""
    box = queue.mailbox(session_key="a")
    for number in range(2):
        queue.put(to("a", number))
    acked, nacked = box.take_all(timeout=0)
    ended: stdlib_queue.SimpleQueue[type] = stdlib_queue.SimpleQueue()

    def consume() -> None:
        try:
            box.get()
        except hc.ShutDown as exc:
            ended.put(type(exc))

    for _ in range(3):
        threading.Thread(target=consume, daemon=True).start()
    getattr(box if end == "close" else queue, end)()
    assert [ended.get(timeout=HUNG) for _ in range(3)] == [hc.ShutDown] * 3
    with pytest.raises(hc.ShutDown):
        box.get_nowait()
    assert acked.ack()
    assert nacked.nack()
    assert [one["number"] for one in queue.pending("a")] == [1]
    assert queue.mailbox(session_key="a").get().event["number"] == 1


def test_a_record_is_pending_until_the_ack(queue: Queue) -> None:
    """F8, F12: taken is not delivered; join waits for the ack as well."""
    registry = hc.DelegationRegistry(queue)
    box = queue.mailbox(session_key="a")
    handle = registry.dispatch(goal="g", runner=dict, session_key="a")
    handle.result(HUNG)

    def delivery_state() -> tuple[object, int]:
        [record] = registry.list()
        return record["delivery"], registry.stats()["undelivered"]

    joined = threading.Event()
    threading.Thread(target=lambda: (queue.join(), joined.set()), daemon=True).start()
    for settle in ("nack", "defer"):
        delivery = box.get(timeout=HUNG)
        assert delivery_state() == ("pending", 1)
        getattr(delivery, settle)()
        assert delivery_state() == ("pending", 1)
    delivery = box.get(timeout=HUNG)
    assert (queue.unfinished_tasks, joined.is_set()) == (1, False)
    assert delivery.ack()
    assert delivery_state() == ("delivered", 0)
    assert joined.wait(HUNG)
    assert queue.unfinished_tasks == 0
    with pytest.raises(ValueError, match="task_done"):
        queue.task_done()


def test_listing_moves_nothing(queue: Queue, box: hc.Mailbox) -> None:
    queue.put(to("b", 7))
    queue.put("no event")
    held = box.get_nowait()
    assert queue.pending() == [to("a", 1), to("a", 2), to("b", 7), "no event"]
    assert queue.pending("a") == [to("a", 1), to("a", 2)]
    assert queue.pending("nobody") == queue.parked() == []
    held.nack()
    assert [one.event for one in queue.mailbox().take_all(timeout=0)] == [
        *(to("a", number) for number in range(3)),
        to("b", 7),
        "no event",
    ]
