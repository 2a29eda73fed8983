"""What earlier processes left in a ledger, and how it comes back to its owner.

Nothing comes back by itself: whoever can prove to be the owner asks, by a session key, by saying of
each event whether it is his, or by opening a mailbox that does. What a process that died a moment
ago still holds is asked for again when its lease is over.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable

from . import _mailbox, _outcome, _queue, _stored
from ._job import Job, address, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._ledger import Ledger
    from ._mailbox import Mailbox
    from ._queue import CompletionQueue
    from .registry import DelegationRegistry

    Row = dict[str, Any]

#: How long, in seconds, after the end of another's lease it is asked again whether it was renewed.
GRACE_SECONDS = 0.05

#: Guards who wants what; held for a few lines that call nobody.
_lock = threading.Lock()


class Want:
    """What somebody wants back, as long as they are there."""

    __slots__ = ("keys", "ledger", "owner", "owns", "proven")

    def __init__(
        self,
        owner: Any,
        keys: Callable[[], Iterable[str]],
        owns: Callable[[Any], object] | None,
        ledger: Ledger,
        proven: bool,
    ) -> None:
        self.owner = weakref.ref(owner)
        self.keys = keys
        self.owns = owns
        self.ledger = ledger
        self.proven = proven


def take_over(
    registry: DelegationRegistry,
    keys: Iterable[str],
    owns: Callable[[Any], object] | None,
    ledger: Ledger,
    proven: bool,
) -> tuple[int, float | None]:
    """Put what an owner has in a ledger into the registry's queue.

    Returns how many there were, and until when another process holds more of them.
    """
    if not ledger.keeps_texts or not ledger.exists():
        return 0, None
    own = frozenset(keys) - {""}
    wanted = [row for row in ledger._core.elsewhere() if _is_wanted(row, own, owns)]
    free = [
        row["delegation_id"]
        for row in wanted
        if row["holder"] == "nobody" and not _runs(registry, row)
    ]
    later = [row["held_until"] for row in wanted if row["holder"] == "other"]
    if free or later:
        # First: it may find no thread, and what is taken over has to be put.
        ledger.follow(registry)
    rows = ledger._core.adopt(free) if free else []
    count = sum(put(registry, ledger, row, proven) for row in rows)
    return count, min(later, default=None)


def _runs(registry: DelegationRegistry, row: Row) -> bool:
    """Whether it still runs here: its end will find that it was taken for lost, and look again."""
    known = registry._core.get(row["delegation_id"])
    return known is not None and known[2] is None


def _is_wanted(row: Row, keys: frozenset[str], owns: Callable[[Any], object] | None) -> bool:
    if row["session_key"] in keys:
        return True
    if owns is None:
        return False
    try:
        return bool(owns(event_of(row, record_of(row))))
    except Exception as exc:
        from . import _log

        _log.exception(exc, "an owns callback raised, and so does not own what is restored")
        return False


def record_of(row: Row) -> dict[str, Any]:
    """The record of a row, as the registry keeps it."""
    record = _stored.record(row)
    for field in ("delegation_id", "session_key", "origin_ui_session_id", "parent_session_id"):
        record[field] = row[field]
    record["status"] = row["state"]
    record["dispatched_at"], record["completed_at"] = row["dispatched_at"], row["completed_at"]
    return record


def event_of(row: Row, record: dict[str, Any]) -> dict[str, Any]:
    """The completion event of a row, marked as restored."""
    return {**(_stored.event(row, record) or _outcome.lost(record, row)), "restored": True}


def job_of(row: Row, ledger: Ledger) -> Job:
    """A job that stands for a row: nothing is to be run."""
    record = record_of(row)
    job = Job(record, None, None)
    job.context = None
    job.ledger, job.key, job.state = ledger, row["idempotency_key"], row["state"]
    if row["event"] or row["state"] == "lost":
        job.result = event_of(row, record)
        record["status"] = job.result["status"]
    return job


def put(registry: DelegationRegistry, ledger: Ledger, row: Row, proven: bool) -> bool:
    """Put the event of a row that is ours now into the queue; False if one of it waits there."""
    job = job_of(row, ledger)
    return put_event(registry, row, job, registry._shown(event_of(row, job.record)), proven)


def put_event(
    registry: DelegationRegistry, row: Row, job: Job, event: dict[str, Any], proven: bool
) -> bool:
    """Put an event into the registry's queue, for a job that stands for its row."""
    assert job.ledger is not None
    restored, _ = registry._core.restore(
        job.ledger._core,
        row["delegation_id"],
        row["fence"],
        address(job.record),
        row["state"],
        row["attempts"],
        job,
        event,
        not proven,
    )
    return restored


def look(ledger: Ledger, registries: Iterable[DelegationRegistry]) -> None:
    """Ask again what everybody wants back from a ledger that has something new."""
    for registry in registries:
        with _lock:
            registry._wants = [want for want in registry._wants if want.owner() is not None]
            wants = [want for want in registry._wants if want.ledger is ledger]
        for want in wants:
            ask(registry, want)


def remember(registry: DelegationRegistry, want: Want) -> None:
    """Have what is wanted asked for again whenever there may be more of it."""
    owner = want.owner()
    with _lock:
        wants = [(other, other.owner()) for other in registry._wants]
        # By identity: owners may be equal, and their code is not to run here.
        others = [other for other, of in wants if of is not None and of is not owner]
        registry._wants = [*others, want]


def ask(registry: DelegationRegistry, want: Want) -> int:
    """Put what is wanted into the queue, and see to it that the rest is asked for later."""
    count, until = take_over(registry, want.keys(), want.owns, want.ledger, want.proven)
    if until is not None:
        want.ledger._core.look_after(until + GRACE_SECONDS)
    return count


def dead_letters(registry: DelegationRegistry) -> list[dict[str, Any]]:
    """See ``DelegationRegistry.dead_letters``."""
    records = [record for record in registry.list() if record["delivery"] == "dead"]
    ledger = registry.ledger
    if ledger.keeps_texts and ledger.exists():
        known = {record["delegation_id"] for record in records}
        records += [
            shown(job_of(row, ledger), row["state"], row["delivery"])
            for row in ledger._core.dead()
            if row["delegation_id"] not in known
        ]
    return records


def redeliver(registry: DelegationRegistry, delegation_id: str) -> bool:
    """See ``DelegationRegistry.redeliver``."""
    ledger = registry._ledger_of(delegation_id)
    known = registry._core.get(delegation_id)
    # One that the queue keeps is let go first: what waits is made of the row that is ours then.
    kept = registry._core.take_out(delegation_id, False)
    if kept is not None and not ledger.keeps_texts:
        # A file must not say for a moment that it is given up: the process may end there.
        registry._core.drop(delegation_id)
    if not ledger._core.redeliver(delegation_id):
        return False
    # The ledger's thread may have taken it over by now, for a mailbox that waits for it.
    for row in ledger._core.adopt([delegation_id]):
        if ledger.keeps_texts or known is None:
            put(registry, ledger, row, True)
        else:
            job = known[0]
            event = kept if kept is not None else registry._shown(job.event or {})
            put_event(registry, row, job, event, True)
    return True


# Mailboxes.

_registries: weakref.WeakKeyDictionary[CompletionQueue[Any], weakref.WeakSet[DelegationRegistry]]
_registries = weakref.WeakKeyDictionary()


def serve_mailboxes(registry: DelegationRegistry) -> None:
    """Have every mailbox that is opened at the registry's queue get back what is its owner's."""
    serve_epochs(registry)
    _mailbox.on_open = _opened


def serve_epochs(registry: DelegationRegistry) -> None:
    """Have the registry's ledgers told when an owner begins a new epoch on its queue."""
    _registries.setdefault(registry.queue, weakref.WeakSet()).add(registry)
    _queue.on_new_epoch = _epoch_began


def _opened(mailbox: Mailbox) -> None:
    if mailbox.session_keys is None and mailbox._owns is None:
        return
    box = weakref.ref(mailbox)

    def keys() -> Iterable[str]:
        mailbox = box()
        return () if mailbox is None else mailbox.session_keys or ()

    def owns(event: Any) -> bool:
        mailbox = box()
        return mailbox is not None and mailbox._owns is not None and mailbox._is_own(event)

    for registry in tuple(_registries.get(mailbox._queue, ())):
        if registry.ledger.keeps_texts:
            want = Want(mailbox, keys, owns if mailbox._owns else None, registry.ledger, False)
            remember(registry, want)
            _try(registry, want)


def _try(registry: DelegationRegistry, want: Want) -> None:
    from ._core import LedgerError

    try:
        ask(registry, want)
    except LedgerError as exc:
        import logging

        logger = logging.getLogger("hermes_core.ledger")
        logger.error("what an earlier process left cannot be seen: %s", exc)


def _epoch_began(queue: CompletionQueue[Any], session_key: str) -> None:
    from ._core import LedgerError

    for registry in tuple(_registries.get(queue, ())):
        for ledger in registry.ledgers():
            if ledger.keeps_texts and ledger.exists():
                try:
                    ledger._core.new_epoch(session_key)
                except LedgerError as exc:
                    import logging

                    logger = logging.getLogger("hermes_core.ledger")
                    logger.error("a reset of %r is not written down: %s", session_key, exc)
