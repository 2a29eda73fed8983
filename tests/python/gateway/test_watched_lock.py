"""A watched lock is the lock that it stands in for, with notices."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hermes_core.gateway.tui.watched_lock import WatchedLock, unwatch, watch


def test_it_is_the_same_lock() -> None:
    plain = threading.Lock()
    watched = WatchedLock(plain)
    with watched:
        assert plain.locked()
        assert not plain.acquire(blocking=False)
        assert not watched.acquire(False)
        assert not watched.acquire(timeout=0.001)
    assert not watched.locked()
    assert watched.acquire()
    plain.release()
    with plain:
        assert watched.locked()
    with pytest.raises(RuntimeError):
        watched.release()


def test_a_notice_follows_each_release() -> None:
    session: dict[str, Any] = {"history_lock": threading.Lock()}
    seen: list[bool] = []

    def notice() -> None:
        seen.append(session["history_lock"].locked())

    watch(session, notice)
    with session["history_lock"]:
        assert seen == []
    session["history_lock"].acquire()
    session["history_lock"].release()
    with pytest.raises(ZeroDivisionError), session["history_lock"]:
        raise ZeroDivisionError
    assert seen == [False] * 3


def test_the_last_to_watch_puts_the_plain_lock_back() -> None:
    plain = threading.Lock()
    session: dict[str, Any] = {"history_lock": plain}
    seen: list[str] = []
    notices = [lambda: seen.append("first"), lambda: seen.append("second")]
    watched = [watch(session, notice) for notice in notices]
    assert watched[0] is watched[1] is session["history_lock"]
    unwatch(session, watched[0], notices[0])
    with session["history_lock"]:
        pass
    assert seen == ["second"]
    unwatch(session, watched[1], notices[1])
    assert session["history_lock"] is plain


def test_somebody_elses_lock_stays() -> None:
    session: dict[str, Any] = {"history_lock": threading.Lock()}
    watched = watch(session, print)
    others = session["history_lock"] = threading.Lock()
    unwatch(session, watched, print)
    assert session["history_lock"] is others
