"""Delegations of the TUI's sessions, on the real server: its requests, turns, locks and threads."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from adapter_support import Host, until
from tui_support import TWO_POLLS, Tui, at_rest, load_server, results_in, switches

#: How many children the random turns start; more show more.
DELEGATIONS = int(os.environ.get("HERMES_CORE_TUI_DELEGATIONS", "500"))


@pytest.fixture
def tui(installed: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tui]:
    tui = Tui(load_server(), installed, monkeypatch)
    yield tui
    tui.end()


def pending(host: Host) -> list[Any]:
    return [event["summary"] for event in host.queue.pending()]


def test_random_turns_of_20_sessions(tui: Tui, installed: Host) -> None:
    """F2, F35"""
    rng = random.Random(1)
    sessions = [tui.open() for _ in range(20)]
    while len(tui.children) < DELEGATIONS:
        session = rng.choice(sessions)
        if session.held is None:
            tui.ask(session, rng.randrange(4), stay=rng.random() < 0.5)
        elif rng.random() < 0.5:
            tui.end_turn(session)
        if tui.children:
            tui.end_children(*rng.choices(list(tui.children), k=3))
    tui.end_children()
    for session in sessions:
        if session.held:
            tui.end_turn(session)
    tui.wait_for_results(len(tui.children))
    tui.wait(lambda: all(map(tui.is_answered, tui.asked)))
    for session in sessions:
        assert sorted(session.results) == tui.owned_by(session)
        assert sorted(session.shown) == tui.owned_by(session)
        assert session.overlaps == 0
    assert pending(installed) == []


def test_random_turns_closes_and_rotations(tui: Tui, installed: Host) -> None:
    """F2, F13: what is nowhere delivered is pending, and nobody is there whose it is."""
    rng = random.Random(2)
    sessions = [tui.open() for _ in range(8)]
    while len(tui.children) < DELEGATIONS // 2:
        index = rng.randrange(len(sessions))
        session = sessions[index]
        what = rng.random()
        if session.held is None:
            tui.ask(session, rng.randrange(4), stay=rng.random() < 0.7)
        elif what < 0.2:
            tui.rotate(session)
        elif what < 0.6:
            tui.end_turn(session)
        if what > 0.9:
            tui.close(session)
            sessions[index] = tui.open_again(session.state["session_key"])
            if session.held:
                tui.end_turn(session)
        if tui.children:
            tui.end_children(*rng.choices(list(tui.children), k=3))
    tui.end_children()
    for session in sessions:
        if session.held:
            tui.end_turn(session)
    tui.wait(lambda: all(map(tui.is_answered, tui.asked)))
    there = {number for session in sessions for number in tui.owned_by(session)}
    tui.wait(lambda: there <= {n for s in tui.sessions.values() for n in s.results})
    until(lambda: tui.delivered() + len(pending(installed)) == len(tui.children), "all have ended")
    for session in tui.sessions.values():
        assert set(session.results) <= set(tui.owned_by(session))
        assert session.overlaps == 0
    assert there.isdisjoint(results_in("\n".join(pending(installed))))


def test_nobody_wakes_up_for_nothing(tui: Tui) -> None:
    """F15, F16: today 78 to 98 % of a core, and the other session waits 1.4 s in the median."""
    idle = [tui.open() for _ in range(19)]
    busy = tui.open()
    tui.ask(busy, children=1, stay=True)
    tui.end_children()
    tui.wait(lambda: busy.shown == tui.owned_by(busy))
    pollers = [session.poller for session in (*idle, busy)]
    before = at_rest(pollers)
    threading.Event().wait(TWO_POLLS)
    assert [switches(poller) for poller in pollers] == before

    for count in range(1, 21):
        tui.ask(idle[0], children=1)
        tui.end_children()
        tui.wait_for_results(count)
    assert idle[0].results == tui.owned_by(idle[0])
    assert [switches(poller) for poller in pollers[1:]] == before[1:]
    tui.end_turn(busy)
    tui.wait(lambda: busy.results == tui.owned_by(busy))


def test_turns_of_another_session_end_while_a_result_waits(tui: Tui) -> None:
    """F2: today 7 of 30 of these results are injected into the other session."""
    ours, other = tui.open(), tui.open()
    for count in range(1, 31):
        tui.ask(ours, children=1, stay=True)
        tui.end_children()
        tui.wait(lambda: len(ours.shown) == len(tui.owned_by(ours)))
        tui.ask(other)
        tui.end_turn(ours)
        tui.wait_for_results(count)
    assert ours.results == tui.owned_by(ours)
    assert (other.results, other.shown) == ([], [])


def test_six_children_end_during_one_turn(tui: Tui, installed: Host) -> None:
    """F4: today 19 of 72 of these results never come back."""
    session = tui.open()
    for count in range(6, 73, 6):
        tui.ask(session, children=6)
        tui.ask(session, stay=True)
        started = tui.owned_by(session)[-6:]
        for number in reversed(started):
            tui.end_children(number)
            tui.wait(lambda number=number: number in session.shown)
        assert session.results[count - 6 :] == []
        tui.end_turn(session)
        tui.wait_for_results(count)
        assert session.results[count - 6 :] == started[::-1]
    assert len(session.shown) == 72
    assert pending(installed) == []


def test_the_session_is_closed_while_its_child_runs(tui: Tui, installed: Host) -> None:
    """F1, F2: today another session gets the result, 5 of 5."""
    other = tui.open()
    for _ in range(5):
        closed = tui.open()
        tui.ask(closed, children=1)
        tui.close(closed)
        closed.poller.join()
        tui.end_children()
        until(lambda: len(pending(installed)) == 1, "the result waits")
        tui.ask(other)
        again = tui.open_again(closed.key)
        tui.wait(lambda again=again: len(again.results) == 1)
        assert again.results == tui.owned_by(closed)
        assert (closed.results, other.results, other.shown) == ([], [], [])
        tui.close(again)


def test_the_session_is_closed_while_results_wait_for_its_turn(tui: Tui, installed: Host) -> None:
    """F1, F12: what was shown and not delivered is listed again, in order."""
    session, other = tui.open(), tui.open()
    tui.ask(session, children=3, stay=True)
    for number in tui.children:
        tui.end_children(number)
        tui.wait(lambda number=number: number in session.shown)
    tui.close(session)
    session.poller.join()
    assert pending(installed) == [f"result {number}" for number in tui.children]
    tui.ask(other)
    again = tui.open_again(session.key)
    tui.wait_for_results(3)
    assert again.results == list(tui.children)


def test_the_key_rotates_twice_while_children_run(tui: Tui, installed: Host) -> None:
    """F13"""
    session, other = tui.open(), tui.open()
    for _ in range(2):
        tui.ask(session, children=2, stay=True)
        tui.rotate(session)
    tui.ask(session, children=2, stay=True)
    tui.ask(other)
    for number in reversed(tui.children):
        tui.end_children(number)
        tui.wait(lambda number=number: number in session.shown)
    tui.end_turn(session)
    tui.wait_for_results(6)
    assert session.results == list(tui.children)[::-1]
    tui.close(session)
    assert other.results == []
    assert pending(installed) == []


def test_an_earlier_key_is_given_up_to_a_session_that_has_it(tui: Tui) -> None:
    """F2, F13: and comes back when that one is closed."""
    session = tui.open()
    tui.ask(session, children=2, stay=True)
    tui.rotate(session)
    first, second = tui.children
    again = tui.open_again(session.key)
    tui.end_children(first)
    tui.wait(lambda: again.results == [first])
    tui.close(again)
    tui.end_children(second)
    tui.wait(lambda: session.results == [second])


def test_a_turn_that_cannot_be_started_is_tried_again(
    tui: Tui, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4, F28: today the result is gone."""
    session = tui.open()
    tui.ask(session, children=2)
    submit, tried = tui.server._run_prompt_submit, []

    def fail_once(*args: Any) -> None:
        tried.append(args[-1])
        if len(tried) == 1:
            raise RuntimeError("can't start new thread")
        submit(*args)

    monkeypatch.setattr(tui.server, "_run_prompt_submit", fail_once)
    first, second = tui.children
    tui.end_children(first)
    until(lambda: len(tried) == 1, "the first is tried")
    tui.end_children(second)
    tui.wait_for_results(2)
    assert session.results == session.shown == [first, second]
    assert tried[0] == tried[1]


def test_a_completion_that_the_turn_has_seen_is_not_announced_again(
    tui: Tui, installed: Host
) -> None:
    """F27"""
    session = tui.open()
    tui.ask(session, stay=True)
    processes = installed.processes.process_registry
    for name in ("seen", "unseen"):
        installed.queue.put({"type": "completion", "session_key": session.key, "session_id": name})
    tui.ask(tui.open())
    processes._completion_consumed.add("seen")
    tui.end_turn(session)
    tui.wait(lambda: any("unseen" in text for text in session.texts))
    assert not any("process seen" in text for text in session.texts)
    assert pending(installed) == []
