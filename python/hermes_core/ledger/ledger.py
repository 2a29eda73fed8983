"""The Python face of a ledger, and the thread that acts on its notices."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress

from hermes_core import _core
from hermes_core.ledger import rows
from hermes_core.runtime import child_exit, log, workers
from hermes_core.runtime.uncopied import Uncopied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Follower(Protocol):
        """What acts on a ledger's notices: a registry that dispatches to it."""

        def _cancel_asked_for(self, delegation_id: str) -> None:
            """Ask a delegation to stop, if it runs there; waits for nobody."""

        def _parked_elsewhere(self, delegation_id: str) -> None:
            """Park an event, if it is there: its owner began a new epoch in another process."""

        def _drop_asked_for(self, delegation_id: str, fence: int) -> None:
            """Give up an event that is held under a claim of this fence; waits for nobody."""

        def redeliver(self, delegation_id: str) -> bool:
            """Have an event wait again."""

        def drop(self, delegation_id: str) -> bool:
            """Give an event up."""

        def _kept_for(self, ledger: Ledger) -> Iterable[dict[str, Any]]:
            """The rows of what was dispatched to a ledger that has none of its own."""

        def _look(self, ledger: Ledger) -> None:
            """Take over what is wanted and has come free."""

        def _wants(self, ledger: Ledger) -> bool:
            """Whether anybody waits for what may come free."""


__all__ = ["Instance", "Ledger"]

#: Seconds for which a process that says nothing holds its delegations.
LEASE_SECONDS = 30.0
#: How long, in seconds, and how many of the delivered ones are kept.
KEEP_SECONDS = 30 * 86400.0
KEEP_ROWS = 10_000
#: Seconds that the end of the process waits for the disk.
EXIT_SECONDS = 2.0

#: How a ledger is that writes nothing.
_IN_MEMORY = {
    "path": None,
    "state": "ok",
    "waiting": 0,
    "failed": 0,
    "last_error": "",
    "commits": 0,
    "writes": 0,
}

#: A notice: its kind, its text or the id of a delegation, and the fence of its claim.
_Notice = tuple[str, str, int]
#: What follows from a notice, in the frames of the ledger's own thread.
_Act = Callable[["Follower", "Ledger", str, int], None]


class Ledger(Uncopied):
    """Where delegations and undelivered results survive the process.

    The file is opened for writing, or made, when something is first written to it or taken over
    from it; until then a look at it changes nothing. Several registries and processes may use one
    file at once, each registry an ``Instance`` of its own; it is not for a file that anything else
    opens.

    Args:
        path: the file, an SQLite database; ``None`` for one that shows what the registries which
            use it keep, and keeps nothing itself.
        durability: ``"full"``: what is written survives the loss of power; ``"process"``: the death
            of the process, and may be lost with the system.
        lease: seconds after which what a process that says nothing ran counts as lost, and what it
            had not delivered as anybody's who owns it. Renewed every third of it, while there is
            anything to hold.
        keep_seconds: how long delivered and dropped ones are kept; ``None`` sets no bound.
        keep_rows: how many of them are kept; ``None`` sets no bound.

    Raises:
        ValueError: the durability is none of the two, or a number is negative.
    """

    __slots__ = ("__weakref__", "_core", "_instances", "keeps_texts", "path")

    _instead = "make another with the same path, in another process too"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: str = "full",
        lease: float = LEASE_SECONDS,
        keep_seconds: float | None = KEEP_SECONDS,
        keep_rows: int | None = KEEP_ROWS,
    ) -> None:
        #: The file, or ``None``.
        self.path: str | None = None if path is None else os.path.abspath(os.fspath(path))
        #: Whether it keeps tasks and results as texts: in a file.
        self.keeps_texts = self.path is not None
        # Also without a file: it says what is wrong with the numbers. Nothing is opened yet.
        core = _core.Ledger(self.path or os.devnull, durability, lease, keep_seconds, keep_rows)
        self._core: _core.Ledger | None = core if self.keeps_texts else None
        #: Of those that dispatch to it, or took over from it.
        self._instances: weakref.WeakKeyDictionary[Follower, Instance] = weakref.WeakKeyDictionary()
        if self.path is not None:
            _opened.add(self)
            child_exit.arrange()

    def open(self) -> Ledger:
        """Say at once what is wrong with the path, if anything is; nothing is made or changed.

        A registry does so when it gets its ledger. Returns the ledger.

        Raises:
            NotALedger: there is something else: another file, a folder, a device.
            LedgerNewerSchema: a later release made the file.
            LedgerError: it cannot be read or written, its folder is not there, its path is too
                long, it has a second name.
        """
        if self._core is not None:
            self._core.check()
        return self

    def exists(self) -> bool:
        """Whether there is anything to look at: a file that was never made holds nothing."""
        # A new one that a damaged one was recovered into may have had no time to get its name.
        return self.path is None or any(
            os.path.exists(self.path + ending) for ending in ("", ".salvaged")
        )

    def get(self, delegation_id: str) -> dict[str, Any] | None:
        """One row, or ``None``.

        A row is a dict with ``delegation_id``, ``session_key``, ``origin_ui_session_id``,
        ``parent_session_id``, ``idempotency_key``; ``state`` (a lost one is ``"lost"``),
        ``has_begun`` (whether it ever ran: not while it waits for capacity),
        ``delivery`` (``None`` before the end, ``"pending"``, ``"delivered"``, ``"dropped"``,
        ``"dead"``, ``"parked"``), ``attempts`` (``None`` without a file); ``holder`` (``"us"``,
        ``"other"``, ``"nobody"``) and ``held_until``; ``dispatched_at``, ``completed_at``,
        ``settled_at`` in seconds since the epoch, or ``None``; ``record``, the task, and ``event``,
        the completion event in full.

        Raises:
            LedgerError: the file cannot be read; so do all that follow.
        """
        if self._core is None:
            kept = (row for row in self._kept() if row["delegation_id"] == delegation_id)
            return next(kept, None)
        row = self._core.row(delegation_id)
        return None if row is None else _decoded(row)

    def rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The newest rows, all or ``limit`` of them, in the order of dispatch."""
        if self._core is None:
            kept = self._kept()
            return kept if limit is None else kept[max(0, len(kept) - limit) :]
        return [_decoded(row) for row in self._core.newest(2**62 if limit is None else limit)]

    def running(self) -> list[dict[str, Any]]:
        """The rows of what runs, or waits for capacity, here or elsewhere."""
        if self._core is None:
            return [row for row in self._kept() if row["state"] in ("queued", "running")]
        return [_decoded(row) for row in self._core.running()]

    def dead_letters(self) -> list[dict[str, Any]]:
        """The rows whose event had all its attempts."""
        if self._core is None:
            return [row for row in self._kept() if row["delivery"] == "dead"]
        return [_decoded(row) for row in self._core.dead()]

    def elsewhere(self) -> list[dict[str, Any]]:
        """The rows of undelivered events and lost delegations that this process does not hold."""
        rows = [] if self._core is None else self._core.elsewhere(None, looks=True)
        return [_decoded(row) for row in rows]

    def redeliver(self, delegation_id: str) -> bool:
        """Have an event that was delivered, dropped, parked or had all its attempts wait again.

        It comes back to its owner: to the process that runs it when that looks next, or at its
        start. Returns False if there is no such event, or a process holds it.
        """
        if self._core is None:
            return any(one.redeliver(delegation_id) for one in self._keepers(delegation_id))
        return self._core.redeliver(delegation_id)

    def drop(self, delegation_id: str) -> bool:
        """Give an event up that nobody has delivered; False if there is none, or none yet.

        One that a process holds is given up there, when that renews its lease, or at its end if
        that comes first. What a consumer has at that moment is delivered if it is acknowledged,
        and given up if it is given back.
        """
        if self._core is None:
            return any(one.drop(delegation_id) for one in self._keepers(delegation_id))
        return self._core.discard(delegation_id)

    def cancel(self, delegation_id: str) -> bool:
        """Ask the process that runs a delegation to stop it; False if none does.

        That process hears of it when it renews its lease.
        """
        if self._core is None:
            runs = any(row["delegation_id"] == delegation_id for row in self.running())
            for follower in self._followers():
                follower._cancel_asked_for(delegation_id)
            return runs
        return self._core.cancel(delegation_id)

    def health(self) -> dict[str, Any]:
        """How it is.

        ``path``; ``state``: ``"closed"`` before the first use, ``"ok"``, or ``"failing"``; how many
        writes are ``waiting``, and how many ``failed``, with the ``last_error``; how many
        ``commits`` there were, of how many ``writes``.
        """
        return dict(_IN_MEMORY) if self._core is None else self._core.health()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is on disk, ``timeout`` seconds at most; whether it is."""
        return self._core is None or self._core.flush(timeout)

    def unclaimed(self) -> list[dict[str, Any]]:
        """The rows of ``elsewhere``, their texts as they are stored."""
        return [] if self._core is None else self._core.elsewhere(None)

    def stored(self, delegation_id: str) -> dict[str, Any] | None:
        """As ``get``, with the texts as they are stored."""
        return None if self._core is None else self._core.row(delegation_id)

    def stored_dead_letters(self) -> list[dict[str, Any]]:
        """As ``dead_letters``, with the texts as they are stored."""
        return [] if self._core is None else self._core.dead()

    def look_again(self, at: float) -> None:
        """Have its followers look again at a time, in seconds since the epoch."""
        if self._core is not None:
            self._core.look_again(at)

    def _followers(self) -> list[Follower]:
        """Those that dispatch to it, or took over from it."""
        followers = [reference() for reference in self._instances.keyrefs()]
        return [follower for follower in followers if follower is not None]

    def _kept(self) -> list[dict[str, Any]]:
        """The rows of a ledger that has none of its own."""
        kept = [row for follower in self._followers() for row in follower._kept_for(self)]
        kept.sort(key=lambda row: row["dispatched_at"])
        return kept

    def _keepers(self, delegation_id: str) -> list[Follower]:
        """The registries that keep a row of this id."""
        return [
            follower
            for follower in self._followers()
            if any(row["delegation_id"] == delegation_id for row in follower._kept_for(self))
        ]

    def follow(self, follower: Follower) -> Instance:
        """The ledger as a registry uses it; as long as that is there, it acts on its notices.

        Where no thread can be started for that now, the next call tries again.
        """
        instance = self._instances.get(follower)
        if instance is None:
            new = Instance(self, follower, None if self._core is None else self._core.another())
            instance = self._instances.setdefault(follower, new)
        instance.attend()
        return instance

    def is_followed_by(self, follower: Follower) -> bool:
        """Whether a registry acts on its notices."""
        return follower in self._instances

    def __repr__(self) -> str:
        return f"<Ledger {self.path or 'in memory'}>"


def of(ledger: Ledger | str | os.PathLike[str]) -> Ledger:
    """A ledger as it was asked for: ``"memory"``, a path, or a ledger."""
    if isinstance(ledger, Ledger):
        return ledger
    return Ledger() if ledger == "memory" else Ledger(ledger)


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    record = rows.record(row)
    return {**row, "record": record, "event": rows.event(row, record)}


class Instance:
    """A ledger as one registry uses it: what that dispatched or took over is held by this alone.

    It is given up, for the others to have at once, when the registry is gone, and with it the
    events that wait in its queue or are at a consumer's.
    """

    __slots__ = ("__weakref__", "_follower", "_ledger", "_thread", "core")

    def __init__(self, ledger: Ledger, follower: Follower, core: _core.Ledger | None) -> None:
        #: What holds it, ``None`` in memory.
        self.core = core
        self._ledger = weakref.ref(ledger)
        self._follower = weakref.ref(follower)
        #: The process whose thread hears its notices.
        self._thread = 0

    def unclaimed(self, session_key: str | None = None) -> list[dict[str, Any]]:
        """The rows of undelivered events and lost delegations that it does not hold, their texts as
        they are stored; or those of one session key, without their texts."""
        return [] if self.core is None else self.core.elsewhere(session_key)

    def free(self) -> list[dict[str, Any]]:
        """The rows of ``unclaimed`` that can be claimed now, without their texts."""
        return [] if self.core is None else self.core.free()

    def claim(self, delegation_ids: list[str]) -> _core.Adopted:
        """Make rows of ``unclaimed`` its own; those that no other was quicker with. What is not put
        on a queue is given back with what this returns.

        Raises:
            ValueError: the ledger is in memory.
        """
        if self.core is None:
            raise ValueError("a ledger in memory has nothing to claim")
        return self.core.adopt(delegation_ids)

    def new_epoch(self, session_key: str) -> _core.Receipt | None:
        """Write down that an owner began a new epoch, see ``CompletionQueue.new_epoch``."""
        return None if self.core is None else self.core.new_epoch(session_key)

    def expect(self) -> None:
        """Somebody waits for what comes free."""
        if self.core is not None:
            self.core.set_interest(True)

    def expect_no_more(self) -> None:
        """One of those who waited for what comes free is gone."""
        ledger, follower = self._ledger(), self._follower()
        if self.core is None or ledger is None or follower is None:
            return
        if not follower._wants(ledger):
            self.core.set_interest(False)

    def begin_anew(self) -> None:
        """Hold no more of what was held so far than waits in the queue, or is at a consumer's."""
        before, ledger, follower = self.core, self._ledger(), self._follower()
        if before is None or ledger is None or follower is None:
            return
        self.core = before.another()
        if follower._wants(ledger):
            self.core.set_interest(True)
        if self._thread:
            # Its thread looks, and hears the new one.
            before.look_again(0.0)

    def attend(self) -> None:
        """Have the registry act on the notices about its delegations, by a thread of its own."""
        if self.core is not None and self._thread != os.getpid():
            self._attend([])

    def _attend(self, hand: list[_Notice]) -> None:
        self._thread = os.getpid()
        try:
            attendant = _Attendant((weakref.ref(self), hand))
            workers.start_thread("hermes-core-notices", _attend, attendant)
        except BaseException as exc:
            self._thread = 0
            if not isinstance(exc, Exception):
                raise
            log.ledger_error("no thread can be started yet to hear of others' rows: %s", exc)

    def act(self, kind: str, text: str, fence: int) -> None:
        """Act on a notice."""
        # Again, if it was something thrown in that ended it.
        for _ in range(2):
            try:
                ledger, follower = self._ledger(), self._follower()
                if ledger is not None and follower is not None:
                    _ACTS[kind](follower, ledger, text, fence)
                return
            except BaseException as exc:
                log.exception(exc, "a notice of a ledger could not be acted on: %s", kind)
                if isinstance(exc, Exception):
                    return

    def __del__(self) -> None:
        if self.core is not None and self._thread:
            # Its thread looks, and sees that it is gone.
            self.core.look_again(0.0)


class _Attendant(tuple["weakref.ref[Instance]", "list[_Notice]"]):
    """What a notices thread attends to, and the notice that it has in hand. If the thread ends
    while its registry lives, as what another thread throws into it may have it, another goes on."""

    __slots__ = ()

    def __del__(self) -> None:
        instance_ref, hand = self
        instance = instance_ref()
        if instance is not None and instance._thread == os.getpid():
            # Now, or where no thread can be started, at the next use.
            instance._attend(hand)


def _attend(attendant: _Attendant) -> None:
    """Act on an instance's notices as long as it lives; the loop of its thread."""
    instance_ref, hand = attendant
    while True:
        # What another thread throws into this one may come anywhere.
        with suppress(BaseException):
            if not _attend_some(instance_ref, hand):
                return


def _attend_some(instance_ref: weakref.ref[Instance], hand: list[_Notice]) -> bool:
    """The same until something is thrown in; False once the instance is gone."""
    while (instance := instance_ref()) is not None and (core := instance.core) is not None:
        if hand:
            instance.act(*hand[0])
            hand.clear()
        del instance
        core.notice(None, hand)
    return False


def _cancel(follower: Follower, ledger: Ledger, delegation_id: str, _: int) -> None:
    follower._cancel_asked_for(delegation_id)


def _park(follower: Follower, ledger: Ledger, delegation_id: str, _: int) -> None:
    follower._parked_elsewhere(delegation_id)


def _drop(follower: Follower, ledger: Ledger, delegation_id: str, fence: int) -> None:
    follower._drop_asked_for(delegation_id, fence)


def _look(follower: Follower, ledger: Ledger, *_: object) -> None:
    follower._look(ledger)


def _failing(follower: Follower, ledger: Ledger, text: str, _: int) -> None:
    _logger().error("delegations are in memory alone for now: %s", text)


def _recovered(follower: Follower, ledger: Ledger, *_: object) -> None:
    _logger().warning("the ledger %s is written again, and nothing is missing in it", ledger.path)


def _warning(follower: Follower, ledger: Ledger, text: str, _: int) -> None:
    _logger().warning("%s", text)


def _logger() -> Any:
    import logging

    return logging.getLogger("hermes_core.ledger")


_ACTS: dict[str, _Act] = {
    "cancel": _cancel,
    "park": _park,
    "drop": _drop,
    "look": _look,
    "failing": _failing,
    "recovered": _recovered,
    "warning": _warning,
}


def opened() -> tuple[Ledger, ...]:
    """The ledgers in files."""
    return tuple(_opened)


_opened: weakref.WeakSet[Ledger] = weakref.WeakSet()


# The process ends: what it holds is others' at once. It finds no name of ours any more, perhaps.
_release = functools.partial(_core.release_all, EXIT_SECONDS)
workers.at_exit.append(_release)
child_exit.calls.append(_release)
