"""The same delegations through the gateway's registry and ours, step by step."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from differential import events, reference
from differential.delegations import (
    Child,
    Event,
    Ours,
    Outcome,
    Theirs,
    assert_same_event,
    assert_same_records,
    finish,
    start,
)

PLAIN = events.plain_text(max_size=20)
#: What a ledger can hold: the later gateways write each task and result to SQLite as JSON.
STORABLE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        events.TEXTS,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(PLAIN, inner, max_size=3)),
    max_leaves=4,
)
#: The words that a record has while it runs: `test_failure_classes.py` shows what they do.
LIVE = ("running", "finalizing")
STATUS_TEXTS = st.one_of(st.sampled_from(events.STATUSES), PLAIN).filter(
    lambda word: word not in LIVE
)
RESULT_KEYS = (
    "summary",
    "error",
    "api_calls",
    "duration_seconds",
    "model",
    "exit_reason",
    "tokens",
)
EXCEPTIONS = st.builds(
    lambda kind, text: kind(text),
    st.sampled_from((ValueError, KeyError, OSError, RuntimeError, TimeoutError, RecursionError)),
    PLAIN,
)
BASE_EXCEPTIONS = st.sampled_from((SystemExit, KeyboardInterrupt, GeneratorExit)).map(
    lambda kind: kind("stop")
)
INTERRUPTS = st.sampled_from(("none", "tells", "tells", "raises", "not callable"))


def outcomes(values: Any, statuses: Any) -> Any:
    """How a single runner ends."""
    results = st.fixed_dictionaries(
        {}, optional=dict.fromkeys(RESULT_KEYS, values) | {"status": statuses}
    )
    return st.one_of(
        results.map(Outcome),
        results.map(Outcome),
        st.just(Outcome()),
        EXCEPTIONS.map(lambda exc: Outcome(error=exc)),
        BASE_EXCEPTIONS.map(lambda exc: Outcome(error=exc)),
        st.sampled_from(("text", 5, [1], ("a",), object())).map(Outcome),
    )


ANY_OUTCOMES = outcomes(
    st.one_of(STORABLE, events.ANYTHING),
    st.one_of(STATUS_TEXTS, events.NUMBERS, events.CONTAINERS, st.none()),
)
STORABLE_OUTCOMES = outcomes(STORABLE, st.one_of(STATUS_TEXTS, st.none()))
BATCH_OUTCOMES = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "results": st.one_of(
                st.none(),
                st.lists(
                    st.fixed_dictionaries(
                        {"task_index": st.integers(0, 3)},
                        optional={"status": STATUS_TEXTS, "summary": STORABLE},
                    ),
                    max_size=3,
                ),
            ),
            "total_duration_seconds": STORABLE,
            "error": STORABLE,
            "live_transcripts": STORABLE,
        },
    ).map(Outcome),
    st.just(Outcome()),
    EXCEPTIONS.map(lambda exc: Outcome(error=exc)),
    st.just(Outcome("text")),
)
LIMITS = st.one_of(st.integers(-1, 5), st.integers(3, 6))
SESSIONS = st.sampled_from(("", "a", "b", "agent:main:telegram:dm:7"))
ANY_SESSIONS = st.one_of(SESSIONS, st.text(max_size=5), st.none())
TOOLSETS = st.one_of(st.none(), st.lists(PLAIN, max_size=3), st.just(("web", "file")))
TASKS = st.fixed_dictionaries(
    {
        "context": st.one_of(st.none(), PLAIN),
        "toolsets": TOOLSETS,
        "role": PLAIN,
        "model": st.one_of(st.none(), PLAIN),
        "max_async_children": LIMITS,
    }
)


class Registries(RuleBasedStateMachine):
    """Both registries, what runs in them, and what waits on their queues."""

    def __init__(self) -> None:
        super().__init__()
        self.ours, self.theirs = Ours(), Theirs()
        self.children: list[Child] = []
        self.running: list[Child] = []
        self.waiting: deque[Child] = deque()

    def dispatch(self, function: str, outcome: Outcome, interrupt: str, task: Event) -> None:
        child = start(self.ours, self.theirs, function, outcome, interrupt, task)
        if child is None:
            assert len(self.running) >= max(0, task["max_async_children"])
        else:
            assert len(self.running) < task["max_async_children"]
            self.children.append(child)
            self.running.append(child)

    @rule(data=st.data())
    @precondition(lambda self: self.running)
    def end_one(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from(self.running))
        self.running.remove(child)
        finish(self.ours, self.theirs, child)
        self.waiting.append(child)

    @rule()
    @precondition(lambda self: self.waiting)
    def take_one(self) -> None:
        """F1: the event of each end, once, in the order of the ends."""
        ours, theirs = self.ours.queue.get_nowait(), self.theirs.queue.get_nowait()
        assert_same_event(ours, theirs, self.waiting.popleft())

    @rule(reason=PLAIN)
    def interrupt_all(self, reason: str) -> None:
        told = self.ours.module.interrupt_all(reason)
        assert told == self.theirs.module.interrupt_all(reason)

    @invariant()
    def look_the_same(self) -> None:
        running = len(self.running)
        assert self.ours.module.active_count() == running
        assert self.theirs.module.active_count() == running
        assert self.ours.queue.qsize() == self.theirs.queue.qsize() == len(self.waiting)
        assert all(child.told["ours"] == child.told["theirs"] for child in self.children)
        assert_same_records(
            self.ours.module.list_async_delegations(),
            self.theirs.module.list_async_delegations(),
            self.children,
        )

    def teardown(self) -> None:
        try:
            for child in self.running:
                finish(self.ours, self.theirs, child)
                self.waiting.append(child)
            while self.waiting:
                self.take_one()
            assert self.ours.queue.empty()
            assert self.theirs.queue.empty()
        finally:
            self.ours.close()
            self.theirs.close()


class FirstVersion(Registries):
    """As in 0.17.0: single delegations; any result, as nothing is stored."""

    @rule(
        goal=PLAIN,
        session=ANY_SESSIONS,
        task=TASKS,
        outcome=ANY_OUTCOMES,
        interrupt=INTERRUPTS,
    )
    def dispatch_one(
        self, goal: str, session: str | None, task: Event, outcome: Outcome, interrupt: str
    ) -> None:
        task = {"goal": goal, "session_key": session, **task}
        self.dispatch("dispatch_async_delegation", outcome, interrupt, task)

    @rule(count=st.integers(15, 40))
    def run_many(self, count: int) -> None:
        """Enough for the oldest that ended to leave the list."""
        task = {
            "goal": "g",
            "context": None,
            "toolsets": None,
            "role": "leaf",
            "model": None,
            "session_key": "a",
            "max_async_children": 100,
        }
        for number in range(count):
            self.dispatch("dispatch_async_delegation", Outcome({"summary": number}), "none", task)
            child = self.running.pop()
            finish(self.ours, self.theirs, child)
            self.waiting.append(child)


class LaterVersion(Registries):
    """As in 0.19.0: who asked, batches, and the end of a session."""

    owners = st.fixed_dictionaries(
        {"session_key": SESSIONS},
        optional={"origin_ui_session_id": SESSIONS, "parent_session_id": SESSIONS},
    )

    @rule(goal=PLAIN, owner=owners, task=TASKS, outcome=STORABLE_OUTCOMES, interrupt=INTERRUPTS)
    def dispatch_one(
        self, goal: str, owner: Event, task: Event, outcome: Outcome, interrupt: str
    ) -> None:
        task = {"goal": goal, **owner, **task}
        self.dispatch("dispatch_async_delegation", outcome, interrupt, task)

    @rule(
        goals=st.lists(st.one_of(PLAIN, events.plain_text(min_size=41, max_size=50)), max_size=3),
        named=st.booleans(),
        owner=owners,
        task=TASKS,
        outcome=BATCH_OUTCOMES,
        interrupt=INTERRUPTS,
    )
    def dispatch_batch(
        self,
        goals: list[str],
        named: bool,
        owner: Event,
        task: Event,
        outcome: Outcome,
        interrupt: str,
    ) -> None:
        task = {"goals": goals, **owner, **task}
        if named:
            task["delegation_id"] = f"batch {len(self.children)}"
        self.dispatch("dispatch_async_delegation_batch", outcome, interrupt, task)

    @rule(
        selectors=st.dictionaries(
            st.sampled_from(("session_key", "origin_ui_session_id", "parent_session_id")),
            SESSIONS,
        )
    )
    def interrupt_for_session(self, selectors: Event) -> None:
        told = self.ours.module.interrupt_for_session(**selectors)
        assert told == self.theirs.module.interrupt_for_session(**selectors)


def _settings(share: int) -> settings:
    """A share of the profile's examples: one of these is dozens of threads' hand-offs."""
    return settings(max_examples=settings().max_examples // share, stateful_step_count=30)


class TestFirstVersion(FirstVersion.TestCase):  # type: ignore[valid-type, misc]
    settings = _settings(5)

    @pytest.fixture(autouse=True)
    def _version(self) -> None:
        reference.needs_first_version()


class TestLaterVersion(LaterVersion.TestCase):  # type: ignore[valid-type, misc]
    settings = _settings(10)

    @pytest.fixture(autouse=True)
    def _version(self) -> None:
        reference.needs_batches()
