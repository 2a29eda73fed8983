"""The TUI's pollers, each taking what is its own session's.

The gateway runs one poller per session, all on one queue: each takes whatever comes first, looks,
and puts back what is another's. Two pollers can pass each other's events around like that for
good, and one whose own session is busy spins. Here the poller's code stays the gateway's; what its
thread takes from the queue is decided by whose poller it is:

* its own session's events, in their order, and of the events that are nobody's the notices about
  processes. A delegation of nobody, or of a session that is not there, stays on the queue;
* an event that it puts back, because its session is in a turn, is the first again, and is not
  taken again before the turn has ended.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from hermes_core import CompletionQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    Loop = Callable[[threading.Event, str, dict[str, Any]], None]

#: What may be nobody's and is still for whoever is there.
NOTICES = (
    "completion",
    "watch_match",
    "watch_disabled",
    "watch_overflow_tripped",
    "watch_overflow_released",
)

#: Seconds between two looks at a session that is in a turn while an event of its waits.
BUSY_SECONDS = 0.05


class Poller:
    """The session that a thread polls for, and what it has in hand."""

    __slots__ = ("_busy", "_session", "_stop", "_taken")

    def __init__(self, stop: threading.Event, session: dict[str, Any]) -> None:
        self._stop = stop
        self._session = session
        self._taken: object = None
        self._busy = False

    def take(self, events: CompletionQueue[Any], timeout: float) -> Any:
        """Take the next event for the session, waiting `timeout` seconds for one.

        Raises `queue.Empty`.
        """
        deadline = time.monotonic() + timeout
        while self._busy:
            self._busy = bool(self._session.get("running"))
            if self._busy and (time.monotonic() >= deadline or self._stop.wait(BUSY_SECONDS)):
                raise queue.Empty
        left = max(0.0, deadline - time.monotonic())
        key = self._session.get("session_key")
        try:
            if not isinstance(key, str) or not key:
                raise queue.Empty
            self._taken = CompletionQueue.get(events, True, left, session_key=key)
        except queue.Empty:
            # What is nobody's has the poll's rhythm, as in the gateway.
            self._taken = CompletionQueue.get_nowait(events, unaddressed=True, types=NOTICES)
        return self._taken

    def puts_back(self, event: object) -> bool:
        """Say whether this put undoes the last take; then the session is in a turn."""
        if event is None or event is not self._taken:
            return False
        self._taken = None
        self._busy = True
        return True


_threads = threading.local()


def current() -> Poller | None:
    """Return the poller that this thread is, if it is one."""
    return getattr(_threads, "poller", None)


def poller_for(original: Loop) -> Loop:
    """Make the stand-in for `tui_gateway.server._notification_poller_loop`."""

    def _notification_poller_loop(
        stop_event: threading.Event, sid: str, session: dict[str, Any]
    ) -> None:
        """Run the gateway's loop; what it takes is its own session's."""
        _threads.poller = Poller(stop_event, session)
        try:
            original(stop_event, sid, session)
        finally:
            del _threads.poller

    return _notification_poller_loop
