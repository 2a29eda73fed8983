"""The pollers of the TUI's sessions: every event reaches its own session, and nobody else's."""

from __future__ import annotations

import importlib
import queue
import random
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from adapter_support import Host, until

KINDS = ("async_delegation", "completion", "watch_match", "something new")


class Tui:
    """Sessions of the real `tui_gateway.server`, whose turns only note what they were given."""

    def __init__(self, server: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.turns: dict[str, list[str]] = {}
        self.shown: list[tuple[str, str]] = []
        self._changed = threading.Condition()
        self._stops: list[threading.Event] = []
        monkeypatch.setattr(server, "_run_prompt_submit", self._turn)
        monkeypatch.setattr(server, "_emit", self._emit)
        # The very dict: the loop's stand-in knows it.
        self._before = dict(server._sessions)
        server._sessions.clear()

    def open(self, key: str, busy: bool = False) -> dict[str, Any]:
        session = {"session_key": key, "history_lock": threading.Lock(), "running": busy}
        self.turns[key] = []
        self.server._sessions[key] = session
        self._stops.append(self.server._start_notification_poller(key, session))
        return session

    def rotate(self, session: dict[str, Any], key: str) -> None:
        """Give a session another key, as the compression of its context does in a turn."""
        with session["history_lock"]:
            session["session_key"] = key

    def end_turn(self, session: dict[str, Any]) -> None:
        with session["history_lock"]:
            session["running"] = False

    def close(self) -> None:
        for session in self.server._sessions.values():
            session["_finalized"] = True
        for stop in self._stops:
            stop.set()
        self.server._sessions.clear()
        self.server._sessions.update(self._before)

    def wait_for(self, count: int) -> None:
        def enough() -> bool:
            return sum(map(len, self.turns.values())) >= count

        with self._changed:
            assert self._changed.wait_for(enough, 30), self.turns

    def _turn(self, rid: str, sid: str, session: dict[str, Any], text: str) -> None:
        with self._changed:
            self.turns[sid].append(text)
            self._changed.notify_all()
        with session["history_lock"]:
            session["running"] = False

    def _emit(self, event: str, sid: str, payload: dict[str, Any] | None = None) -> None:
        if event == "status.update" and payload is not None:
            self.shown.append((sid, payload["text"]))


@pytest.fixture
def tui(installed: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tui]:
    # The TUI's server takes stdout for its protocol when it is imported.
    stdout = sys.stdout
    server = importlib.import_module("tui_gateway.server")
    sys.stdout = stdout
    tui = Tui(server, monkeypatch)
    yield tui
    tui.close()
    until(
        lambda: not any("notification_poller" in thread.name for thread in threading.enumerate()),
        "the pollers have gone",
    )


def event(number: int, key: str, kind: str = "async_delegation") -> dict[str, Any]:
    return {
        "type": kind,
        "session_key": key,
        "delegation_id": f"deleg_{number}",
        "session_id": f"proc_{number}",
        "summary": f"<{number}>",
        "output": f"<{number}>",
        "status": "completed",
        "exit_code": 0,
        "pattern": str(number),
    }


def test_every_event_reaches_its_own_session_once(tui: Tui, installed: Host) -> None:
    """F1, F2: 20 sessions, 500 events of every kind, from 4 threads."""
    keys = [f"key {n}" for n in range(20)]
    for key in keys:
        tui.open(key)
    rng = random.Random(1)
    events = [event(n, rng.choice(keys), KINDS[n % len(KINDS)]) for n in range(500)]

    def producer(share: list[dict[str, Any]]) -> None:
        for one in share:
            installed.queue.put(one)

    threads = [threading.Thread(target=producer, args=(events[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tui.wait_for(len(events))
    for key in keys:
        expected = sorted(f"<{n}>" for n, one in enumerate(events) if one["session_key"] == key)
        found = sorted(text[text.index("<") : text.rindex(">") + 1] for text in tui.turns[key])
        assert found == expected
    assert installed.queue.empty()


def test_an_event_waits_for_its_busy_session_and_holds_up_no_other(
    tui: Tui, installed: Host
) -> None:
    """F4, F16: today the busy one spins, and the other waits 1.4 s in the median."""
    busy, _ = tui.open("busy", busy=True), tui.open("idle")
    for n in range(5):
        installed.queue.put(event(n, "busy"))
    installed.queue.put(event(9, "idle"))
    tui.wait_for(1)
    assert (len(tui.turns["busy"]), len(tui.turns["idle"])) == (0, 1)
    until(lambda: ("busy", tui.shown[0][1]) in tui.shown or len(tui.shown) > 1, "it is announced")
    tui.end_turn(busy)
    tui.wait_for(6)
    assert [text[text.index("<") :][:3] for text in tui.turns["busy"]] == [
        f"<{n}>" for n in range(5)
    ]


def test_an_event_of_nobody_here_stays(tui: Tui, installed: Host) -> None:
    """F2: today a closed session's result goes to another one, 5 of 5."""
    tui.open("here")
    gone, nobodys = event(1, "closed"), event(2, "")
    installed.queue.put(gone)
    installed.queue.put(nobodys)
    notice = event(3, "", "watch_match")
    installed.queue.put(notice)
    installed.queue.put(event(4, "here"))
    tui.wait_for(2)
    assert "<3>" in "".join(tui.turns["here"])
    assert "<4>" in "".join(tui.turns["here"])
    assert installed.queue.qsize() == 2
    tui.open("closed")
    tui.wait_for(3)
    assert "<1>" in tui.turns["closed"][0]
    assert installed.queue.get_nowait() is nobodys


def test_an_uninstall_takes_the_pollers_back(tui: Tui, installed: Host) -> None:
    from hermes_core import gateway

    tui.open("a")
    assert "tui_gateway.server._notification_poller_loop" in gateway.status().replaced
    gateway.uninstall()
    installed.queue.put(event(1, "a"))
    tui.wait_for(1)
    gateway.install()
    installed.queue.put(event(2, "a"))
    tui.wait_for(2)


def test_a_result_under_a_rotated_key_comes_home(tui: Tui, installed: Host) -> None:
    """F13: the context is compressed twice while children run."""
    session = tui.open("key 1")
    turns = tui.turns["key 1"]
    for n, key in enumerate(("key 1", "key 2", "key 3"), start=1):
        tui.rotate(session, key)
        installed.queue.put(event(n, key))
        tui.wait_for(n)
    for n, key in enumerate(("key 1", "key 2", "key 3"), start=4):
        installed.queue.put(event(n, key))
        tui.wait_for(n)
    assert [text[text.index("<") :][:3] for text in turns] == [f"<{n}>" for n in range(1, 7)]


def test_an_old_key_that_another_session_has_now_is_that_ones(tui: Tui, installed: Host) -> None:
    """F2, F13"""
    first = tui.open("old")
    installed.queue.put(event(1, "old"))
    tui.wait_for(1)
    tui.rotate(first, "new")
    installed.queue.put(event(2, "new"))
    tui.wait_for(2)
    del tui.server._sessions["old"]
    tui.server._sessions["renamed"] = first
    tui.turns["taken over"] = []
    second = tui.open("old", busy=True)
    tui.turns["old"] = turns = []
    installed.queue.put(event(3, "old"))
    until(lambda: ("old", tui.shown[-1][1]) == tui.shown[-1], "it is announced in the second")
    tui.end_turn(second)
    until(lambda: len(turns) == 1, "it is delivered")
    assert "<3>" in turns[0]


def test_an_event_that_the_loop_cannot_read_ends_no_poller(tui: Tui, installed: Host) -> None:
    """F1: today the session's poller is dead after it."""
    tui.open("a")
    installed.queue.put({"type": "completion", "session_key": "a", "session_id": ["x"]})
    installed.queue.put(event(1, "a"))
    tui.wait_for(2)
    assert "['x'] exited" in tui.turns["a"][0]
    assert "<1>" in tui.turns["a"][1]


def test_notices_and_results_come_in_their_order(tui: Tui, installed: Host) -> None:
    """F16: a stream of one does not keep the other waiting."""
    session = tui.open("a", busy=True)
    for n in range(5):
        installed.queue.put(event(n, "a"))
    installed.queue.put(event(5, "", "watch_match"))
    installed.queue.put(event(6, "a"))
    until(lambda: len(tui.shown) == 6, "what is its own is shown")
    tui.end_turn(session)
    tui.wait_for(7)
    assert [text[text.index("<") :][:3] for text in tui.turns["a"]] == [f"<{n}>" for n in range(7)]
    assert len(tui.shown) == 7


def test_a_notice_of_nobody_waits_for_no_busy_session(tui: Tui, installed: Host) -> None:
    """F16"""
    busy = tui.open("busy", busy=True)
    for n in range(3):
        installed.queue.put(event(n, "", "completion"))
    tui.open("idle")
    tui.wait_for(3)
    assert (len(tui.turns["busy"]), len(tui.turns["idle"])) == (0, 3)
    assert {sid for sid, _ in tui.shown} == {"idle"}
    tui.server._sessions["idle"]["running"] = True
    installed.queue.put(event(4, "", "completion"))
    tui.end_turn(busy)
    tui.wait_for(4)
    assert len(tui.turns["busy"]) == 1


def test_a_queue_that_somebody_else_put_there_is_served_by_the_gateways_loop(
    tui: Tui, installed: Host
) -> None:
    """At once, also for a session that is open already; what arrives in ours goes on."""
    registry, ours = installed.processes.process_registry, installed.queue
    theirs: queue.Queue[Any] = queue.Queue()
    tui.open("a")
    ours.put(event(1, "a"))
    tui.wait_for(1)
    registry.completion_queue = theirs
    tui.open("b")
    for key in ("a", "b"):
        theirs.put(event(2, key))
        ours.put(event(3, key))
    tui.wait_for(5)
    for key, count in (("a", 3), ("b", 2)):
        texts = "".join(tui.turns[key])
        assert len(tui.turns[key]) == count
        assert "<2>" in texts
        assert "<3>" in texts
    registry.completion_queue = ours
    # The loops beside ours meet the shared queue, and end: nothing is delivered twice.
    until(lambda: not beside_threads(), "they have ended")
    for key in ("a", "b"):
        ours.put(event(4, key))
    tui.wait_for(7)
    assert len(tui.turns["a"]) == 4


def test_a_replaced_queue_is_served_through_an_uninstall(tui: Tui, installed: Host) -> None:
    """By one loop for each session; and it is left where it is."""
    from hermes_core import gateway
    from hermes_core.gateway import queue_swap

    theirs: queue.Queue[Any] = queue.Queue()
    registry = installed.processes.process_registry
    swap = queue_swap._swap
    assert swap is not None
    plain = swap._host
    tui.open("a")
    registry.completion_queue = theirs
    theirs.put(event(1, "a"))
    tui.wait_for(1)
    gateway.uninstall()
    assert registry.completion_queue is theirs
    assert "__setattr__" not in vars(type(registry))
    theirs.put(event(2, "a"))
    tui.wait_for(2)
    registry.completion_queue = plain


def beside_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "hermes-core-poller"]
