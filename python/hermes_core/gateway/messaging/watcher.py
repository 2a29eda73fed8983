"""The messaging gateway's background results: each goes to its chat as soon as that is idle.

The gateway looks every two seconds, and what it finds interrupts whatever the chat is doing. Here a
courier waits at a mailbox, sorts by chat, and hands a chat's results over one at a time, each when
the one before is in its turn and the chat is idle again. A chat that is busy, or is not there,
keeps its own results waiting and no others'; they look again when they are told of a change, by the
stand-ins in `hooks`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from hermes_core import async_delegation
from hermes_core.gateway import home_ledgers, host_loops, queue_swap, settings
from hermes_core.gateway.counters import count
from hermes_core.gateway.messaging import chats
from hermes_core.gateway.messaging.chats import Obstacle
from hermes_core.gateway.messaging.turns import Handover, let_go
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType

    from hermes_core import Delivery

    Watcher = Callable[[Any, float], Coroutine[Any, Any, None]]

logger = logging.getLogger("hermes_core.gateway")

#: What a courier takes. Each process has a watcher task, which reports its end; the event is
#: dropped at its arrival.
DELEGATION, PROCESS_END = "async_delegation", "completion"

#: How long after its n-th failure a result is tried again, unless a change in its chat comes first;
#: after the last of these it waits for one.
RETRY_SECONDS = (1.0, 5.0, 25.0, 125.0)


class Chat:
    """The results that wait for one chat, in order."""

    __slots__ = ("changed", "held", "key", "name", "obstacle")

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key
        self.held: deque[Delivery] = deque()
        self.changed = asyncio.Event()
        self.obstacle: Obstacle | None = None

    def tell(self, _: object = None) -> None:
        """Have it look again."""
        self.changed.set()


class Courier:
    """Delivers the results that come back to one `GatewayRunner`."""

    def __init__(self, runner: Any, format_event: Callable[[Any], str | None]) -> None:
        self._runner = runner
        self._format = format_event
        self._loop = asyncio.get_running_loop()
        self._box = async_delegation.completion_queue.mailbox(
            types=(DELEGATION, PROCESS_END), **settings.terms()
        )
        # An uninstall may come from any thread: it and the courier agree here on what is whose.
        self._lock = forked.lock(self)
        self._closed = False
        self.gave_way = False
        """Whether it ended for an uninstall."""
        self._wanted: list[home_ledgers.Want] = []
        self._chats: dict[str, Chat] = {}
        self._waiting: dict[str, set[Chat]] = {}
        self._over: dict[str, str] = {}

    async def run(self) -> None:
        """Deliver until the gateway stops, the core is uninstalled, or this task is cancelled."""
        global _couriers
        for other in _couriers:
            if other._loop.is_closed():  # nobody ended that one
                other.stop()
        _couriers = (*(other for other in _couriers if not other._loop.is_closed()), self)
        try:
            async with asyncio.TaskGroup() as chats:
                chats.create_task(asyncio.to_thread(self._restore))
                async for delivery in self._box:
                    if not self._runner._running:
                        await delivery.adefer()
                        self.stop()
                    elif (chat := await self._sort(delivery)) is not None:
                        chats.create_task(self._serve(chat))
        finally:
            self.stop()
            _couriers = tuple(courier for courier in _couriers if courier is not self)

    def _restore(self) -> None:
        """Have what an earlier process left for this gateway's chats come."""
        try:
            for home in chats.homes(self._runner):
                wanted = home_ledgers.restore(
                    home, owns=lambda event: chats.is_ours(self._runner, event)
                )
                with self._lock:
                    if self._closed:
                        return
                    self._wanted.append(wanted)
        except Exception:
            # What comes while the process runs is delivered all the same.
            logger.exception("what the chats had before cannot be given back")

    def stop(self) -> None:
        """Give back what has not been handed over, and end; from any thread, any number of times.

        What was handed over belongs to its turn: it comes back if that never begins.
        """
        with self._lock:
            self._closed = True
            self._wanted.clear()
            chats = list(self._chats.values())
        self._box.close()
        for chat in chats:
            self._retire(chat)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its tasks with it
            self._loop.call_soon_threadsafe(self._tell, chats)

    def tell(self, key: str | None) -> None:
        """Have the results that wait for a change under this key look again; `None`: all of them.

        From any thread.
        """
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._tell(self._chats.values() if key is None else self._waiting.get(key, ()))
        else:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self.tell, key)

    def reset(self, key: str) -> None:
        """Let the queue park what waits for a conversation that is over; from any thread."""
        self._over.pop(key, None)
        if (chat := self._chats.get(key)) is not None:
            self._retire(chat)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(chat.tell)

    def obstacles(self) -> list[Obstacle]:
        """What keeps each waiting result from its chat."""
        with self._lock:
            chats = [(chat.obstacle, len(chat.held)) for chat in self._chats.values()]
        return [obstacle for obstacle, held in chats if obstacle for _ in range(held)]

    async def _sort(self, delivery: Delivery) -> Chat | None:
        """Put an arrival to its chat; return the chat if it is a new one."""
        event = delivery.event
        if dict.get(event, "type") != DELEGATION:
            await delivery.aack()
            count("process ends left to the watcher task")
            return None
        name = chats.name(event)
        with self._lock:
            if not self._closed:
                chat = self._chats.get(name)
                if is_new := chat is None:
                    chat = self._chats[name] = Chat(name, chats.session_key(event))
                chat.held.append(delivery)
                return chat if is_new else None
        await delivery.adefer()
        return None

    async def _serve(self, chat: Chat) -> None:
        """Hand over a chat's results until none waits."""
        try:
            while (delivery := self._first(chat)) is not None:
                if await self._idle(chat, delivery) and self._claim(chat, delivery):
                    await self._hand_over(chat, delivery)
        except Exception:
            logger.exception("a result could not be brought to %s, and waits", chat.key)
        finally:
            self._retire(chat)

    async def _idle(self, chat: Chat, delivery: Delivery) -> bool:
        """Wait for the chat to be idle; False if the result is not this chat's task's any more."""
        failures = delivery.attempt - 1
        while self._first(chat) is delivery:
            if not self._runner._running:
                self.stop()
                break
            chat.changed.clear()
            view = self._look(chat, delivery)
            chat.obstacle = view.obstacle
            if failures:
                left = RETRY_SECONDS[failures - 1 : failures]
                failures = 0
                await self._change(chat, view, *left)
            elif self._is_news(chat, view):
                # The gateway has yet to notice: it would by this very turn, and begin anew with it.
                self._over[chat.key] = view.session_id
                await async_delegation.completion_queue.anew_epoch(chat.key)
                self._retire(chat)
            elif view.obstacle in (None, Obstacle.OVER):
                return True
            else:
                await self._change(chat, view)
        return False

    def _is_news(self, chat: Chat, view: chats.View) -> bool:
        """Say whether a conversation is over and this courier has not parked its results yet."""
        over = view.obstacle is Obstacle.OVER
        return over and bool(chat.key) and self._over.get(chat.key) != view.session_id

    def _look(self, chat: Chat, delivery: Delivery) -> chats.View:
        try:
            return chats.look(self._runner, delivery.event)
        except Exception:
            logger.exception("where a result belongs could not be seen; it waits for %s", chat.key)
            return chats.View(Obstacle.ABSENT, (chat.key,))

    async def _change(self, chat: Chat, view: chats.View, seconds: float | None = None) -> None:
        """Wait until something has changed for the chat, `seconds` at most."""
        for key in view.keys:
            self._waiting.setdefault(key, set()).add(chat)
        if view.owner is not None:
            # It may end without giving the chat free; the gateway heals that at the next message.
            view.owner.add_done_callback(chat.tell)
        try:
            async with asyncio.timeout(seconds):
                await chat.changed.wait()
        except TimeoutError:
            pass
        finally:
            if view.owner is not None:
                view.owner.remove_done_callback(chat.tell)
            for key in set(view.keys):
                self._waiting[key].discard(chat)
                if not self._waiting[key]:
                    del self._waiting[key]

    async def _hand_over(self, chat: Chat, delivery: Delivery) -> None:
        """Begin a turn with a result, and wait until it has begun.

        From the look at the chat to the gateway's own guard nothing is awaited.
        """
        handover = Handover(delivery, lambda: self._retire(chat), chat.tell)
        with handover.under_way():
            if text := self._format(delivery.event):
                await self._runner._inject_watch_notification(text, delivery.event)
            else:
                count("events without a notification")
                await handover.begins()
        while not handover.settled and not self._closed:
            chat.changed.clear()
            await chat.changed.wait()

    def _first(self, chat: Chat) -> Delivery | None:
        with self._lock:
            return chat.held[0] if chat.held else None

    def _claim(self, chat: Chat, delivery: Delivery) -> bool:
        """Take a result out of those that an uninstall gives back; False if it is not to be had."""
        with self._lock:
            if not chat.held or chat.held[0] is not delivery:
                return False
            chat.held.popleft()
        # One that was held for too long has come anew, or will.
        return delivery.is_held

    def _retire(self, chat: Chat) -> None:
        """Give back all that waits for a chat; its next result makes it anew."""
        with self._lock:
            if self._chats.get(chat.name) is chat:
                del self._chats[chat.name]
            held = list(chat.held)
            chat.held.clear()
        for delivery in held:
            delivery.defer()

    def _tell(self, chats: Any) -> None:
        for chat in list(chats):
            chat.tell()


_couriers: tuple[Courier, ...] = ()


def tell(key: str | None) -> None:
    """Tell of a change under this key, see `Courier.tell`."""
    for courier in _couriers:
        courier.tell(key)


def reset(key: str) -> None:
    """Tell that the conversation under this key is over: its results are parked, not delivered."""
    async_delegation.completion_queue.new_epoch(key)
    for courier in _couriers:
        courier.reset(key)


def give_way() -> None:
    """Give everything back that no turn has; the gateway's own watchers go on in our place.

    Called while the stand-ins are still there: what is just being handed over is seen to arrive.
    """
    host_loops.clear()
    for courier in _couriers:
        courier.gave_way = True
        courier.stop()
    let_go()


def waiting() -> dict[str, int]:
    """Count the results that wait, by what they wait for, and those that are parked."""
    counts: dict[str, int] = {}
    for courier in _couriers:
        for obstacle in courier.obstacles():
            counts[obstacle.value] = counts.get(obstacle.value, 0) + 1
    if parked := len(async_delegation.completion_queue.parked()):
        counts["delegations parked by a reset"] = parked
    return counts


class TakenOver(asyncio.CancelledError):
    """Ends a watcher of the gateway's that ours goes on for."""


# The loop keeps weak references only.
_successors: set[asyncio.Task[None]] = set()


def watcher_for(original: Watcher) -> Watcher:
    """Make the stand-in for `GatewayRunner._async_delegation_watcher`.

    One that is at work already cannot be found from outside: the gateway keeps no reference to its
    task. But a look of its begins with the queue's `empty`, and there it gives way.
    """
    loop, names = host_loops.of(original), original.__globals__

    async def _async_delegation_watcher(self: Any, interval: float = 2.0) -> None:
        """Deliver results as they come; after an uninstall, look as the gateway does."""
        while host_loops.is_known(loop):
            courier = Courier(self, lambda e: names["_format_gateway_process_notification"](e))
            await courier.run()
            if not courier.gave_way:
                return
        await loop.original(self, interval)

    def take_over(frame: FrameType) -> None:
        found = frame.f_locals
        if found.get("requeue") or found.get("async_events"):
            return  # it has events in hand, and delivers them first
        ours = _async_delegation_watcher(found["self"], found["interval"])
        task = asyncio.get_running_loop().create_task(ours)
        _successors.add(task)
        task.add_done_callback(_successors.discard)
        raise TakenOver

    queue_swap.watch(loop, take_over)
    return _async_delegation_watcher
