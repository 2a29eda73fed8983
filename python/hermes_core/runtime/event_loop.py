"""Waiting in ``asyncio`` tasks for what the native core does; no thread is parked.

Each event loop watches one descriptor, which the core makes readable when it wakes one of the
loop's tasks. ``asyncio`` is not imported here, which takes longer than all of this package: whoever
calls from a task has it, and a registry imports it.
"""

from __future__ import annotations

import contextvars
import sys
import time
import weakref
from collections.abc import Callable

from hermes_core import _core
from hermes_core.runtime import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any, Protocol, TypeVar

    T = TypeVar("T")

    class Pending(Protocol):
        """What is being written."""

        def poll(self, waiter: _core.Waiter) -> bool:
            """Whether it is known what became of it; if not, the waiter is woken when it is."""

    class Run(Protocol):
        """What runs on an event loop as a task."""

        def abandon(self, task: asyncio.Task[Any] | None) -> None:
            """The loop is closed, or is garbage, and the task, if there is one yet, never ends."""


__all__ = ["Reader", "Waiter", "answered", "is_running", "reader_of", "seconds", "wait", "waiter"]

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

    The only strong reference is the loop's. So when the loop is closed, or is garbage, this is
    finalized, and ends whatever still waits and runs there.

    Attributes:
        context: an empty context for callbacks: the loop keeps it, and no task's may stay with it.
        loop: a weak reference to the loop.
        runs: what runs on the loop, with its task once it has one.
    """

    __slots__ = ("__weakref__", "context", "loop", "runs", "waiting", "waker")

    def __init__(self, loop: asyncio.AbstractEventLoop, waker: _core.LoopWaker) -> None:
        self.loop = weakref.ref(loop)
        self.runs: dict[Run, asyncio.Task[Any] | None] = {}
        self.waiting: dict[int, Waiter] = {}
        self.waker = waker
        self.context = contextvars.Context()
        self.context.run(loop.add_reader, self.waker.fileno(), self.wake)

    def is_here(self) -> bool:
        """Whether its loop runs in the calling thread."""
        loop = self.loop()
        events = sys.modules.get("asyncio.events")
        return loop is not None and events is not None and events._get_running_loop() is loop

    def wake(self) -> None:
        """Let the tasks whose signal was set go on."""
        for number in self.waker.ready():
            waiter = self.waiting.get(number)
            if waiter is not None:
                _end(waiter._future)

    def __del__(self) -> None:
        if self.waker.is_inherited or sys.is_finalizing():
            return
        while self.waiting or self.runs:
            try:
                self._end_one()
            except BaseException as exc:
                log.exception(exc, "on a closed event loop, one that waited could not be ended")

    def _end_one(self) -> None:
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


def reader_here() -> Reader:
    """The reader of the event loop that runs in the calling thread; raises as ``waiter``."""
    return reader_of(_running_loop())


def waiter() -> Waiter:
    """A waiter for a task of the running event loop.

    Raises:
        RuntimeError: no event loop runs in this thread, or the process was forked under it.
        NotImplementedError: the loop cannot watch a descriptor.
    """
    return Waiter(reader_here())


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio

    return asyncio.get_running_loop()


def is_running() -> bool:
    """Whether an event loop runs in the calling thread: there nothing waits for a disk."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """Call a function that waits for a disk in a thread of the event loop's executor."""
    import asyncio

    return await asyncio.to_thread(function, *args)


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
    loop = _running_loop()
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


async def answered(
    pending: Pending, seconds: float | None, on_abandon: Callable[[], object] | None = None
) -> None:
    """Wait until it is known what becomes of something that is being written.

    Args:
        seconds: for so long at most; ``None`` for as long as it takes.
        on_abandon: called when the event loop is closed meanwhile.
    """
    look = waiter()
    look.on_abandon = on_abandon
    deadline = None if seconds is None else time.monotonic() + seconds
    while not pending.poll(look):
        left = None if deadline is None else deadline - time.monotonic()
        if not await wait(look, left):
            return


def _end(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
