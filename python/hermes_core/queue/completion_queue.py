"""The Python face of the completion queue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from queue import Full

from hermes_core import _core
from hermes_core.queue.listeners import ListenedQueue
from hermes_core.queue.mailbox import Mailbox
from hermes_core.runtime import event_loop
from hermes_core.runtime.generic import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")
else:
    T = None

__all__ = ["CompletionQueue"]

#: Seconds for which a delivery is its consumer's, unless a mailbox says otherwise.
LEASE_SECONDS = 300.0


class CompletionQueue(ListenedQueue, Generic[T]):
    """A drop-in for ``queue.Queue`` that also knows whose each event is.

    Methods, arguments and exceptions are those of CPython's ``Lib/queue.py`` (3.13, with
    ``shutdown`` on every Python). Left out are the hooks ``_put``, ``_get``, ``_qsize`` and the
    internals ``mutex``, ``not_empty``, ``not_full``, ``queue``.

    A put of a dict reads its ``"type"`` (absent: ``"completion"``) and ``"session_key"``; ``get``
    and ``get_nowait`` take by them: ``get(types={"async_delegation"}, session_key=key)`` removes
    the first such event in O(1) and moves no other. An event without a session key is taken by
    unfiltered consumers only, and by ``get(unaddressed=True)``, which takes nothing else.
    ``put_back(event)`` undoes a ``get``: the event is the first again.

    After ``os.fork`` the child's queue is empty and works: an inherited event would be delivered
    twice. Here it departs from ``queue.Queue``, on purpose.

    Args:
        maxsize: the bound, in events; zero or less for none.
    """

    __slots__ = ()

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize

    async def aput(self, item: T) -> None:
        """As ``put``, in an ``asyncio`` task: it waits for room without a thread.

        Raises:
            ShutDown: the queue is shut down.
        """
        room: _core.Room | None = None
        try:
            while True:
                try:
                    return self.put_nowait(item)
                except Full:
                    pass
                if room is None:
                    waiter = event_loop.waiter()
                    room = _core.Room(self, waiter)
                    waiter.on_abandon = room.leave
                if room.enter():
                    await event_loop.wait(waiter)
        finally:
            if room is not None:
                room.leave()

    def mailbox(
        self,
        *,
        session_key: str | Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        unaddressed: Collection[str] = (),
        owns: Callable[[T], object] | None = None,
        lease: float | None = LEASE_SECONDS,
        max_attempts: int | None = _core.MAX_ATTEMPTS,
    ) -> Mailbox:
        """Open a mailbox: an owner's view of this queue.

        Args:
            session_key: the owner's key or keys. Left out, with ``unaddressed`` and ``owns``, the
                mailbox is for everything.
            types: only events of these kinds.
            unaddressed: kinds of which it also takes what is nobody's.
            owns: says whether an event is the owner's, where a key does not. It is asked in the
                frame of whoever takes, once for each new address (kind, ``session_key``,
                ``origin_ui_session_id``, ``parent_session_id``). Of what an earlier process left
                it is shown the address alone. If it raises, the answer is no.
                Beyond some 1,000 addresses, those under which nothing waits are asked again.
            lease: seconds after which an event that its consumer said nothing of comes back;
                ``None`` for never, where a consumer cannot go without its process.
            max_attempts: how often an event is tried, 20 times unless said otherwise. One that was
                handed out so often without an ``ack`` or a ``defer`` is a dead letter
                (``dead_letters``). ``None`` tries for good.

        Raises:
            TypeError, ValueError: a key is empty or no str, a kind is no str.
        """
        keys: Iterable[str] | None = session_key
        if isinstance(session_key, str):
            keys = () if unaddressed and not session_key else (session_key,)
        elif session_key is None and (unaddressed or owns is not None):
            keys = ()
        return Mailbox(self, keys, types, unaddressed, owns, lease, max_attempts)

    def pending(self, session_key: str | None = None) -> list[T]:
        """The events that wait, in order, all or one owner's; nothing is taken out."""
        return self._pending(session_key)

    def parked(self) -> list[T]:
        """The events of delegations that an owner dispatched before its present epoch, in order."""
        return self._parked()

    def dead_letters(self) -> list[T]:
        """The events that had all their attempts, in order.

        See ``mailbox``; ``DelegationRegistry.redeliver`` and ``drop`` decide about them.
        """
        return self._dead_letters()

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue: ``put`` raises ``ShutDown`` from now on, ``get`` once nothing waits.

        Args:
            immediate: remove the waiting events too, and count them as done.
        """
        # The removed events are dropped by this frame, not by the native one.
        self._shutdown(bool(immediate))

    def __del__(self) -> None:
        # What still waits is dropped by this frame, not by the native one.
        self._drain()
