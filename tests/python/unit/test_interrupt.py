"""Telling delegations to stop, whatever their ``interrupt_fn`` does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import hermes_core as hc
from hermes_core.delegation import interrupt as _interrupt

Dispatch = Callable[..., dict[str, Any]]


def stoppable() -> tuple[Callable[[], dict[str, Any]], Callable[[], None]]:
    stop = threading.Event()

    def runner() -> dict[str, Any]:
        assert stop.wait(30)
        return {"status": "interrupted", "summary": "half of it"}

    return runner, stop.set


def test_interrupt_all_tells_each_and_each_still_ends(core: Any, dispatch: Dispatch) -> None:
    """F22: cancelled children publish once, with what they have."""
    for _ in range(3):
        runner, interrupt = stoppable()
        dispatch(runner, interrupt_fn=interrupt)
    assert core.interrupt_all("shutdown") == 3
    events = [core.completion_queue.get(timeout=30) for _ in range(3)]
    assert {event["status"] for event in events} == {"interrupted"}
    assert {event["summary"] for event in events} == {"half of it"}
    assert core.active_count() == 0
    assert core.interrupt_all() == 0


def test_one_that_raises_hangs_reenters_or_is_no_function_stops_no_other(
    core: Any, dispatch: Dispatch, monkeypatch: Any
) -> None:
    monkeypatch.setattr(_interrupt.call_all, "__defaults__", (0.5,))
    hang, told = threading.Event(), []

    def raising() -> None:
        raise SystemExit("no")

    def reentering() -> None:
        core.list_async_delegations()
        core.active_count()
        told.append(core.interrupt_for_session("another"))

    go = threading.Event()
    bad: list[Any] = [raising, "not callable", hang.wait, reentering]
    for interrupt_fn in bad:
        dispatch(go.wait, interrupt_fn=interrupt_fn, max_async_children=99)
    runner, interrupt = stoppable()
    dispatch(runner, interrupt_fn=interrupt, max_async_children=99)
    start = time.monotonic()
    assert core.interrupt_all() == 2
    assert time.monotonic() - start < 30
    assert told == [0]
    assert core.completion_queue.get(timeout=30)["status"] == "interrupted"
    hang.set()
    go.set()
    for _ in bad:
        core.completion_queue.get(timeout=30)


def test_a_session_is_any_field_for_the_gateway_and_every_field_for_cancel(
    core: Any, dispatch: Dispatch
) -> None:
    """F18, F23: another session's or profile's children are not touched."""
    owners = [
        {"session_key": "a", "origin_ui_session_id": "1", "parent_session_id": "p"},
        {"session_key": "a", "origin_ui_session_id": "2", "parent_session_id": "p"},
        {"session_key": "b", "origin_ui_session_id": "1", "parent_session_id": "q"},
        {"session_key": "", "origin_ui_session_id": "", "parent_session_id": None},
    ]
    told: list[int] = []
    go = threading.Event()
    for n, owner in enumerate(owners):
        dispatch(go.wait, interrupt_fn=lambda n=n: told.append(n), max_async_children=9, **owner)

    def who(call: Callable[..., int], *args: Any, **kwargs: Any) -> list[int]:
        told.clear()
        count = call(*args, **kwargs)
        assert count == len(told)
        return sorted(told)

    session, cancel = core.interrupt_for_session, core._registry.cancel
    assert who(session) == []
    assert who(session, "a") == [0, 1]
    assert who(session, origin_ui_session_id="1") == [0, 2]
    assert who(session, "b", "2", "") == [1, 2]
    assert who(session, parent_session_id="p") == [0, 1]
    assert who(cancel, session_key="a", origin_ui_session_id="1") == [0]
    assert who(cancel, session_key="b", parent_session_id="p") == []
    go.set()
    for _ in owners:
        core.completion_queue.get(timeout=30)


def test_a_handle_waits_for_tells_and_stops_its_own(registry: hc.DelegationRegistry) -> None:
    runner, interrupt = stoppable()
    handle = registry.dispatch(goal="a", runner=runner, interrupt_fn=interrupt)
    other_runner, other_interrupt = stoppable()
    other = registry.dispatch(goal="b", runner=other_runner, interrupt_fn=other_interrupt)
    assert (handle.state, other.state) == ("running", "running")
    assert handle.cancel()
    assert handle.result(30) == {"status": "interrupted", "summary": "half of it"}
    assert (handle.state, other.state) == ("interrupted", "running")
    assert not handle.cancel()
    assert registry.cancel(other.id) == 1
    other.result(30)
    assert registry.stats()["running"] == 0
