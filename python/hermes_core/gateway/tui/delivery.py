"""Who delivers to the TUI's sessions: our pollers while the core is in place, else the gateway's.

The gateway starts a thread for each session, which runs its loop. With the core in place the loop
is ours. A thread that is in the gateway's own loop by then, since its session was opened before an
install, is taken over where that loop waits: in the `get` of the shared queue.

Where somebody puts another queue in the place of the shared one, the gateway's own loop serves what
is there, in a thread beside our poller, which goes on with what arrives in ours.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import host_loops, queue_swap
from hermes_core.gateway.tui.poller import Poller, Pollers, Session
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_pollers = Pollers()


class _Beside:
    """The gateway's own loop for a session, in a thread of its own while another queue is there."""

    def __init__(
        self, loop: host_loops.Loop, stop: threading.Event, sid: str, session: Session
    ) -> None:
        self._loop = loop
        self._session = (stop, sid, session)
        self._thread: threading.Thread | None = None
        self._lock = forked.lock(self)

    def look(self) -> None:
        """Start it if another queue is there; it ends with the session, or meets ours again."""
        with self._lock:
            runs = self._thread is not None and self._thread.is_alive()
            if runs or not queue_swap.is_replaced():
                return
            name = "hermes-core-poller"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()
        # What it may be met in asks from now on.
        queue_swap.adapt()

    def _run(self) -> None:
        with contextlib.suppress(SystemExit):  # it has met the shared queue again
            self._loop.original(*self._session)

    def is_this_thread(self) -> bool:
        """Say whether the calling thread is its own."""
        return self._thread is threading.current_thread()

    def join(self) -> bool:
        """Wait for its end, if it runs; say whether it did."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return False
        thread.join()
        return True


_beside: set[_Beside] = set()


def queue_replaced() -> None:
    """Have the gateway's own loop serve each session, beside ours, if another queue is there."""
    for beside in tuple(_beside):
        beside.look()


class _Memory(threading.local):
    """What the thread of a session knows of it, also from an earlier stay of the core."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.shown: set[tuple[object, ...]] = set()


_memory = _Memory()


def poller_for(original: Any) -> Callable[[threading.Event, str, Session], None]:
    """Make the stand-in for `tui_gateway.server._notification_poller_loop`."""
    loop, host = host_loops.of(original), original.__globals__

    def serve(stop: threading.Event, sid: str, session: Session) -> bool:
        poller = Poller(host, stop, sid, session, _pollers)
        poller.remember(_memory.keys, _memory.shown)
        if not _pollers.add(poller):
            return False
        beside = _Beside(loop, stop, sid, session)
        _beside.add(beside)
        try:
            beside.look()
            has_ended = poller.run()
        finally:
            _beside.discard(beside)
            _pollers.remove(poller)
        # It ends with the session. After an uninstall it is the one that goes on.
        return beside.join() or has_ended

    def take_over(frame: FrameType) -> None:
        if any(beside.is_this_thread() for beside in tuple(_beside)):
            # The shared queue is back, which our poller serves.
            raise SystemExit
        found = frame.f_locals
        with loop.serving(frame):
            has_ended = serve(found["stop_event"], found["sid"], found["session"])
        if has_ended:
            # The session has ended, and its thread with it: left alone, the gateway's loop would
            # now go through what waits for others.
            raise SystemExit
        raise queue.Empty  # the gateway's loop looks again, at its own queue by now

    def _notification_poller_loop(stop_event: threading.Event, sid: str, session: Session) -> None:
        """Deliver to a session until it ends; after an uninstall the gateway's loop goes on."""
        if not serve(stop_event, sid, session):
            loop.original(stop_event, sid, session)

    queue_swap.watch(loop, take_over)
    _pollers.open()
    return _notification_poller_loop


def turn_ended() -> None:
    """Have those pollers look again who wait for the end of a turn."""
    _pollers.turn_ended()


def leave() -> None:
    """Have the gateway's own loop deliver to every session; ours hold nothing any more."""
    host_loops.clear()
    _pollers.close()
