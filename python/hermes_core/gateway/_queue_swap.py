"""One queue stands in for another while any number of threads put and take.

The gateway's queue stays reachable for a producer that read the attribute before the swap; ours
stays reachable after the swap back. Two rules make both harmless:

* While ours is in place, the gateway's queue keeps nothing: `queue.Queue.put` stores through
  `self._put` under the queue's mutex, and an instance attribute of that name sends the item to
  ours. A producer that is inside `put` already waits for that same mutex.
* While ours is not in place, ours keeps nothing: whoever puts looks afterwards whether it still
  is, and if not, moves everything on. Either the put came before the swap back, which then moved
  the item, or the look came after it.

Moves happen under the mutex of the gateway's queue, first in first out.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from hermes_core import CompletionQueue
from hermes_core.gateway._counters import count

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType


take_overs: dict[CodeType, Callable[[dict[str, Any]], None]] = {}
"""Loops of the gateway that must not take for themselves, and who goes on in their stead.

Called with the loop's variables, at its `get` or `empty` of the shared queue."""


def _at_look(frame: FrameType) -> None:
    if (take_over := take_overs.get(frame.f_code)) is not None:
        take_over(frame.f_locals)


class GatewayQueue(CompletionQueue[Any]):
    """The shared queue once it has served a gateway: it never keeps what no gateway would read.

    The queue changes into this class in place, for its identity is what delegations hold.
    """

    __slots__ = ()

    def get(self, block: bool = True, timeout: float | None = None, **wanted: Any) -> Any:
        """Take an event; a loop of the gateway that others stand in for waits here for its end."""
        _at_look(sys._getframe(1))
        return CompletionQueue.get(self, block, timeout, **wanted)

    def empty(self) -> bool:
        """Say whether nothing waits; a loop of the gateway that others stand in for ends here."""
        _at_look(sys._getframe(1))
        return CompletionQueue.empty(self)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an event; after an uninstall it goes on to the gateway's own queue."""
        CompletionQueue.put(self, item, block, timeout)
        sweep()

    def put_nowait(self, item: Any) -> None:
        """Put an event without waiting; after an uninstall it goes on to the gateway's queue."""
        CompletionQueue.put_nowait(self, item)
        sweep()


_swap: QueueSwap | None = None
"""The swap that stragglers of the shared queue go through: the latest one."""


class QueueSwap:
    """The exchange of `registry.completion_queue` for `ours`, and back."""

    __slots__ = ("_active", "_host", "_ours", "_registry")

    def __init__(self, registry: Any, ours: CompletionQueue[Any]) -> None:
        self._registry = registry
        self._host: queue.Queue[Any] = registry.completion_queue
        self._ours = ours
        self._active = False

    def install(self) -> int:
        """Put ours in place, with all that waits in the gateway's queue; return how many."""
        global _swap
        host, ours = self._host, self._ours
        ours.__class__ = GatewayQueue
        with host.mutex:
            moved = self._move_in()
            host._put = self._forward  # type: ignore[method-assign]
            self._registry.completion_queue = ours
            self._active = True
            _swap = self
        return moved

    def uninstall(self) -> int:
        """Put the gateway's queue back, with all that waits in ours; return how many."""
        host = self._host
        with host.mutex:
            # Something else may have been put there since; that one is not ours to remove.
            if self._registry.completion_queue is self._ours:
                self._registry.completion_queue = host
            self._active = False
            vars(host).pop("_put", None)
            return self._move_back()

    def sweep(self) -> None:
        """After an uninstall, move what a straggler put into ours to the gateway's queue."""
        # The unlocked look keeps the usual put free of the mutex. It is safe: the caller put
        # before it looks, so an uninstall that this look does not see moves the item itself.
        if self._active:
            return
        with self._host.mutex:
            if not self._active:
                count("events that followed an uninstall", self._move_back())

    def _forward(self, item: Any) -> None:
        """Stand in for the gateway's `_put`; the caller holds its mutex and counts a task."""
        # Not self._ours.put: a sweep would wait for the mutex that the caller holds.
        CompletionQueue.put(self._ours, item)
        self._host.unfinished_tasks -= 1

    def _move_in(self) -> int:
        host, ours = self._host, self._ours
        moved = 0
        try:
            while host.queue:
                CompletionQueue.put(ours, host.queue[0])
                host.queue.popleft()
                moved += 1
        except BaseException:
            taken: deque[Any] = deque()
            _take_all(ours, taken)
            host.queue.extendleft(reversed(taken))
            raise
        host.unfinished_tasks = max(0, host.unfinished_tasks - moved)
        if not host.unfinished_tasks:
            host.all_tasks_done.notify_all()
        return moved

    def _move_back(self) -> int:
        host = self._host
        before = len(host.queue)
        try:
            _take_all(self._ours, host.queue)
        finally:
            moved = len(host.queue) - before
            host.unfinished_tasks += moved
            host.not_empty.notify(moved)
        return moved


def sweep() -> None:
    """After an uninstall, move what a straggler put into the shared queue to the gateway's."""
    if _swap is not None:
        _swap.sweep()


def unsuitable(registry: Any) -> str | None:
    """Say why the queue of this registry cannot be swapped, or return None when it can."""
    host = registry.completion_queue
    if type(host) is not queue.Queue:
        return f"is a {type(host).__name__}, not the plain queue.Queue of the gateway"
    if host.maxsize > 0:
        return f"is bounded to {host.maxsize} events"
    if "_put" in vars(host):
        return "has its _put replaced by something else"
    return None


def _take_all(ours: CompletionQueue[Any], into: deque[Any]) -> None:
    """Move every event over, each straight into its new place: whatever is raised loses none."""
    before = len(into)
    take = functools.partial(CompletionQueue.get_nowait, ours)
    try:
        # One native loop, so that Ctrl-C finds no event between the two.
        into.extend(iter(take, object()))
    except queue.Empty:
        pass
    finally:
        # A consumer may have called done here what it took from the gateway's queue before; then
        # there are fewer left to call than events.
        with contextlib.suppress(ValueError):
            for _ in range(len(into) - before):
                CompletionQueue.task_done(ours)
