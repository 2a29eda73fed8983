"""The Python face of a ledger, and the thread that acts on what it tells."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable

from . import _core, _stored, _workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .registry import DelegationRegistry

__all__ = ["Ledger"]

#: Seconds for which a process that says nothing holds its delegations.
LEASE_SECONDS = 30.0
#: How long, in seconds, and how many of the delivered ones are kept.
KEEP_SECONDS = 30 * 86400.0
KEEP_ROWS = 10_000
#: The same of the ledger that a registry has by itself.
KEEP_IN_MEMORY = 1_000
#: Seconds that the end of the process waits for the disk.
EXIT_SECONDS = 2.0

#: What follows from a notice, in the frames of the ledger's own thread.
_Act = Callable[["Ledger", str], None]


class Ledger:
    """Where delegations and undelivered results survive the process.

    The file is opened, or made, at the first use. Several registries and processes may use one
    file at once; it is not for a file that anything else opens.

    Args:
        path: the file, an SQLite database; ``None`` keeps everything in this process.
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

    __slots__ = ("__weakref__", "_core", "_registries", "_thread", "path")

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
        self._core = _core.Ledger(self.path, durability, lease, keep_seconds, keep_rows)
        #: Those that dispatch to it, or took over from it, for what it tells.
        self._registries: weakref.WeakSet[DelegationRegistry] = weakref.WeakSet()
        #: The process whose thread hears what it tells.
        self._thread = 0
        if self.path is not None:
            _opened.add(self)

    @property
    def keeps_texts(self) -> bool:
        """Whether it keeps tasks and results as texts."""
        return self._core.keeps_texts

    def exists(self) -> bool:
        """Whether there is anything to look at: a file that was never made holds nothing."""
        # A new one that a damaged one was carried over into may have had no time to get its name.
        return self.path is None or any(
            os.path.exists(self.path + ending) for ending in ("", ".salvaged")
        )

    def get(self, delegation_id: str) -> dict[str, Any] | None:
        """One row, or ``None``.

        A row is a dict with ``delegation_id``, ``session_key``, ``origin_ui_session_id``,
        ``parent_session_id``, ``idempotency_key``; ``state`` (a lost one is ``"lost"``),
        ``delivery`` (``None`` before the end, ``"pending"``, ``"delivered"``, ``"dropped"``,
        ``"dead"``, ``"parked"``), ``attempts``; ``holder`` (``"us"``, ``"other"``, ``"nobody"``)
        and ``held_until``; ``dispatched_at``, ``completed_at``, ``settled_at`` in seconds since the
        epoch, or ``None``; ``record``, the task, and ``event``, the completion event in full.

        Raises:
            LedgerError: the file cannot be read; so do all that follow.
        """
        row = self._core.row(delegation_id)
        return None if row is None else _decoded(row)

    def rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The newest rows, all or ``limit`` of them, in the order of dispatch."""
        return [_decoded(row) for row in self._core.newest(2**62 if limit is None else limit)]

    def running(self) -> list[dict[str, Any]]:
        """The rows of what runs, here or elsewhere."""
        return [_decoded(row) for row in self._core.running()]

    def dead_letters(self) -> list[dict[str, Any]]:
        """The rows whose event had all its attempts."""
        return [_decoded(row) for row in self._core.dead()]

    def elsewhere(self) -> list[dict[str, Any]]:
        """The rows of undelivered events and lost delegations that this process does not hold."""
        return [_decoded(row) for row in self._core.elsewhere()]

    def redeliver(self, delegation_id: str) -> bool:
        """Have an event that was delivered, dropped, parked or had all its attempts wait again.

        It comes back to its owner: to the process that runs it when that looks next, or at its
        start. Returns False if there is no such event, or a process holds it.
        """
        return self._core.redeliver(delegation_id)

    def drop(self, delegation_id: str) -> bool:
        """Give an event up that nobody has delivered; False as for ``redeliver``."""
        return self._core.discard(delegation_id)

    def cancel(self, delegation_id: str) -> bool:
        """Ask the process that runs a delegation to stop it; False if none does.

        That process hears of it when it renews its lease.
        """
        return self._core.cancel(delegation_id)

    def health(self) -> dict[str, Any]:
        """How it is.

        ``path``; ``state``: ``"closed"`` before the first use, ``"ok"``, or ``"failing"``; how many
        writes are ``waiting``, and how many ``failed``, with the ``last_error``; how many
        ``commits`` there were, of how many ``writes``.
        """
        return self._core.health()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is on disk, ``timeout`` seconds at most; whether it is."""
        return self._core.flush(timeout)

    def follow(self, registry: DelegationRegistry) -> None:
        """Have a registry act on what the ledger tells of its delegations."""
        if registry not in self._registries:
            from . import _restore

            self._registries.add(registry)
            _restore.serve_epochs(registry)
        if self.path is not None and self._thread != os.getpid():
            self._thread = os.getpid()
            try:
                _workers.start_thread("hermes-core-notices", _attend, weakref.ref(self))
            except BaseException:
                self._thread = 0
                raise

    def is_followed_by(self, registry: DelegationRegistry) -> bool:
        """Whether a registry uses it."""
        return registry in self._registries or registry.ledger is self

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and self._thread:
            # Its thread looks, and sees that it is gone.
            core.look_after(0.0)

    def __repr__(self) -> str:
        return f"<Ledger {self.path or 'in memory'}>"


def of(ledger: Ledger | str | os.PathLike[str]) -> Ledger:
    """A ledger as it was asked for: ``"memory"``, a path, or a ledger."""
    if isinstance(ledger, Ledger):
        return ledger
    return Ledger(keep_rows=KEEP_IN_MEMORY) if ledger == "memory" else Ledger(ledger)


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    record = _stored.record(row)
    return {**row, "record": record, "event": _stored.event(row, record)}


def _attend(ledger_ref: weakref.ref[Ledger]) -> None:
    """Act on what a ledger tells, as long as it lives; the loop of its thread."""
    ledger = ledger_ref()
    if ledger is None:
        return
    core = ledger._core
    while True:
        del ledger
        notice = core.notice(None)
        ledger = ledger_ref()
        if ledger is None:
            return
        if notice is None:
            continue
        kind, text = notice
        try:
            _ACTS[kind](ledger, text)
        except Exception as exc:
            from . import _log

            _log.exception(exc, "what a ledger told could not be acted on: %s", kind)


def _cancel(ledger: Ledger, delegation_id: str) -> None:
    for registry in tuple(ledger._registries):
        registry.cancel(delegation_id, reason="cancelled by hand")


def _look(ledger: Ledger, _: str) -> None:
    from . import _restore

    _restore.look(ledger, tuple(ledger._registries))


def _failing(ledger: Ledger, text: str) -> None:
    _logger().error("delegations are in memory alone for now: %s", text)


def _recovered(ledger: Ledger, _: str) -> None:
    _logger().warning("the ledger %s is written again, and nothing is missing in it", ledger.path)


def _warning(ledger: Ledger, text: str) -> None:
    _logger().warning("%s", text)


def _logger() -> Any:
    import logging

    return logging.getLogger("hermes_core.ledger")


_ACTS: dict[str, _Act] = {
    "cancel": _cancel,
    "look": _look,
    "failing": _failing,
    "recovered": _recovered,
    "warning": _warning,
}


def opened() -> tuple[Ledger, ...]:
    """The ledgers in files."""
    return tuple(_opened)


_opened: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _release() -> None:
    """The process ends: what it holds is others' at once."""
    ledgers = tuple(_opened)
    # All are asked first: those that answer are not to wait for one that does not.
    for ledger in ledgers:
        ledger._core.release(0.0)
    end = time.monotonic() + EXIT_SECONDS
    for ledger in ledgers:
        ledger._core.flush(max(0.0, end - time.monotonic()))


_workers.at_exit.append(_release)
