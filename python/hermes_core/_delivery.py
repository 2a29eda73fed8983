"""An event handed to one consumer, until the consumer says what became of it."""

from __future__ import annotations

from . import _core
from ._notification import format_process_notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

__all__ = ["Batch", "Delivery"]


class Delivery:
    """One event under a lease.

    Settle it once: ``ack`` when it was delivered, ``nack`` when delivery failed, ``defer`` when it
    could not be tried. As a context manager it acks on success and nacks on an exception, unless
    it was settled inside. One that is dropped unsettled is deferred.

    Attributes:
        event: what was put on the queue.
        attempt: which attempt this is, from 1; a ``defer`` counts for none.
    """

    __slots__ = ("_lease", "attempt", "event")

    def __init__(self, event: Any, lease: _core.Lease, attempt: int) -> None:
        # Dropped unsettled, it gives the event back.
        self._lease: _core.Lease | None = lease
        self.event = event
        self.attempt = attempt

    @property
    def text(self) -> str | None:
        """The notification (``format_process_notification``); ``None`` for what has none."""
        return format_process_notification(self.event)

    def ack(self) -> bool:
        """Say that the event was delivered: it leaves the queue, and counts as done.

        Where it is in a ledger, that is written down first; if the disk does not answer, it leaves
        all the same, and the ledger tries again. Returns False if the lease had ended: the event
        may be with another consumer by now.
        """
        lease = self._lease
        # What the queue held is dropped by this frame, not by the native one.
        was_held, _ = (False, None) if lease is None else lease.ack()
        self._lease = None
        return was_held

    def nack(self, delay: float = 0.0) -> bool:
        """Say that delivery failed: the event waits again, where it stood, after ``delay`` seconds.

        Returns False if the lease had ended.
        """
        return self._give_back(True, delay)

    def defer(self, delay: float = 0.0) -> bool:
        """As ``nack``, where nothing was tried: it counts for no attempt.

        Whoever waits at the mailbox gets the event at once; wait for what was missing first, or
        give a delay.
        """
        return self._give_back(False, delay)

    def _give_back(self, is_attempt: bool, delay: float) -> bool:
        lease = self._lease
        was_held = lease is not None and lease.give_back(is_attempt, delay)
        # Last: whatever is raised before leaves the delivery unsettled.
        self._lease = None
        return was_held

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.ack()
        else:
            self.nack()

    def __repr__(self) -> str:
        state = "settled" if self._lease is None else f"attempt {self.attempt}"
        return f"<Delivery {state}: {self.event!r}>"


class Batch(list[Delivery]):
    """Deliveries that arrived together, each to be settled by itself.

    As a context manager it acks those that are left on success, and nacks them on an exception.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for delivery in self:
            delivery.__exit__(kind, exc, traceback)
