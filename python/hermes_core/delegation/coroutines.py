"""Delegations whose runner is a coroutine: a task each, on an event loop, and no thread.

The loop is the one that runs where ``dispatch`` is called, or else one of ours, in a thread of its
own. It owns its tasks: the registry has none, so a forgotten loop is garbage with all that runs
in it. However a task ends, its delegation ends once: by the task's callback, or, if the loop is
closed or is garbage before that was called, when the loop's reader is finalized.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable
from contextlib import suppress

from hermes_core import _core
from hermes_core.delegation import events
from hermes_core.runtime import event_loop, log, workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hermes_core.delegation.delegation import Delegation, Runner
    from hermes_core.delegation.events import Ended
    from hermes_core.delegation.lifecycle import Lifecycle

    Task = asyncio.Task[Any]

#: For how many seconds a dispatch waits for its row.
_PATIENCE = 10.0

#: The name of the thread that runs our own event loop.
THREAD_NAME = "async-delegate-loop"


def start(registry: Lifecycle, delegation: Delegation) -> None:
    """Run a delegation's coroutine function: on the event loop that runs here, or ran where
    one that has waited was dispatched; or else on ours.

    Raises:
        RuntimeError: that loop is closed.
    """
    loop: asyncio.AbstractEventLoop
    try:
        loop = asyncio.get_running_loop()
        post = loop.call_soon
    except RuntimeError:
        loop = _own_loop() if delegation.loop is None else _loop_of(delegation.loop)
        post = loop.call_soon_threadsafe
    assert delegation.work is not None
    runner, context = delegation.work
    run = Run(registry, delegation, event_loop.reader_of(loop))
    post(run.begin, runner, context=context)


def _loop_of(reader_ref: weakref.ref[event_loop.Reader]) -> asyncio.AbstractEventLoop:
    reader = reader_ref()
    loop = None if reader is None else reader.loop()
    if loop is None or loop.is_closed():
        raise RuntimeError("its event loop was closed before it began")
    return loop


def adopt(registry: Lifecycle, delegation: Delegation, awaitable: Awaitable[object]) -> None:
    """Await on our event loop what a delegation's runner returned on a worker thread."""
    loop = _own_loop()
    assert delegation.work is not None
    _, context = delegation.work
    run = Run(registry, delegation, event_loop.reader_of(loop))
    loop.call_soon_threadsafe(run.go_on, awaitable, context=context)


class Run:
    """A delegation on an event loop."""

    __slots__ = ("_delegation", "_reader", "_registry")

    def __init__(
        self, registry: Lifecycle, delegation: Delegation, reader: event_loop.Reader
    ) -> None:
        self._registry = registry
        self._delegation = delegation
        # Not the task, nor what leads to it: the loop owns it.
        self._reader = weakref.ref(reader)
        delegation.run = self
        reader.runs[self] = None

    def begin(self, runner: Runner) -> None:
        """Call the runner; in the event loop and in the delegation's context."""
        if self._delegation.starting is not None:
            self.go_on(self._begin_once_written(runner, self._delegation.starting))
            return
        if not self._registry._begin(self._delegation):
            self._leave()
            return
        try:
            awaitable = runner()
        except BaseException as exc:
            self._fail(exc)
            if not isinstance(exc, Exception):
                raise
            return
        self.go_on(awaitable)

    async def _begin_once_written(self, runner: Runner, starting: _core.Dispatching) -> object:
        """Call the runner once its delegation is written down."""
        await event_loop.answered(starting, _PATIENCE)
        if not starting.is_written():
            # The end, on a worker thread, says why.
            return None
        starting.end(True)
        self._delegation.starting = None
        if not self._registry._begin(self._delegation):
            return None
        return await runner()  # type: ignore[misc]

    def is_here(self) -> bool:
        """Whether its event loop runs in the calling thread."""
        reader = self._reader()
        return reader is not None and reader.is_here()

    def go_on(self, awaitable: Any) -> None:
        """Make what the runner returned a task, which copies the delegation's context."""
        reader = self._reader()
        assert reader is not None
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _result(awaitable)
        try:
            task = asyncio.get_running_loop().create_task(coroutine)
        except Exception as exc:
            # A task factory that is not up to it.
            coroutine.close()
            self._fail(exc)
            return
        reader.runs[self] = task
        task.add_done_callback(self, context=reader.context)
        # A task factory may return any future.
        with suppress(AttributeError):
            task.set_name(self._delegation.record["delegation_id"])
        self._delegation.work = None

    def __call__(self, task: Task) -> None:
        """The task is done: end the delegation."""
        if task.cancelled():
            self._end(events.cancelled(self._delegation))
        elif (exc := task.exception()) is not None:
            self._fail(exc)
        else:
            self._end(*events.returned(self._delegation, task.result()))

    def cancel(self, reason: str) -> bool:
        """Ask for the task's cancellation, from any thread; whether its loop can be asked."""
        reader = self._reader()
        loop = None if reader is None else reader.loop()
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._cancel, reason)
        except RuntimeError:
            # Closed in the meantime.
            return False
        return True

    def _cancel(self, reason: str) -> None:
        reader = self._reader()
        task = None if reader is None else reader.runs.get(self)
        if task is not None:
            task.cancel(reason)

    def abandon(self, task: Task | None) -> None:
        """The event loop is closed, or is garbage: end what ran there."""
        if task is None:
            # It may have begun, on a worker thread.
            if self._registry._begin(self._delegation) is None:
                return
        elif task.done():
            self(task)
            return
        else:
            # asyncio and the interpreter need not log it a second time.
            with suppress(AttributeError):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                if not coroutine.cr_suspended:  # type: ignore[union-attr]
                    # It was never awaited.
                    coroutine.close()
        exc = RuntimeError("its event loop was closed before it ended")
        self._end(events.failed(self._delegation, exc))

    def _fail(self, exc: BaseException) -> None:
        self._end(events.failed(self._delegation, exc), exc)

    def _end(self, ended: Ended, exc: BaseException | None = None) -> None:
        try:
            self._registry._end_off_loop(self._delegation, ended)
        except Exception:
            # Of the hook behind the end, which has come.
            self._leave()
            raise
        self._leave()
        if exc is not None:
            log.exception(
                exc, "delegation %s: its runner raised", self._delegation.record["delegation_id"]
            )
        log.pass_on()

    def _leave(self) -> None:
        reader = self._reader()
        if reader is not None:
            reader.runs.pop(self, None)


async def _result(awaitable: Awaitable[object]) -> object:
    return await awaitable


class _OwnLoop(asyncio.SelectorEventLoop):
    """The event loop of ours; it is not closed when it is garbage, in a forked child least of all:
    there its selector is the parent's."""

    def __del__(self) -> None:
        pass


#: Our event loop, once there is one.
_own: dict[str, _OwnLoop] = {}
#: What a forked child leaves alone.
_inherited: list[_OwnLoop] = []


def _own_loop() -> _OwnLoop:
    loop = _own.get(THREAD_NAME)
    if loop is not None:
        return loop
    new = _OwnLoop()
    try:
        # Before another thread can see the loop.
        event_loop.reader_of(new)
        loop = _own.setdefault(THREAD_NAME, new)
        if loop is new:
            workers.start_thread(THREAD_NAME, _run_forever, new)
    except BaseException:
        if loop is new:
            _own.clear()
        new.close()
        raise
    if loop is not new:
        new.close()
    return loop


def _run_forever(loop: _OwnLoop) -> None:
    try:
        while not loop.is_closed():
            # A runner may stop the loop, or raise SystemExit through it.
            with suppress(BaseException):
                loop.run_forever()
    finally:
        # Also if something was thrown in between: nobody is to wait for a loop without a thread.
        _own.clear()
        loop.close()


def _leave_to_parent() -> None:
    _inherited.extend(_own.values())
    _own.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
