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

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from hermes_core import CompletionQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Loop = Callable[[threading.Event, str, dict[str, Any]], None]

logger = logging.getLogger("hermes_core.gateway")

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

    __slots__ = ("_busy", "_keys", "_notices_next", "_session", "_sessions", "_stop", "_taken")

    def __init__(
        self,
        stop: threading.Event,
        session: dict[str, Any],
        sessions: Mapping[str, dict[str, Any]],
    ) -> None:
        self._stop = stop
        self._session = session
        self._sessions = sessions
        # Every key that the session has had: it gets another when its context is compressed, and
        # what it had dispatched by then comes back under the old one.
        self._keys: list[str] = []
        self._taken: object = None
        self._busy = False
        self._notices_next = False
        self._look_at_key()

    def take(self, events: CompletionQueue[Any], timeout: float) -> Any:
        """Take the next event for the session, waiting `timeout` seconds for one.

        Raises `queue.Empty`.
        """
        deadline = time.monotonic() + timeout
        while self._busy:
            self._busy = bool(self._session.get("running"))
            if self._busy and (time.monotonic() >= deadline or self._stop.wait(BUSY_SECONDS)):
                raise queue.Empty
        key = self._look_at_key()
        # By turns, so that neither a stream of results nor one of notices keeps the other waiting.
        self._notices_next = not self._notices_next
        takes = [lambda: self._notice(events), *(self._own(events, old) for old in self._old())]
        if key:
            takes.insert(1 if self._notices_next else 0, self._own(events, key))
        for take in takes:
            try:
                self._taken = take()
                return self._taken
            except queue.Empty:
                continue
        left = max(0.0, deadline - time.monotonic())
        wanted: dict[str, Any] = {"session_key": key}
        if not key:
            wanted = {"unaddressed": True, "types": NOTICES}
        # What is nobody's, or under an old key, has the poll's rhythm, as in the gateway.
        self._taken = CompletionQueue.get(events, True, left, **wanted)
        return self._taken

    def puts_back(self, event: object) -> bool:
        """Say whether this put undoes the last take; then the session is in a turn."""
        if event is None or event is not self._taken:
            return False
        self._taken = None
        self._busy = True
        return True

    def _look_at_key(self) -> str:
        key = self._session.get("session_key")
        if not isinstance(key, str) or not key:
            return ""
        if key not in self._keys:
            self._keys.append(key)
        return key

    def _old(self) -> list[str]:
        """The session's earlier keys, but for those that another live session has now."""
        current = self._session.get("session_key")
        old = [key for key in self._keys if key != current]
        if old:
            taken = {s.get("session_key") for s in list(self._sessions.values())}
            old = [key for key in old if key not in taken]
        return old

    @staticmethod
    def _own(events: CompletionQueue[Any], key: str) -> Callable[[], Any]:
        return lambda: CompletionQueue.get_nowait(events, session_key=key)

    @staticmethod
    def _notice(events: CompletionQueue[Any]) -> Any:
        return CompletionQueue.get_nowait(events, unaddressed=True, types=NOTICES)


_threads = threading.local()


def current() -> Poller | None:
    """Return the poller that this thread is, if it is one."""
    return getattr(_threads, "poller", None)


def poller_for(original: Loop) -> Loop:
    """Make the stand-in for `tui_gateway.server._notification_poller_loop`."""
    sessions = getattr(original, "__globals__", {}).get("_sessions", {})

    def _notification_poller_loop(
        stop_event: threading.Event, sid: str, session: dict[str, Any]
    ) -> None:
        """Run the gateway's loop; what it takes is its own session's."""
        _threads.poller = Poller(stop_event, session, sessions)
        try:
            while True:
                try:
                    return original(stop_event, sid, session)
                except Exception:
                    # One event that the loop cannot read must not end it: nobody else delivers.
                    logger.exception("the poller of session %s stumbled, and goes on", sid)
                if session.get("_finalized") or stop_event.wait(BUSY_SECONDS):
                    return None
        finally:
            del _threads.poller

    return _notification_poller_loop
