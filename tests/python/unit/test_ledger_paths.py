"""What is at a ledger's path and is none: refused at once, and left alone (F36, F41)."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc

Make = Callable[[Path], object]


def _database(statements: str) -> Make:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(statements)

    return make


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


FOREIGN: dict[str, tuple[Make, str]] = {
    "a text": (lambda path: path.write_text("my notes\n" * 30), "does not begin"),
    "a short text": (lambda path: path.write_text("x"), "does not begin"),
    "JSON": (lambda path: path.write_text('{"a": [1, 2, 3]}' * 9), "does not begin"),
    "zeros": (lambda path: path.write_bytes(bytes(8192)), "does not begin"),
    "an empty file": (lambda path: path.touch(), "empty"),
    "an empty database": (_database("VACUUM"), "another program's"),
    "a database": (_database("CREATE TABLE t (x)"), "another program's"),
    "a database with a log": (
        _database("PRAGMA journal_mode = WAL; CREATE TABLE t (x)"),
        "another program's",
    ),
    "a database of delegations": (
        _database("PRAGMA application_id = 7; CREATE TABLE delegations (id)"),
        "another program's",
    ),
    "a folder": (Path.mkdir, "folder"),
    "a pipe": (os.mkfifo, "pipe"),
    "a socket": (_socket, "socket"),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    # A short one: the path of a socket has a bound.
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def about(folder: Path) -> dict[str, tuple[Any, ...]]:
    def one(path: Path) -> tuple[Any, ...]:
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        return stat.st_mode, stat.st_ino, stat.st_nlink, stat.st_mtime_ns, content

    return {path.name: one(path) for path in folder.iterdir()}


@pytest.mark.parametrize("by_link", [False, True], ids=["itself", "a link"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_f36_what_is_no_ledger_is_refused_before_anything_is_dispatched(
    folder: Path, kind: str, by_link: bool
) -> None:
    make, why = FOREIGN[kind]
    path = folder / "l.db"
    make(path)
    asked = path
    if by_link:
        asked = folder / "link.db"
        asked.symlink_to(path.name)
    before = about(folder)
    lazy = hc.Ledger(asked)
    tries: list[Callable[[], object]] = [
        lambda: hc.DelegationRegistry(ledger=asked),
        lambda: hc.DelegationRegistry(ledger=str(asked)),
        lambda: hc.DelegationRegistry(ledger=lazy),
        lazy.open,
        lazy.rows,
        lazy.running,
        lazy.elsewhere,
        lazy.dead_letters,
        lambda: lazy.get("d"),
        lambda: lazy.redeliver("d"),
    ]
    for one in tries:
        with pytest.raises(hc.NotALedger, match=why) as raised:
            one()
        assert raised.value.path == str(path.resolve())
    assert about(folder) == before


def test_f36_a_registry_that_gets_another_ledger_keeps_its_own(folder: Path) -> None:
    (folder / "notes.txt").write_text("notes")
    registry = hc.DelegationRegistry(ledger=folder / "l.db")
    before = registry.ledger
    with pytest.raises(hc.NotALedger):
        registry.ledger = folder / "notes.txt"
    assert registry.ledger is before
    registry.dispatch(goal="g", runner=dict).result(10)


def test_f36_a_ledger_alone_says_nothing_before_it_is_asked(folder: Path) -> None:
    (folder / "notes.txt").write_text("notes")
    assert hc.Ledger(folder / "notes.txt").health()["state"] == "closed"


def test_f36_a_missing_folder_is_said_at_once(folder: Path) -> None:
    with pytest.raises(hc.LedgerError, match="No such file"):
        hc.DelegationRegistry(ledger=folder / "none" / "l.db")
    (folder / "file").touch()
    with pytest.raises(hc.LedgerError, match="Not a directory"):
        hc.DelegationRegistry(ledger=folder / "file" / "l.db")
    assert about(folder).keys() == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to the superuser")
def test_f36_what_cannot_be_written_is_said_at_once(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(hc.LedgerError, match="cannot be written"):
            hc.DelegationRegistry(ledger=folder / "l.db")
    finally:
        folder.chmod(0o700)


def test_f36_a_path_that_is_too_long_is_said_at_once(folder: Path) -> None:
    for name in ("n" * 300, "/".join(["f" * 100] * 5)):
        with pytest.raises(hc.LedgerError, match="too long"):
            hc.DelegationRegistry(ledger=folder / name)


def test_f36_a_second_name_is_said_at_once(folder: Path) -> None:
    registry = hc.DelegationRegistry(ledger=folder / "l.db")
    registry.dispatch(goal="g", runner=dict).result(10)
    os.link(folder / "l.db", folder / "other.db")
    with pytest.raises(hc.LedgerError, match="hard link"):
        hc.DelegationRegistry(ledger=folder / "other.db")


def test_f36_a_link_may_lead_to_what_is_not_there_yet(folder: Path) -> None:
    (folder / "volume").mkdir()
    (folder / "l.db").symlink_to("volume/real.db")
    registry = hc.DelegationRegistry(ledger=folder / "l.db")
    assert not (folder / "volume" / "real.db").exists()
    registry.dispatch(goal="g", runner=dict).result(10)
    assert (folder / "l.db").is_symlink()
    assert (folder / "volume" / "real.db").stat().st_mode & 0o777 == 0o600


def test_f36_a_look_makes_no_file(folder: Path) -> None:
    ledger = hc.Ledger(folder / "l.db").open()
    assert (ledger.rows(), ledger.running(), ledger.elsewhere(), ledger.get("d")) == (
        [],
        [],
        [],
        None,
    )
    assert about(folder) == {}
