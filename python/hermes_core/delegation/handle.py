"""The handle of one dispatched delegation."""

from __future__ import annotations

from collections.abc import Generator

from hermes_core.runtime import event_loop
from hermes_core.runtime.uncopied import Uncopied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hermes_core.delegation.delegation import Delegation
    from hermes_core.delegation.lifecycle import Lifecycle


class DelegationHandle(Uncopied):
    """One dispatched delegation."""

    __slots__ = ("_given", "_registry")

    _instead = "pass its id on, and ask the registry or the ledger for it"

    def __init__(self, registry: Lifecycle, delegation: Delegation) -> None:
        self._registry = registry
        self._given = delegation

    @property
    def _delegation(self) -> Delegation:
        return self._given.known or self._given

    @property
    def id(self) -> str:
        """``deleg_`` and 16 hex digits."""
        return str(self._delegation.record["delegation_id"])

    @property
    def state(self) -> str:
        """``queued``, ``running``, or the state it ended in; also after the record was let go."""
        return self._registry._core.state(self.id) or self._delegation.state

    @property
    def position(self) -> int | None:
        """Where it stands among those that wait for capacity: 1 is the next. ``None`` if it does
        not wait, or is being written down yet."""
        return self._registry._core.position(self.id)

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end and return what the runner returned.

        A runner that raised gives ``{"status": "error", "error": "ValueError: …", …}``.

        Args:
            timeout: seconds; ``None`` waits without end.

        Raises:
            TimeoutError: it has not ended.
            LookupError: its registry was cleared before it ended.
            RuntimeError: it runs on the event loop of this thread, which this would keep from it.
        """
        if timeout != 0 and self._is_here():
            raise RuntimeError(
                f"delegation {self.id} runs on the event loop of this thread: say await handle"
            )
        while True:
            delegation = self._delegation
            if not self._registry._core.wait(self.id, timeout):
                what = "waits for capacity" if self.state == "queued" else "runs"
                raise TimeoutError(f"delegation {self.id} still {what} after {timeout} s")
            if delegation is self._delegation:
                return self._result()

    def _is_here(self) -> bool:
        """Whether it runs, or is to, on the event loop of the calling thread."""
        delegation = self._delegation
        if delegation.run is not None:
            return delegation.run.is_here()
        reader = None if delegation.loop is None else delegation.loop()
        return delegation.waits and reader is not None and reader.is_here()

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        """``await handle``: as ``result()``, in a task of any event loop.

        A cancelled await does not cancel the delegation.
        """
        return self._ended().__await__()

    async def _ended(self) -> dict[str, Any]:
        waiter = event_loop.waiter()
        while True:
            delegation = self._delegation
            while self._registry._core.await_end(self.id, waiter):
                await event_loop.wait(waiter)
            if delegation is self._delegation:
                return self._result()

    def _result(self) -> dict[str, Any]:
        delegation = self._delegation
        if delegation.result is None:
            waits_or_runs = self.state in ("queued", "running")
            if delegation.work is None and delegation.run is None and waits_or_runs:
                raise LookupError(f"delegation {self.id} runs in another process, which gets it")
            raise LookupError(f"delegation {self.id} was forgotten before it ended")
        return delegation.result

    def cancel(self, reason: str = "cancelled") -> bool:
        """Ask the runner to stop, or end at once what still waits for capacity; whether it could be
        asked."""
        known = self._registry._core.get(self.id)
        if known is None or known[0] is not self._delegation:
            return False
        if known[1] not in ("queued", "running"):
            return False
        return self._registry.interrupt([self._delegation], reason) > 0

    def __repr__(self) -> str:
        return f"<DelegationHandle {self.id} {self.state}>"
