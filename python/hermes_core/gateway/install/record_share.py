"""Two registries, one cap: each sees what the other still runs.

Delegations that the gateway's registry started go on there after an install, and ours go on here
after an uninstall. In both cases both are listed, interrupted, and counted towards the cap.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Iterator
from typing import Any

from hermes_core import async_delegation
from hermes_core.delegation import interrupt as _interrupt
from hermes_core.delegation.delegation import Delegation

Record = dict[str, Any]

logger = logging.getLogger("hermes_core.gateway")


class SharedRecords(dict[str, Record]):
    """The gateway's table of delegations, read together with the running ones of the core.

    All that the gateway's functions count, list and interrupt they read through `values()`, so
    this one method shows them ours too, also to a caller that imported such a function before
    the install. Everything else sees the gateway's own entries only.
    """

    __slots__ = ("installed", "plain", "starting")

    def __init__(self, plain: dict[str, Record]) -> None:
        super().__init__(plain)
        self.plain = plain  # the gateway's own table, to be put back
        # Here and not in a `RecordShare`: a table outlives an uninstall while ours run, and
        # then serves the next install, too.
        self.installed = False
        self.starting: list[Delegation] = []  # ours that count already and do not run yet

    def values(self) -> Any:
        """Return the gateway's records, followed by those that the core runs now."""
        return [*super().values(), *async_delegation._live_records(self.starting)]


class Originals:
    """The gateway's own functions, for whoever calls ours after an uninstall.

    Not by their names: another plugin's wrapper may be there, and that one calls ours.
    """

    __slots__ = ("_batch", "_one", "active_count", "interrupt_all", "list_async_delegations")

    def __init__(self, host: Any) -> None:
        self._one = host.dispatch_async_delegation
        self._batch = getattr(host, "dispatch_async_delegation_batch", None)
        self.active_count = host.active_count
        self.interrupt_all = host.interrupt_all
        self.list_async_delegations = host.list_async_delegations

    def dispatch(self, is_batch: bool, **arguments: Any) -> dict[str, Any] | None:
        """Dispatch there, with the arguments that this version of the gateway has."""
        function = self._batch if is_batch else self._one
        if function is None:
            return None
        known = inspect.signature(function).parameters
        answer: dict[str, Any] = function(
            **{name: value for name, value in arguments.items() if name in known}
        )
        return answer


class RecordShare:
    """Shares the record tables of `tools.async_delegation` and of the core.

    Lock order: the gateway's `_records_lock`, then the core's own; the core calls in here
    holding none. The gateway's is a plain lock: nothing is called under it that asks another
    share, which would take it again.
    """

    __slots__ = ("_host", "_originals")

    def __init__(self, host: Any) -> None:
        self._host = host
        self._originals = Originals(host)

    def install(self) -> None:
        """Let each registry see the other."""
        with self._host._records_lock:
            table = self._host._records
            if not isinstance(table, SharedRecords):
                self._host._records = table = SharedRecords(table)
            for record in async_delegation._own_records():  # left there by an earlier uninstall
                table.pop(record["delegation_id"], None)
            table.installed = True
        async_delegation._on_end = self._ended
        async_delegation._elsewhere = self
        async_delegation._successor = None

    def uninstall(self) -> None:
        """Leave ours to the gateway's registry: the ended ones now, the running ones as they end.

        Until then the gateway goes on seeing those, and with them any that a straggler starts.
        """
        async_delegation._successor = self._originals
        async_delegation._elsewhere = None
        with self._host._records_lock:
            if isinstance(self._host._records, SharedRecords):
                self._host._records.installed = False
            for record in async_delegation._own_records():
                if record["status"] not in ("queued", "running"):
                    self._leave(record)
            self._unshare_if_idle()

    # -- what the core asks -----------------------------------------------------------------

    def running(self) -> int:
        """Return how many delegations the gateway's own registry still runs."""
        return len(self._running())

    @contextlib.contextmanager
    def starting(self, delegation: Delegation) -> Iterator[int | None]:
        """Count one of ours in the gateway's registry too while it starts; see `Elsewhere`.

        So the gateway's dispatch, which counts under its lock, and ours cannot both take the
        last place: one of them sees the other. The lock is free while it starts, for that
        starts threads and may log.
        """
        running = table = None
        try:
            with self._host._records_lock:
                if async_delegation._elsewhere is self:  # else an uninstall came first
                    table = self._host._records
                    own = dict.values(table)
                    running = sum(record.get("status") == "running" for record in own)
                    if isinstance(table, SharedRecords):
                        table.starting.append(delegation)
            yield running
        finally:
            if isinstance(table, SharedRecords):
                with self._host._records_lock:
                    with contextlib.suppress(ValueError):
                        table.starting.remove(delegation)
                    if not table.installed:
                        self._unshare_if_idle()

    def records(self) -> list[Record]:
        """Return the records of the gateway's own registry, running and recent."""
        with self._host._records_lock:
            own = list(dict.values(self._host._records))
        return [
            {
                key: value
                for key, value in record.items()
                # A later gateway keeps more that can be called there, and notes of its own.
                if key != "interrupt_fn" and not callable(value) and not key.startswith("_")
            }
            for record in own
        ]

    def interrupt(self, reason: str) -> int:
        """Signal every delegation that the gateway's own registry runs; return how many."""
        interrupt_fns = [record.get("interrupt_fn") for record in self._running()]
        signalled = len(_interrupt.call_all(interrupt_fns))
        if signalled:
            logger.info("told %d of the gateway's own delegations to stop (%s)", signalled, reason)
        return signalled

    # ---------------------------------------------------------------------------------------

    def _running(self) -> list[Record]:
        with self._host._records_lock:
            own = list(dict.values(self._host._records))
        return [record for record in own if record.get("status") == "running"]

    def _ended(self, delegation_id: str, status: str, completed_at: float) -> None:
        """Follow up on the end of one of ours; called on its worker, after its event was put."""
        if not self._installed():
            with self._host._records_lock:
                if not self._installed():
                    for record in async_delegation._own_records():
                        if record["delegation_id"] == delegation_id:
                            self._leave(record)
                    self._unshare_if_idle()

    def _installed(self) -> bool:
        """Say whether the core is in place, by this share or by a later one."""
        table = self._host._records
        return isinstance(table, SharedRecords) and table.installed

    def _leave(self, record: Record) -> None:
        self._host._records[record["delegation_id"]] = {**record, "interrupt_fn": None}
        self._host._prune_completed_locked()

    def _unshare_if_idle(self) -> None:
        """Put the gateway's own table back, the very object, once ours are all done."""
        table = self._host._records
        if isinstance(table, SharedRecords) and not (
            table.starting or async_delegation._live_records()
        ):
            table.plain.clear()
            table.plain.update(table)
            self._host._records = table.plain
