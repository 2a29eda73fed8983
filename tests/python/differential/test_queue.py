"""The same operations on ``CompletionQueue`` and on the interpreter's own ``queue.Queue``."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import hermes_core as hc
from differential import events, reference

#: From CPython 3.13 on; before, ours has it and the standard library has not.
HAS_SHUTDOWN = hasattr(queue, "ShutDown")

MAXSIZES = st.integers(-1, 4)
ITEMS = st.one_of(
    st.integers(),
    st.none(),
    events.ANYTHING,
    st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(events.KINDS), "session_key": events.ANYTHING}
    ),
)
#: Timeouts that end a call at once, and those that are no timeouts. Not NaN: ``queue.Queue`` waits
#: without end then.
TIMEOUTS = st.sampled_from((0, 0.0, -0.0, 5e-324, False, -1, -0.5, -(10**400)))


class Pair(RuleBasedStateMachine):
    """Two queues in step."""

    def __init__(self) -> None:
        super().__init__()
        self.ours: Any = hc.CompletionQueue()
        self.theirs: Any = queue.Queue()
        self.item: Any = None
        self.is_shutdown = False

    def both(self, call: Callable[[Any], Any]) -> Any:
        """Do the same to both; what came out is the same object, or the same exception."""
        outcomes: list[tuple[Any, Any]] = []
        for one in (self.ours, self.theirs):
            try:
                outcomes.append((call(one), None))
            except (queue.Empty, queue.Full, hc.ShutDown, ValueError) as exc:
                outcomes.append((None, type(exc)))
        (ours, our_error), (theirs, their_error) = outcomes
        assert our_error is their_error
        assert ours is theirs or (type(ours) is int and ours == theirs)
        return ours

    @property
    def would_wait(self) -> bool:
        return not self.is_shutdown and self.theirs.empty()

    def lawful(self, timeout: float) -> float:
        """The timeout; none below zero once shut down, where each looks at another thing first."""
        return max(0, timeout) if self.is_shutdown else timeout

    @initialize(maxsize=MAXSIZES)
    def bound(self, maxsize: int) -> None:
        self.ours, self.theirs = hc.CompletionQueue(maxsize), queue.Queue(maxsize)

    @rule(item=ITEMS)
    def put_nowait(self, item: Any) -> None:
        self.item = item
        self.both(lambda one: one.put_nowait(item))

    @rule(item=ITEMS, block=st.sampled_from((False, 0, None)))
    def put_without_waiting(self, item: Any, block: Any) -> None:
        self.both(lambda one: one.put(item, block))

    @rule()
    def put_the_same_again(self) -> None:
        item = self.item
        self.both(lambda one: one.put(item, block=False))

    @rule(item=ITEMS)
    @precondition(lambda self: self.is_shutdown or not self.theirs.full())
    def put_where_there_is_room(self, item: Any) -> None:
        self.both(lambda one: one.put(item))

    @rule(item=ITEMS, timeout=TIMEOUTS)
    def put_with_a_timeout(self, item: Any, timeout: float) -> None:
        timeout = self.lawful(timeout)
        self.both(lambda one: one.put(item, True, timeout))

    @rule()
    def get_nowait(self) -> None:
        self.both(lambda one: one.get_nowait())

    @rule(block=st.sampled_from((False, 0, None)))
    def get_without_waiting(self, block: Any) -> None:
        self.both(lambda one: one.get(block))

    @rule()
    @precondition(lambda self: not self.would_wait)
    def get_what_is_there(self) -> None:
        self.both(lambda one: one.get())

    @rule(timeout=TIMEOUTS)
    def get_with_a_timeout(self, timeout: float) -> None:
        timeout = self.lawful(timeout)
        self.both(lambda one: one.get(timeout=timeout))

    @rule()
    def take_one_and_put_it_back(self) -> None:
        """As the gateway's drains do: it goes to the end."""

        def turn(one: Any) -> None:
            item = one.get_nowait()
            one.put_nowait(item)
            one.task_done()

        self.both(turn)

    @rule()
    def task_done(self) -> None:
        self.both(lambda one: one.task_done())

    @rule()
    @precondition(lambda self: self.theirs.unfinished_tasks == 0)
    def join(self) -> None:
        self.both(lambda one: one.join())

    @rule(maxsize=MAXSIZES)
    def set_maxsize(self, maxsize: int) -> None:
        self.ours.maxsize = self.theirs.maxsize = maxsize

    if HAS_SHUTDOWN:

        @rule(immediate=st.sampled_from((False, False, True)))
        def shutdown(self, immediate: bool) -> None:
            self.is_shutdown = True
            self.both(lambda one: one.shutdown(immediate))

    @invariant()
    def look_the_same(self) -> None:
        for look in ("qsize", "empty", "full"):
            assert getattr(self.ours, look)() == getattr(self.theirs, look)(), look
        assert self.ours.maxsize == self.theirs.maxsize
        assert self.ours.unfinished_tasks == self.theirs.unfinished_tasks

    def teardown(self) -> None:
        while not self.theirs.empty():
            self.both(lambda one: one.get_nowait())


TestPair = Pair.TestCase


class Registry:
    """The gateway's process registry, with a queue in it and some processes consumed."""

    def __init__(self, completion_queue: Any, consumed: set[str]) -> None:
        self.registry = reference.processes().ProcessRegistry()
        self.registry.completion_queue = completion_queue
        self.registry._completion_consumed.update(consumed)

    def drain(self, arguments: dict[str, Any]) -> tuple[Any, list[Any]]:
        """What a drain gives (pairs, or what it raised), and what is left."""
        outcome: Any
        try:
            outcome = self.registry.drain_notifications(**arguments)
        except Exception as exc:
            outcome = type(exc)
        left = []
        while not self.registry.completion_queue.empty():
            left.append(self.registry.completion_queue.get_nowait())
        return outcome, left


#: With an end, so that no age goes on between the two drains.
_ENDED = {"completed_at": st.just(1.75e9)}
_SESSIONS = st.sampled_from(("a", "b", "", "agent:main:telegram:dm:1"))
_ADDRESS = {"session_key": _SESSIONS, "origin_ui_session_id": _SESSIONS, "restored": st.booleans()}
DRAINED = st.lists(
    st.one_of(
        events.events(events.PROCESS_FIELDS | _ADDRESS, kind=st.sampled_from(events.KINDS[:-1])),
        events.events(
            events.SPEC_FIELDS, events.END_FIELDS, _ENDED, _ADDRESS, kind=events.DELEGATION
        ).map(lambda event: event | {"completed_at": 1.75e9}),
        events.events({"session_id": st.sampled_from("pq")}, kind=st.just("completion")),
        events.ANYTHING,
    ),
    max_size=8,
)


@given(DRAINED, st.sets(st.sampled_from("pq")), st.sampled_from((None, "a", "owner")))
@settings(max_examples=settings().max_examples // 2)
def test_the_gateways_drain_is_the_same_over_our_queue(
    waiting: list[Any], consumed: set[str], whose: str | None
) -> None:
    arguments: dict[str, Any] = {}
    if reference.has_batches() and whose == "owner":
        arguments["owns_event"] = lambda event: event.get("session_key") == "b"
    elif reference.has_batches() and whose:
        arguments["session_key"] = whose
    outcomes = []
    queues: tuple[Any, Any] = (hc.CompletionQueue(), queue.Queue())
    for completion_queue in queues:
        for item in waiting:
            completion_queue.put(item)
        outcomes.append(Registry(completion_queue, consumed).drain(arguments))
    (ours, our_rest), (theirs, their_rest) = outcomes
    assert list(map(id, our_rest)) == list(map(id, their_rest))
    if isinstance(theirs, type):
        assert ours is theirs
        return
    assert [id(event) for event, _ in ours] == [id(event) for event, _ in theirs]
    assert [text for _, text in ours] == [text for _, text in theirs]


@pytest.mark.skipif(not HAS_SHUTDOWN, reason="this Python's queue.Queue has no shutdown")
def test_a_timeout_below_zero_is_refused_also_after_shutdown() -> None:
    """A departure: ``queue.Queue`` looks at its state first, ours at its arguments."""
    theirs: Any = queue.Queue()
    ours: Any = hc.CompletionQueue()
    for one, error in ((theirs, hc.ShutDown), (ours, ValueError)):
        one.shutdown()
        with pytest.raises(error):
            one.get(timeout=-1)


@pytest.mark.skipif(HAS_SHUTDOWN, reason="this Python's queue.Queue has its own shutdown")
def test_shutdown_is_there_before_the_standard_librarys() -> None:
    one: hc.CompletionQueue[int] = hc.CompletionQueue()
    one.put(1)
    one.shutdown()
    assert one.get() == 1
    with pytest.raises(hc.ShutDown):
        one.get()
