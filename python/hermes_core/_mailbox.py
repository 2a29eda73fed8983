"""Mailboxes: an owner's view of the completion queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from queue import Empty

from . import _core
from ._delivery import Batch, Delivery

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from ._queue import CompletionQueue

__all__ = ["Mailbox"]

#: Told of each mailbox that is opened or gets a key, once a ledger has something to give back.
on_open: Callable[[Mailbox], None] | None = None


class Mailbox:
    """An owner's view of a queue: it gives only the owner's events, and waits for only those.

    Made by ``CompletionQueue.mailbox``. What it gives is under a lease, see ``Delivery``; an event
    that comes back stands where it stood. Closed, it gives nothing more; what waits for it stays
    in the queue.
    """

    __slots__ = ("__weakref__", "_core", "_keys", "_owns", "_queue")

    def __init__(
        self,
        queue: CompletionQueue[Any],
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
        self._keys = None if session_keys is None else dict.fromkeys(session_keys)
        keys = None if self._keys is None else [_key(key) for key in self._keys]
        nobodys = _kinds("unaddressed", unaddressed) or None
        kinds = None if types is None else _kinds("types", types)
        self._owns = owns
        self._core = _core.Mailbox(
            queue, keys, kinds, nobodys, owns is not None, lease, max_attempts
        )
        if owns is not None:
            for place, event in self._core.unfiled():
                self._core.file(place, event)
        if on_open is not None:
            on_open(self)

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
            self._judge()
        while (taken := self._core.take(block, timeout)) is None:
            self._judge()
            if deadline is not None:
                timeout = max(0.0, deadline - time.monotonic())
        return Delivery(*taken)

    async def aget(self, timeout: float | None = None) -> Delivery:
        """As ``get``, in an ``asyncio`` task: it waits without a thread.

        A task that is cancelled has taken nothing.
        """
        from . import _aio

        timeout = _aio.seconds(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = _aio.waiter()
        collector = _core.Collector(self._core, waiter)
        waiter.on_abandon = collector.leave
        try:
            while True:
                polled = collector.poll()
                if isinstance(polled, tuple):
                    return Delivery(*polled)
                if polled:
                    self._judge()
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Empty
                await _aio.wait(waiter, left)
        finally:
            collector.leave()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        try:
            return await self.aget()
        except _core.ShutDown:
            raise StopAsyncIteration from None

    def _judge(self) -> None:
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
        """
        self._own_keys()[_key(session_key)] = None
        self._core.add_key(session_key)
        if on_open is not None:
            on_open(self)

    def remove_key(self, session_key: str) -> None:
        """Take a session key away: what waits under it goes on waiting, for another mailbox.

        Raises:
            ValueError: as ``add_key``.
        """
        self._own_keys().pop(_key(session_key), None)
        self._core.remove_key(session_key)

    def _own_keys(self) -> dict[str, None]:
        if self._keys is None:
            raise ValueError("a mailbox of every owner has no keys; open one with a session_key")
        return self._keys

    def new_epoch(self) -> None:
        """Begin a new epoch of each of its owner's keys, see ``CompletionQueue.new_epoch``."""
        for key in self.session_keys or ():
            self._queue.new_epoch(key)

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
    # Its letters would be kinds.
    if isinstance(kinds, str):
        raise TypeError(f"{name} must be a list, tuple or set of kinds, not one str")
    return tuple(kinds)


def _key(session_key: str) -> str:
    if not isinstance(session_key, str):
        raise TypeError(f"a session key must be a str, not {type(session_key).__name__}")
    if not session_key:
        raise ValueError(
            "a session key is empty, and an empty key is nobody's; "
            "say unaddressed={kind, ...} for what is nobody's"
        )
    return session_key
