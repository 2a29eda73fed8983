"""What a type checker must refuse: each marked line, with that code, and no other line."""

from __future__ import annotations

from typing import Any

import hermes_core as hc
from hermes_core import async_delegation, gateway


def queues(events: hc.CompletionQueue[Any]) -> None:
    hc.CompletionQueue("3")  # error: arg-type
    events.get(types="async_delegation")  # error: arg-type
    events.get(types={"completion": 1})  # error: arg-type
    events.get(key="room-1")  # error: call-arg
    events.get(session_key=4711)  # error: arg-type
    events.get(types=[1])  # error: list-item
    events.get(True, None, {"completion"})  # error: call-arg
    events.get_nowait(block=False)  # error: call-arg
    events.put()  # error: call-arg
    events.mutex.acquire()  # error: attr-defined
    events.is_shutdown = True  # error: misc


def number() -> int:
    return 1


async def later() -> int:
    return 1


def registries(registry: hc.DelegationRegistry) -> None:
    hc.DelegationRegistry(3)  # error: arg-type
    registry.dispatch("goal", dict)  # error: call-arg
    registry.dispatch(goal="a")  # error: call-arg
    registry.dispatch(goal="a", runner=number)  # error: arg-type
    registry.dispatch(goal="a", runner=str.upper)  # error: arg-type
    registry.dispatch(goal="a", runner=later)  # error: arg-type
    registry.dispatch(goal="a", runner=dict, session_key=None)  # error: arg-type
    handle = registry.dispatch(goal="a", runner=dict, parent_session_id=None)
    handle.state = "completed"  # error: misc
    handle.result("10")  # error: arg-type
    print(handle.text)  # error: attr-defined
    registry.get("deleg_1")["goal"]  # error: index


def texts() -> None:
    hc.format_process_notification("text")  # error: arg-type
    hc.format_process_notification({}).upper()  # error: union-attr
    hc.parse_session_key(None)  # error: arg-type


def gateway_functions() -> None:
    async_delegation.dispatch_async_delegation(goal="a", runner=dict)  # error: call-arg
    async_delegation.interrupt_all(1)  # error: arg-type
    gateway.install(force=True)  # error: call-arg
    gateway.status().installed = False  # error: misc
