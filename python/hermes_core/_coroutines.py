"""Delegations whose runner is a coroutine: a task each, on an event loop, and no thread.

The loop is the one that runs where ``dispatch`` is called, or else one of ours, in a thread of its
own. It owns its tasks: the registry holds none, so a forgotten loop is garbage with all that runs
in it. However a task ends, its delegation's end is told once: by the task's callback, or, if the
loop is closed or is garbage before that was called, by what the loop's reader leaves behind.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable
from contextlib import suppress

from . import _aio, _log, _outcome, _workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._job import Job
    from .registry import DelegationRegistry

    Task = asyncio.Task[Any]

#: The name of the thread that runs our own event loop.
THREAD_NAME = "async-delegate-loop"


def start(registry: DelegationRegistry, job: Job) -> None:
    """Have a job's coroutine function run: on the event loop that runs here, or else on ours."""
    loop: asyncio.AbstractEventLoop
    try:
        loop = asyncio.get_running_loop()
        post = loop.call_soon
    except RuntimeError:
        loop = _own_loop()
        post = loop.call_soon_threadsafe
    run = Run(registry, job, _aio.reader_of(loop))
    post(run.begin, context=job.context)


def adopt(registry: DelegationRegistry, job: Job, awaitable: Awaitable[object]) -> None:
    """Await on our event loop what a job's runner, called on a worker thread, has returned."""
    loop = _own_loop()
    run = Run(registry, job, _aio.reader_of(loop))
    loop.call_soon_threadsafe(run.go_on, awaitable, context=job.context)


class Run:
    """A job on an event loop."""

    __slots__ = ("_job", "_reader", "_registry")

    def __init__(self, registry: DelegationRegistry, job: Job, reader: _aio.Reader) -> None:
        self._registry = registry
        self._job = job
        # Not the task, nor what leads to it: the loop owns it.
        self._reader = weakref.ref(reader)
        job.run = self
        reader.runs[self] = None

    def begin(self) -> None:
        """Call the runner; in the event loop and in the job's context."""
        job = self._job
        if not self._registry._core.begin(job.record["delegation_id"], job):
            self._leave()
            return
        assert job.runner is not None
        try:
            awaitable = job.runner()
        except BaseException as exc:
            self._end(*_outcome.failed(job, exc))
            if not isinstance(exc, Exception):
                raise
            return
        self.go_on(awaitable)

    def go_on(self, awaitable: Any) -> None:
        """Make what the runner returned a task, which copies the job's context."""
        reader = self._reader()
        assert reader is not None
        coroutine = awaitable if asyncio.iscoroutine(awaitable) else _result(awaitable)
        try:
            task = asyncio.get_running_loop().create_task(coroutine)
        except Exception as exc:
            # A task factory that is not up to it.
            coroutine.close()
            self._end(*_outcome.failed(self._job, exc))
            return
        reader.runs[self] = task
        task.add_done_callback(self, context=reader.context)
        # A task factory may return any future.
        with suppress(AttributeError):
            task.set_name(self._job.record["delegation_id"])
        self._job.context = self._job.runner = None

    def __call__(self, task: Task) -> None:
        """The task is done: tell it."""
        job = self._job
        if task.cancelled():
            self._end(_outcome.cancelled(job), None)
        elif (exc := task.exception()) is not None:
            self._end(*_outcome.failed(job, exc))
        else:
            self._end(*_outcome.returned(job, task.result()))

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
        """The event loop is closed, or is garbage: tell what the task did, or that it will not."""
        job = self._job
        if task is None:
            # It may have begun, on a worker thread.
            if self._registry._core.begin(job.record["delegation_id"], job) is None:
                return
        elif task.done():
            self(task)
            return
        else:
            # asyncio and the interpreter need not tell it a second time.
            with suppress(AttributeError):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                if not coroutine.cr_suspended:  # type: ignore[union-attr]
                    # It was never awaited.
                    coroutine.close()
        event, _ = _outcome.failed(job, RuntimeError("its event loop was closed before it ended"))
        self._end(event, None)

    def _end(self, event: dict[str, Any], exc: BaseException | None) -> None:
        try:
            if not self._registry._end_elsewhere(self._job, event):
                self._registry._end(self._job, event)
        except Exception:
            # Of the hook behind it: the end is told.
            self._leave()
            raise
        self._leave()
        if exc is not None:
            _log.exception(
                exc, "delegation %s: its runner raised", self._job.record["delegation_id"]
            )
        _log.pass_on()

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
        _aio.reader_of(new)
        loop = _own.setdefault(THREAD_NAME, new)
        if loop is new:
            _workers.start_thread(THREAD_NAME, _run_forever, new)
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
