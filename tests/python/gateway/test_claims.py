"""Consumers that claim what they take from the shared queue, as others do (F10, F11, F53)."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch, rest, take, until
from claims_support import Event, delivery, durable, names, own_home, run

from hermes_core import CompletionQueue, gateway
from hermes_core.gateway import claims as claims_module
from hermes_core.gateway import home_ledgers, queue_swap

GATEWAY = "0.19.0"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_home(tmp_path, monkeypatch)


@pytest.fixture
def core(home: Path, host: Host) -> Host:
    """The gateway with the core in place."""
    gateway.install()
    assert type(host.queue) is queue_swap.LeasingQueue
    return host


def test_what_was_taken_is_delivered_once_its_claim_is_completed(core: Host) -> None:
    name = run(core)
    event = core.queue.get(timeout=WAIT)
    assert event["delegation_id"] == name
    assert "restored" not in event
    assert delivery(name) == "pending"
    token = core.registry.claim_event_delivery(event, "a consumer")
    assert token.startswith(f"a consumer:{os.getpid()}:")
    assert core.registry.claim_event_delivery(event, "another") is None
    assert delivery(name) == "pending"
    assert core.registry.complete_event_delivery(event, token) is None
    assert delivery(name) == "delivered"
    assert core.registry.claim_event_delivery(event, "another") is None
    assert rest(core.queue) == []


def test_a_released_result_waits_again_at_once_and_counts_no_attempt(core: Host) -> None:
    name = run(core)
    for _ in range(2):
        event = core.queue.get_nowait()
        token = core.registry.claim_event_delivery(event, "a")
        assert durable(core, name)["delivery_attempts"] == 1
        assert core.registry.release_event_delivery(event, token) is None
        if _ == 0:
            assert core.queue.qsize() == 1
    home_ledgers.flush()
    assert durable(core, name)["delivery_attempts"] == 0


def test_a_consumer_that_releases_time_and_again_is_given_a_pause(
    core: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "MAX_PAUSE_SECONDS", 0.05)
    name = run(core)

    def release() -> Event:
        event: Event = core.queue.get(timeout=WAIT)
        core.registry.release_event_delivery(event, core.registry.claim_event_delivery(event, "a"))
        return event

    for _ in range(40):
        release()  # it comes again by itself
    monkeypatch.setattr(claims_module, "MAX_PAUSE_SECONDS", 3600.0)
    event = release()
    assert core.queue.empty()
    # A copy that is put has it wait at once, and a claim has it at once.
    core.queue.put(dict(event))
    assert names(core.queue.queue) == [name]
    event = release()
    assert core.queue.empty()
    token = core.registry.claim_event_delivery(event, "a")
    assert core.registry.complete_completion_delivery(name, token) is True


def test_a_copy_that_is_put_back_is_the_event_and_waits_behind_the_others(core: Host) -> None:
    """A consumer that puts back what is another's gets what is its own behind that."""
    first, second = run(core, "first"), run(core, "second")
    event = core.queue.get_nowait()
    core.queue.put({**event, "noted": 1})
    assert names(core.queue.queue) == [second, first]
    assert core.queue.get_nowait()["delegation_id"] == second
    assert core.queue.get_nowait()["noted"] == 1


def test_a_copy_that_is_put_twice_or_late_is_there_once(core: Host) -> None:
    name = run(core)
    event = core.queue.get_nowait()
    core.queue.put(event)
    core.queue.put(dict(event))
    core.queue.put_nowait(event)
    assert core.queue.qsize() == 1
    token = core.registry.claim_event_delivery(core.queue.get_nowait(), "a")
    core.queue.put(event)  # another's claim
    assert core.queue.empty()
    core.registry.complete_event_delivery(event, token)
    core.queue.put(event)  # delivered
    assert core.queue.empty()
    assert delivery(name) == "delivered"


def test_f10_f15_a_busy_consumer_puts_back_for_hours(core: Host) -> None:
    names_before = [run(core, str(number)) for number in range(3)]
    swap: Any = queue_swap._swap
    commits = home_ledgers.health()[0]["commits"]
    for _ in range(20_000):
        core.queue.put(core.queue.get(timeout=0.5))
    assert sorted(names(core.queue.queue)) == sorted(names_before)
    home_ledgers.flush()
    assert home_ledgers.health()[0]["commits"] - commits < 100
    for name in names_before:
        assert durable(core, name)["delivery_attempts"] == 0
    assert len(swap.leases.claims._held) == 3


def test_a_claim_by_whoever_has_a_copy_takes_the_event_out(core: Host) -> None:
    name = run(core)
    other = run(core, "other")
    copy = dict(core.queue.get_nowait())
    core.queue.put(copy)
    token = core.registry.claim_event_delivery(copy, "a")
    assert token
    assert names(core.queue.queue) == [other]
    core.registry.complete_event_delivery(copy, token)
    assert delivery(name) == "delivered"


def test_of_two_that_have_it_one_gets_it(core: Host) -> None:
    """One takes, the second asks for what is undelivered before the first has claimed."""
    name = run(core)
    first = core.queue.get_nowait()
    assert core.registry.restore_undelivered_completions(core.queue) == 1
    second = core.queue.get_nowait()
    tokens = [
        core.registry.claim_event_delivery(first, "first"),
        core.registry.claim_event_delivery(second, "second"),
    ]
    assert tokens[0] is not None
    assert tokens[1] is None
    core.registry.complete_event_delivery(first, tokens[0])
    assert delivery(name) == "delivered"
    assert core.registry.restore_undelivered_completions(core.queue) == 0


def test_two_consumers_at_once_get_each_result_once(core: Host) -> None:
    """Each takes, claims, and puts back a copy of what is the other's."""
    expected = {run(core, f"{number}", key="ab"[number % 2]) for number in range(20)}
    got: dict[str, list[str]] = {"a": [], "b": []}
    done = threading.Event()

    def consume(key: str) -> None:
        while not done.is_set():
            try:
                event = core.queue.get(timeout=0.05)
            except queue.Empty:
                continue
            if event["session_key"] != key:
                core.queue.put(dict(event))
                done.wait(0.001)
                continue
            token = core.registry.claim_event_delivery(event, key)
            if token is None:
                continue
            got[key].append(event["delegation_id"])
            core.registry.complete_event_delivery(event, token)

    threads = [threading.Thread(target=consume, args=(key,)) for key in "aabb"]
    for thread in threads:
        thread.start()
    until(lambda: len(got["a"]) + len(got["b"]) >= 20, "all are delivered")
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(got["a"] + got["b"]) == sorted(expected)
    assert rest(core.queue) == []


def test_what_was_taken_and_left_lying_comes_when_it_is_asked_for(
    core: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, claimed, waiting = run(core, "taken"), run(core, "claimed"), run(core, "waiting")
    events = take(core.queue, 2)
    token = core.registry.claim_event_delivery(events[1], "a")
    restore = core.registry.restore_undelivered_completions
    assert restore(core.queue) == 1
    assert names(core.queue.queue) == [taken, waiting]
    assert restore(core.queue) == 0
    # A claim is left alone for so long.
    now = claims_module.time.monotonic() + claims_module.CLAIM_SECONDS + 1
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: now)
    assert restore(core.queue) == 1
    assert names(core.queue.queue) == [taken, claimed, waiting]
    # Its consumer was only slow; nobody else has it yet.
    assert core.registry.complete_completion_delivery(claimed, token) is True
    assert names(core.queue.queue) == [taken, waiting]
    assert delivery(claimed) == "delivered"


def test_a_claim_that_is_too_old_is_anothers_once_that_claims(
    core: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = run(core)
    event = core.queue.get_nowait()
    old = core.registry.claim_event_delivery(event, "slow")
    now = claims_module.time.monotonic() + claims_module.CLAIM_SECONDS + 1
    monkeypatch.setattr(claims_module.time, "monotonic", lambda: now)
    new = core.registry.claim_event_delivery(event, "next")
    assert new
    assert core.registry.complete_completion_delivery(name, old) is False
    assert core.registry.release_completion_delivery(name, old) is False
    assert core.registry.complete_completion_delivery(name, new) is True


def test_a_copy_taken_beside_the_event_takes_nothing_from_its_consumer(core: Host) -> None:
    """F11: a copy waits beside the event, as where a front end restores on a timer."""
    name = run(core)
    (event,) = take(core.queue, 1)
    CompletionQueue.put(core.queue, dict(event))
    token = core.registry.claim_event_delivery(event, "a")
    (copy,) = take(core.queue, 1)
    assert core.registry.claim_event_delivery(copy, "b") is None
    core.registry.complete_event_delivery(event, token)
    assert delivery(name) == "delivered"
    assert rest(core.queue) == []
    gateway.uninstall()
    assert rest(core.queue) == []


def test_a_copy_that_is_claimed_first_is_the_event(core: Host) -> None:
    name = run(core)
    (event,) = take(core.queue, 1)
    CompletionQueue.put(core.queue, dict(event))
    (copy,) = take(core.queue, 1)
    token = core.registry.claim_event_delivery(copy, "b")
    assert core.registry.claim_event_delivery(event, "a") is None
    core.registry.release_event_delivery(copy, token)
    tokens = [core.registry.claim_event_delivery(one, "c") for one in take(core.queue, 2)]
    assert sorted(map(bool, tokens)) == [False, True]
    core.registry.complete_event_delivery(copy, next(filter(None, tokens)))
    assert delivery(name) == "delivered"
    assert rest(core.queue) == []


def test_results_for_another_queue_are_copies_that_are_claimed_all_the_same(core: Host) -> None:
    expected = [run(core, str(number)) for number in range(2)]
    other: queue.Queue[Event] = queue.Queue()
    assert core.registry.restore_undelivered_completions(other) == 2
    assert names(other.queue) == expected
    assert all(event["restored"] for event in other.queue)
    assert names(core.queue.queue) == expected
    assert core.registry.claim_event_delivery(other.get(), "a")
    assert names(core.queue.queue) == expected[1:]


def test_marking_delivers_whoever_has_it(core: Host) -> None:
    taken, claimed, waiting = run(core, "t"), run(core, "c"), run(core, "w")
    events = take(core.queue, 2)
    assert names(events) == [taken, claimed]
    token = core.registry.claim_event_delivery(events[1], "a")
    for name in (waiting, taken, claimed):
        assert core.registry.mark_completion_delivered(name) is True
        assert core.registry.mark_completion_delivered(name) is False
        assert delivery(name) == "delivered"
    assert core.registry.complete_completion_delivery(claimed, token) is False
    assert rest(core.queue) == []


def test_events_of_plugins_are_plain_ones(core: Host) -> None:
    event = {"type": "async_delegation", "delegation_id": "theirs", "session_key": "a"}
    core.queue.put(event)
    core.queue.put(event)
    assert core.queue.get_nowait() is event
    token = core.registry.claim_event_delivery(event, "a")
    assert token.startswith("a:")
    assert core.registry.complete_event_delivery(event, token) is None
    assert core.registry.get_durable_delegation("theirs") is None
    assert rest(core.queue) == [event]
    for strange in ({"type": "async_delegation"}, {"type": "completion"}, {"delegation_id": "x"}):
        core.queue.put(strange)
        assert core.registry.claim_event_delivery(core.queue.get_nowait(), "a") == ""
    for item in (None, 7, "text", {"type": "async_delegation", "delegation_id": 5}):
        core.queue.put(item)
        assert core.queue.get_nowait() is item
    core.queue.join()


def test_the_snapshot_of_what_waits_is_a_copy(core: Host) -> None:
    name = run(core)
    core.queue.queue.clear()
    assert names(list(core.queue.queue)) == [name]
    assert core.queue.qsize() == 1


def test_a_take_raises_as_a_plain_queue_does(core: Host) -> None:
    plain: queue.Queue[Any] = queue.Queue()
    for arguments in ((True, -1), (True, 0.01), (False, -1), (False, None)):
        raised = []
        for one in (plain, core.queue):
            with pytest.raises((queue.Empty, ValueError)) as caught:
                one.get(*arguments)
            raised.append(caught.type)
        assert raised[0] is raised[1], arguments


def test_a_result_of_a_reset_registry_is_a_plain_event(core: Host) -> None:
    run(core)
    event = core.queue.get_nowait()
    core.delegations._reset_for_tests()
    core.queue.put(event)
    assert rest(core.queue) == [event]


def test_f7_the_durable_functions_tell_what_the_gateways_own_would(core: Host) -> None:
    child = Child("found it")
    name = dispatch(core.registry.dispatch_async_delegation, child, key="a")["delegation_id"]
    running = durable(core, name)
    assert running == {
        "delegation_id": name,
        "origin_session": "a",
        "state": "running",
        "dispatched_at": running["dispatched_at"],
        "completed_at": None,
        "result": None,
        "delivery_state": "pending",
        "delivery_attempts": 0,
    }
    child.go.set()
    event = core.queue.get(timeout=WAIT)
    found = durable(core, name)
    assert found["state"] == "completed"
    assert found["result"] == {"status": "completed", "summary": "found it", "api_calls": 1}
    assert found["completed_at"] == event["completed_at"]
    token = core.registry.claim_event_delivery(event, "a")
    assert durable(core, name)["delivery_state"] == "pending"
    core.registry.complete_event_delivery(event, token)
    assert durable(core, name)["delivery_state"] == "delivered"
    assert core.registry.get_durable_delegation("nobody's") is None


def test_a_get_is_an_ack_where_there_are_no_claims(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hermes_core.gateway.install import ladder

    found = ladder.climb()
    facts = found.facts._replace(claims=())
    monkeypatch.setattr(ladder, "climb", lambda: found._replace(facts=facts))
    gateway.install()
    assert type(host.queue) is queue_swap.GatewayQueue
    child = Child()
    child.go.set()
    name = dispatch(host.registry.dispatch_async_delegation, child)["delegation_id"]
    assert host.queue.get(timeout=WAIT)["delegation_id"] == name
    assert delivery(name) == "delivered"
