"""What happened in a run, in order: one list that both sides write and everybody can wait on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Listener = Callable[["Entry"], None]


@dataclass(frozen=True)
class Entry:
    """One thing that happened: `kind` says what, in which session, to what, and when."""

    at: float
    kind: str
    session: str = ""
    name: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """The field `key` as text, empty when it is missing."""
        value = self.data.get(key)
        return "" if value is None else str(value)


class OutOfTime(Exception):
    """The run as a whole took longer than it may; the text says what it was waiting for."""


class Journal:
    """An append-only list of entries with a condition, so that nobody has to poll it.

    The model server's threads and the gateway client's reader write; the driver waits.
    """

    def __init__(self, timeout: float) -> None:
        self.started = time.monotonic()
        self.deadline = self.started + timeout
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._listeners: list[Listener] = []

    def extend(self, seconds: float) -> None:
        """Leave at least `seconds` from now."""
        self.deadline = max(self.deadline, time.monotonic() + seconds)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with each new entry, in order."""
        self._listeners.append(listener)

    def add(
        self,
        kind: str,
        session: str = "",
        name: str = "",
        data: Mapping[str, object] | None = None,
        at: float | None = None,
    ) -> Entry:
        """Append an entry and wake whoever waits."""
        entry = Entry(time.monotonic() if at is None else at, kind, session, name, data or {})
        with self._changed:
            self._entries.append(entry)
            # Under the lock, so that the lines on the screen keep the order of the list.
            for listener in self._listeners:
                listener(entry)
            self._changed.notify_all()
        return entry

    def touch(self) -> None:
        """Wake whoever waits, without an entry."""
        with self._changed:
            self._changed.notify_all()

    def entries(self) -> list[Entry]:
        """A copy of everything so far."""
        with self._changed:
            return list(self._entries)

    def all(self, kind: str, session: str | None = None, name: str | None = None) -> list[Entry]:
        """The entries of one kind, optionally of one session and one name."""
        return [
            e
            for e in self.entries()
            if e.kind == kind
            and (session is None or e.session == session)
            and (name is None or e.name == name)
        ]

    def first(self, kind: str, session: str | None = None, name: str | None = None) -> Entry | None:
        """The earliest of `all`, if there is one."""
        found = self.all(kind, session, name)
        return found[0] if found else None

    def wait(self, condition: Callable[[], bool], seconds: float, what: str = "") -> bool:
        """Wait until `condition` holds; False when it does not within `seconds`.

        Raises OutOfTime when the run's own deadline passes first, with `what` as its text.
        """
        until = time.monotonic() + seconds
        with self._changed:
            while not condition():
                now = time.monotonic()
                if now >= self.deadline:
                    raise OutOfTime(what)
                if now >= until:
                    return False
                self._changed.wait(min(until, self.deadline) - now)
        return True
