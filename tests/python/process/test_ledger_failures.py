"""A ledger whose disk is full, or cannot be written: nothing is stuck, and nothing is lost.

F9: a write of the ledger failed, its delegation stayed in `finalizing` for good, and its result was
never published.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

RunMany = Callable[..., None]

START = """
import logging, os, subprocess, sys, tempfile, threading
from pathlib import Path
import hermes_core as hc

logging.disable()
number = int(sys.argv[1])
folder = Path(tempfile.mkdtemp(dir=FOLDER))
path = folder / "delegations.db"
events = hc.CompletionQueue()
ledger = hc.Ledger(path, lease=5)
registry = hc.DelegationRegistry(events, capacity=3, ledger=ledger)
box = events.mailbox(session_key="k")
ran = []

def dispatch(goal, wait=lambda: None):
    def runner():
        wait()
        ran.append(goal)
        return {"summary": goal}
    return registry.dispatch(goal=goal, runner=runner, session_key="k")

def is_refused(goal):
    try:
        dispatch(goal)
    except hc.LedgerError as exc:
        assert str(path) in str(exc), exc
        return True
    return False

def deliver():
    delivery = box.get(timeout=50)
    assert delivery.ack()
    return delivery.event["summary"]

def health():
    return registry.stats()["ledger"]
"""

#: The disk fails at a moment that the number varies, and is there again for every other number.
FAILS_AND_RECOVERS = """
go = threading.Event()
for goal in ("a", "b"):
    dispatch(goal, go.wait)
break_it()
served = 0
while not is_refused(f"{served}"):
    assert deliver() == f"{served}"
    served += 1
assert len(ran) == served
assert registry.active_count() == 2
seen = health()
assert seen["failed"] > 0 and seen["last_error"], seen

# What runs ends all the same, frees its permit and comes to its owner.
go.set()
assert {deliver(), deliver()} == {"a", "b"}
assert registry.active_count() == 0
assert not any(registry.live_work().values()), registry.live_work()

if number % 2:
    mend_it()
    # What failed is tried again, and on disk from then on.
    assert ledger.flush(50), health()
    assert (seen := health())["state"] == "ok" and seen["waiting"] == 0, seen
    dispatch("c").result()
    assert deliver() == "c"
    assert ledger.flush(50)
    script = '''
import sqlite3, sys
import hermes_core as hc
ledger = hc.Ledger(sys.argv[1])
assert not ledger.running() and not ledger.elsewhere()
rows = {row["record"]["goal"]: row["delivery"] for row in ledger.rows()}
assert {rows[goal] for goal in "abc"} == {"delivered"}, rows
assert set(rows) - {*"abc"} == {f"{n}" for n in range(int(sys.argv[2]))}, rows
'''
    subprocess.run([sys.executable, "-c", script, path, f"{served}"], check=True)
"""

TOO_LONG_A_FILE = """
import resource
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

def break_it():
    # Python ignores the signal; the write gives an error.
    size = os.path.getsize(f"{path}-wal") + number * 1_237 % 60_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

def mend_it():
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
"""

FULL_DISK = """
ballast = folder / "ballast"

def break_it():
    room = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with ballast.open("wb") as file:
        file.write(bytes(max(0, room - number * 4096)))

def mend_it():
    ballast.unlink()
"""

NO_FILE = """
path.mkdir()
assert is_refused("a") and is_refused("b")
assert health()["state"] == "failing", health()
assert not ran and registry.active_count() == 0 and events.empty()
path.rmdir()
dispatch("c")
assert deliver() == "c"
assert ran == ["c"]
assert (seen := health())["state"] == "ok", seen
"""

READ_ONLY = """
import sys
from pathlib import Path
import hermes_core as hc

path = Path(FOLDER) / "delegations.db"
try:
    hc.DelegationRegistry(ledger=path)
except hc.LedgerError as exc:
    assert str(path) in str(exc) and "cannot be written" in str(exc), exc
else:
    raise AssertionError("a registry was made")
"""


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system of its own; skips where this user may mount none."""
    folder.mkdir()
    command = ["mount", *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def in_folder(folder: Path, *scripts: str) -> str:
    """The scripts behind one another, with their files there."""
    return "".join((f"FOLDER = {str(folder)!r}\n", START, *scripts))


def test_a_file_that_may_not_grow(run_many: RunMany, tmp_path: Path) -> None:
    """F9, at many sizes."""
    run_many(in_folder(tmp_path, TOO_LONG_A_FILE, FAILS_AND_RECOVERS), share=0.1)


def test_a_full_disk(run_many: RunMany, tmp_path: Path) -> None:
    """F9, with `ENOSPC`."""
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as folder:
        script = "import shutil\n" + in_folder(folder, FULL_DISK, FAILS_AND_RECOVERS)
        run_many(script + "shutil.rmtree(folder)\n", share=0.02, at_once=1)


def test_a_file_that_cannot_be_made(run_many: RunMany, tmp_path: Path) -> None:
    run_many(in_folder(tmp_path, NO_FILE), share=0.01)


@pytest.mark.parametrize("is_there", [False, True], ids=["no file", "a file"])
def test_a_read_only_disk(run_many: RunMany, tmp_path: Path, is_there: bool) -> None:
    with mounted(tmp_path / "fixed", "-t", "tmpfs", "tmpfs") as folder:
        if is_there:
            path = str(folder / "delegations.db")
            made = f"import hermes_core as hc; hc.Ledger({path!r}).redeliver('none')"
            subprocess.run([sys.executable, "-c", made], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        run_many(f"FOLDER = {str(folder)!r}\n{READ_ONLY}", share=0.01)
