"""What earlier processes left in a ledger, and how it comes back to its owner.

Nothing comes back by itself: whoever can prove to be the owner asks, by a session key, by saying of
each event whether it is his, or by opening a mailbox that does. What a process that died a moment
ago still claims is asked for again when its lease is over.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable

from hermes_core._core import Adopted, LedgerError
from hermes_core.delegation.delegation import Delegation
from hermes_core.delegation.lifecycle import Lifecycle
from hermes_core.ledger import rows
from hermes_core.ledger.ledger import Instance, Ledger
from hermes_core.ledger.lost import lost
from hermes_core.runtime import event_loop, forked, log
from hermes_core.text import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]
    #: A task and its completion event, if it has one.
    Texts = tuple[Row, Row | None]

#: The fields that say whose something is.
OWNER = ("session_key", "origin_ui_session_id", "parent_session_id")


#: Those who take rows over now: who, for which registry, and the lock that they hold meanwhile.
_takers: dict[int, tuple[int, int, threading.Lock]] = {}
forked.in_child(sys.modules[__name__], lambda _: _takers.clear())
#: Seconds, at most, that one who opens waits for a row that another thread is just putting.
PUT_SECONDS = 1.0


class Interest:
    """What an owner expects back from a ledger, as long as they are there.

    Attributes:
        place: by what the owner is known: owners may be equal, and their code is not to run here.
        owner: a weak reference to them.
        ledger: where it is looked for.
        instance: the ledger as the registry uses it.
        session_keys: gives the session keys that are theirs now.
        owns: says of an event whether it is theirs, where a key does not.
        proven: whether every consumer of this process may have it.
        by_address: whether ``owns`` is asked once of all that has the same address, and shown no
            more than that.
    """

    __slots__ = (
        "__weakref__",
        "by_address",
        "instance",
        "ledger",
        "owner",
        "owns",
        "place",
        "proven",
        "session_keys",
    )

    def __init__(
        self,
        owner: Any,
        session_keys: Callable[[], Iterable[str]],
        owns: Callable[[Any], object] | None,
        ledger: Ledger,
        instance: Instance,
        proven: bool,
        gone: Callable[[Interest], object],
        by_address: bool = False,
    ) -> None:
        self.place = id(owner)
        self.session_keys = session_keys
        self.owns = owns
        self.ledger = ledger
        self.instance = instance
        self.proven = proven
        self.by_address = by_address
        interest = weakref.ref(self)

        def end(_: object) -> None:
            this = interest()
            if this is not None:
                gone(this)

        self.owner = weakref.ref(owner, end)

    @property
    def asks_of_texts(self) -> bool:
        """Whether tasks and results have to be read to know what is theirs."""
        return self.owns is not None and not self.by_address


class Interests:
    """The interests that one registry serves.

    No lock: a child could be forked while another thread has it, and a finalizer that runs under it
    would wait for its own thread. Each step is one operation on a dict of numbers.
    """

    __slots__ = ("_all",)

    def __init__(self) -> None:
        #: By their owners' places.
        self._all: dict[int, Interest] = {}

    def remember(self, interest: Interest) -> None:
        """Keep an interest in place of its owner's earlier one."""
        self._all[interest.place] = interest
        interest.instance.expect()

    def forget(self, interest: Interest) -> None:
        """Its owner is gone."""
        if self._all.get(interest.place) is interest:
            del self._all[interest.place]
            interest.instance.expect_no_more()

    def want(self, ledger: Ledger) -> bool:
        """Whether anybody expects anything from a ledger."""
        while True:
            try:
                return any(interest.ledger is ledger for interest in self._all.values())
            except RuntimeError:
                # Another thread added one meanwhile.
                continue

    def of(self, ledger: Ledger) -> list[Interest]:
        """The interests in a ledger, in the order in which they came up."""
        return [one for one in self._all.copy().values() if one.ledger is ledger]


def take_over(registry: Lifecycle, interest: Interest) -> int:
    """Put what an owner expects into the registry's queue; return how much.

    What another process holds comes when it is free, as long as somebody expects it.
    """
    ledger = interest.ledger
    if not ledger.keeps_texts:
        return 0
    # First: what comes free later is heard of, also where there is nothing yet.
    instance = registry._follow(ledger)
    if not ledger.exists():
        return 0
    if interest.owns is None:
        keys = frozenset(interest.session_keys()) - {""}
        rows = [row for key in keys for row in instance.unclaimed(key)]
    else:
        rows = instance.unclaimed() if interest.asks_of_texts else instance.free()
    count = _take_over(registry, ledger, [interest], rows)
    _wait_for_others(registry)
    return count


def look(registry: Lifecycle, ledger: Ledger, interests: list[Interest]) -> int:
    """As ``take_over``, of all that is expected of a ledger, with one question to it."""
    if not interests or not ledger.exists():
        return 0
    instance = registry._follow(ledger)
    asks = any(interest.asks_of_texts for interest in interests)
    rows = instance.unclaimed() if asks else instance.free()
    return _take_over(registry, ledger, interests, rows)


def _take_over(
    registry: Lifecycle, ledger: Ledger, interests: list[Interest], rows: list[Row]
) -> int:
    free = [row for row in rows if row["holder"] == "nobody" and not _runs(registry, row)]
    wanted = _wanted(interests, free)
    if not wanted:
        return 0
    count, taking = 0, threading.Lock()
    taking.acquire()
    _takers[id(taking)] = threading.get_ident(), id(registry), taking
    try:
        claimed = registry._follow(ledger).claim(list(wanted))
        try:
            for row in claimed.rows():
                interest, texts = wanted[row["delegation_id"]]
                count += put(registry, ledger, claimed, row, interest.proven, texts)
        finally:
            # Also if it raises, Ctrl-C for one: whoever asks next finds the rest.
            claimed.give_back()
    finally:
        _takers.pop(id(taking), None)
        taking.release()
    return count


def _wait_for_others(registry: Lifecycle) -> None:
    """Let other threads put what they have just taken over, the ledger's own for one.

    Not where this thread takes something over itself, further out, for then two could wait for one
    another; and on no event loop.
    """
    others = list(_takers.copy().values())
    ident = threading.get_ident()
    if not others or any(who == ident for who, _, _ in others) or event_loop.is_running():
        return
    for _, whose, taking in others:
        if whose == id(registry) and taking.acquire(timeout=PUT_SECONDS):
            taking.release()


def take_over_one(registry: Lifecycle, ledger: Ledger, delegation_id: str) -> None:
    """Put the event of one row into the registry's queue, if no other process was quicker."""
    claimed = registry._follow(ledger).claim([delegation_id])
    try:
        for row in claimed.rows():
            put(registry, ledger, claimed, row, True)
    finally:
        claimed.give_back()


def try_to_take_over(registry: Lifecycle, interest: Interest) -> None:
    """As ``take_over``, for a caller that did not ask for the ledger: a failure is logged."""
    try:
        take_over(registry, interest)
    except LedgerError as exc:
        log.ledger_error("what an earlier process left cannot be seen: %s", exc)


def _runs(registry: Lifecycle, row: Row) -> bool:
    """Whether it still runs here: its end will find that it was taken for lost, and look again."""
    known = registry._core.get(row["delegation_id"])
    return known is not None and known[2] is None


def _wanted(interests: list[Interest], rows: list[Row]) -> dict[str, tuple[Interest, Texts | None]]:
    """Of these rows those that somebody wants: by whom, and with the texts that had to be decoded
    for it."""
    if not rows:
        return {}
    by_key: dict[str, Interest] = {}
    for interest in interests:
        for key in interest.session_keys():
            by_key.setdefault(key, interest)
    by_key.pop("", None)
    asking = [interest for interest in interests if interest.owns is not None]
    wanted: dict[str, tuple[Interest, Texts | None]] = {}
    answers: dict[tuple[object, ...], bool] = {}
    for row in rows:
        owner, texts = by_key.get(row["session_key"]), None
        for interest in asking if owner is None else ():
            place = (interest.place, *(row[field] for field in OWNER))
            is_own = answers.get(place) if interest.by_address else None
            if is_own is None and interest.by_address:
                answers[place] = is_own = _owns(interest, _address_of(row))
            elif is_own is None:
                texts = texts or decoded(row)
                is_own = _owns(interest, _event_of(row, *texts))
            if is_own:
                owner = interest
                break
        if owner is not None:
            wanted[row["delegation_id"]] = owner, texts
    return wanted


def _owns(interest: Interest, event: Row) -> bool:
    """What an owner says of an event."""
    try:
        return interest.owns is not None and bool(interest.owns(event))
    except BaseException as exc:
        # SystemExit, too: it ends no thread that looks for others.
        if json.is_ctrl_c(exc):
            raise
        log.exception(exc, "an owns callback raised, and so does not own what is restored")
        return False


def decoded(row: Row) -> Texts:
    """The task and the completion event of a row."""
    record = rows.record(row)
    return record, rows.event(row, record) if row["event"] else None


def _event_of(row: Row, record: Row, event: Row | None) -> Row:
    """The completion event of a row, marked as restored; its owner is the one in the columns."""
    found = event or rows.event(row, record) or lost(record, row)
    return {**found, **_address_of(row)}


def _address_of(row: Row) -> Row:
    """What a row's completion event says of itself and its owner, marked as restored; the texts
    are not looked at."""
    whose = {field: row[field] for field in ("delegation_id", *OWNER)}
    return {"type": "async_delegation", **whose, "restored": True}


def events_of(rows: Iterable[Row]) -> list[Row]:
    """The completion events of rows, marked as restored; nothing is taken over."""
    return [_event_of(row, *decoded(row)) for row in rows]


def delegation_of(row: Row, ledger: Ledger, texts: Texts | None = None) -> Delegation:
    """A delegation that stands for a row: nothing is to be run."""
    record, event = decoded(row) if texts is None else texts
    for field in ("delegation_id", *OWNER, "dispatched_at", "completed_at"):
        record[field] = row[field]
    record["status"] = row["state"]
    delegation = Delegation(record)
    delegation.ledger, delegation.key = ledger, row["idempotency_key"]
    delegation.state = row["state"]
    if row["event"] or row["state"] == "lost":
        delegation.result = _event_of(row, record, event)
        record["status"] = delegation.result["status"]
    return delegation


def put(
    registry: Lifecycle,
    ledger: Ledger,
    claimed: Adopted,
    row: Row,
    proven: bool,
    texts: Texts | None = None,
) -> bool:
    """Put the event of a row that is ours now into the queue; False if one of it waits there."""
    delegation = delegation_of(row, ledger, texts)
    # Whoever takes the event may change it: the result is not the same dict.
    event = dict(delegation.result or _event_of(row, delegation.record, None))
    event = registry._truncated(event)
    return registry._put_restored(claimed, row, delegation, event, proven)
