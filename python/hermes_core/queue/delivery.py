"""An event handed to one consumer, until the consumer says what became of it."""

from __future__ import annotations

from hermes_core import _core
from hermes_core.runtime import event_loop, log
from hermes_core.runtime.uncopied import Uncopied
from hermes_core.text.notification import format_process_notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

__all__ = ["Batch", "Delivery"]


class Delivery(Uncopied):
    """One event under a lease.

    Settle it once: ``ack`` when it was delivered, ``nack`` when delivery failed, ``defer`` when it
    could not be tried. As a context manager, also of ``async with``, it acks on success and nacks
    on an exception, unless it was settled inside. One that is dropped unsettled is given back: that
    is no attempt, but the event pauses as after a ``nack``. It is counted
    (``DelegationRegistry.stats``), and the first of a queue is warned of.

    Attributes:
        event: what was put on the queue.
        attempt: which attempt this is, from 1; a ``defer`` counts for none.
    """

    __slots__ = ("_lease", "attempt", "event")

    _instead = "pass its event on, and settle it here"

    def __init__(self, event: Any, lease: _core.Lease, attempt: int) -> None:
        # Dropped unsettled, it gives the event back.
        self._lease: _core.Lease | None = lease
        self.event = event
        self.attempt = attempt

    @property
    def is_held(self) -> bool:
        """Whether it is this consumer's still: not settled, and its lease has not ended."""
        return self._lease is not None and self._lease.is_held()

    @property
    def text(self) -> str | None:
        """The notification (``format_process_notification``); ``None`` for what has none."""
        return format_process_notification(self.event)

    def ack(self) -> bool:
        """Say that the event was delivered: it leaves the queue, and counts as done.

        Where it is in a ledger, that is written down first. A write that fails is made later, and
        the event leaves all the same, as long as no other process can have taken it: while this
        one's claim of it (``Ledger(lease=…)``) surely holds. While somebody else is writing, this
        waits until then. Returns False if the lease had ended, or another process has the event by
        now; and if it could not be written while it was surely ours: then it waits again, after a
        pause.

        In a thread where an event loop runs it does not wait for the disk: it returns whether the
        lease held, and the event leaves when that is written. Whoever must know awaits ``aack``.
        """
        lease = self._lease
        if lease is None:
            return False
        # The queue's event is dropped by this frame, not by the native one.
        done: tuple[bool, Any] | None = lease.ack_unwritten()
        if done is None:
            done = lease.begin_ack().leave() if event_loop.is_running() else lease.ack()
        self._lease = None
        return done[0]

    async def aack(self) -> bool:
        """As ``ack``, in an ``asyncio`` task: it returns once that is written.

        A task that is cancelled meanwhile has acknowledged the event all the same.
        """
        return await _acknowledged(self._begin_ack())

    def _begin_ack(self) -> _core.Acking | bool:
        """Begin an ack; whether it counts, if there is nothing to wait for."""
        lease = self._lease
        if lease is None:
            return False
        done = lease.ack_unwritten()
        begun = lease.begin_ack() if done is None else done[0]
        self._lease = None
        return begun

    def nack(self, delay: float | None = None) -> bool:
        """Say that delivery failed: the event waits again, where it stood, after ``delay`` seconds.

        Left out, the delay is none after the first failure, and from then on 0.1 s, 0.2 s, 0.4 s
        and so on up to 30 s, each up to a fifth longer or shorter. Others of its owner go first
        meanwhile. After its last attempt (``mailbox(max_attempts=…)``) it is a dead letter.

        Returns False if the lease had ended.
        """
        return self._give_back(True, delay)

    def defer(self, delay: float = 0.0) -> bool:
        """As ``nack``, where nothing was tried: it counts for no attempt.

        Whoever waits at the mailbox gets the event at once; wait for what was missing first, or
        give a delay.
        """
        return self._give_back(False, delay)

    def _requeue(self) -> bool:
        """Say that the event is another's: it waits again, behind all others.

        As a put into a plain queue that it was taken from. It counts for no attempt. Returns False
        if the lease had ended.
        """
        lease = self._lease
        was_held = False if lease is None else lease.requeue()
        self._lease = None
        return was_held

    async def anack(self, delay: float | None = None) -> bool:
        """As ``nack``, in an ``asyncio`` task."""
        return self.nack(delay)

    async def adefer(self, delay: float = 0.0) -> bool:
        """As ``defer``, in an ``asyncio`` task."""
        return self.defer(delay)

    def _give_back(self, is_attempt: bool, delay: float | None) -> bool:
        lease = self._lease
        was_held, has_log = (False, False) if lease is None else lease.give_back(is_attempt, delay)
        # Last: whatever is raised before leaves the delivery unsettled.
        self._lease = None
        if has_log:
            log.pass_on()
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.aack()
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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            return self.__exit__(kind, exc, traceback)
        # All of them first: they are written together.
        for begun in [delivery._begin_ack() for delivery in self]:
            await _acknowledged(begun)


async def _acknowledged(begun: _core.Acking | bool) -> bool:
    """Whether an ack counts that was begun, once that is known."""
    if isinstance(begun, bool):
        return begun
    try:
        await event_loop.answered(begun, None, begun.leave)
        # The queue's event is dropped by this frame, not by the native one.
        was_held, _ = begun.end()
        return was_held
    finally:
        # Cancelled, it ends by itself.
        begun.leave()
