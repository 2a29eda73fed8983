"""A session's lock that says when it was released.

The TUI writes a session's `running` flag and its other state under `session["history_lock"]`. So a
notice at each release is a notice of each change, the end of a turn among them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable

LOCK = "history_lock"


class WatchedLock:
    """Stands in for a `threading.Lock`: the same mutex, and notices of its releases.

    Who holds the lock itself and who holds this exclude each other, so it may come and go at any
    time. Notices run on the releasing thread, after the release.
    """

    # A `with` takes the lock by its own native method: no bytecode runs between the two.
    __slots__ = ("__enter__", "acquire", "locked", "notices", "plain")

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.__enter__: Callable[[], bool] = plain.__enter__
        self.acquire: Callable[..., bool] = plain.acquire
        self.locked: Callable[[], bool] = plain.locked
        self.notices: tuple[Callable[[], None], ...] = ()

    def release(self) -> None:
        """Release the lock, and say so."""
        self.plain.release()
        for notice in self.notices:
            notice()

    def __exit__(self, *_: object) -> None:
        self.release()


_lock = forked.lock(sys.modules[__name__])


def watch(session: dict[str, Any], notice: Callable[[], None]) -> WatchedLock:
    """Have `notice` called whenever the session's lock was released."""
    with _lock:
        watched = session[LOCK]
        if not isinstance(watched, WatchedLock):
            watched = session[LOCK] = WatchedLock(watched)
        watched.notices = (*watched.notices, notice)
        return watched


def unwatch(session: dict[str, Any], watched: WatchedLock, notice: Callable[[], None]) -> None:
    """Undo a `watch`; the last one puts the plain lock back."""
    with _lock:
        watched.notices = tuple(other for other in watched.notices if other != notice)
        if not watched.notices and session.get(LOCK) is watched:
            session[LOCK] = watched.plain
