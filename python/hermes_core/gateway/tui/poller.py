"""The poller of one TUI session: what arrives for the session becomes a turn of it.

It waits at the session's mailbox, and is woken by nothing else than an event of its own, the end of
a turn that an event waits for, a change of the session's keys, or the end of the session. What
arrives during a turn is shown at once, as the gateway shows it, and kept until the turn is over.

Every wait is a `get` of the mailbox. To be woken for another reason the mailbox is closed; the
poller then looks around and opens the next.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core import ShutDown, async_delegation, notification_dedup_key
from hermes_core.gateway import home_ledgers, settings, versions
from hermes_core.gateway.counters import count
from hermes_core.gateway.replacements import notification
from hermes_core.gateway.tui.watched_lock import LOCK, unwatch, watch
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hermes_core import Delivery

logger = logging.getLogger("hermes_core.gateway")

Session = dict[str, Any]

#: What may be nobody's and is still for whoever is there.
NOTICES = (
    "completion",
    "watch_match",
    "watch_disabled",
    "watch_overflow_tripped",
    "watch_overflow_released",
)


class Wants(enum.Enum):
    """What a poller waits for."""

    ALL = enum.auto()  # the session's events, and notices that are nobody's
    OWN = enum.auto()
    NOTHING = enum.auto()


#: The longest pause after a turn that could not be started.
MAX_PAUSE_SECONDS = 60.0


class Pollers:
    """The pollers that run now, for what concerns more than one."""

    def __init__(self) -> None:
        self._lock = forked.lock(self)
        self._running: tuple[Poller, ...] = ()
        self._open = False

    def open(self) -> None:
        """Let pollers run, until `close`."""
        with self._lock:
            self._open = True

    def close(self) -> None:
        """End all pollers: what they hold waits in the queue again when this returns."""
        with self._lock:
            self._open = False
        for poller in self._running:
            poller.leave()

    def add(self, poller: Poller) -> bool:
        """Let a poller run, if they may."""
        with self._lock:
            if self._open:
                self._running += (poller,)
            return self._open

    def remove(self, poller: Poller) -> None:
        """Note that a poller has ended."""
        with self._lock:
            self._running = tuple(other for other in self._running if other is not poller)
        self.look_at_keys(poller)

    def look_at_keys(self, changed: Poller) -> None:
        """Have the others look again which of their sessions' earlier keys are theirs."""
        for poller in self._running:
            if poller is not changed:
                poller.look_at_keys()

    def turn_ended(self) -> None:
        """Have those look again who wait for a turn to end.

        Whoever had got hold of a session's lock before it was watched releases it silently.
        """
        for poller in self._running:
            poller.look()


class Poller:
    """Delivers to one session, on the thread that calls `run`."""

    def __init__(
        self,
        host: Mapping[str, Any],
        stop: threading.Event,
        sid: str,
        session: Session,
        pollers: Pollers,
    ) -> None:
        self._host = host  # the names of the TUI's module, looked up at each use
        self._stop = stop
        self._sid = sid
        self._session = session
        self._pollers = pollers
        self._events = async_delegation.completion_queue
        # Every key that the session has had: it gets another when its context is compressed, and
        # what it had dispatched by then comes back under the old one.
        self._keys: list[str] = []
        self._key: object = None
        self._shown: set[tuple[object, ...]] = set()
        self._kept: list[Delivery] = []
        self._home: Path | None = None
        self._wanted: home_ledgers.Want | None = None
        # Of a session with the same key in another home; that one gets them when this is over.
        self._others: list[Delivery] = []
        self._sits_out = False
        self._ends = False
        self._leaves = False
        self._wants = Wants.NOTHING
        self._is_stale = True
        self._box = self._events.mailbox(session_key=(), **settings.terms())

    def remember(self, keys: list[str], shown: set[tuple[object, ...]]) -> None:
        """Take over the keys, and what was shown, from an earlier poller of the session."""
        self._keys = keys
        self._shown = shown

    def run(self) -> bool:
        """Deliver until the session ends; False when an uninstall came first."""
        with self._watching():
            while not self._is_over():
                delivery = self._next(Wants.ALL)
                if delivery is None:
                    continue
                try:
                    self._deliver(delivery)
                except Exception:
                    # It must not end the loop: nobody else delivers to this session.
                    logger.exception("a delivery to session %s failed", self._sid)
                    self._pause(delivery)
        return not self._leaves

    def leave(self) -> None:
        """Have `run` end; what is kept waits in the queue again when this returns."""
        self._leaves = True
        self._wake()
        self._give_back(self._kept)
        self._give_back(self._others)

    def look(self) -> None:
        """Look at the session, whose lock has just been released."""
        session = self._session
        if (
            (self._sits_out and not session.get("running"))
            or session.get("session_key") != self._key
            or session.get("_finalized")
        ):
            self._wake()

    def look_at_keys(self) -> None:
        """Look again which of the session's earlier keys are still its own."""
        if len(self._keys) > 1:
            self._wake()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        def set_and_wake() -> None:
            threading.Event.set(self._stop)
            self._wake()

        watched = watch(self._session, self.look)
        self._stop.set = set_and_wake  # type: ignore[method-assign]
        try:
            yield
        finally:
            self._box.close()
            self._wanted = None
            self._give_back(self._kept)
            self._give_back(self._others)
            vars(self._stop).pop("set", None)
            unwatch(self._session, watched, self.look)

    # Waiting.

    def _wake(self) -> None:
        # First the mark, then the mailbox; `_next` looks at the mark once its mailbox is there.
        self._is_stale = True
        self._box.close()

    def _next(self, wants: Wants, timeout: float | None = None) -> Delivery | None:
        """Wait for the session's next event; None when there is something else to look at."""
        if self._is_stale or wants is not self._wants:
            self._is_stale = False
            self._open(wants)
        if self._is_over() or (self._sits_out and not self._session.get("running")):
            return None
        if self._is_stale:
            return None
        try:
            delivery = self._box.get(timeout=timeout)
            if self._home is None or home_ledgers.keeps(self._home, delivery.event):
                return delivery
            self._others.append(delivery)
            return None
        except queue.Empty:
            return None
        except ShutDown:
            if not self._box.is_closed:  # the queue itself: nothing will come any more
                self._ends = True
            return None

    def _open(self, wants: Wants) -> None:
        self._wants = wants
        self._box.close()
        keys = () if wants is Wants.NOTHING else self._own_keys()
        nobodys = NOTICES if wants is Wants.ALL else ()
        self._box = self._events.mailbox(session_key=keys, unaddressed=nobodys, **settings.terms())

    def _is_over(self) -> bool:
        return (
            self._leaves
            or self._ends
            or self._stop.is_set()
            or bool(self._session.get("_finalized"))
        )

    def _own_keys(self) -> list[str]:
        """The session's keys, but for earlier ones that another live session has now."""
        key = self._session.get("session_key")
        if key != self._key:
            self._key = key
            if isinstance(key, str) and key:
                self._restore(key)
            self._pollers.look_at_keys(self)
        return [key for key in self._keys if not self._is_anothers(key)]

    def _restore(self, key: str) -> None:
        """Note what is the session's by its key; have what an earlier process left for it come."""
        if key not in self._keys:
            self._keys.append(key)
        try:
            # Under this lock a session that is opened again gets its home, after its poller.
            with self._host["_session_resume_lock"]:
                self._home = Path(self._session.get("profile_home") or home_ledgers.current_home())
            with self._host["_session_db"](self._session) as sessions:
                earlier = home_ledgers.earlier_keys(sessions, key)
            self._keys += [key for key in earlier if key not in self._keys]
            self._wanted = home_ledgers.restore(self._home, session_keys=tuple(self._keys))
        except Exception:
            # It must not end the loop: what comes while the process runs is delivered all the same.
            logger.exception("what session %s had before cannot be given back", self._sid)

    def _is_anothers(self, key: str) -> bool:
        return key != self._session.get("session_key") and any(
            session.get("session_key") == key
            for session in list(self._host["_sessions"].values())
            if session is not self._session
        )

    # Delivering.

    def _deliver(self, delivery: Delivery) -> None:
        """Make a turn of an event, now or when the turn that runs is over."""
        key = _key_of(delivery.event)
        if key and self._is_anothers(key):
            delivery.defer()
            self._is_stale = True
            return
        # What is nobody's is not kept for a session: another may be idle.
        if key or not self._session.get("running"):
            text = self._show(delivery)
            if text is None or self._start_turn(delivery, text):
                return
        if key:
            self._kept.append(delivery)
        else:
            delivery.defer()
        self._sit_out()

    def _show(self, delivery: Delivery) -> str | None:
        """Show an event in its session, once; what has no text is done with."""
        event = delivery.event
        processes = sys.modules[versions.PROCESSES]
        text = notification(processes.process_registry, processes, event)
        if not text:
            count("events without a notification")
            delivery.ack()
            return None
        if self._is_new(event):
            self._host["_emit"]("status.update", self._sid, {"kind": "process", "text": text})
        return text

    def _is_new(self, event: Any) -> bool:
        identity = notification_dedup_key(event)
        try:
            if identity in self._shown:
                return False
            self._shown.add(identity)
        except TypeError:  # something in it cannot be hashed
            pass
        return True

    def _start_turn(self, delivery: Delivery, text: str) -> bool:
        """Start a turn with an event; False while another turn runs, or when all is over."""
        if not self._claim():
            return False
        try:
            self._host["_emit"]("message.start", self._sid)
            rid = f"__notif__{int(time.time() * 1000)}"
            self._host["_run_prompt_submit"](rid, self._sid, self._session, text)
        except BaseException:
            with self._session[LOCK]:
                self._session["running"] = False
            raise
        delivery.ack()
        return True

    def _claim(self) -> bool:
        with self._session[LOCK]:
            if self._session.get("running") or self._is_over():
                return False
            self._session["running"] = True
            return True

    def _sit_out(self) -> None:
        """Show and keep what arrives until the turn is over; then all of it waits again."""
        self._sits_out = True
        try:
            while self._session.get("running") and not self._is_over():
                delivery = self._next(Wants.OWN)
                if delivery is not None and self._show(delivery) is not None:
                    self._kept.append(delivery)
        finally:
            self._sits_out = False
            self._give_back(self._kept)

    def _pause(self, delivery: Delivery) -> None:
        """Keep an event that could not be delivered for a while, then have it tried again."""
        self._kept.append(delivery)
        self._next(Wants.NOTHING, min(2.0 ** (delivery.attempt - 1), MAX_PAUSE_SECONDS))
        delivery.nack(0)
        self._give_back(self._kept)

    def _give_back(self, held: list[Delivery]) -> None:
        # Also called by the thread that uninstalls: each takes what the other has not.
        with contextlib.suppress(IndexError):
            while True:
                held.pop().defer()


def _key_of(event: Any) -> str:
    key = event.get("session_key") if isinstance(event, dict) else None
    return key if isinstance(key, str) else ""
