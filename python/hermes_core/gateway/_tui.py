"""Who delivers to the TUI's sessions: our pollers while the core is in place, else the gateway's.

The gateway starts a thread for each session, which runs its loop. With the core in place the loop
is ours. A thread that is in the gateway's own loop by then, since its session was opened before an
install, is taken over where that loop waits: in the `get` of the shared queue.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import _queue_swap
from hermes_core.gateway._poller import Poller, Pollers, Session

if TYPE_CHECKING:
    from collections.abc import Callable

_pollers = Pollers()


class _Memory(threading.local):
    """What the thread of a session knows of it, also from an earlier stay of the core."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.shown: set[tuple[object, ...]] = set()


_memory = _Memory()


def poller_for(original: Any) -> Callable[[threading.Event, str, Session], None]:
    """Make the stand-in for `tui_gateway.server._notification_poller_loop`."""
    host = original.__globals__

    def serve(stop: threading.Event, sid: str, session: Session) -> bool:
        poller = Poller(host, stop, sid, session, _pollers)
        poller.remember(_memory.keys, _memory.shown)
        if not _pollers.add(poller):
            return False
        try:
            return poller.run()
        finally:
            _pollers.remove(poller)

    def take_over(found: dict[str, Any]) -> None:
        if serve(found["stop_event"], found["sid"], found["session"]):
            # The session has ended, and its thread with it: left alone, the gateway's loop would
            # now go through what waits for others.
            raise SystemExit
        raise queue.Empty  # the gateway's loop looks again, at its own queue by now

    def _notification_poller_loop(stop_event: threading.Event, sid: str, session: Session) -> None:
        """Deliver to a session until it ends; after an uninstall the gateway's loop goes on."""
        if not serve(stop_event, sid, session):
            original(stop_event, sid, session)

    _queue_swap.take_overs[original.__code__] = take_over
    _pollers.open()
    return _notification_poller_loop


def turn_ended() -> None:
    """Have those pollers look again who wait for the end of a turn."""
    _pollers.turn_ended()


def leave() -> None:
    """Have the gateway's own loop deliver to every session; ours hold nothing any more."""
    _queue_swap.take_overs.clear()
    _pollers.close()
