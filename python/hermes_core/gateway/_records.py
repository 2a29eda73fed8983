"""Two registries, one cap: each sees what the other still runs.

Delegations that the gateway's registry started go on there after an install, and ours go on here
after an uninstall. In both cases both are listed, interrupted, and counted towards the cap.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hermes_core import async_delegation
from hermes_core.gateway._queue_swap import sweep

if TYPE_CHECKING:
    from collections.abc import ValuesView
    from types import ModuleType

Record = dict[str, Any]

logger = logging.getLogger("hermes_core.gateway")


class SharedRecords(dict[str, Record]):
    """The gateway's table of delegations, read together with the running ones of the core.

    All that the gateway's functions count, list and interrupt they read through `values()`, so
    this one method shows them ours too, also to a caller that imported such a function before
    the install. Everything else sees the gateway's own entries only.
    """

    __slots__ = ()

    def values(self) -> ValuesView[Record]:  # type: ignore[override]
        """Return the gateway's records, followed by those that the core runs now."""
        merged = dict(self)
        for record in async_delegation._live_records():
            merged.setdefault(record["delegation_id"], record)
        return merged.values()


class RecordShare:
    """Shares the record tables of `tools.async_delegation` and of the core.

    Lock order: the gateway's `_records_lock`, then the core's own; the core calls in here
    holding none.
    """

    __slots__ = ("_host", "_leaving", "_plain")

    def __init__(self, host: ModuleType) -> None:
        self._host = host
        self._plain: dict[str, Record] | None = None
        # Ours that ran at an uninstall: their records, for the gateway's list of recent ones.
        self._leaving: dict[str, Record] = {}

    def install(self) -> None:
        """Let each registry see the other."""
        async_delegation._elsewhere = None
        ours = [record["delegation_id"] for record in async_delegation.list_async_delegations()]
        with self._host._records_lock:
            table = self._host._records
            if not isinstance(table, SharedRecords):
                self._plain = table
                self._host._records = table = SharedRecords(table)
            for delegation_id in ours:  # left there by an earlier uninstall
                table.pop(delegation_id, None)
            self._leaving.clear()
        async_delegation._on_end = self._ended
        async_delegation._elsewhere = self

    def uninstall(self) -> None:
        """Leave ours to the gateway's registry: the ended ones, and the running ones till then."""
        async_delegation._elsewhere = None
        with self._host._records_lock:
            # First the running ones: one that ends in between is in both lists, not in none.
            self._leaving = {r["delegation_id"]: dict(r) for r in async_delegation._live_records()}
            for record in async_delegation.list_async_delegations():
                if record["delegation_id"] not in self._leaving:
                    self._host._records[record["delegation_id"]] = {**record, "interrupt_fn": None}
            self._host._prune_completed_locked()
            self._unshare_if_idle()

    # -- what the core asks -----------------------------------------------------------------

    def running(self) -> int:
        """Return how many delegations the gateway's own registry still runs."""
        return len(self._running())

    def records(self) -> list[Record]:
        """Return the records of the gateway's own registry, running and recent."""
        with self._host._records_lock:
            own = list(dict.values(self._host._records))
        return [{k: v for k, v in record.items() if k != "interrupt_fn"} for record in own]

    def interrupt(self, reason: str) -> int:
        """Signal every delegation that the gateway's own registry runs; return how many."""
        signalled = 0
        for record in self._running():
            interrupt_fn = record.get("interrupt_fn")
            if not callable(interrupt_fn):
                continue
            try:
                interrupt_fn()
            except Exception as error:
                identity = record.get("delegation_id")
                logger.warning("%s could not be interrupted (%s): %r", identity, reason, error)
            else:
                signalled += 1
        return signalled

    # ---------------------------------------------------------------------------------------

    def _running(self) -> list[Record]:
        with self._host._records_lock:
            own = list(dict.values(self._host._records))
        return [record for record in own if record.get("status") == "running"]

    def _ended(self, delegation_id: str, status: str, completed_at: float) -> None:
        """Follow up on the end of one of ours; called on its worker, after its event was put."""
        with self._host._records_lock:
            record = self._leaving.pop(delegation_id, None)
            if record is not None:
                record.update(status=status, completed_at=completed_at, interrupt_fn=None)
                self._host._records[delegation_id] = record
                self._host._prune_completed_locked()
                self._unshare_if_idle()
        sweep()

    def _unshare_if_idle(self) -> None:
        """Put the gateway's own table back, the very object, once ours are all done."""
        table, plain = self._host._records, self._plain
        if isinstance(table, SharedRecords) and plain is not None and not self._leaving:
            plain.clear()
            plain.update(table)
            self._host._records = plain
