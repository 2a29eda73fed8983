"""The messaging gateway's notices about processes, taken after each turn.

A notice goes to its own chat, and interrupts no turn there: one whose chat is in another turn is
left to the drain after that turn. One that has no chat waits in case it gets one, and expires.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from typing import Any

from hermes_core import CompletionQueue
from hermes_core.gateway.counters import count
from hermes_core.gateway.messaging import chats
from hermes_core.gateway.messaging.chats import Obstacle
from hermes_core.gateway.messaging.turns import this_turn

logger = logging.getLogger("hermes_core.gateway")

Event = dict[str, Any]
Drain = Callable[[Any], list[Event]]

NOTICES = ("watch_match", "watch_disabled", "watch_overflow_tripped", "watch_overflow_released")
# Each process has a watcher task, which reports its end.
OWNED_BY_A_TASK = ("completion",)

#: How long a notice waits for a chat that is not there.
EXPIRY_SECONDS = 3600.0


def watch_drain_for(original: Drain) -> Drain:
    """Make the stand-in for `gateway.run._drain_gateway_watch_events`."""
    without_chat = Waiting()

    def _drain_gateway_watch_events(completion_queue: Any) -> list[Event]:
        """Take the notices that may go to their chats now; leave everything else where it is."""
        if not isinstance(completion_queue, CompletionQueue):
            return original(completion_queue)
        taken: list[Event] = []
        left, homeless = [], []
        begun: set[str] = set()
        with completion_queue.mailbox(types=NOTICES, lease=None) as box:
            while (delivery := _next(box)) is not None:
                obstacle = _obstacle(delivery.event, begun)
                if obstacle is None:
                    taken.append(_shown(delivery.event))
                    delivery.ack()
                elif obstacle is Obstacle.ABSENT:
                    homeless.append(delivery)
                else:
                    left.append(delivery)
        fresh = without_chat.fresh([delivery.event for delivery in homeless])
        for delivery in homeless:
            if id(delivery.event) in fresh:
                left.append(delivery)
            else:
                delivery.ack()
                count("notices that nobody could take")
        # Each goes back to where it stood.
        for delivery in left:
            delivery.defer()
        with completion_queue.mailbox(types=OWNED_BY_A_TASK, lease=None) as box:
            while (delivery := _next(box)) is not None:
                delivery.ack()
                count("process ends left to the watcher task")
        return taken

    return _drain_gateway_watch_events


class Waiting:
    """Since when each event of a list that is looked at from time to time has been in it."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        # With the events themselves: the id of one that is gone may be another's.
        self._since: list[tuple[Event, float]] = []

    def fresh(self, events: list[Event]) -> set[int]:
        """Return the ids of those that have not expired; the list is these from now on."""
        now = time.monotonic()
        since = {id(event): at for event, at in self._since}
        self._since = [
            (event, at)
            for event in events
            if now - (at := since.get(id(event), now)) < EXPIRY_SECONDS
        ]
        return {id(event) for event, _ in self._since}


def _next(box: Any) -> Any:
    try:
        return box.get_nowait()
    except queue.Empty:
        return None


def _obstacle(event: Event, begun: set[str]) -> Obstacle | None:
    """What keeps a notice from its chat; `begun` holds the other chats that this drain serves.

    A chat takes any number after its own turn, for those become one turn; another takes one.
    """
    try:
        turn = this_turn()
        if turn is None:
            routed = event.get("session_key") or event.get("chat_id")
            return None if routed else Obstacle.ABSENT
        runner, own = turn
        key = chats.session_key(event)
        if key and key == own:
            return None
        found = chats.look(runner, event).obstacle
    except Exception:
        logger.exception("where a notice belongs could not be seen")
        return Obstacle.ABSENT
    if found not in (None, Obstacle.OVER):
        return found
    if key in begun:
        return Obstacle.BUSY
    begun.add(key)
    return None


def _shown(event: Event) -> Event:
    """The event in a form that the gateway has a text for: its own knows no overflow notices."""
    if event["type"].startswith("watch_overflow"):
        return {**event, "type": "watch_disabled"}
    return event
