"""What an earlier process left for sessions of the TUI, on the real server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from adapter_support import Host, until
from durable_support import home, leave, rows
from tui_support import Agent, Tui, load_server

from hermes_core import gateway

__all__ = ["home"]

KEY = "20260101_000000_abcdef"


@pytest.fixture
def tui(installed: Host, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tui]:
    server = load_server()
    tui = Tui(server, installed, monkeypatch)
    yield tui
    tui.end()
    for session in server._get_db().list_sessions_rich():
        server._get_db().delete_session(session["id"])


@pytest.fixture
def profile(home: Path) -> Path:
    """The home of a profile, which knows a session with the same key as the gateway's own home."""
    import hermes_state

    load_server()._get_db().create_session(KEY, "tui")
    folder = home / "profiles" / "work"
    folder.mkdir(parents=True)
    database = hermes_state.SessionDB(db_path=folder / "state.db")
    database.create_session(KEY, "tui")
    database.close()
    return folder


def test_one_key_in_two_homes(
    tui: Tui, home: Path, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F18: each home's session has its own, and has it in its own home."""
    import hermes_constants

    homes = []
    turn = tui.turn

    def noting(agent: Agent, text: str) -> str:
        homes.append(hermes_constants.get_hermes_home())
        return turn(agent, text)

    monkeypatch.setattr(tui, "turn", noting)
    leave(home, ("result 1", KEY, True))
    leave(profile, ("result 2", KEY, True))
    for params, folder, result in (({"profile": "work"}, profile, 2), ({}, home, 1)):
        session = tui.resume(KEY, **params)
        tui.wait_for_results(len(homes) + 1)
        assert session.results == [result]
        assert homes[-1] == folder
        until(lambda folder=folder: rows(folder)[0]["delivery"] == "delivered", "it is delivered")
        tui.wait(lambda session=session: bool(session.answered))
        tui.close(session)


def test_a_result_of_the_same_key_in_another_home_waits_for_its_own(
    tui: Tui, home: Path, profile: Path, installed: Host
) -> None:
    """F18: it ends while only the other home's session is there."""
    session = tui.resume(KEY, profile="work")
    tui.ask(session, children=1)
    tui.close(session)
    session.poller.join()
    other = tui.resume(KEY)
    tui.ask(other, children=1)
    theirs, own = tui.children
    tui.end_children(theirs)
    until(lambda: rows(profile)[0]["delivery"] == "pending", "it has ended")
    tui.end_children(own)
    tui.wait(lambda: other.results == [own])
    assert other.shown == [own]
    tui.close(other)
    other.poller.join()
    again = tui.resume(KEY, profile="work")
    tui.wait(lambda: again.results == [theirs])


def test_only_the_session_itself_has_it(tui: Tui, home: Path) -> None:
    """F2: what is no live session's stays where it is, free for the process that opens it."""
    other = tui.open()
    leave(home, ("result 1", KEY, True), ("result 2", other.key, True), ("result 3", "", True))
    tui.server._get_db().create_session(other.key, "tui")
    tui.ask(other)
    tui.close(other)
    again = tui.resume(other.key)
    tui.wait_for_results(1)
    assert again.results == [2]
    tui.ask(again)
    until(lambda: rows(home)[1]["delivery"] == "delivered", "it is delivered")
    assert [row["delivery"] for row in rows(home)] == ["pending", "delivered", "pending"]
    assert [row["holder"] for row in rows(home)] == ["nobody"] * 3


def test_what_a_process_held_a_moment_ago_comes_when_its_lease_is_over(
    tui: Tui, home: Path
) -> None:
    """F3: the session waits meanwhile, and takes questions."""
    tui.server._get_db().create_session(KEY, "tui")
    leave(home, ("result 1", KEY, True), ("child", KEY, False), lease=3.0)
    session = tui.resume(KEY)
    tui.ask(session)
    tui.wait(lambda: session.results == [1])
    tui.wait(lambda: any("status=lost" in text for text in session.texts))


def test_a_session_has_what_it_dispatched_before_its_context_was_compressed(
    tui: Tui, home: Path
) -> None:
    """F13: a restart comes after the compression."""
    database = tui.server._get_db()
    database.create_session(KEY, "tui")
    database.end_session(KEY, "compression")
    database.create_session("its continuation", "tui", parent_session_id=KEY)
    leave(home, ("result 1", KEY, True), ("result 2", "its continuation", True))
    session = tui.resume(KEY)
    assert session.key == "its continuation"
    tui.wait(lambda: session.results == [1, 2])


def test_nothing_comes_while_the_core_is_out_and_all_when_it_is_back(tui: Tui, home: Path) -> None:
    """The gateway's own pollers know of no ledger."""
    tui.server._get_db().create_session(KEY, "tui")
    session = tui.resume(KEY)
    tui.ask(session, children=1)
    tui.end_children()
    tui.wait_for_results(1)
    gateway.uninstall()
    leave(home, ("result 1000", KEY, True))
    tui.ask(session)
    assert rows(home)[1]["delivery"] == "pending"
    gateway.install()
    tui.wait(lambda: 1000 in session.results)


def test_a_ledger_that_cannot_be_read_keeps_no_session_from_its_turns(
    tui: Tui, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F9"""
    (home / "delegations.db").mkdir()
    session = tui.open()
    tui.ask(session)
    tui.wait(lambda: bool(session.answered))
    assert "cannot be given back" in caplog.text
