"""Who hears of a queue's mailboxes and epochs: the registries that dispatch to it."""

from __future__ import annotations

import weakref

from hermes_core import _core
from hermes_core.runtime import event_loop, log
from hermes_core.runtime.uncopied import Uncopied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol, Self

    class Listener(Protocol):
        """What is called in the frame of whoever opens a mailbox or begins an epoch."""

        def _mailbox_opened(
            self,
            mailbox: object,
            session_keys: Callable[[], Iterable[str]],
            owns: Callable[[Any], object] | None,
        ) -> None:
            """A mailbox was opened, or has a new key; what is asked does not keep it alive."""

        def _epoch_began(self, session_key: str) -> Iterable[_core.Receipt]:
            """An owner's conversation was reset; what is being written of that."""


class ListenedQueue(Uncopied, _core.CompletionQueue):
    """The native queue, and who listens to it as long as they are there."""

    __slots__ = ("_listeners",)

    _instead = "what waits in it waits once; take it here, and pass it on"

    # As in queue.Queue all arguments belong to __init__, so that a subclass may have its own.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        queue = super().__new__(cls)
        queue._listeners = weakref.WeakSet()
        return queue

    _listeners: weakref.WeakSet[Listener]

    def listen(self, listener: Listener) -> None:
        """Call a listener as long as it is there."""
        self._listeners.add(listener)

    def new_epoch(self, session_key: str) -> int:
        """Begin a new epoch of an owner, whose conversation was reset; return its number.

        Delegations that it dispatched before are parked, those that have ended now and the others
        as they end: nobody gets them, ``parked`` lists them.

        That counts at once, and is written down where there is a ledger. In a thread where an event
        loop runs it does not wait for the disk; whoever must know awaits ``anew_epoch``.
        """
        epoch, receipts = self._begin_epoch(session_key)
        if not event_loop.is_running():
            for receipt in receipts:
                _tell_of_failure(session_key, receipt.wait)
        return epoch

    async def anew_epoch(self, session_key: str) -> int:
        """As ``new_epoch``, in an ``asyncio`` task: it returns once that is written."""
        epoch, receipts = self._begin_epoch(session_key)
        for receipt in receipts:
            await event_loop.answered(receipt, _PATIENCE)
            _tell_of_failure(session_key, receipt.end)
        return epoch

    def _begin_epoch(self, session_key: str) -> tuple[int, list[_core.Receipt]]:
        """Begin one; what is being written of it."""
        epoch = self._new_epoch(session_key)
        listeners = tuple(self._listeners)
        receipts = [one for listener in listeners for one in listener._epoch_began(session_key)]
        return epoch, receipts


#: For how many seconds a new epoch waits for its rows.
_PATIENCE = 30.0


def _tell_of_failure(session_key: str, wait: Callable[[], bool]) -> None:
    """Wait for what is written of a new epoch; log a failure: the ledger tries again."""
    try:
        wait()
    except _core.LedgerError as exc:
        log.ledger_error("a reset of %r is not written down: %s", session_key, exc)
