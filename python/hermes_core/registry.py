"""Delegations: dispatch a runner in the background, have its end published once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from . import _caps, _core, _interrupt, _json, _ledger, _log, _outcome, _redact
from ._handle import DelegationHandle
from ._job import Job, Runner, address, new_record, shown
from ._ledger import Ledger
from ._queue import CompletionQueue
from ._runners import is_awaitable, is_coroutine_function
from ._workers import WorkerPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._restore import Want

__all__ = ["AtCapacity", "DelegationHandle", "DelegationRegistry", "Job", "Runner"]

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


class DelegationRegistry:
    """The delegations of one process and their way back.

    ``dispatch`` takes a permit, writes the delegation down and hands its runner to a worker thread.
    However the runner ends, exactly one completion event goes to the queue.

    With a ledger in a file nothing is lost with the process: a delegation is on disk before it
    runs, its result before anybody can see the event, and an ``ack`` before the event is gone. What
    an earlier process left comes back to a mailbox that is opened for its owner on ``queue``: what
    was not delivered, and one event with status ``"lost"`` for what was running.

    Args:
        queue: where completion events go; a new ``CompletionQueue`` if none is given.
        capacity: how many delegations may run at once.
        ledger: ``"memory"``, the path of a file, or a ``Ledger``.
        redact: makes of a text what may be stored and shown; called with each text of a task and of
            its result. A text for which it raises is withheld.
        max_summary: the most characters of a summary that its event carries; the whole of it is
            kept (``event``). ``None`` sets no bound.
        max_total: the same of all summaries of a batch together.

    Attributes:
        queue: where completion events go.
        capacity: how many delegations may run at once; may be changed at any time.
        ledger: where delegations are written down; may be changed for those to come.
    """

    def __init__(
        self,
        queue: CompletionQueue[Any] | None = None,
        *,
        capacity: int = 3,
        ledger: Ledger | str | os.PathLike[str] = "memory",
        redact: Callable[[str], str] | None = None,
        max_summary: int | None = None,
        max_total: int | None = None,
    ) -> None:
        self.queue: CompletionQueue[Any] = CompletionQueue() if queue is None else queue
        self.capacity = capacity
        for name, bound in (("max_summary", max_summary), ("max_total", max_total)):
            if bound is not None and bound < 0:
                raise ValueError(f"{name} must be a number of characters, or None for no bound")
        self.redact = redact
        self.max_summary = max_summary
        self.max_total = max_total
        #: Called in the worker's frame once an event is on the queue: the record as it ended.
        self.on_end: Callable[[dict[str, Any]], None] | None = None
        self._core: _core.Registry[Job] = _core.Registry(self.queue, RETENTION)
        self._workers: WorkerPool[tuple[DelegationRegistry, Job]] = WorkerPool(
            "async-delegate", _run, _orphaned
        )
        self._wants: list[Want] = []
        self.ledger = ledger

    @property
    def ledger(self) -> Ledger:
        """Where delegations are written down."""
        return self._ledger

    @ledger.setter
    def ledger(self, ledger: Ledger | str | os.PathLike[str]) -> None:
        self._ledger = _ledger.of(ledger)
        if self._ledger.keeps_texts:
            from . import _restore

            _restore.serve_mailboxes(self)

    def ledgers(self) -> tuple[Ledger, ...]:
        """The ledgers in files that this registry has used, or is to use."""
        return tuple(ledger for ledger in _ledger.opened() if ledger.is_followed_by(self))

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
        idempotency_key: str | None = None,
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
            idempotency_key: what tells the task from others of the same address. Dispatched again
                with the same key it is not run again: the handle is the first one's, also after a
                restart, as long as the ledger keeps it.

        Raises:
            AtCapacity: ``capacity`` delegations run.
            LedgerError: it cannot be written down; nothing runs.
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
        job.key = idempotency_key
        return self.start(job, capacity=self.capacity)

    def start(
        self, job: Job, *, capacity: int, elsewhere: int = 0, delegation_id: str | None = None
    ) -> DelegationHandle:
        """Dispatch a job made by hand, under a capacity that counts ``elsewhere`` more running."""
        record = job.record
        if not callable(job.runner):
            raise TypeError(f"runner must be callable, not {type(job.runner).__name__}")
        owner = address(record)
        # The one in force now is so at the end, too.
        job.redact = self.redact
        if job.redact is not None:
            job.record = record = _redact.fields(record, job.redact)
        ledger = job.ledger = job.ledger or self._ledger
        text = ""
        if ledger.keeps_texts:
            text = _json.dumps(record)
            ledger.follow(self)
        is_coroutine = is_coroutine_function(job.runner)
        handle = DelegationHandle(self, job)
        answer: str | tuple[str, str] | tuple[int, int] | None = None
        try:
            answer = self._core.dispatch(
                delegation_id or None,
                capacity,
                elsewhere,
                owner,
                job,
                job.key,
                ledger._core,
                text,
                record["dispatched_at"],
            )
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
            first, second = answer
            if isinstance(second, str):
                return self._known(second, ledger)
            assert isinstance(first, int)
            raise AtCapacity(first, second)
        return handle

    def _known(self, delegation_id: str, ledger: Ledger) -> DelegationHandle:
        """The handle of a delegation that was dispatched before, here or in another process."""
        known = self._core.get(delegation_id)
        if known is not None:
            return DelegationHandle(self, known[0])
        row = ledger._core.row(delegation_id)
        if row is None:
            raise _core.LedgerError(f"delegation {delegation_id} went just now; dispatch it again")
        from . import _restore

        return DelegationHandle(self, _restore.job_of(row, ledger))

    def active_count(self) -> int:
        """How many delegations run, in O(1)."""
        return self._core.running()

    def dead_letters(self) -> list[dict[str, Any]]:
        """The delegations whose event had all its attempts, as in ``list``; also those that an
        earlier process left in the ledger."""
        from . import _restore

        return _restore.dead_letters(self)

    def list(self) -> list[dict[str, Any]]:
        """Every record kept, in the order of dispatch.

        The running ones, all whose event waits, and the last 50 delivered. Each is a new dict with
        the gateway's keys (0.19.0: ``list_async_delegations``), ``state`` (design: the closed
        enum) and ``delivery`` (``None``, ``"pending"``, ``"delivered"``, ``"dropped"``,
        ``"dead"``).
        """
        return [shown(*row) for row in self._core.rows()]

    def get(self, delegation_id: str) -> dict[str, Any] | None:
        """One record as in ``list``, or ``None`` if it is not kept."""
        row = self._core.get(delegation_id)
        return None if row is None else shown(*row)

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

    def live_work(
        self,
        *,
        session_key: str = "",
        origin_ui_session_id: str = "",
        parent_session_id: str = "",
    ) -> dict[str, int]:
        """How much is not done yet, of one owner (every given field is its own) or of all.

        ``queued``, ``running``, ``finalizing`` (ended, its event not on the queue yet) and
        ``undelivered``. A host suspends when all are zero.
        """
        owner = (session_key, origin_ui_session_id, parent_session_id)
        counts = self._core.live_work(owner)
        return dict(zip(("queued", "running", "finalizing", "undelivered"), counts, strict=True))

    def redeliver(self, delegation_id: str) -> bool:
        """Have an event that was delivered, dropped, parked or had all its attempts wait again.

        Returns False if there is no such event, it waits already, or another process has it.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        from . import _restore

        return _restore.redeliver(self, delegation_id)

    def drop(self, delegation_id: str) -> bool:
        """Give up an event that waits, is parked, or had all its attempts; whether there was one.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        ledger = self._ledger_of(delegation_id)
        # What the queue held is dropped by this frame, not by the native one.
        kept = self._core.take_out(delegation_id, True)
        was_ours = kept is not None and self._core.drop(delegation_id)
        return was_ours or ledger._core.discard(delegation_id) or kept is not None

    def event(self, delegation_id: str) -> dict[str, Any] | None:
        """The completion event of a delegation in full, also where a summary was cut; ``None``
        before the end, or if it is not kept any more."""
        known = self._core.get(delegation_id)
        if known is not None and known[0].event is not None:
            return known[0].event
        ledger = self._ledger_of(delegation_id)
        row = ledger.get(delegation_id) if ledger.keeps_texts and ledger.exists() else None
        return None if row is None else row["event"]

    def restore(
        self,
        *,
        session_keys: Iterable[str] = (),
        owns: Callable[[Any], object] | None = None,
        ledger: Ledger | None = None,
        proven: bool = False,
        owner: object = None,
    ) -> int:
        """Put back on the queue what earlier processes left for an owner; return how much.

        A mailbox on ``queue`` does so by itself when it is opened. What another process still holds
        comes when its lease is over, if an ``owner`` is there to wait for it.

        Args:
            session_keys: the owner's keys.
            owns: says of an event whether it is the owner's, where a key does not.
            ledger: where to look; the registry's own if left out.
            proven: whether every consumer of this process may have it. Else only those get it
                who ask for its session key, or own its address.
            owner: as long as it lives, what comes free later is put back, too. Any object with
                weak references.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        from . import _restore

        keys = tuple(session_keys)
        ledger = ledger or self._ledger
        if owner is None:
            return _restore.take_over(self, keys, owns, ledger, proven)[0]
        want = _restore.Want(owner, lambda: keys, owns, ledger, proven)
        _restore.remember(self, want)
        return _restore.ask(self, want)

    def stats(self) -> dict[str, Any]:
        """Counts: ``running``, ``finalizing``, ``undelivered``, ``dead``, ``retained`` now;
        ``dispatched``, ``refused``, ``discarded`` (ends that came after the end) so far; and
        ``ledger``, see ``Ledger.health``."""
        stats: dict[str, Any] = dict(self._core.stats())
        stats["ledger"] = self._ledger.health()
        return stats

    def _ledger_of(self, delegation_id: str) -> Ledger:
        """Where a delegation is written down."""
        known = self._core.get(delegation_id)
        return (None if known is None else known[0].ledger) or self._ledger

    def _shown(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event as it goes on the queue."""
        if self.max_summary is None and self.max_total is None:
            return event
        return _caps.capped(event, self.max_summary, self.max_total)

    def _end(self, job: Job, event: dict[str, Any]) -> None:
        record, ledger = job.record, job.ledger or self._ledger
        if job.redact is not None:
            event = _redact.fields(event, job.redact)
        status = event["status"]
        record["status"], record["completed_at"] = status, event["completed_at"]
        word = _outcome.status_word(status)
        text = ""
        if ledger.keeps_texts:
            text = _json.dumps(event)
        else:
            job.event = event
        ended = self._core.finish(
            record["delegation_id"],
            job,
            word,
            self._shown(event),
            text,
            event["completed_at"],
        )
        # The runner's closures go now, in this frame, not when the record does.
        job.runner = job.context = job.interrupt_fn = job.run = job.ending = None
        if ended is None:
            return
        job.state, problem, _ = ended
        if problem is not None:
            _log.warning(
                "delegation %s is delivered from memory: %s", record["delegation_id"], problem
            )
        if self.on_end is not None:
            self.on_end(record)

    def _end_elsewhere(self, job: Job, event: dict[str, Any]) -> bool:
        """Tell an end on a worker thread if it has to wait for the disk; whether that is so."""
        if job.ledger is None or not job.ledger.keeps_texts:
            return False
        job.ending = event
        try:
            self._workers.submit((self, job))
        except Exception:
            # None can be started: it is told here.
            return False
        return True

    def __del__(self) -> None:
        # What is still kept is dropped by this frame, not by the native one.
        core = getattr(self, "_core", None)
        if core is not None:
            core.clear()

    def clear(self) -> None:
        """Forget every delegation; runners that still run end unheard. A file keeps its rows."""
        # The jobs are dropped by this frame, not by the native one.
        self._core.clear()
        if not self._ledger.keeps_texts:
            self._ledger = _ledger.of("memory")


def _run(work: tuple[DelegationRegistry, Job]) -> None:
    registry, job = work
    if job.ending is not None:
        registry._end(job, job.ending)
        _log.pass_on()
        return
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
    if job.ending is not None:
        registry._end(job, job.ending)
    elif registry._core.begin(job.record["delegation_id"], job):
        event, _ = _outcome.failed(job, exc)
        registry._end(job, event)
