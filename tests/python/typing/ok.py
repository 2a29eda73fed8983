"""What users write, and a strict type checker must accept. Never run, only checked."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any, assert_type

import hermes_core as hc
from hermes_core import async_delegation, gateway


class Event(dict[str, Any]):
    """A host's own event type."""


def queues() -> None:
    anything: hc.CompletionQueue[Any] = hc.CompletionQueue()
    anything.put({"type": "completion"})
    anything.put("no dict at all", block=False)
    anything.put({}, True, 0.5)
    anything.get(True, 1.5)
    anything.get(types={"async_delegation"}, session_key="room-1", timeout=2)
    anything.get(types=["completion", "watch_match"])
    anything.get_nowait(unaddressed=True)
    anything.put_back(anything.get())
    assert_type(anything.qsize(), int)
    assert_type(anything.empty(), bool)
    anything.maxsize = 7
    anything.task_done()
    anything.join()
    anything.shutdown()
    anything.shutdown(immediate=True)

    mine: hc.CompletionQueue[Event] = hc.CompletionQueue(maxsize=3)
    mine.put(Event())
    try:
        mine.get_nowait()
    except (queue.Empty, hc.ShutDown) as ended:
        print(ended)


def subagent() -> dict[str, Any]:
    return {"status": "completed"}


def nothing() -> None:
    return None


async def later() -> dict[str, Any]:
    return {"status": "completed"}


async def nothing_later() -> None:
    return None


def registries() -> None:
    registry = hc.DelegationRegistry()
    registry = hc.DelegationRegistry(hc.CompletionQueue(), capacity=5)
    registry.capacity = 2
    handle = registry.dispatch(goal="a", runner=subagent)
    handle = registry.dispatch(
        goal="b",
        runner=lambda: {"summary": "b"},
        context="c",
        toolsets=("file", "web"),
        role="orchestrator",
        model=None,
        session_key="room-1",
        origin_ui_session_id="tab-1",
        parent_session_id=None,
        interrupt_fn=lambda: True,
    )
    registry.dispatch(goal="c", runner=dict)
    registry.dispatch(goal="c", runner=later)
    registry.dispatch(goal="c", runner=nothing_later)
    registry.dispatch(goal="c", runner=lambda: later())
    assert_type(handle, hc.DelegationHandle)
    assert_type(handle.id, str)
    assert_type(handle.state, str)
    assert_type(handle.result(), dict[str, Any])
    assert_type(handle.result(timeout=0.5), dict[str, Any])
    assert_type(handle.cancel("why"), bool)
    assert_type(registry.list(), list[dict[str, Any]])
    assert_type(registry.get("deleg_1"), dict[str, Any] | None)
    assert_type(registry.cancel("deleg_1"), int)
    assert_type(registry.cancel(session_key="room-1", reason="stop"), int)
    assert_type(registry.interrupt_all(), int)
    assert_type(registry.active_count(), int)
    assert_type(registry.stats(), dict[str, Any])
    try:
        registry.dispatch(goal="d", runner=nothing)
    except hc.AtCapacity as refused:
        assert_type(refused.limit, int)
        assert_type(refused.running, int)


async def awaited(handle: hc.DelegationHandle) -> None:
    assert_type(await handle, dict[str, Any])
    assert_type(await asyncio.wait_for(handle, 0.5), dict[str, Any])
    await asyncio.gather(handle, handle)


def texts(event: dict[str, object]) -> None:
    assert_type(hc.format_process_notification(event), str | None)
    assert_type(hc.notification_dedup_key(event), tuple[object, ...])
    assert_type(hc.parse_session_key("room-1"), dict[str, str] | None)
    assert_type(hc.__version__, str)


def gateway_functions(runner: Callable[[], dict[str, Any]]) -> None:
    answer = async_delegation.dispatch_async_delegation(
        goal="a",
        context=None,
        toolsets=None,
        role="leaf",
        model=None,
        session_key="",
        runner=runner,
        interrupt_fn=None,
        max_async_children=3,
    )
    assert_type(answer, dict[str, Any])
    async_delegation.dispatch_async_delegation_batch(
        goals=["a", "b"],
        context=None,
        toolsets=["file"],
        role="leaf",
        model="m",
        session_key="room-1",
        runner=runner,
        delegation_id="deleg_1",
    )
    async_delegation.dispatch_async_delegation(
        goal="a",
        context=None,
        toolsets=None,
        role="leaf",
        model=None,
        session_key="",
        runner=later,
    )
    assert_type(async_delegation.active_count(), int)
    assert_type(async_delegation.list_async_delegations(), list[dict[str, Any]])
    assert_type(async_delegation.interrupt_all(reason="stop"), int)
    assert_type(async_delegation.interrupt_for_session(session_key="room-1"), int)
    async_delegation.completion_queue.put({})


def adapter() -> None:
    try:
        report = gateway.install()
    except gateway.IncompatibleGateway as refusal:
        assert_type(refusal.differences, list[str])
        return
    assert_type(report, gateway.InstallReport)
    assert_type(report.replaced, list[str])
    assert_type(gateway.status(), gateway.Status)
    assert_type(gateway.status().counters, dict[str, int])
    assert_type(gateway.uninstall().moved_events, int)
