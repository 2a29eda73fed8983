"""How a delegation ends: once, with one event on the queue."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from hermes_core import _core
from hermes_core.delegation import events
from hermes_core.delegation.delegation import Delegation, owner_of
from hermes_core.delegation.events import status_word
from hermes_core.delegation.interrupt import BUDGET_SECONDS, call_all, prepare
from hermes_core.queue.completion_queue import CompletionQueue
from hermes_core.runtime import event_loop, log
from hermes_core.runtime.uncopied import Uncopied
from hermes_core.runtime.workers import WorkerPool
from hermes_core.text import json, redact, truncate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from hermes_core.delegation.events import Ended
    from hermes_core.ledger.ledger import Instance, Ledger

    #: What a worker does: run a delegation, publish its end, or run the next one whose turn has
    #: come, for which the list keeps a place.
    Work = tuple["Lifecycle", Delegation | list[Delegation | None], Ended | None]

#: How many delivered records are kept for listing (0.17.0: ``_MAX_RETAINED_COMPLETED``).
RETENTION = 50


class Lifecycle(Uncopied):
    """The part of a registry that those need who run its delegations."""

    _instead = "make another, in another process too, with the path of the same ledger"

    def __init__(
        self,
        queue: CompletionQueue[Any],
        workers: WorkerPool[Work],
        max_summary: int | None,
        max_total: int | None,
    ) -> None:
        self.queue = queue
        self.max_summary = max_summary
        self.max_total = max_total
        #: Called in the worker's frame once an event is on the queue: the record as it ended.
        self.on_end: Callable[[dict[str, Any]], None] | None = None
        self._core: _core.Registry[Delegation] = _core.Registry(queue, RETENTION)
        self._workers = workers

    def interrupt(
        self, delegations: Iterable[Delegation], reason: str, budget: float = BUDGET_SECONDS
    ) -> int:
        """End those that wait for capacity; of the others cancel those that are coroutines, and
        call the ``interrupt_fn`` of each. How many ended so, were cancelled, or theirs returned
        within ``budget`` seconds."""
        asked = list(delegations)
        # First, so that none of them gets the place of one that stops.
        running = [one for one in asked if not (one.waits and self._end_queued(one, reason))]
        # Both are read first: a delegation that ends when it is cancelled sets both to None.
        ways = [(delegation.run, delegation.interrupt_fn) for delegation in running]
        stopped = {place for place, (run, _) in enumerate(ways) if run and run.cancel(reason)}
        stopped |= call_all([interrupt_fn for _, interrupt_fn in ways], budget)
        count = len(asked) - len(running) + len(stopped)
        if count:
            import logging

            logger = logging.getLogger("hermes_core.registry")
            logger.info("asked %d delegation(s) to stop (%s)", count, reason)
        return count

    def _begin(self, delegation: Delegation) -> bool | None:
        """Take a delegation in hand; False if it was begun before, ``None`` if it is over."""
        return self._core.begin(delegation.record["delegation_id"], delegation)

    def _end_queued(self, delegation: Delegation, reason: str) -> bool:
        """End a delegation that waits for capacity, and does not begin any more; False if it does
        not wait."""
        hand = [False]
        try:
            self._core.leave_line(delegation.record["delegation_id"], delegation, hand)
        finally:
            # Also if an exception is thrown in: nobody else ends it.
            if hand[0]:
                end = self._end_off_loop if event_loop.is_running() else self._end
                end(delegation, events.never_began(delegation, reason))
        return hand[0]

    def _start_queued(self, count: int) -> None:
        """Have workers run so many of those that waited, and whose turn has come."""
        for _ in range(count):
            self._workers.submit_to_any((self, [None], None))

    def _is_begun(self, delegation: Delegation) -> bool:
        """Have it written down that one that has waited begins; if it cannot be, it ends here."""
        delegation.waits = False
        delegation.began = monotonic()
        if delegation.interrupt_fn is not None:
            prepare(self._core.running())
        try:
            if self._core.begin_row(delegation.record["delegation_id"]):
                return True
            ended = events.never_began(delegation, "another process took it for lost")
        except _core.LedgerError as exc:
            ended = events.failed(delegation, exc)
            log.ledger_error(
                "delegation %s cannot be written down, and ends: %s",
                delegation.record["delegation_id"],
                exc,
            )
        if self._begin(delegation) is not None:
            self._end(delegation, ended)
        return False

    def _is_written(self, delegation: Delegation) -> bool:
        """Wait for the row of a dispatch that nobody has waited for.

        If there is none, the delegation ends here, or is another that was dispatched before.
        """
        starting, ledger = delegation.starting, delegation.ledger
        assert starting is not None
        assert ledger is not None
        try:
            starting.wait()
            if (existing := starting.existing()) is not None:
                # Before whoever waits for an end looks for the result.
                delegation.known = self._dispatched_before(existing, ledger)
            answer = starting.end(True)
        except (_core.LedgerError, ValueError) as exc:
            with suppress(_core.LedgerError, ValueError):
                starting.end(True)
            delegation.starting = delegation.ledger = None
            if self._core.state(delegation.record["delegation_id"]) == "queued":
                self._end(delegation, events.never_began(delegation, events.describe(exc)))
            else:
                self._end(delegation, events.failed(delegation, exc))
            log.ledger_error(
                "delegation %s cannot be written down, and ends: %s",
                delegation.record["delegation_id"],
                exc,
            )
            return False
        delegation.starting = None
        return not isinstance(answer, tuple) or answer[0] == "queued"

    def _end(self, delegation: Delegation, ended: Ended) -> None:
        """Write an end down and publish its event, unless the delegation has ended before."""
        if delegation.starting is not None and not self._is_written(delegation):
            return
        record, ledger = delegation.record, delegation.ledger
        event, delegation.result = ended
        if delegation.redact is not None:
            try:
                event = redact.fields(event, delegation.redact)
            except MemoryError:
                # Told without its result, before what is not redacted.
                event = redact.fields(events.without_result(event), delegation.redact)
        status = event["status"]
        record["status"], record["completed_at"] = status, event["completed_at"]
        keeps_text = ledger is not None and ledger.keeps_texts
        if not keeps_text:
            delegation.event = event

        def finish(shown: dict[str, Any], text: str) -> Any:
            return self._core.finish(
                record["delegation_id"],
                delegation,
                status if type(status) is str else status_word(status),
                shown,
                text,
                event["completed_at"],
            )

        try:
            text = json.dumps(event) if keeps_text else ""
            is_whole = self.max_summary is self.max_total is None
            answer = finish(event if is_whole else self._truncated(event), text)
        except MemoryError:
            # An end must be told: whole, from memory; it is written down without its result.
            text = json.dumps(events.without_result(event)) if keeps_text else ""
            answer = finish(event, text)
            log.warning(
                "delegation %s: no memory to write its result down; it is delivered from memory",
                record["delegation_id"],
            )
        # The runner's closures go now, in this frame, not when the record does.
        delegation.work = delegation.interrupt_fn = delegation.run = delegation.callables = None
        if answer is None:
            return
        delegation.state, problem, _, started = answer
        if started:
            self._start_queued(started)
        if problem is not None:
            log.warning(
                "delegation %s is delivered from memory: %s", record["delegation_id"], problem
            )
        if self.on_end is not None:
            self.on_end(record)

    def _end_off_loop(self, delegation: Delegation, ended: Ended) -> None:
        """As ``_end``, where an event loop must not wait for the disk."""
        if delegation.ledger is not None and delegation.ledger.keeps_texts:
            try:
                self._workers.submit((self, delegation, ended))
                return
            except Exception:
                # No worker can be started: it is done here.
                pass
        self._end(delegation, ended)

    def _put_restored(
        self,
        claimed: _core.Adopted | None,
        row: dict[str, Any] | None,
        delegation: Delegation,
        event: dict[str, Any],
        proven: bool,
    ) -> bool:
        """Put an event on the queue again, of a row that is ours if it has one; False if one of it
        waits there."""
        restored, _ = self._core.restore(
            claimed,
            delegation.record["delegation_id"],
            owner_of(delegation.record),
            delegation.state,
            0 if row is None else row["attempts"],
            delegation,
            event,
            not proven,
        )
        return restored

    def _dispatched_before(self, delegation_id: str, ledger: Ledger) -> Delegation:
        """A delegation that was dispatched before, here or in another process."""
        raise NotImplementedError

    def _follow(self, ledger: Ledger) -> Instance:
        """The ledger as this registry uses it, which acts on its notices."""
        raise NotImplementedError

    def _truncated(self, event: dict[str, Any]) -> dict[str, Any]:
        """An event as it goes on the queue."""
        return truncate.truncated(event, self.max_summary, self.max_total)

    def __del__(self) -> None:
        # What is still kept is dropped by this frame, not by the native one.
        core = getattr(self, "_core", None)
        if core is not None:
            core.clear()
