"""Which ledger a delegation is kept in, what is read from it, and what happens when that fails."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sqlite3
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from adapter_support import Child, Host, dispatch, take, until
from durable_support import home, rows

from hermes_core import async_delegation, gateway
from hermes_core.gateway import home_ledgers

__all__ = ["home"]

SECRET = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"


def run(host: Host, summary: str = "done", key: str = "a session") -> dict[str, Any]:
    """Dispatch a delegation that ends at once."""
    child = Child(summary)
    child.go.set()
    return dispatch(host.registry.dispatch_async_delegation, child, key=key)


def test_no_file_before_the_first_dispatch(host: Host, home: Path) -> None:
    """A look for what was left makes none either."""
    gateway.install()
    home_ledgers.restore(home, session_keys=["a session"])
    assert gateway.status().installed
    assert list(home.iterdir()) == []
    assert run(host)["status"] == "dispatched"
    file = home_ledgers.path_of_home(home)
    assert file == home / "delegations.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_delegation_is_kept_in_the_home_of_its_turn(installed: Host, tmp_path: Path) -> None:
    """F18"""
    constants = importlib.import_module("hermes_constants")
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        token = constants.set_hermes_home_override(str(folder))
        run(installed, name)
        constants.reset_hermes_home_override(token)
    for name in ("one", "two"):
        (row,) = rows(tmp_path / name)
        assert row["record"]["goal"] == f"goal of {name}"
        assert row["session_key"] == "a session"


def test_one_ledger_for_all_spellings_of_a_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    ledger = home_ledgers.of_home(tmp_path / "home")
    assert ledger is not None
    assert home_ledgers.of_home(tmp_path / "link") is ledger
    assert home_ledgers.of_home(str(tmp_path / "home" / ".." / "home")) is ledger


def test_what_is_taken_is_delivered(installed: Host, home: Path) -> None:
    run(installed)
    until(lambda: bool(rows(home)) and rows(home)[0]["delivery"] == "pending", "it has ended")
    take(installed.queue, 1)
    assert rows(home)[0]["delivery"] == "delivered"


def test_memory_keeps_nothing(installed: Host, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_CORE_DURABILITY", "memory")
    run(installed)
    assert take(installed.queue, 1)[0]["summary"] == "done"
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HERMES_CORE_DURABILITY", "some"),
        ("HERMES_CORE_LEASE_SECONDS", "soon"),
        ("HERMES_CORE_LEASE_SECONDS", "-1"),
        ("HERMES_CORE_LEASE_SECONDS", "inf"),
    ],
)
def test_a_setting_that_is_wrong_is_said_and_left_out(
    installed: Host,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert run(installed)["status"] == "dispatched"
    assert f"{name} is {value!r}" in caplog.text
    assert len(rows(home)) == 1


@pytest.mark.parametrize("what", ["a directory", "a newer schema", "no home"])
def test_a_ledger_that_cannot_be_written_refuses(installed: Host, home: Path, what: str) -> None:
    """F9: the model reads why; nothing runs, and nothing holds a place."""
    file = home_ledgers.path_of_home(home)
    if what == "a directory":
        file.mkdir()
    elif what == "no home":
        home.rmdir()
    else:
        with contextlib.closing(sqlite3.connect(file)) as later:
            later.execute("PRAGMA user_version = 1000000")
    child = Child()
    answer = dispatch(installed.registry.dispatch_async_delegation, child)
    assert answer["status"] == "rejected"
    assert str(file) in answer["error"]
    assert not child.started.is_set()
    assert installed.registry.active_count() == 0


def test_secrets_are_not_stored_and_not_shown(installed: Host, home: Path) -> None:
    """F34: by the gateway's own redactor."""
    redactor = importlib.import_module("agent.redact")
    assert SECRET not in redactor.redact_sensitive_text(f"the key is {SECRET}")
    run(installed, f"the key is {SECRET}")
    (event,) = take(installed.queue, 1)
    assert event["summary"].startswith("the key is ")
    assert SECRET not in json.dumps(event)
    assert SECRET not in json.dumps(rows(home))


def test_secrets_stay_where_the_gateway_was_told_so(
    installed: Host, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.redact._REDACT_ENABLED", False)
    run(installed, f"the key is {SECRET}")
    (event,) = take(installed.queue, 1)
    assert event["summary"] == f"the key is {SECRET}"


def test_an_uninstall_leaves_nothing_behind_and_an_install_goes_on(
    installed: Host, home: Path
) -> None:
    """What the gateway's own queue has is delivered as far as the ledger is concerned."""
    child = Child("in between")
    dispatch(installed.registry.dispatch_async_delegation, child, key="a session")
    run(installed, "before")
    until(lambda: len(installed.queue.pending()) == 1, "it has ended")
    gateway.uninstall()
    assert [row["delivery"] for row in rows(home)] == [None, "delivered"]
    assert (async_delegation._ledger_for, async_delegation._registry.redact) == (None, None)
    child.go.set()
    assert {event["summary"] for event in take(installed.queue, 2)} == {"before", "in between"}
    until(lambda: rows(home)[0]["delivery"] == "delivered", "the last is delivered")
    gateway.install()
    run(installed, "after")
    take(installed.queue, 1)
    assert [row["delivery"] for row in rows(home)] == ["delivered"] * 3


def test_status_shows_the_ledger(installed: Host, home: Path) -> None:
    run(installed)
    until(lambda: rows(home)[0]["delivery"] == "pending", "all is written")
    path = str(home_ledgers.path_of_home(os.path.realpath(home)))
    (found,) = [ledger for ledger in gateway.status().ledgers if ledger["path"] == path]
    assert (found["state"], found["waiting"]) == ("ok", 0)
    assert f"ledger: {path}: ok, 0 writes wait" in str(gateway.status())


def session(
    parent: str | None = None, end: str | None = None, started: float = 0.0, ended: float = 0.0
) -> dict[str, Any]:
    """What the gateway's database says of a session."""
    return {
        "parent_session_id": parent,
        "end_reason": end,
        "started_at": started,
        "ended_at": ended if end else None,
    }


def test_a_session_has_the_keys_from_before_its_compressions() -> None:
    """F13: after a restart the gateway opens it under the last one."""
    sessions = {
        "branch point": session(end="branched", ended=1.0),
        "first": session("branch point", "compression", 1.0, 2.0),
        "second": session("first", "compression", 2.0, 3.0),
        "third": session("second", None, 3.0),
        "subagent": session("second", None, 2.5),
        "round": session("round", "compression", 1.0, 1.0),
        "orphan": session("gone", None, 1.0),
    }
    database = SimpleNamespace(get_session=sessions.get)
    assert home_ledgers.earlier_keys(database, "third") == ["second", "first"]
    for key in ("first", "subagent", "round", "orphan", "unknown"):
        assert home_ledgers.earlier_keys(database, key) == []
    assert home_ledgers.earlier_keys(None, "third") == []


def test_the_clis_session_is_named_where_there_is_no_key(
    installed: Host, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3: `/background` runs beside the CLI's turns, and its result belongs to the session, too."""
    manager = importlib.import_module("hermes_cli.plugins").get_plugin_manager()
    monkeypatch.setattr(manager, "_cli_ref", SimpleNamespace(session_id="20260101_000000_abcdef"))
    run(installed, "keyless", key="")
    run(installed, "own", key="20260101_000000_abcdef")
    found = [(row["session_key"], row["parent_session_id"]) for row in rows(home)]
    assert found == [("", "20260101_000000_abcdef"), ("20260101_000000_abcdef", "")]


def test_a_result_that_is_nobodys_yet_is_kept_and_listed(installed: Host, home: Path) -> None:
    """F1, F23: a session that was closed while its turn went on has dispatched it, say."""
    answer = run(installed, "kept", key="a closed session")
    until(lambda: len(installed.queue.pending()) == 1, "it has ended")
    (row,) = rows(home)
    assert (row["delegation_id"], row["delivery"]) == (answer["delegation_id"], "pending")
    listed = installed.delegations._registry.list()
    assert [record["delegation_id"] for record in listed] == [answer["delegation_id"]]
