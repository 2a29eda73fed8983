"""Our results are delivered whatever becomes of the gateway's own rows (F9, F17).

Its `state.db` is locked, damaged, no file at all, or what reads it raises.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import queue
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from adapter_support import Host, rest, take
from claims_support import delivery, durable, names, own_home, run, state
from later import run as run_process

from hermes_core import gateway
from hermes_core.gateway import leasing, queue_swap
from hermes_core.gateway import restored as restored_module
from hermes_core.gateway.tui import starts

GATEWAY = "0.19.0"

#: Breaks the rows, and returns what makes them whole again.
Break = Callable[[], Callable[[], None]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_home(tmp_path, monkeypatch)


def lock(host: Host, file: Path, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Another program has it for itself; nobody waits ten seconds for it."""
    host.registry._connect().close()
    gc.collect()  # the gateway closes none of its connections
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute("PRAGMA journal_mode=DELETE")
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    impatient = SimpleNamespace(**vars(sqlite3) | {"connect": lambda path, **_: connect(path)})

    def connect(path: Any) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0)

    patch.setattr(host.registry, "sqlite3", impatient)
    return holder.close


def damage(host: Host, file: Path, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What is there is no database."""
    host.registry._connect().close()
    for log in file.parent.glob("state.db-*"):
        log.unlink()
    kept = file.with_name("kept")
    shutil.move(file, kept)
    file.write_bytes(b"This is no database." * 500)
    return lambda: shutil.move(kept, file)


def make_folder(host: Host, file: Path, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """It is gone, and cannot be made."""
    host.registry._connect().close()
    kept = file.with_name("kept")
    shutil.move(file, kept)
    file.mkdir()

    def repair() -> None:
        file.rmdir()
        shutil.move(kept, file)

    return repair


def raise_(host: Host, file: Path, patch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The gateway's functions raise what they like."""

    def fail() -> None:
        raise KeyError("no such thing")

    whole = host.registry._connect
    patch.setattr(host.registry, "_connect", fail)
    return lambda: patch.setattr(host.registry, "_connect", whole)


@pytest.fixture(params=[lock, damage, make_folder, raise_])
def break_rows(
    request: pytest.FixtureRequest, host: Host, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Break:
    repairs: list[Callable[[], None]] = []

    def break_() -> Callable[[], None]:
        repairs.append(request.param(host, home / "state.db", monkeypatch))
        return repairs[0]

    return break_


def restored(host: Host, key: str) -> str:
    """Leave a result in the gateway's rows as a process does that ends; bring it like a start."""
    name = run(host, f"left for {key}", key)
    rest(host.queue)
    host.registry._records.clear()
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    return name


LEAVE = """
    import sys
    from hermes_core import gateway
    gateway.install()
    from tools import async_delegation
    from tools.process_registry import process_registry
    answer = async_delegation.dispatch_async_delegation(
        goal="g", context=None, toolsets=None, role="leaf", model=None, session_key=sys.argv[1],
        runner=lambda: {"summary": "s"},
    )
    event = process_registry.completion_queue.get(timeout=60)
    process_registry.completion_queue.put(event)
    print(answer["delegation_id"])
"""


def left(home: Path, key: str) -> str:
    """Have an earlier process leave a result in our ledger, which is as it was then."""
    return run_process("0.19.0", LEAVE, home, key).strip()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of the gateway's rows."""
    return [one.message for one in caplog.records if "own ledger" in one.message]


def deliver(host: Host, event: dict[str, Any]) -> None:
    token = host.registry.claim_event_delivery(event, "a consumer")
    assert token
    assert host.registry.claim_event_delivery(event, "another") is None
    host.registry.complete_event_delivery(event, token)


def test_all_that_is_done_with_ours_goes_on(
    host: Host, break_rows: Break, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.install()
    break_rows()
    taken, released, marked = (run(host, one) for one in ("taken", "released", "marked"))
    events = take(host.queue, 3)
    deliver(host, events[0])
    token = host.registry.claim_event_delivery(events[1], "a")
    host.registry.release_event_delivery(events[1], token)
    host.queue.put(dict(events[1]))
    assert names(host.queue.queue) == [released]
    assert host.registry.mark_completion_delivered(marked) is True
    assert durable(host, released)["delivery_state"] == "pending"
    assert durable(host, taken)["delivery_state"] == "delivered"
    # What was taken and left lying comes when it is asked for, here and elsewhere.
    assert names([host.queue.get_nowait()]) == [released]
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    other: queue.Queue[Any] = queue.Queue()
    assert host.registry.restore_undelivered_completions(other) == 1
    assert names(other.queue) == names(host.queue.queue) == [released]
    deliver(host, host.queue.get_nowait())
    assert [delivery(name) for name in (taken, released, marked)] == ["delivered"] * 3
    assert len(said(caplog)) == 1


def test_what_an_earlier_process_left_comes_to_its_session(
    host: Host,
    home: Path,
    break_rows: Break,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ours at once, that of the gateway's rows once they can be read again."""
    ours, also_ours = left(home, "mine"), left(home, "another's")
    theirs = restored(host, "mine")
    gateway.install()
    repair = break_rows()
    drain = host.processes.process_registry.drain_notifications
    drained = [event for _ in range(5) for event, _ in drain(session_key="mine")]
    assert names(drained) == [ours]
    deliver(host, drained[0])
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    assert names(host.queue.queue) == [also_ours]
    deliver(host, host.queue.get_nowait())
    assert len(said(caplog)) == 1
    repair()
    assert drain(session_key="mine") == []
    monkeypatch.setattr(restored_module.time, "monotonic", lambda: 1e9)
    ((event, _),) = drain(session_key="mine")
    assert event["delegation_id"] == theirs
    deliver(host, event)
    assert state(host, theirs) == "delivered"
    assert [delivery(name) for name in (ours, also_ours)] == ["delivered"] * 2
    assert len(said(caplog)) == 1


def test_whoever_takes_what_comes_has_ours(
    host: Host, home: Path, break_rows: Break, caplog: pytest.LogCaptureFixture
) -> None:
    """A consumer that is none of the gateway's own."""
    ours = left(home, "mine")
    theirs = restored(host, "mine")
    gateway.install()
    repair = break_rows()
    event = host.queue.get_nowait()
    assert event["delegation_id"] == ours
    deliver(host, event)
    assert host.queue.empty()
    repair()
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    assert names(host.queue.queue) == [theirs]
    assert len(said(caplog)) == 1


def test_the_core_comes_and_goes(
    host: Host, break_rows: Break, caplog: pytest.LogCaptureFixture
) -> None:
    """What was restored and what is ours are the gateway's again, claimed or not."""
    theirs = restored(host, "mine")
    repair = break_rows()
    gateway.install()
    claimed, waiting = run(host, "claimed"), run(host, "waiting")
    event = host.queue.get_nowait()
    token = host.registry.claim_event_delivery(event, "a")
    assert token
    gateway.uninstall()
    assert names(host.queue.queue) == [waiting, theirs]
    gateway.install()
    assert names(host.queue.queue) == [waiting]
    gateway.uninstall()
    assert names(host.queue.queue) == [waiting, theirs]
    (left_out,) = [one for one in said(caplog) if one.startswith("not in")]
    assert claimed in left_out
    assert waiting in left_out
    repair()
    assert host.registry.claim_event_delivery(host.queue.get_nowait(), "b")


def test_one_that_hands_back_many_gives_up_early(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Each try may wait for ten seconds."""
    tries: list[str] = []

    def fail(record: dict[str, Any]) -> None:
        tries.append(record["delegation_id"])
        if record["goal"] != "goal of 1":
            raise sqlite3.OperationalError("database is locked")

    gateway.install()
    swap: Any = queue_swap._swap
    swap.leases.rows._functions["_persist_dispatch"] = fail
    found = [run(host, str(number)) for number in range(6)]
    tokens = [host.registry.claim_event_delivery(event, "a") for event in take(host.queue, 3)]
    assert all(tokens)
    gateway.uninstall()
    assert tries == found[:4]
    assert names(host.queue.queue) == found[3:]
    (left_out,) = [one for one in said(caplog) if one.startswith("not in")]
    assert [name in left_out for name in found] == [True, False, True, True, True, True]


class Unreadable:
    """The gateway's sessions, which cannot be read."""

    def get_session(self, key: str) -> None:
        raise sqlite3.DatabaseError("file is not a database")


@pytest.mark.parametrize("kind", ["cli", "tui"])
def test_a_session_whose_earlier_keys_cannot_be_told_has_what_is_its_own(
    host: Host,
    home: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = left(home, "mine")
    gateway.install()
    if kind == "cli":
        cli = SimpleNamespace(session_id="mine", _session_db=Unreadable())
        monkeypatch.setattr(leasing.consumers, "cli", lambda: cli)
        drained = host.processes.process_registry.drain_notifications(session_key="mine")
        assert names(event for event, _ in drained) == [ours]
    else:
        swap: Any = queue_swap._swap
        module: Any = SimpleNamespace(
            _session_resume_lock=threading.Lock(),
            _session_db=lambda _: contextlib.nullcontext(Unreadable()),
        )
        session = {"session_key": "mine"}
        starts._offer(module, threading.Event(), session, swap.leases.restored)
        assert names(host.queue.queue) == [ours]
    assert "which keys session mine had before cannot be told" in caplog.text


def test_a_ledger_of_ours_that_cannot_be_read_keeps_nothing_of_the_gateways_back(
    host: Host, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = restored(host, "mine")
    (home / "delegations.db").write_bytes(b"This is no ledger." * 500)
    gateway.install()
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    deliver(host, host.queue.get_nowait())
    assert state(host, theirs) == "delivered"
    assert host.registry.get_durable_delegation("nobody's") is None
    assert "is not a ledger" in caplog.text


def test_the_log_says_it_again_once_it_was_well_in_between(
    host: Host, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gateway.install()
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(host.registry, "_connect", lambda: importlib.import_module("no_such"))
            for _ in range(3):
                host.registry.restore_undelivered_completions(host.queue)
        host.registry.restore_undelivered_completions(host.queue)
    assert len(said(caplog)) == 2
