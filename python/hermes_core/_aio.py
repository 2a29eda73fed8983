"""Waiting in ``asyncio`` tasks for what the native core does; no thread is parked.

Each event loop watches one descriptor, which the core makes readable when it wakes one of the
loop's tasks. ``hermes_core`` imports this at the first use from a task.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
import weakref
from collections.abc import Callable

from . import _core, _log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._coroutines import Run

__all__ = ["Reader", "Waiter", "reader_of", "seconds", "wait", "waiter"]

#: In seconds: no event loop's timer counts further.
_CENTURY = 100 * 365 * 86400.0


class Waiter(_core.Waiter):
    """One task's place to wait: a native call registers it, ``wait`` waits for its signal.

    Attributes:
        on_abandon: called without arguments, and not in the task, when the event loop is closed
            while the task waits: it takes back what was registered, for the task never goes on.
    """

    __slots__ = ("_future", "_waiting", "on_abandon")

    def __new__(cls, reader: Reader) -> Waiter:
        return super().__new__(cls, reader.waker)

    def __init__(self, reader: Reader) -> None:
        self.on_abandon: Callable[[], object] | None = None
        self._future: asyncio.Future[None] | None = None
        # Not the reader, which lives as long as its loop watches.
        self._waiting = reader.waiting


class Reader:
    """What an event loop calls when its descriptor is readable.

    The loop holds the only strong reference. So when the loop is closed, or is garbage, this is
    finalized, and tells whoever still waits and whatever still runs there.

    Attributes:
        context: an empty context for callbacks: the loop keeps it, and no task's may stay with it.
        loop: a weak reference to the loop.
        runs: the delegations that run on the loop, with their tasks once they have one.
    """

    __slots__ = ("__weakref__", "context", "loop", "runs", "waiting", "waker")

    def __init__(self, loop: asyncio.AbstractEventLoop, waker: _core.LoopWaker) -> None:
        self.loop = weakref.ref(loop)
        self.runs: dict[Run, asyncio.Task[Any] | None] = {}
        self.waiting: dict[int, Waiter] = {}
        self.waker = waker
        self.context = contextvars.Context()
        self.context.run(loop.add_reader, self.waker.fileno(), self.wake)

    def wake(self) -> None:
        """Have the tasks that were woken go on."""
        for number in self.waker.ready():
            woken = self.waiting.get(number)
            if woken is not None:
                _end(woken._future)

    def __del__(self) -> None:
        if self.waker.is_inherited or sys.is_finalizing():
            return
        while self.waiting or self.runs:
            try:
                self._tell_one()
            except BaseException as exc:
                _log.exception(exc, "of those who waited on a closed event loop, one was not told")

    def _tell_one(self) -> None:
        if self.waiting:
            _, waiter = self.waiting.popitem()
            if waiter.on_abandon is not None:
                waiter.on_abandon()
        else:
            run, task = self.runs.popitem()
            run.abandon(task)


_readers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Reader]]
_readers = weakref.WeakKeyDictionary()


def reader_of(loop: asyncio.AbstractEventLoop) -> Reader:
    """The event loop's reader; from the thread that runs the loop.

    Raises:
        NotImplementedError: the loop cannot watch a descriptor (``add_reader``).
        OSError: there is no descriptor left.
    """
    known = _readers.get(loop)
    reader = None if known is None else known()
    if reader is None:
        reader = Reader(loop, _core.LoopWaker())
        _readers[loop] = weakref.ref(reader)
    return reader


def waiter() -> Waiter:
    """A waiter for a task of the running event loop.

    Raises:
        RuntimeError: no event loop runs in this thread, or the process was forked under it.
        NotImplementedError: the loop cannot watch a descriptor.
    """
    return Waiter(reader_of(asyncio.get_running_loop()))


def seconds(timeout: object) -> float | None:
    """A timeout that blocking calls take; ``None`` for none, and for one beyond every clock.

    Raises:
        TypeError, ValueError: as blocking calls do.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int | float):
        raise TypeError("'timeout' must be a number of seconds or None")
    if not timeout >= 0:
        raise ValueError("'timeout' must be a non-negative number")
    return None if timeout > _CENTURY else float(timeout)


async def wait(waiter: Waiter, timeout: float | None = None) -> bool:
    """Wait until the waiter's signal is set, and clear it; whether it was set.

    A cancelled wait leaves the signal as it is. Whoever registered the waiter takes that back.

    Args:
        timeout: seconds from now; ``None`` waits without end.
    """
    if waiter.take():
        return True
    if timeout is not None and timeout <= 0:
        return False
    loop = asyncio.get_running_loop()
    deadline = None if timeout is None else loop.time() + timeout
    waiter._waiting[waiter.number] = waiter
    try:
        while True:
            waiter._future = future = loop.create_future()
            timer = None if deadline is None else loop.call_at(deadline, _end, future)
            try:
                await future
            finally:
                if timer is not None:
                    timer.cancel()
            if waiter.take():
                return True
            if deadline is not None and loop.time() >= deadline:
                return False
    finally:
        # It is not there any more if the loop was closed.
        waiter._waiting.pop(waiter.number, None)
        waiter._future = None


def _end(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
