"""The core's own errors: one base, classes that a host can catch, and what they say."""

from __future__ import annotations

import contextlib
import pickle
import queue
import sqlite3
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest

import hermes_core as hc


def made(path: Path) -> hc.Ledger:
    """A ledger whose file is there."""
    registry = hc.DelegationRegistry(ledger=hc.Ledger(path, lease=0.1))
    registry.dispatch(goal="a", runner=dict, session_key="k").result(timeout=30)
    registry.queue.get(timeout=30)
    assert registry.ledger.flush()
    return registry.ledger


@pytest.mark.parametrize(
    "error",
    [
        hc.LedgerError("it", "/p"),
        hc.LedgerFull("it", "/p"),
        hc.LedgerBusy("it", "/p"),
        hc.LedgerNewerSchema("it", "/p", 9, 2),
        hc.NotALedger("it", "/p"),
    ],
)
def test_an_error_of_the_ledger_is_caught_by_its_bases_and_can_be_pickled(
    error: hc.LedgerError,
) -> None:
    assert isinstance(error, hc.LedgerError)
    assert isinstance(error, hc.HermesCoreError)
    assert isinstance(error, RuntimeError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.path) == ("it", "/p")
    assert vars(again) == vars(error)
    assert type(error).__module__ == "hermes_core"


def test_one_base_is_under_what_the_core_raises_of_its_own() -> None:
    if not hasattr(queue, "ShutDown"):
        assert issubclass(hc.ShutDown, hc.HermesCoreError)
    else:
        assert hc.ShutDown is queue.ShutDown


def test_a_file_of_a_later_release(tmp_path: Path) -> None:
    path = tmp_path / "delegations.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA application_id = 0x68636c67")
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(hc.LedgerNewerSchema, match="schema 99") as raised:
        hc.Ledger(path).rows()
    assert raised.value.path == str(path)
    assert raised.value.found == 99
    assert raised.value.known < 99


def test_a_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (x)")
    before = path.read_bytes()
    with pytest.raises(hc.NotALedger, match="another program's") as raised:
        hc.Ledger(path).rows()
    assert raised.value.path == str(path)
    assert path.read_bytes() == before
    with pytest.raises(hc.NotALedger, match="the gateway's own"):
        hc.DelegationRegistry(ledger=tmp_path / "state.db").dispatch(goal="a", runner=dict)


LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_file_that_another_program_keeps_locked(tmp_path: Path) -> None:
    path = tmp_path / "delegations.db"
    ledger = made(path)
    command = [sys.executable, "-c", LOCK, str(path)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(hc.LedgerBusy) as raised:
            ledger.drop("nobody")
        other.stdin.close()
    assert raised.value.path == str(path)


def test_a_path_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(hc.NotALedger, match="it is a folder") as raised:
        hc.Ledger(tmp_path).rows()
    assert raised.value.path == str(tmp_path)
