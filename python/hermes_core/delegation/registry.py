"""Delegations: dispatch a runner in the background, have its end published once."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress

from hermes_core import _core
from hermes_core._core import HermesCoreError, LedgerError
from hermes_core.delegation import executor, restore
from hermes_core.delegation.delegation import Delegation, Runner, listed, new_record, owner_of
from hermes_core.delegation.handle import DelegationHandle
from hermes_core.delegation.interrupt import prepare
from hermes_core.delegation.lifecycle import RETENTION, Lifecycle
from hermes_core.delegation.runners import is_coroutine_function
from hermes_core.ledger import ledger as ledgers
from hermes_core.ledger import rows
from hermes_core.ledger.ledger import Instance, Ledger
from hermes_core.queue.completion_queue import CompletionQueue
from hermes_core.queue.keys import session_keys_of
from hermes_core.runtime import event_loop, log
from hermes_core.runtime.workers import WorkerPool
from hermes_core.text import json, redact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    #: What becomes of a dispatch at capacity.
    OnCapacity = Literal["reject", "queue"]

    #: What a dispatch answers: the id; or ``"queued"`` and the id, ``"existing"`` and that of the
    #: same key, ``"refused"`` and the limit, how many permits are taken, and how many wait.
    Answer = str | tuple[str, str] | tuple[str, tuple[int, int, int]]
    #: What the core is asked to dispatch.
    Request = tuple[
        str | None,
        int,
        int,
        tuple[str, str, str],
        Delegation,
        str | None,
        _core.Ledger | None,
        str,
        float,
        int,
        int | None,
    ]

#: For how many seconds a dispatch waits for its row.
_PATIENCE = 10.0

#: How many delegations may wait for capacity.
MAX_QUEUED = 64

__all__ = [
    "MAX_QUEUED",
    "RETENTION",
    "AtCapacity",
    "DelegationHandle",
    "DelegationRegistry",
    "TooManyPermits",
]


def _import_what_runs_later() -> None:
    """Have nothing left to import: the package may be replaced on disk under a process that runs,
    and a child that is forked while another thread imports would wait for it for ever."""
    for name in ("json.encoder", "logging", "unicodedata", "hermes_core.delegation.coroutines"):
        __import__(name)


class AtCapacity(HermesCoreError, RuntimeError):
    """A dispatch was refused: as many delegations run as may, and none may wait, or no more.

    Attributes:
        limit: how many may run at once.
        running: how many ran when the dispatch was refused; one with several permits counts as
            many.
        queued: how many waited for one of them to end.
    """

    def __init__(self, limit: int, running: int, queued: int = 0) -> None:
        waiting = f", and {queued} wait" if queued else ""
        super().__init__(
            f"{running} delegations run and {limit} may{waiting}; wait for one to end, or raise "
            "the limit"
        )
        self.limit = limit
        self.running = running
        self.queued = queued

    def __reduce__(self) -> tuple[type[AtCapacity], tuple[int, int, int]]:
        return type(self), (self.limit, self.running, self.queued)


class TooManyPermits(HermesCoreError, ValueError):
    """A dispatch asks for more permits than there are.

    Attributes:
        permits: how many it asks for.
        limit: how many there are.
    """

    def __init__(self, permits: int, limit: int) -> None:
        super().__init__(
            f"{permits} permits are asked for and there are {limit}; ask for fewer, or raise the "
            "limit"
        )
        self.permits = permits
        self.limit = limit

    def __reduce__(self) -> tuple[type[TooManyPermits], tuple[int, int]]:
        return type(self), (self.permits, self.limit)


def _named(answer: tuple[str, str] | tuple[str, tuple[int, int, int]]) -> str:
    """The id of the delegation that an answer names; raises where it is a refusal."""
    what = answer[1]
    if isinstance(what, str):
        return what
    raise AtCapacity(*what)


def _take_back(starting: _core.Dispatching | None) -> None:
    """End a dispatch that is not wanted any more."""
    if starting is not None:
        with suppress(Exception):
            starting.end(False)


class DelegationRegistry(Lifecycle):
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
        max_queued: how many may wait for one of them to end (``on_capacity="queue"``).
        ledger: ``"memory"``, the path of a file, or a ``Ledger``.
        redact: makes of a text what may be stored and shown; called with each text of a task and of
            its result. A text for which it raises is withheld.
        max_summary: the most characters of a summary in its event; the whole of it is
            kept (``event``). ``None`` sets no bound.
        max_total: the same of all summaries of a batch together.

    Attributes:
        queue: where completion events go.
        capacity: how many delegations may run at once; may be changed at any time.
        max_queued: how many may wait; may be changed for those to come.
        ledger: where delegations are written down; may be changed for those to come.
    """

    def __init__(
        self,
        queue: CompletionQueue[Any] | None = None,
        *,
        capacity: int = 3,
        max_queued: int = MAX_QUEUED,
        ledger: Ledger | str | os.PathLike[str] = "memory",
        redact: Callable[[str], str] | None = None,
        max_summary: int | None = None,
        max_total: int | None = None,
    ) -> None:
        for name, bound in (("max_summary", max_summary), ("max_total", max_total)):
            if bound is not None and bound < 0:
                raise ValueError(f"{name} must be a number of characters, or None for no bound")
        super().__init__(
            CompletionQueue() if queue is None else queue,
            WorkerPool("async-delegate", executor.run, executor.orphaned),
            max_summary,
            max_total,
        )
        _import_what_runs_later()
        self.capacity = capacity
        self.max_queued = max_queued
        self.redact = redact
        self._interests = restore.Interests()
        self.ledger = ledger

    @property
    def capacity(self) -> int:
        """How many delegations may run at once."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._capacity = capacity
        self._start_queued(self._core.set_limit(capacity))

    @property
    def ledger(self) -> Ledger:
        """Where delegations are written down."""
        return self._ledger

    @ledger.setter
    def ledger(self, ledger: Ledger | str | os.PathLike[str]) -> None:
        self._ledger = ledgers.of(ledger).open()
        if self._ledger.keeps_texts:
            self.queue.listen(self)
        else:
            self._ledger.follow(self)

    def ledgers(self) -> tuple[Ledger, ...]:
        """The ledgers in files that this registry has used, or is to use."""
        return tuple(
            ledger
            for ledger in ledgers.opened()
            if ledger is self._ledger or ledger.is_followed_by(self)
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
        idempotency_key: str | None = None,
        on_capacity: OnCapacity = "reject",
        permits: int = 1,
    ) -> DelegationHandle:
        """Start ``runner`` in the background, in a copy of the caller's ``contextvars`` context.

        Args:
            goal, context, toolsets, role, model: the task, which is in the completion event, too.
            runner: takes nothing, returns the result dict (``status``, ``summary``, ``error``,
                ``api_calls``, ``duration_seconds``, ``model``, ``exit_reason``; all optional). A
                coroutine function runs on the event loop that runs here, or else on one of ours,
                in a thread named ``async-delegate-loop``. What another callable returns is awaited
                there, if it can be. Anything else runs on a worker thread.
            session_key, origin_ui_session_id, parent_session_id: who asked; the event goes back
                to that address.
            interrupt_fn: asks the runner to stop; called from a helper thread. A coroutine is
                cancelled, too.
            idempotency_key: a name for the task among those of the same address. Dispatched again
                with the same key it is not run again: the handle is the first one's, as long as
                that is kept: by a ledger in a file also after a restart.
            on_capacity: what becomes of it while ``capacity`` delegations run: it is refused
                (``"reject"``), or waits for one of them to end (``"queue"``). Those that wait take
                turns by their session keys, each key's own in the order of dispatch. What waits is
                ``"queued"``, has a ``position``, and ends at once if it is cancelled.
            permits: how many of ``capacity`` it takes. Who has the next turn waits until there are
                so many; others that need fewer do not pass it.

        In a thread where an event loop runs it does not wait for the disk. The runner starts once
        the delegation is written down; where that fails the delegation ends as an error, with its
        event. Where the ledger knows the ``idempotency_key``, the handle is the first one's from
        then on. Whoever must know awaits ``adispatch``.

        Raises:
            AtCapacity: ``capacity`` delegations run, or others wait for them; with ``"queue"``: and
                ``max_queued`` wait.
            TooManyPermits: there are fewer than ``permits``.
            LedgerError: it cannot be written down; nothing runs.
            RuntimeError: no worker thread could be started.
            TypeError: the runner is not callable, or an address field is not a str.
            ValueError: ``on_capacity`` is none of the two, or ``permits`` is below 1.
        """
        max_queued = self._max_queued(on_capacity)
        record = new_record(
            goal,
            context,
            toolsets,
            role,
            model,
            session_key,
            origin_ui_session_id,
            parent_session_id,
        )
        delegation = Delegation(record, runner, interrupt_fn)
        delegation.key = idempotency_key
        known = self.start(
            delegation, capacity=self.capacity, max_queued=max_queued, permits=permits
        )
        return DelegationHandle(self, known)

    async def adispatch(
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
        on_capacity: OnCapacity = "reject",
        permits: int = 1,
    ) -> DelegationHandle:
        """As ``dispatch``, in an ``asyncio`` task: it returns once the delegation is written down.

        A task that is cancelled meanwhile has dispatched nothing.
        """
        max_queued = self._max_queued(on_capacity)
        record = new_record(
            goal,
            context,
            toolsets,
            role,
            model,
            session_key,
            origin_ui_session_id,
            parent_session_id,
        )
        delegation = Delegation(record, runner, interrupt_fn)
        delegation.key = idempotency_key
        known = await self._start_awaited(delegation, max_queued, permits)
        return DelegationHandle(self, known)

    def start(
        self,
        delegation: Delegation,
        *,
        capacity: int,
        elsewhere: int = 0,
        delegation_id: str | None = None,
        max_queued: int | None = None,
        permits: int = 1,
    ) -> Delegation:
        """Dispatch a delegation under a capacity that counts ``elsewhere`` more running.

        It waits if no more than ``max_queued`` others do; with ``None`` it does not. Nothing waits
        for what runs elsewhere. Returns it, or the one that was dispatched before under its key.
        Raises as ``dispatch``.
        """
        request = self._request(delegation, capacity, elsewhere, delegation_id, max_queued, permits)
        ledger = delegation.ledger
        assert ledger is not None
        if ledger.keeps_texts and event_loop.is_running():
            return self._start_unwritten(delegation, request)
        answer: Answer | None = None
        try:
            answer = self._core.dispatch(*request)
            if isinstance(answer, str):
                self._run(delegation, delegation_id or answer)
            elif answer[0] == "queued":
                self._line_up(delegation, _named(answer))
        except BaseException as exc:
            # By the delegation: an interrupt may have come before the answer was here. If another
            # worker has begun it, it does not matter that no thread could be started.
            withdrawn = self._withdraw(delegation)
            if withdrawn or not isinstance(answer, str) or not isinstance(exc, Exception):
                log.pass_on()
                raise
        log.pass_on()
        if isinstance(answer, tuple) and answer[0] != "queued":
            return self._dispatched_before(_named(answer), ledger)
        return delegation

    def _start_unwritten(self, delegation: Delegation, request: Request) -> Delegation:
        """As ``start``, where an event loop must not wait for the disk: what runs the delegation
        waits for its row."""
        ledger = delegation.ledger
        assert ledger is not None
        starting: _core.Dispatching | None = None
        try:
            answer = self._core.begin_dispatch(*request)
            if not isinstance(answer, tuple) or len(answer) == 2:
                # Refused: a ledger in a file has something to be waited for.
                assert isinstance(answer, tuple)
                return self._dispatched_before(_named(answer), ledger)
            begun_id, is_own, starting = answer
            if not is_own:
                return self._dispatched_before(begun_id, ledger)
            delegation.starting = starting
            if starting.is_queued():
                delegation.record["delegation_id"] = request[0] or begun_id
                # A worker waits for its row, and puts it into the line.
                self._workers.submit((self, delegation, None))
            else:
                self._run(delegation, request[0] or begun_id)
        except BaseException as exc:
            if self._withdraw(delegation) or starting is None or not isinstance(exc, Exception):
                _take_back(starting)
                raise
        finally:
            log.pass_on()
        return delegation

    async def _start_awaited(
        self, delegation: Delegation, max_queued: int | None, permits: int
    ) -> Delegation:
        """As ``start``, in an ``asyncio`` task, which waits for the row."""
        request = self._request(delegation, self.capacity, 0, None, max_queued, permits)
        ledger = delegation.ledger
        assert ledger is not None
        starting: _core.Dispatching | None = None
        answer: Answer | None = None
        try:
            begun = self._core.begin_dispatch(*request)
            if isinstance(begun, tuple) and len(begun) == 3:
                delegation_id, is_own, starting = begun
                if is_own:
                    # Whoever dispatches with the same key meanwhile gets this one.
                    delegation.record["delegation_id"] = delegation_id
                await event_loop.answered(starting, _PATIENCE)
                answer = starting.end(False)
            else:
                answer = begun
            if isinstance(answer, str):
                self._run(delegation, answer)
            elif answer is not None and answer[0] == "queued":
                self._line_up(delegation, _named(answer))
        except BaseException as exc:
            withdrawn = self._withdraw(delegation)
            if withdrawn or not isinstance(answer, str) or not isinstance(exc, Exception):
                _take_back(starting)
                log.pass_on()
                raise
        log.pass_on()
        if not isinstance(answer, tuple) or answer[0] == "queued":
            return delegation
        existing = _named(answer)
        known = self._core.get(existing)
        if known is not None:
            return known[0]
        return await event_loop.in_thread(self._dispatched_before, existing, ledger)

    def _request(
        self,
        delegation: Delegation,
        capacity: int,
        elsewhere: int,
        delegation_id: str | None,
        max_queued: int | None,
        permits: int,
    ) -> Request:
        """What the core is asked to dispatch. Raises as ``dispatch``."""
        if permits < 1:
            raise ValueError("permits must be at least 1")
        if permits > max(capacity, 1):
            raise TooManyPermits(permits, capacity)
        runner = None if delegation.work is None else delegation.work[0]
        if not callable(runner):
            raise TypeError(f"runner must be callable, not {type(runner).__name__}")
        if max_queued is not None:
            delegation.waits = True
            if event_loop.is_running() and is_coroutine_function(runner):
                delegation.loop = weakref.ref(event_loop.reader_here())
        record = delegation.record
        owner = owner_of(record)
        # The end uses the hook that is set now, even if it is changed meanwhile.
        if self.redact is not None:
            delegation.redact = self.redact
            delegation.record = record = redact.fields(record, self.redact)
        ledger = delegation.ledger
        if ledger is None:
            delegation.ledger = ledger = self._ledger
        elif ledger._core is None:
            ledger.follow(self)
        text, core = "", None
        if ledger.keeps_texts:
            text = json.dumps(record)
            core = self._follow(ledger).core
        return (
            delegation_id or None,
            capacity,
            elsewhere,
            owner,
            delegation,
            delegation.key,
            core,
            text,
            record["dispatched_at"],
            permits,
            max_queued,
        )

    def _max_queued(self, on_capacity: str) -> int | None:
        """How many may wait, or ``None`` if it is not to wait."""
        if on_capacity not in ("reject", "queue"):
            raise ValueError(f"on_capacity must be 'reject' or 'queue', not {on_capacity!r}")
        return self.max_queued if on_capacity == "queue" else None

    def _line_up(self, delegation: Delegation, delegation_id: str) -> None:
        """Note that a delegation waits for capacity; its turn may have come."""
        delegation.record["delegation_id"] = delegation_id
        self._start_queued(self._core.started())

    def _withdraw(self, delegation: Delegation) -> bool:
        """Take back a dispatch that no worker has begun; who waits for its place gets it."""
        withdrawn = self._core.withdraw(delegation)
        self._start_queued(self._core.started())
        return withdrawn

    def _run(self, delegation: Delegation, delegation_id: str) -> None:
        """Hand a delegation that is recorded to what runs it."""
        delegation.waits = False
        delegation.record["delegation_id"] = delegation_id
        if delegation.interrupt_fn is not None:
            prepare(self._core.running())
        assert delegation.work is not None
        if is_coroutine_function(delegation.work[0]):
            from hermes_core.delegation import coroutines

            coroutines.start(self, delegation)
        else:
            self._workers.submit((self, delegation, None))

    def _dispatched_before(self, delegation_id: str, ledger: Ledger) -> Delegation:
        """A delegation that was dispatched before, here or in another process."""
        known = self._core.get(delegation_id)
        if known is not None:
            return known[0]
        row = ledger.stored(delegation_id)
        if row is None:
            raise LedgerError(f"delegation {delegation_id} went just now; dispatch it again")
        return restore.delegation_of(row, ledger)

    def active_count(self) -> int:
        """How many delegations run, in O(1)."""
        return self._core.running()

    def dead_letters(self) -> list[dict[str, Any]]:
        """The delegations whose event had all its attempts, as in ``list``; also those that an
        earlier process left in the ledger."""
        records = [record for record in self.list() if record["delivery"] == "dead"]
        ledger = self._ledger
        if ledger.keeps_texts and ledger.exists():
            known = {record["delegation_id"] for record in records}
            records += [
                listed(restore.delegation_of(row, ledger), row["state"], row["delivery"])
                for row in ledger.stored_dead_letters()
                if row["delegation_id"] not in known
            ]
        return records

    def list(self) -> list[dict[str, Any]]:
        """Every record kept, in the order of dispatch.

        Those that wait for capacity (``"queued"``, with their ``position``), the running ones, all
        whose event waits, and the last 50 delivered. Each is a new dict with
        the gateway's keys (0.19.0: ``list_async_delegations``), ``state`` (design: the closed
        enum) and ``delivery`` (``None``, ``"pending"``, ``"delivered"``, ``"dropped"``,
        ``"dead"``, ``"parked"``).
        """
        return [self._listed(*row) for row in self._core.rows()]

    def get(self, delegation_id: str) -> dict[str, Any] | None:
        """One record as in ``list``, or ``None`` if it is not kept."""
        row = self._core.get(delegation_id)
        return None if row is None else self._listed(*row)

    def _listed(self, delegation: Delegation, state: str, delivery: str | None) -> dict[str, Any]:
        record = listed(delegation, state, delivery)
        if state == "queued":
            record["position"] = self._core.position(record["delegation_id"])
        return record

    def cancel(
        self,
        delegation_id: str | None = None,
        *,
        session_key: str = "",
        origin_ui_session_id: str = "",
        parent_session_id: str = "",
        reason: str = "cancelled",
    ) -> int:
        """Ask running delegations to stop: one by id, or all whose owner has every given field.

        Each still ends with its own completion event; what waits for capacity does so at once.
        Returns how many were asked, within two seconds even if an ``interrupt_fn`` hangs.

        Raises:
            ValueError: neither an id nor an owner field was given.
        """
        owner = (session_key, origin_ui_session_id, parent_session_id)
        if delegation_id is None and not any(owner):
            raise ValueError("say which: a delegation id, or at least one owner field")
        if delegation_id is None:
            return self.interrupt(self._core.running_of(owner, True), reason)
        one = self._running(delegation_id)
        if one is None or (any(owner) and one not in self._core.running_of(owner, True)):
            return 0
        return self.interrupt([one], reason)

    def _running(self, delegation_id: str) -> Delegation | None:
        """A delegation that runs here, or waits for capacity, by its id."""
        known = self._core.get(delegation_id)
        has_not_ended = known is not None and known[1] in ("queued", "running")
        return known[0] if known is not None and has_not_ended else None

    def _cancel_asked_for(self, delegation_id: str) -> None:
        # Nobody waits for the answer, and one that hangs is to keep no other waiting.
        one = self._running(delegation_id)
        if one is not None:
            self.interrupt([one], "cancelled by hand", 0.0)

    def _parked_elsewhere(self, delegation_id: str) -> None:
        self._core.park(delegation_id)

    def _drop_asked_for(self, delegation_id: str, fence: int) -> None:
        # The events are dropped by this frame, not by the native one.
        self._core.drop_as_asked(delegation_id, fence)

    def interrupt_all(self, reason: str = "shutdown") -> int:
        """Ask every delegation to stop that runs, or waits for capacity; as ``cancel``."""
        return self.interrupt(self._core.running_all(), reason)

    def live_work(
        self,
        *,
        session_key: str = "",
        origin_ui_session_id: str = "",
        parent_session_id: str = "",
    ) -> dict[str, int]:
        """How much is not done yet, of one owner (every given field is its own) or of all.

        ``queued`` (for capacity), ``running``, ``finalizing`` (ended, its event not on the
        queue yet) and ``undelivered``. A host suspends when all are zero.
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
        ledger = self._ledger_of(delegation_id)
        known = self._core.get(delegation_id)
        if known is not None and known[2] in (None, "pending"):
            return False
        # One that the queue keeps is let go first: what waits is made of the row that is ours then.
        kept = self._core.take_out(delegation_id, False)
        if not ledger.keeps_texts:
            # In memory there is what the registry keeps, and no more.
            if known is None or known[0].event is None:
                return False
            event = self._truncated(known[0].event) if kept is None else kept
            return self._put_restored(None, None, known[0], event, True)
        if not ledger.redeliver(delegation_id):
            return False
        # The ledger's thread may have taken it over by now, for a mailbox that waits for it.
        claimed = self._follow(ledger).claim([delegation_id])
        try:
            for row in claimed.rows():
                restore.put(self, ledger, claimed, row, True)
        finally:
            claimed.give_back()
        return True

    async def aredeliver(self, delegation_id: str) -> bool:
        """As ``redeliver``, in an ``asyncio`` task; cancelled, it has asked all the same."""
        return await event_loop.in_thread(self.redeliver, delegation_id)

    def drop(self, delegation_id: str) -> bool:
        """Give up an event that waits, is parked, or had all its attempts; whether there was one.

        False, too, while a consumer of this registry's queue has it. Another process that holds it
        is asked to, see ``Ledger.drop``.

        Raises:
            LedgerError: the ledger cannot be written.
        """
        ledger = self._ledger_of(delegation_id)
        # The queue's event is dropped by this frame, not by the native one.
        dropped = self._core.drop_event(delegation_id)
        event, was_ours = (None, False) if dropped is None else dropped
        known = self._core.get(delegation_id) if event is None else None
        if known is not None and known[2] == "pending":
            # A consumer has it.
            return False
        if not ledger.keeps_texts:
            return event is not None
        return was_ours or ledger.drop(delegation_id) or event is not None

    async def adrop(self, delegation_id: str) -> bool:
        """As ``drop``, in an ``asyncio`` task; cancelled, it has asked all the same."""
        return await event_loop.in_thread(self.drop, delegation_id)

    def event(self, delegation_id: str) -> dict[str, Any] | None:
        """The completion event of a delegation in full, also where a summary was cut; ``None``
        before the end, or if it is not kept any more."""
        known = self._core.get(delegation_id)
        if known is not None and known[0].event is not None:
            return known[0].event
        ledger = self._ledger_of(delegation_id)
        row = ledger.get(delegation_id) if ledger.keeps_texts and ledger.exists() else None
        return None if row is None else row["event"]

    async def aevent(self, delegation_id: str) -> dict[str, Any] | None:
        """As ``event``, in an ``asyncio`` task."""
        return await event_loop.in_thread(self.event, delegation_id)

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

        A mailbox on ``queue`` does so by itself when it is opened. What another process still
        claims comes when its lease is over, if an ``owner`` is there to wait for it.

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
        keys = tuple(session_keys_of(session_keys, may_be_empty=True))
        ledger = ledger or self._ledger
        # What nobody waits for is asked for once.
        interest = restore.Interest(
            self if owner is None else owner,
            lambda: keys,
            owns,
            ledger,
            ledger.follow(self),
            proven,
            self._interests.forget,
        )
        if owner is not None:
            self._interests.remember(interest)
        return restore.take_over(self, interest)

    def stats(self) -> dict[str, Any]:
        """Counts: ``queued``, ``running``, ``finalizing``, ``undelivered``, ``dead``, ``retained``
        now; ``dispatched``, ``refused``, ``discarded`` (ends that came after the end) so far; and
        ``ledger``, see ``Ledger.health``."""
        stats: dict[str, Any] = dict(self._core.stats())
        stats["ledger"] = self._ledger.health()
        return stats

    def _ledger_of(self, delegation_id: str) -> Ledger:
        """Where a delegation is written down."""
        known = self._core.get(delegation_id)
        return (None if known is None else known[0].ledger) or self._ledger

    def clear(self) -> None:
        """Forget every delegation; runners that still run end unheard.

        A file keeps its rows: what ran is lost, and free for others at once. What waits in the
        queue is delivered from there.
        """
        # The delegations are dropped by this frame, not by the native one.
        self._core.clear()
        for ledger in self.ledgers():
            if ledger.is_followed_by(self):
                ledger.follow(self).begin_anew()

    def _follow(self, ledger: Ledger) -> Instance:
        """The ledger as this registry uses it, which acts on its notices, and writes new epochs."""
        self.queue.listen(self)
        return ledger.follow(self)

    def _kept_for(self, ledger: Ledger) -> Iterable[dict[str, Any]]:
        """The rows of what was dispatched to a ledger that has none of its own."""
        return [
            rows.of_record(listed(one, state, delivery), one.key, delivery, one.event)
            for one, state, delivery in self._core.rows()
            if one.ledger is ledger
        ]

    def _look(self, ledger: Ledger) -> None:
        restore.look(self, ledger, self._interests.of(ledger))

    def _wants(self, ledger: Ledger) -> bool:
        return self._interests.want(ledger)

    def _mailbox_opened(
        self,
        mailbox: object,
        session_keys: Callable[[], Iterable[str]],
        owns: Callable[[Any], object] | None,
    ) -> None:
        if self._ledger.keeps_texts:
            interest = restore.Interest(
                mailbox,
                session_keys,
                owns,
                self._ledger,
                self._follow(self._ledger),
                False,
                self._interests.forget,
                True,
            )
            self._interests.remember(interest)
            if event_loop.is_running():
                # Its thread looks: nothing here waits for a disk.
                self._ledger.look_again(0.0)
            else:
                restore.try_to_take_over(self, interest)

    def _epoch_began(self, session_key: str) -> Iterable[_core.Receipt]:
        ledgers = [one for one in self.ledgers() if one.exists()]
        receipts = [one.follow(self).new_epoch(session_key) for one in ledgers]
        return [receipt for receipt in receipts if receipt is not None]
