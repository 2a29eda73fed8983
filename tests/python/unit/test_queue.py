"""What ``CompletionQueue`` adds to ``queue.Queue``, and what it promises beyond CPython's tests."""

from __future__ import annotations

import copy
import gc
import pickle
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import hermes_core as hc

Event = dict[str, Any]


def event(kind: str | None = None, key: str | None = None, **more: Any) -> Event:
    made: Event = dict(more)
    if kind is not None:
        made["type"] = kind
    if key is not None:
        made["session_key"] = key
    return made


def run(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_a_filtered_take_moves_nothing_else() -> None:
    """F15: nothing is taken out to look at it and put back."""
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    events = [
        event("watch_match", "a", n=0),
        event("async_delegation", "b", n=1),
        event("async_delegation", "a", n=2),
        event("completion", n=3),
        event("async_delegation", "a", n=4),
    ]
    for one in events:
        box.put(one)
    assert box.get(types={"async_delegation"}, session_key="a") is events[2]
    assert box.get_nowait(session_key="b") is events[1]
    assert box.get_nowait(types=["completion", "async_delegation"]) is events[3]
    assert [box.get_nowait() for _ in range(2)] == [events[0], events[4]]


def test_kinds_are_taken_in_the_order_of_arrival() -> None:
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    for n in range(30):
        box.put(event(("watch_match", "watch_disabled", "async_delegation")[n % 3], "k", n=n))
    watch = [box.get_nowait(types={"watch_disabled", "watch_match"})["n"] for _ in range(20)]
    assert watch == [n for n in range(30) if n % 3 != 2]
    assert [box.get_nowait()["n"] for _ in range(10)] == list(range(2, 30, 3))


def test_an_event_without_a_type_is_a_completion() -> None:
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    box.put({"session_id": "proc_1"})
    assert box.get_nowait(types={"completion"}) == {"session_id": "proc_1"}


@pytest.mark.parametrize("key", [None, ""])
def test_an_unaddressed_event_is_taken_by_unfiltered_consumers_only(key: Any) -> None:
    """F2: an empty key matches nobody."""
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    box.put({"type": "async_delegation", "session_key": key})
    for mine in ("a", "0", "None"):
        with pytest.raises(queue.Empty):
            box.get_nowait(session_key=mine)
    with pytest.raises(ValueError, match="empty"):
        box.get_nowait(session_key="")
    with pytest.raises(ValueError, match="unaddressed"):
        box.get_nowait(session_key="a", unaddressed=True)
    box.put(event("async_delegation", "a"))
    assert box.get_nowait(unaddressed=True)["session_key"] == key
    with pytest.raises(queue.Empty):
        box.get_nowait(unaddressed=True, types={"async_delegation"})


def test_a_wait_for_one_owner_is_not_ended_by_anothers_event() -> None:
    """F2, F16: only its owner's waiter is woken, at once."""
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    got: dict[str, Event] = {}
    done = threading.Event()

    def consumer(key: str) -> None:
        got[key] = box.get(session_key=key)
        if len(got) == 2:
            done.set()

    threads = [run(lambda key=key: consumer(key)) for key in ("a", "b")]  # type: ignore[misc]
    foreign = event("x", "c")
    box.put(foreign)
    for key in ("b", "a"):
        box.put(event("x", key))
    assert done.wait(30)
    for thread in threads:
        thread.join(30)
    assert {key: one["session_key"] for key, one in got.items()} == {"a": "a", "b": "b"}
    assert box.get_nowait() is foreign


def test_no_event_is_lost_or_doubled_among_mixed_consumers() -> None:
    """F2: many producers, filtered, timed and unfiltered consumers, all at once."""
    box: hc.CompletionQueue[Event | None] = hc.CompletionQueue(maxsize=50)
    keys = [f"k{n}" for n in range(5)]
    per_key = 400
    taken: list[list[Event]] = []

    def consumer(wanted: dict[str, Any]) -> None:
        mine: list[Event] = []
        taken.append(mine)
        while True:
            try:
                mine.append(box.get(timeout=0.001, **wanted))  # type: ignore[arg-type]
            except queue.Empty:
                continue
            except hc.ShutDown:
                return

    consumers = [run(lambda key=key: consumer({"session_key": key})) for key in keys]  # type: ignore[misc]
    consumers += [run(lambda: consumer({"types": {"b"}})), run(lambda: consumer({}))]

    def producer(key: str) -> None:
        for n in range(per_key):
            box.put(event("ab"[n % 2], key, n=n))

    producers = [run(lambda key=key: producer(key)) for key in keys]  # type: ignore[misc]
    for thread in producers:
        thread.join(60)
    box.shutdown()
    for thread in consumers:
        thread.join(60)
        assert not thread.is_alive()
    everything = sorted((one["session_key"], one["n"]) for mine in taken for one in mine)
    assert everything == [(key, n) for key in keys for n in range(per_key)]
    for mine in taken:
        # Each consumer sees each owner's events in the order they were put.
        for key in keys:
            numbers = [one["n"] for one in mine if one["session_key"] == key]
            assert numbers == sorted(numbers)


def test_a_key_or_kind_that_comes_and_goes_costs_no_memory_for_ever() -> None:
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    for n in range(20_000):
        box.put(event(f"kind {n}", f"key {n}"))
        assert box.get_nowait(session_key=f"key {n}", types=[f"kind {n}"])["type"] == f"kind {n}"
    assert box.empty()


def test_growing_maxsize_lets_a_waiting_put_in() -> None:
    box: hc.CompletionQueue[int] = hc.CompletionQueue(1)
    box.put(1)
    thread = run(lambda: box.put(2))
    box.maxsize = 2
    thread.join(30)
    assert not thread.is_alive()
    assert [box.get(), box.get()] == [1, 2]


def test_shutdown_ends_every_blocked_call() -> None:
    full: hc.CompletionQueue[int] = hc.CompletionQueue(1)
    full.put(1)
    empty: hc.CompletionQueue[int] = hc.CompletionQueue()
    ended: list[str] = []

    def blocked(name: str, call: Callable[[], object]) -> None:
        with pytest.raises(hc.ShutDown):
            call()
        ended.append(name)

    threads = [
        run(lambda: blocked("put", lambda: full.put(2))),
        run(lambda: blocked("get", empty.get)),
        run(lambda: blocked("timed get", lambda: empty.get(timeout=60))),
        run(lambda: blocked("filtered get", lambda: empty.get(session_key="a"))),
    ]
    full.shutdown()
    empty.shutdown()
    for thread in threads:
        thread.join(30)
    assert sorted(ended) == ["filtered get", "get", "put", "timed get"]
    assert full.get() == 1
    with pytest.raises(hc.ShutDown):
        full.get()


def test_shutdown_immediate_counts_and_drops_what_waits() -> None:
    class Item:
        pass

    box: hc.CompletionQueue[Item] = hc.CompletionQueue()
    item = Item()
    gone = weakref.ref(item)
    box.put(item)
    del item
    joined = run(box.join)
    box.shutdown(immediate=True)
    joined.join(30)
    assert not joined.is_alive()
    assert gone() is None
    assert box.unfinished_tasks == 0
    with pytest.raises(ValueError, match="too many times"):
        box.task_done()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "soon"}, TypeError),
        ({"types": "async_delegation"}, TypeError),
        ({"types": []}, TypeError),
        ({"types": [1]}, TypeError),
        ({"session_key": 1}, TypeError),
        ({"block": "no"}, TypeError),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments: Any, error: type[Exception]) -> None:
    box: hc.CompletionQueue[int] = hc.CompletionQueue()
    box.put(1)
    with pytest.raises(error):
        box.get(**arguments)
    assert box.get_nowait() == 1


@pytest.mark.parametrize("timeout", [10**400, float("inf"), 1e300, 2**63])
def test_a_timeout_beyond_all_clocks_waits(timeout: float) -> None:
    box: hc.CompletionQueue[int] = hc.CompletionQueue()
    got: list[int] = []
    thread = run(lambda: got.append(box.get(timeout=timeout)))
    box.put(1)
    thread.join(30)
    assert got == [1]


def test_a_subclass_may_have_its_own_constructor() -> None:
    class Named(hc.CompletionQueue[int]):
        def __init__(self, name: str, maxsize: int = 0) -> None:
            super().__init__(maxsize)
            self.name = name

    named = Named("mine", maxsize=3)
    assert (named.name, named.maxsize, named.full()) == ("mine", 3, False)
    assert hc.CompletionQueue[int](2).maxsize == 2


def test_an_item_is_let_go_the_moment_it_leaves() -> None:
    class Item:
        pass

    box: hc.CompletionQueue[Item] = hc.CompletionQueue()
    item = Item()
    gone = weakref.ref(item)
    box.put(item)
    del item
    assert gone() is not None
    box.get()
    assert gone() is None


def test_a_cycle_through_the_queue_is_collected() -> None:
    class Node:
        box: Any

    node = Node()
    node.box = hc.CompletionQueue()
    node.box.put(node)
    gone, box_gone = weakref.ref(node), weakref.ref(node.box)
    del node
    gc.collect()
    assert gone() is None
    assert box_gone() is None


def test_a_del_may_use_the_queue_it_leaves() -> None:
    box: hc.CompletionQueue[Any] = hc.CompletionQueue()

    class Reentrant:
        def __del__(self) -> None:
            if not box.is_shutdown:
                box.put("from __del__")

    for _ in range(100):
        box.put(Reentrant())
        box.get()
        assert box.get_nowait() == "from __del__"
    box.put(Reentrant())
    box.shutdown(immediate=True)
    assert box.empty()


class Hostile:
    """Raises wherever it can."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __hash__(self) -> int:
        return hash("type")

    def __str__(self) -> str:
        raise RuntimeError("str")

    def __bool__(self) -> bool:
        raise RuntimeError("bool")


@pytest.mark.parametrize(
    "item",
    [
        Hostile(),
        {Hostile(): 1, "session_key": "a"},
        {"type": Hostile(), "session_key": Hostile()},
        {"type": "\ud800", "session_key": "\udfff", "delegation_id": "\ud800"},
        {"type": "async_delegation", "delegation_id": Hostile()},
        {"type": "x" * 10_000_000, "session_key": "y" * 10_000_000},
        None,
        [],
        object(),
    ],
    ids=lambda item: type(item).__name__,
)
def test_any_object_is_carried(item: Any) -> None:
    box: hc.CompletionQueue[Any] = hc.CompletionQueue()
    box.put(item)
    assert box.get_nowait() is item


def test_surrogate_keys_find_their_events() -> None:
    box: hc.CompletionQueue[Any] = hc.CompletionQueue()
    mine = event("x", "room \ud800")
    box.put(mine)
    with pytest.raises(queue.Empty):
        box.get_nowait(session_key="room \ud801")
    with pytest.raises(queue.Empty):
        box.get_nowait(session_key="\ufffd726f6f6d20eda080")
    assert box.get_nowait(session_key="room \ud800") is mine


def test_a_put_back_event_goes_to_the_end_as_in_queue_queue() -> None:
    box: hc.CompletionQueue[int] = hc.CompletionQueue()
    for n in range(3):
        box.put(n)
    box.put(box.get())
    assert [box.get() for _ in range(3)] == [1, 2, 0]


def test_put_back_undoes_a_get() -> None:
    """Design, rule 3: an event that a drain puts back is pending again, in its place."""
    box: hc.CompletionQueue[Event] = hc.CompletionQueue(maxsize=4)
    events = [event("x", "ab"[n % 2], n=n) for n in range(4)]
    for one in events:
        box.put(one)
    first, second = box.get(session_key="a"), box.get(session_key="a")
    box.put_back(second)
    box.put_back(first)
    assert box.unfinished_tasks == 4
    assert box.full()
    assert box.get(types={"x"}, session_key="a") is first
    assert box.get_nowait() is second
    assert [box.get()["n"] for _ in range(2)] == [1, 3]
    box.shutdown()
    box.put_back(first)
    assert box.get() is first


def test_put_back_wakes_the_next_consumer() -> None:
    box: hc.CompletionQueue[Event] = hc.CompletionQueue()
    got: hc.CompletionQueue[Event] = hc.CompletionQueue()
    thread = run(lambda: got.put(box.get(session_key="a")))
    mine = event("x", "a")
    box.put_back(mine)
    assert got.get(timeout=30) is mine
    thread.join(30)


def test_a_shutdown_at_once_drops_what_the_registry_waits_for() -> None:
    """Design, rule 3: out by an explicit drop, which stays to be seen."""
    registry = hc.DelegationRegistry()
    handle = registry.dispatch(goal="g", runner=dict)
    handle.result(30)
    registry.queue.shutdown(immediate=True)
    record = registry.get(handle.id)
    assert record is not None
    assert record["delivery"] == "dropped"
    assert registry.stats()["undelivered"] == 0


def test_a_refusal_can_be_copied() -> None:
    refusal = copy.copy(pickle.loads(pickle.dumps(hc.AtCapacity(3, 3))))
    assert (refusal.limit, refusal.running) == (3, 3)
