"""A watcher of the messaging gateway that was at work before an install gives way to ours.

It cannot be found from outside: the gateway keeps no reference to its task, and an install may come
from any thread. But it looks at the queue, and a look begins with `empty()`. There, while it has
nothing in hand, it is ended, and ours is started in its place.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import FrameType

Watcher = TypeVar("Watcher")

NAME = "_async_delegation_watcher"

_MARK = "_hermes_core_watcher"
# The loop keeps weak references only.
_started: set[asyncio.Task[None]] = set()


class TakenOver(asyncio.CancelledError):
    """Ends the gateway's own watcher."""


def mark(watcher: Watcher) -> Watcher:
    """Make a watcher known as ours."""
    setattr(watcher, _MARK, True)
    return watcher


def is_ours(runner: Any) -> bool:
    """Say whether the watcher that a `GatewayRunner` would start now is ours."""
    return hasattr(getattr(type(runner), NAME, None), _MARK)


def at_look(frame: FrameType) -> None:
    """Take over from the watcher whose look this is, if it is one; `frame` is the caller's.

    Raises `TakenOver`.
    """
    if frame.f_code.co_name != NAME:
        return
    names = frame.f_locals
    runner = names.get("self")
    if names.get("requeue") or names.get("async_events") or not is_ours(runner):
        return
    task = asyncio.get_running_loop().create_task(getattr(runner, NAME)(names["interval"]))
    _started.add(task)
    task.add_done_callback(_started.discard)
    raise TakenOver
