"""Delegations: dispatch a runner in the background, have its end published once."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Awaitable, Callable, Generator, Iterable

from . import _core, _interrupt, _log, _outcome
from ._queue import CompletionQueue
from ._runners import is_awaitable, is_coroutine_function
from ._workers import WorkerPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._coroutines import Run

__all__ = ["AtCapacity", "DelegationHandle", "DelegationRegistry", "Runner"]

#: What does the work: takes nothing, returns the result dict; may be a coroutine function.
Runner = Callable[[], "dict[str, Any] | Awaitable[dict[str, Any] | None] | None"]

#: How many delivered records are kept for listing (0.17.0: ``_MAX_RETAINED_COMPLETED``).
RETENTION = 50


class AtCapacity(RuntimeError):
    """A dispatch was refused: as many delegations run as may.

    Attributes:
        limit: how many may run at once.
        running: how many ran when the dispatch was refused.
    """

    def __init__(self, limit: int, running: int) -> None:
        super().__init__(
            f"{running} delegations run and {limit} may; wait for one to end, or raise the limit"
        )
        self.limit = limit
        self.running = running

    def __reduce__(self) -> tuple[type[AtCapacity], tuple[int, int]]:
        return type(self), (self.limit, self.running)


class Job:
    """One delegation as the registry holds it: the record, and what to run."""

    __slots__ = ("context", "interrupt_fn", "record", "result", "run", "runner", "state")

    def __init__(self, record: dict[str, Any], runner: Runner, interrupt_fn: object) -> None:
        self.record = record
        self.runner: Runner | None = runner
        self.interrupt_fn = interrupt_fn
        self.context: contextvars.Context | None = contextvars.copy_context()
        self.result: dict[str, Any] | None = None
        #: Where its coroutine runs, if it has one.
        self.run: Run | None = None
        self.state = "running"


class DelegationRegistry:
    """The delegations of one process and their way back.

    ``dispatch`` takes a permit, records the delegation and hands its runner to a worker thread,
    all without waiting. However the runner ends, exactly one completion event goes to the queue.

    Args:
        queue: where completion events go; a new ``CompletionQueue`` if none is given.
        capacity: how many delegations may run at once.

    Attributes:
        queue: where completion events go.
        capacity: how many delegations may run at once; may be changed at any time.
    """

    def __init__(self, queue: CompletionQueue[Any] | None = None, *, capacity: int = 3) -> None:
        self.queue: CompletionQueue[Any] = CompletionQueue() if queue is None else queue
        self.capacity = capacity
        #: Called in the worker's frame once an event is on the queue: the record as it ended.
        self.on_end: Callable[[dict[str, Any]], None] | None = None
        self._core: _core.Registry[Job] = _core.Registry(self.queue, RETENTION)
        self._workers: WorkerPool[tuple[DelegationRegistry, Job]] = WorkerPool(
            "async-delegate", _run, _orphaned
        )

    def dispatch(
        self,
        *,
        goal: str,
        runner: Runner,
        context: str | None = None,
        toolsets: Iterable[str] | None = None,
        role: str = "leaf",
        model: str | None = None,
        session_key: str = "",
        origin_ui_session_id: str = "",
        parent_session_id: str | None = None,
        interrupt_fn: Callable[[], object] | None = None,
    ) -> DelegationHandle:
        """Start ``runner`` in the background, in a copy of the caller's ``contextvars`` context.

        Args:
            goal, context, toolsets, role, model: the task, for the completion event to carry.
            runner: takes nothing, returns the result dict (``status``, ``summary``, ``error``,
                ``api_calls``, ``duration_seconds``, ``model``, ``exit_reason``; all optional). A
                coroutine function runs on the event loop that runs here, or else on one of ours,
                in a thread named ``async-delegate-loop``. What another callable returns is awaited
                there, if it can be. Anything else runs on a worker thread.
            session_key, origin_ui_session_id, parent_session_id: who asked; the event goes back
                to that address.
            interrupt_fn: tells the runner to stop; called from a helper thread. A coroutine is
                cancelled, too.

        Raises:
            AtCapacity: ``capacity`` delegations run.
            RuntimeError: no worker thread could be started.
            TypeError: the runner is not callable, or an address field is not a str.
        """
        record = new_record(
            goal=goal,
            context=context,
            toolsets=toolsets,
            role=role,
            model=model,
            session_key=session_key,
            origin_ui_session_id=origin_ui_session_id,
            parent_session_id=parent_session_id,
        )
        job = Job(record, runner, interrupt_fn)
        return self.start(job, capacity=self.capacity)

    def start(
        self, job: Job, *, capacity: int, elsewhere: int = 0, delegation_id: str | None = None
    ) -> DelegationHandle:
        """Dispatch a job made by hand, under a capacity that counts ``elsewhere`` more running."""
        record = job.record
        if not callable(job.runner):
            raise TypeError(f"runner must be callable, not {type(job.runner).__name__}")
        owner = address(record)
        is_coroutine = is_coroutine_function(job.runner)
        handle = DelegationHandle(self, job)
        answer: str | tuple[int, int] | None = None
        try:
            answer = self._core.dispatch(delegation_id or None, capacity, elsewhere, owner, job)
            if isinstance(answer, str):
                record["delegation_id"] = delegation_id or answer
                if job.interrupt_fn is not None:
                    _interrupt.prepare(self._core.running())
                if is_coroutine:
                    from . import _coroutines

                    _coroutines.start(self, job)
                else:
                    self._workers.submit((self, job))
        except BaseException as exc:
            # By the job: an interrupt may have come before the answer was here. If another worker
            # has begun it, it does not matter that no thread could be started.
            withdrawn = self._core.withdraw(job)
            if withdrawn or not isinstance(answer, str) or not isinstance(exc, Exception):
                _log.pass_on()
                raise
        _log.pass_on()
        if isinstance(answer, tuple):
            raise AtCapacity(*answer)
        return handle

    def active_count(self) -> int:
        """How many delegations run, in O(1)."""
        return self._core.running()

    def list(self) -> list[dict[str, Any]]:
        """Every record kept, in the order of dispatch.

        The running ones, all whose event waits, and the last 50 delivered. Each is a new dict with
        the gateway's keys (0.19.0: ``list_async_delegations``), ``state`` (design: the closed
        enum) and ``delivery`` (``None``, ``"pending"``, ``"delivered"``).
        """
        return [_shown(*row) for row in self._core.rows()]

    def get(self, delegation_id: str) -> dict[str, Any] | None:
        """One record as in ``list``, or ``None`` if it is not kept."""
        row = self._core.get(delegation_id)
        return None if row is None else _shown(*row)

    def cancel(
        self,
        delegation_id: str | None = None,
        *,
        session_key: str = "",
        origin_ui_session_id: str = "",
        parent_session_id: str = "",
        reason: str = "cancelled",
    ) -> int:
        """Tell running delegations to stop: one by id, or all whose owner has every given field.

        Each still ends with its own completion event. Returns how many were told, within two
        seconds even if an ``interrupt_fn`` hangs.

        Raises:
            ValueError: neither an id nor an owner field was given.
        """
        owner = (session_key, origin_ui_session_id, parent_session_id)
        if delegation_id is None and not any(owner):
            raise ValueError("say which: a delegation id, or at least one owner field")
        jobs = self._core.running_of(owner, True) if any(owner) else self._core.running_all()
        if delegation_id is not None:
            jobs = [job for job in jobs if job.record["delegation_id"] == delegation_id]
        return self.interrupt(jobs, reason)

    def interrupt_all(self, reason: str = "shutdown") -> int:
        """Tell every running delegation to stop; as ``cancel``."""
        return self.interrupt(self._core.running_all(), reason)

    def interrupt(self, jobs: Iterable[Job], reason: str) -> int:
        """Cancel the jobs that are coroutines and call the ``interrupt_fn`` of each; how many were
        cancelled, or theirs returned in time."""
        # Together and first: one that ends at its cancel lets both go.
        ways = [(job.run, job.interrupt_fn) for job in jobs]
        told = {place for place, (run, _) in enumerate(ways) if run and run.cancel(reason)}
        told |= _interrupt.call_all([interrupt_fn for _, interrupt_fn in ways])
        count = len(told)
        if count:
            import logging

            logger = logging.getLogger("hermes_core.registry")
            logger.info("told %d delegation(s) to stop (%s)", count, reason)
        return count

    def stats(self) -> dict[str, int]:
        """Counts: ``running``, ``undelivered``, ``retained`` now; ``dispatched``, ``refused``,
        ``discarded`` (ends that came after the end) so far."""
        return self._core.stats()

    def _end(self, job: Job, event: dict[str, Any]) -> None:
        record = job.record
        status = event["status"]
        record["status"], record["completed_at"] = status, event["completed_at"]
        word = _outcome.status_word(status)
        ended = self._core.finish(record["delegation_id"], job, word, event)
        # The runner's closures go now, in this frame, not when the record does.
        job.runner = job.context = job.interrupt_fn = job.run = None
        if ended is None:
            return
        job.state, _ = ended
        if self.on_end is not None:
            self.on_end(record)

    def __del__(self) -> None:
        # What is still kept is dropped by this frame, not by the native one.
        core = getattr(self, "_core", None)
        if core is not None:
            core.clear()

    def clear(self) -> None:
        """Forget every delegation; runners that still run end unheard."""
        # The jobs are dropped by this frame, not by the native one.
        self._core.clear()


class DelegationHandle:
    """One dispatched delegation."""

    __slots__ = ("_job", "_registry")

    def __init__(self, registry: DelegationRegistry, job: Job) -> None:
        self._registry = registry
        self._job = job

    @property
    def id(self) -> str:
        """``deleg_`` and 16 hex digits."""
        return str(self._job.record["delegation_id"])

    @property
    def state(self) -> str:
        """``running``, or the state it ended in; also after the record was let go."""
        return self._registry._core.state(self.id) or self._job.state

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end and return what the runner returned.

        A runner that raised gives ``{"status": "error", "error": "ValueError: …", …}``.

        Args:
            timeout: seconds; ``None`` waits without end.

        Raises:
            TimeoutError: it still runs.
            LookupError: its registry was cleared before it ended.
        """
        if not self._registry._core.wait(self.id, timeout):
            raise TimeoutError(f"delegation {self.id} still runs after {timeout} s")
        return self._result()

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        """``await handle``: as ``result()``, in a task of any event loop.

        A cancelled await does not cancel the delegation.
        """
        return self._ended().__await__()

    async def _ended(self) -> dict[str, Any]:
        from . import _aio

        waiter = _aio.waiter()
        while self._registry._core.await_end(self.id, waiter):
            await _aio.wait(waiter)
        return self._result()

    def _result(self) -> dict[str, Any]:
        if self._job.result is None:
            raise LookupError(f"delegation {self.id} was forgotten before it ended")
        return self._job.result

    def cancel(self, reason: str = "cancelled") -> bool:
        """Tell the runner to stop; whether it could be told."""
        return self._registry.cancel(self.id, reason=reason) > 0

    def __repr__(self) -> str:
        return f"<DelegationHandle {self.id} {self.state}>"


def new_record(
    *,
    goal: object,
    context: object,
    toolsets: Iterable[str] | None,
    role: object,
    model: object,
    session_key: object,
    origin_ui_session_id: object = "",
    parent_session_id: object = None,
    **more: object,
) -> dict[str, Any]:
    """A record in the gateway's shape (0.19.0: ``dispatch_async_delegation``)."""
    return {
        "delegation_id": "",
        "goal": goal,
        **more,
        "context": context,
        "toolsets": list(toolsets) if toolsets else None,
        "role": role,
        "model": model,
        "session_key": session_key,
        "origin_ui_session_id": origin_ui_session_id,
        "parent_session_id": parent_session_id,
        "status": "running",
        "dispatched_at": time.time(),
        "completed_at": None,
    }


def address(record: dict[str, Any]) -> tuple[str, str, str]:
    """The owner's address in a record; ``None`` stands for an empty field.

    Raises:
        TypeError: a field is neither a str nor ``None``.
    """
    fields = []
    for key in ("session_key", "origin_ui_session_id", "parent_session_id"):
        value = record[key]
        if value is None:
            value = ""
        if not isinstance(value, str):
            raise TypeError(f"{key} must be a str, not {type(value).__name__}")
        fields.append(value)
    first, second, third = fields
    return first, second, third


def _shown(job: Job, state: str, delivery: str | None) -> dict[str, Any]:
    shown = dict(job.record)
    if state == "running":
        # The record is completed just before the transition that makes it true.
        shown["status"], shown["completed_at"] = "running", None
    shown["state"], shown["delivery"] = state, delivery
    return shown


def _run(work: tuple[DelegationRegistry, Job]) -> None:
    registry, job = work
    first = registry._core.begin(job.record["delegation_id"], job)
    if first is None:
        return
    if not first:
        # Its runner was under way when something was thrown into this thread.
        event, _ = _outcome.failed(job, RuntimeError("its worker was interrupted"))
        registry._end(job, event)
        return
    context, runner = job.context, job.runner
    assert context is not None
    assert runner is not None
    exc: BaseException | None
    try:
        result = context.run(runner)
        if is_awaitable(result):
            from . import _coroutines

            _coroutines.adopt(registry, job, result)
            return
        event, exc = _outcome.returned(job, result)
    except BaseException as raised:
        event, exc = _outcome.failed(job, raised)
    registry._end(job, event)
    if exc is not None:
        # After the end, so that a log handler that hangs holds no permit.
        _log.exception(exc, "delegation %s: its runner raised", job.record["delegation_id"])
    _log.pass_on()


def _orphaned(work: tuple[DelegationRegistry, Job], exc: BaseException) -> None:
    registry, job = work
    if registry._core.begin(job.record["delegation_id"], job):
        event, _ = _outcome.failed(job, exc)
        registry._end(job, event)
