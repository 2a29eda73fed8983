"""Other hands at a ledger's files while a process uses them (F37).

The log lost its name, and every later result was gone, silently, also at a clean exit.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import hermes_core as hc
from process.lives import Child

HOST = """
import os, sqlite3, sys
import hermes_core as hc

path, end = sys.argv[1:]
registry = hc.DelegationRegistry(ledger=hc.Ledger(path, lease=3600), capacity=99)
room = registry.queue.mailbox(session_key="room")

def run(*goals):
    for goal in goals:
        registry.dispatch(
            goal=goal, runner=lambda: {"summary": goal * 3000}, session_key="room"
        ).result(20)

run("a", "b", "c")
room.get(timeout=20).ack()
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
if end == "kill":
    os.kill(os.getpid(), 9)
"""

REST = """
import queue, sys
import hermes_core as hc

registry = hc.DelegationRegistry(ledger=sys.argv[1])
room = registry.queue.mailbox(session_key="room")
goals = []
while True:
    try:
        with room.get(timeout=0) as delivery:
            assert delivery.event["summary"] == delivery.event["goal"] * 3000
            goals.append(delivery.event["goal"])
    except queue.Empty:
        break
print(*sorted(goals))
"""


def remove(*endings: str) -> Callable[[Path], None]:
    def hand(path: Path) -> None:
        for ending in endings:
            os.unlink(f"{path}{ending}")

    return hand


def restore(path: Path) -> None:
    copy = path.with_name("copy")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(path)


def go_back(path: Path) -> None:
    """A copy of the file alone, as a backup program makes it, takes the place of all."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    remove("-wal", "-shm")(path)
    copy.replace(path)


def look(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT count(*) FROM delegations").fetchall()


def copy_over(path: Path) -> None:
    text = path.read_bytes()
    with path.open("r+b") as file:
        file.write(text)


HANDS: dict[str, Callable[[Path], None]] = {
    "the log": remove("-wal"),
    "its index": remove("-shm"),
    "both": remove("-wal", "-shm"),
    "all": remove("", "-wal", "-shm"),
    "the file alone": remove(""),
    "a backup over it": restore,
    "an old copy over all": go_back,
    "a look": look,
    "itself over it": copy_over,
}

#: The same by the process itself: another SQLite in it.
INSIDE = {
    "a look inside": "db = sqlite3.connect(path);"
    " db.execute('SELECT 1 FROM delegations').fetchone(); db.close()",
    "a write inside": "db = sqlite3.connect(path);"
    " db.execute('UPDATE delegations SET attempts = attempts'); db.commit(); db.close()",
    "an open and close": "open(path, 'rb').close()",
}


class Host(Child):
    """A process with a ledger, to be told what to do line by line."""

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def end(self) -> str:
        """What it wrote to its log."""
        return self.process.communicate(timeout=60)[1]


@contextmanager
def host_of(path: Path, end: str) -> Iterator[Host]:
    """One that has two results waiting, and ends so."""
    command = [sys.executable, "-c", HOST, str(path), end]
    with Host(command, stderr=subprocess.PIPE) as host:
        host.tell("pass")
        yield host


def rest(path: Path) -> str:
    # Whoever was killed is dead for good, whatever its lease says.
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM instances")
        db.commit()
    command = [sys.executable, "-c", REST, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.parametrize("end", ["exit", "kill"])
@pytest.mark.parametrize("hand", [*HANDS, *INSIDE])
def test_f37_nothing_is_lost_by_another_hand(tmp_path: Path, hand: str, end: str) -> None:
    """All that was written before is there after the next write; what was acknowledged is gone."""
    path = tmp_path / "l.db"
    with host_of(path, end) as host:
        if hand in INSIDE:
            host.tell(INSIDE[hand])
        else:
            HANDS[hand](path)
        host.tell("run('d', 'e')")
        log = host.end()
    assert rest(path) == "b c d e\n", log


@pytest.mark.parametrize("hand", ["the log", "both", "all", "an old copy over all"])
def test_f37_it_is_said(tmp_path: Path, hand: str) -> None:
    path = tmp_path / "l.db"
    said = queue.Queue[str]()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.put(record.getMessage())

    handler = Handler()
    logger = logging.getLogger("hermes_core.ledger")
    logger.addHandler(handler)
    try:
        registry = hc.DelegationRegistry(ledger=path)
        registry.dispatch(goal="a", runner=dict).result(20)
        HANDS[hand](path)
        registry.dispatch(goal="b", runner=dict).result(20)
        text = said.get(timeout=20)
    finally:
        logger.removeHandler(handler)
    assert str(path) in text
    assert "1 of its delegations were written anew" in text
    assert registry.stats()["ledger"]["state"] == "ok"


@pytest.mark.parametrize("hand", [*HANDS, *INSIDE])
def test_f37_nothing_is_lost_at_a_clean_exit(tmp_path: Path, hand: str) -> None:
    """The same with nothing written in between."""
    path = tmp_path / "l.db"
    with host_of(path, "exit") as host:
        if hand in INSIDE:
            host.tell(INSIDE[hand])
        else:
            HANDS[hand](path)
        log = host.end()
    assert rest(path) == "b c\n", log


def test_f37_nothing_is_lost_if_it_happens_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    expected = ["b", "c"]
    with host_of(path, "kill") as host:
        for number, hand in enumerate([*HANDS, *INSIDE] * 2):
            if hand in INSIDE:
                host.tell(INSIDE[hand])
            else:
                HANDS[hand](path)
            host.tell(f"run('g{number:02}')")
            expected.append(f"g{number:02}")
        log = host.end()
    assert rest(path).split() == sorted(expected), log


def test_f37_two_processes_lose_nothing_by_a_hand(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with host_of(path, "kill") as first, host_of(path, "kill") as second:
        for number, hand in enumerate(HANDS):
            HANDS[hand](path)
            for name, host in (("x", first), ("y", second)):
                host.tell(f"run('{name}{number}')")
        logs = first.end() + second.end()
    expected = ["b", "b", "c", "c"] + [
        f"{name}{number}" for name in "xy" for number in range(len(HANDS))
    ]
    assert rest(path).split() == sorted(expected), logs


def test_f41_several_processes_that_start_on_a_new_file_all_start(tmp_path: Path) -> None:
    code = """
import sys
import hermes_core as hc

sys.stdin.readline()
for number in range(15):
    ledger = hc.Ledger(f"{sys.argv[1]}/{number}.db", durability="process")
    registry = hc.DelegationRegistry(ledger=ledger)
    registry.dispatch(goal="g", runner=dict, session_key=sys.argv[2]).result(20)
print("all", flush=True)
"""
    with ExitStack() as stack:
        starts = [
            stack.enter_context(Child([sys.executable, "-c", code, str(tmp_path), str(number)]))
            for number in range(4)
        ]
        for start in starts:
            assert start.process.stdin is not None
            start.process.stdin.write("\n")
            start.process.stdin.flush()
        said = [start.process.communicate(timeout=60)[0] for start in starts]
    assert said == ["all\n"] * 4
    assert not [path.name for path in tmp_path.iterdir() if ".new-" in path.name]
