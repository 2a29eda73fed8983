"""Mailboxes: an owner's view of the completion queue."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from queue import Empty

from hermes_core import _core
from hermes_core.queue.delivery import Batch, Delivery
from hermes_core.queue.keys import session_key_of, session_keys_of
from hermes_core.queue.listeners import ListenedQueue
from hermes_core.runtime import event_loop
from hermes_core.runtime.uncopied import Uncopied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

__all__ = ["Mailbox"]


class Mailbox(Uncopied):
    """An owner's view of a queue: it gives only the owner's events, and waits for only those.

    Made by ``CompletionQueue.mailbox``. What it gives is under a lease, see ``Delivery``; an event
    that comes back stands where it stood. Closed, it gives nothing more; what waits for it stays
    in the queue.
    """

    __slots__ = ("__weakref__", "_core", "_keys", "_owns", "_queue")

    _instead = "open another on the queue"

    def __init__(
        self,
        queue: ListenedQueue,
        session_keys: Iterable[str] | None,
        types: Iterable[str] | None,
        unaddressed: Iterable[str],
        owns: Callable[[Any], object] | None,
        lease: float | None,
        max_attempts: int | None,
    ) -> None:
        if max_attempts is not None and max_attempts < 1:
            raise ValueError("max_attempts must be at least 1, or None for no end")
        self._queue = queue
        keys = None if session_keys is None else session_keys_of(session_keys)
        self._keys = None if keys is None else dict.fromkeys(keys)
        nobodys = _kinds("unaddressed", unaddressed) or None
        kinds = None if types is None else _kinds("types", types)
        self._owns = owns
        self._core = _core.Mailbox(
            queue, keys, kinds, nobodys, owns is not None, lease, max_attempts
        )
        if owns is not None:
            for place, event in self._core.unfiled():
                self._core.file(place, event)
        self._call_listeners()

    @property
    def session_keys(self) -> tuple[str, ...] | None:
        """The owner's session keys; ``None`` for a mailbox of every owner."""
        return None if self._keys is None else tuple(self._keys)

    def get(self, block: bool = True, timeout: float | None = None) -> Delivery:
        """Take the first event, waiting up to ``timeout`` seconds for one.

        Raises:
            queue.Empty: none came in time.
            ShutDown: the mailbox is closed, or nothing waits and the queue is shut down.
        """
        deadline = None
        if self._owns is not None:
            deadline = None if timeout is None else time.monotonic() + timeout
            self._ask_owner()
        while (taken := self._core.take(block, timeout)) is None:
            self._ask_owner()
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())
        return Delivery(*taken)

    async def aget(self, timeout: float | None = None) -> Delivery:
        """As ``get``, in an ``asyncio`` task: it waits without a thread.

        A task that is cancelled has taken nothing.
        """
        timeout = event_loop.seconds(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = event_loop.waiter()
        collector = _core.Collector(self._core, waiter)
        waiter.on_abandon = collector.leave
        try:
            while True:
                polled = collector.poll()
                if isinstance(polled, tuple):
                    return Delivery(*polled)
                if polled:
                    self._ask_owner()
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                await event_loop.wait(waiter, left)
        finally:
            collector.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        try:
            return await self.aget()
        except _core.ShutDown:
            raise StopAsyncIteration from None

    def _ask_owner(self) -> None:
        """Ask the host of each address that is new here whether it is the owner's."""
        asked: tuple[_core.Question, Any] | None = None
        try:
            while (asked := self._core.next_question()) is not None:
                question, event = asked
                question.answer(self._is_own(event))
        finally:
            # Whatever was thrown in, and wherever it came: it is asked again.
            if asked is not None:
                asked[0].answer(None)

    def _is_own(self, event: Any) -> bool:
        try:
            return self._owns is not None and bool(self._owns(event))
        except Exception:
            import logging

            logger = logging.getLogger("hermes_core.queue")
            logger.exception("an owns callback raised, and so does not own the event")
            return False

    def get_nowait(self) -> Delivery:
        """As ``get(block=False)``."""
        return self.get(False)

    def take_all(self, window: float = 0.0, timeout: float | None = None) -> Batch:
        """Take the first event, as ``get`` does, and all that come within ``window`` seconds of it.

        Raises as ``get``.
        """
        batch = Batch([self.get(timeout=timeout)])
        deadline = time.monotonic() + window
        try:
            while True:
                batch.append(self.get(timeout=max(0.0, deadline - time.monotonic())))
        except (Empty, _core.ShutDown):
            return batch
        except BaseException:
            _defer(batch)
            raise

    async def atake_all(self, window: float = 0.0, timeout: float | None = None) -> Batch:
        """As ``take_all``, in an ``asyncio`` task."""
        batch = Batch([await self.aget(timeout)])
        deadline = time.monotonic() + window
        try:
            while True:
                batch.append(await self.aget(max(0.0, deadline - time.monotonic())))
        except (Empty, _core.ShutDown):
            return batch
        except BaseException:
            _defer(batch)
            raise

    def add_key(self, session_key: str) -> None:
        """Give the owner one more session key: what waits under it is the owner's from now on.

        Raises:
            ValueError: the key is empty, or this is a mailbox of every owner.
            MemoryError: there is none for it; nothing is changed.
        """
        keys, key = self._own_keys(), session_key_of(session_key)
        is_new = key not in keys
        # First: where there is no memory, it is not the owner's.
        self._core.add_key(session_key)
        keys[key] = None
        try:
            self._call_listeners()
        except MemoryError:
            if is_new:
                self.remove_key(session_key)
            raise

    def remove_key(self, session_key: str) -> None:
        """Take a session key away: what waits under it goes on waiting, for another mailbox.

        Raises:
            ValueError: as ``add_key``.
        """
        keys, key = self._own_keys(), session_key_of(session_key)
        self._core.remove_key(session_key)
        keys.pop(key, None)

    def _call_listeners(self) -> None:
        """What earlier processes left for its owner comes back, also later, while it is there."""
        listeners = tuple(self._queue._listeners)
        if not listeners or (self._keys is None and self._owns is None):
            return
        box = weakref.ref(self)

        def session_keys() -> Iterable[str]:
            mailbox = box()
            if mailbox is None or mailbox.is_closed:
                return ()
            return mailbox.session_keys or ()

        def owns(event: Any) -> bool:
            mailbox = box()
            return mailbox is not None and not mailbox.is_closed and mailbox._is_own(event)

        for listener in listeners:
            listener._mailbox_opened(self, session_keys, owns if self._owns else None)

    def _own_keys(self) -> dict[str, None]:
        if self._keys is None:
            raise ValueError("a mailbox of every owner has no keys; open one with a session_key")
        return self._keys

    def new_epoch(self) -> None:
        """Begin a new epoch of each of its owner's keys, see ``CompletionQueue.new_epoch``."""
        for key in self.session_keys or ():
            self._queue.new_epoch(key)

    async def anew_epoch(self) -> None:
        """As ``new_epoch``, in an ``asyncio`` task: it returns once that is written."""
        for key in self.session_keys or ():
            await self._queue.anew_epoch(key)

    def pending(self) -> int:
        """How many events wait for it."""
        return self._core.pending()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._core.is_closed()

    def close(self) -> None:
        """Close it: those who wait at it get ``ShutDown``, what waits for it stays in the queue."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _defer(batch: Batch) -> None:
    """Give all back now: whoever keeps the exception that is raised keeps the batch."""
    for delivery in batch:
        delivery.defer()


def _kinds(name: str, kinds: Iterable[str]) -> tuple[str, ...]:
    # Each of its characters would be a kind.
    if isinstance(kinds, str):
        raise TypeError(f"{name} must be a list, tuple or set of kinds, not one str")
    return tuple(kinds)
