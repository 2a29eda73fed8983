"""Two delegation registries in step: the gateway's and ours, and runners that end when told."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from differential import reference
from hermes_core import async_delegation

Event = dict[str, Any]

#: Seconds after which a thread that has not reported is taken to hang.
WAIT = 30.0


@dataclass
class Outcome:
    """How a runner ends: with a result, or by an exception."""

    result: Any = None
    error: BaseException | None = None

    @property
    def is_dict(self) -> bool:
        return self.error is None and (self.result is None or isinstance(self.result, dict))

    def own_value(self, key: str) -> bool:
        """Whether the runner itself says what the event has under ``key``."""
        return isinstance(self.result, dict) and self.error is None and key in self.result


class Runner:
    """A runner that says when it starts and ends when it is told to."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.started = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> Any:
        self.started.set()
        if not self.go.wait(WAIT):
            raise TimeoutError("the test did not let this runner go")
        if self.outcome.error is not None:
            raise self.outcome.error
        return self.outcome.result


class Ours:
    """``hermes_core.async_delegation``."""

    def __init__(self) -> None:
        self.module: Any = async_delegation
        self.queue: Any = async_delegation.completion_queue
        self.clear()

    def wait_for_the_end(self, delegation_id: str) -> None:
        """Until its event is on the queue and its record says so."""
        assert self.module._registry._core.wait(delegation_id, WAIT)

    def clear(self) -> None:
        self.module._reset_for_tests()
        _empty(self.queue)

    close = clear


class Theirs:
    """The gateway's ``tools.async_delegation``, which tells nobody when an end is complete."""

    def __init__(self) -> None:
        self.module = reference.delegations()
        self.queue: Any = reference.processes().process_registry.completion_queue
        self._ended: dict[str, threading.Event] = {}
        self._finalizers = {
            name: getattr(self.module, name)
            for name in ("_finalize", "_finalize_batch")
            if hasattr(self.module, name)
        }
        for name, finalize in self._finalizers.items():
            setattr(self.module, name, self._reporting(finalize))
        self.clear()

    def wait_for_the_end(self, delegation_id: str) -> None:
        """Until its last step, which may have failed."""
        assert self._end_of(delegation_id).wait(WAIT)

    def clear(self) -> None:
        self.module._reset_for_tests()
        _empty(self.queue)

    def close(self) -> None:
        for name, finalize in self._finalizers.items():
            setattr(self.module, name, finalize)
        self.clear()

    def _end_of(self, delegation_id: str) -> threading.Event:
        # In one step: the waiting and the ending thread may both be the first to ask.
        return self._ended.setdefault(delegation_id, threading.Event())

    def _reporting(self, finalize: Callable[..., None]) -> Callable[..., None]:
        def reporting(delegation_id: str, *more: Any) -> None:
            try:
                finalize(delegation_id, *more)
            finally:
                self._end_of(delegation_id).set()

        return reporting


def _empty(completion_queue: Any) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            completion_queue.get_nowait()


@dataclass
class Child:
    """One delegation, as each registry has it."""

    outcome: Outcome
    ours: Runner
    theirs: Runner
    our_id: str = ""
    their_id: str = ""
    told: dict[str, int] = field(default_factory=lambda: {"ours": 0, "theirs": 0})


def start(
    ours: Ours, theirs: Theirs, function: str, outcome: Outcome, interrupt: str, task: Event
) -> Child | None:
    """Dispatch the same to both and wait until both run; ``None`` if both refuse."""
    child = Child(outcome, Runner(outcome), Runner(outcome))

    def interrupt_fn(side: str) -> Any:
        def tell() -> None:
            child.told[side] += 1
            if interrupt == "raises":
                raise ValueError("not now")

        return {"none": None, "not callable": 5}.get(interrupt, tell)

    our_answer = getattr(ours.module, function)(
        runner=child.ours, interrupt_fn=interrupt_fn("ours"), **task
    )
    their_answer = getattr(theirs.module, function)(
        runner=child.theirs, interrupt_fn=interrupt_fn("theirs"), **task
    )
    assert our_answer["status"] == their_answer["status"], (our_answer, their_answer)
    assert set(their_answer) <= set(our_answer)
    if our_answer["status"] == "rejected":
        assert isinstance(our_answer["error"], str)
        assert our_answer["reason"] == "capacity"
        return None
    child.our_id, child.their_id = our_answer["delegation_id"], their_answer["delegation_id"]
    assert child.ours.started.wait(WAIT)
    assert child.theirs.started.wait(WAIT)
    return child


def finish(ours: Ours, theirs: Theirs, child: Child) -> None:
    """Let both end, and wait until both have published it."""
    child.ours.go.set()
    child.theirs.go.set()
    ours.wait_for_the_end(child.our_id)
    theirs.wait_for_the_end(child.their_id)


def assert_same_event(ours: Event, theirs: Event, child: Child) -> None:
    """Every key and value, but for ids, times, and words that are each one's own."""
    assert [key for key in ours if key in theirs] == list(theirs)
    assert set(ours) - set(theirs) <= {"origin_ui_session_id", "parent_session_id"}
    assert (ours["delegation_id"], theirs["delegation_id"]) == (child.our_id, child.their_id)
    outcome = child.outcome
    for key, value in theirs.items():
        is_measured = key in ("dispatched_at", "completed_at") or (
            key.endswith("duration_seconds") and not outcome.own_value(key) and value is not None
        )
        if key == "delegation_id":
            continue
        if is_measured:
            assert type(ours[key]) is type(value) is float
        elif key == "error" and not outcome.is_dict and not isinstance(outcome.error, Exception):
            # No dict, or no Exception: each tells it in its own words, if it does at all.
            assert isinstance(ours[key], str)
            assert ours[key]
        else:
            assert ours[key] is value or ours[key] == value, (key, ours[key], value)
    assert ours["completed_at"] >= ours["dispatched_at"]


def assert_same_records(ours: list[Event], theirs: list[Event], children: list[Child]) -> None:
    """``list_async_delegations``: the same ones, in the same order, with the same in them."""
    ids = {child.our_id: child.their_id for child in children}
    assert [ids[record["delegation_id"]] for record in ours] == [
        record["delegation_id"] for record in theirs
    ]
    for our_record, their_record in zip(ours, theirs, strict=True):
        assert [key for key in our_record if key in their_record] == list(their_record)
        for key, value in their_record.items():
            if key in ("dispatched_at", "completed_at"):
                assert type(our_record[key]) is type(value)
            elif key != "delegation_id":
                assert our_record[key] is value or our_record[key] == value, key
