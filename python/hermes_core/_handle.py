"""The handle of one dispatched delegation."""

from __future__ import annotations

from collections.abc import Generator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._job import Job
    from .registry import DelegationRegistry


class DelegationHandle:
    """One dispatched delegation."""

    __slots__ = ("_job", "_registry")

    def __init__(self, registry: DelegationRegistry, job: Job) -> None:
        self._registry = registry
        self._job = job

    @property
    def id(self) -> str:
        """``deleg_`` and 16 hex digits."""
        return str(self._job.record["delegation_id"])

    @property
    def state(self) -> str:
        """``running``, or the state it ended in; also after the record was let go."""
        return self._registry._core.state(self.id) or self._job.state

    def result(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end and return what the runner returned.

        A runner that raised gives ``{"status": "error", "error": "ValueError: …", …}``.

        Args:
            timeout: seconds; ``None`` waits without end.

        Raises:
            TimeoutError: it still runs.
            LookupError: its registry was cleared before it ended.
        """
        if not self._registry._core.wait(self.id, timeout):
            raise TimeoutError(f"delegation {self.id} still runs after {timeout} s")
        return self._result()

    def __await__(self) -> Generator[Any, None, dict[str, Any]]:
        """``await handle``: as ``result()``, in a task of any event loop.

        A cancelled await does not cancel the delegation.
        """
        return self._ended().__await__()

    async def _ended(self) -> dict[str, Any]:
        from . import _aio

        waiter = _aio.waiter()
        while self._registry._core.await_end(self.id, waiter):
            await _aio.wait(waiter)
        return self._result()

    def _result(self) -> dict[str, Any]:
        if self._job.result is None:
            if self._job.runner is None and self._job.state == "running":
                raise LookupError(f"delegation {self.id} runs in another process, which gets it")
            raise LookupError(f"delegation {self.id} was forgotten before it ended")
        return self._job.result

    def cancel(self, reason: str = "cancelled") -> bool:
        """Tell the runner to stop; whether it could be told."""
        return self._registry.cancel(self.id, reason=reason) > 0

    def __repr__(self) -> str:
        return f"<DelegationHandle {self.id} {self.state}>"
