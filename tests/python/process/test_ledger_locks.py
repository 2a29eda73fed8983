"""The ledger beside Python's own SQLite in one process: neither loses a lock of the other.

F17: POSIX locks belong to a process and a file. Whoever closes a descriptor of a file drops every
lock that the process has on it, also those of another copy of SQLite, and the file is damaged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

RunMany = Callable[..., None]

#: `missing(path, …)`: which of these files this process has no lock on.
HELD = """
import os, sqlite3, sys, tempfile, threading
from pathlib import Path

def missing(*paths):
    pid, numbers = str(os.getpid()), set()
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "POSIX" and fields[4] == pid:
            numbers.add(int(fields[5].rpartition(":")[2]))
    return [path.name for path in paths if path.stat().st_ino not in numbers]

folder = Path(tempfile.mkdtemp(dir=FOLDER))

def connect(name):
    connection = sqlite3.connect(folder / name, timeout=60, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    return connection
"""

BESIDE = """
import contextlib, shutil
from queue import Empty
import hermes_core as hc

state = connect("state.db")
state.execute("CREATE TABLE states (number INTEGER)")
queue = hc.CompletionQueue()
path = folder / "delegations.db"
ledger = hc.Ledger(path, durability="process", keep_rows=10)
registry = hc.DelegationRegistry(queue, capacity=100, ledger=ledger)
names = "state.db", "delegations.db"
files = [folder / f"{name}{more}" for name in names for more in ("", "-shm")]
end, raised = threading.Event(), []

def repeated(work):
    def run():
        try:
            while not end.is_set():
                work()
        except BaseException as exc:
            raised.append(exc)
            raise
    thread = threading.Thread(target=run)
    thread.start()
    return thread

def use_state():
    with contextlib.closing(connect("state.db")) as connection:
        connection.execute("INSERT INTO states VALUES (1)")

def delegate():
    registry.dispatch(goal="x", runner=dict, session_key="k").result()

def deliver():
    with queue.mailbox(session_key="k", lease=5) as box:
        for _ in range(20):
            with contextlib.suppress(Empty):
                box.get(timeout=0.01).ack()

def look():
    # Another one of the same file, that comes and goes.
    other = hc.Ledger(path)
    other.rows(5), other.elsewhere(), other.health()

delegate()
assert missing(*files) == [], missing(*files)
threads = [repeated(work) for work in (use_state, use_state, delegate, deliver, look)]
for _ in range(300):
    assert (gone := missing(*files)) == [], gone
end.set()
for thread in threads:
    thread.join()
assert not raised
state.close()
copies = Path(tempfile.mkdtemp(dir=FOLDER))
for name in names:
    for part in folder.glob(f"{name}*"):
        shutil.copy(part, copies)
    with contextlib.closing(sqlite3.connect(copies / name)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
"""

#: What happens where a file is opened and closed beside its SQLite.
CARELESS = """
connection = connect("state.db")
connection.execute("CREATE TABLE states (number INTEGER)")
assert missing(folder / "state.db") == []
os.close(os.open(folder / "state.db", os.O_RDONLY))
assert missing(folder / "state.db") == ["state.db"]
"""


def test_no_lock_of_either_is_dropped(run_many: RunMany, tmp_path: Path) -> None:
    """F17: with connections to `state.db` that come and go, and ledgers that do."""
    run_many(f"FOLDER = {str(tmp_path)!r}" + HELD + BESIDE, share=0.05)


def test_a_dropped_lock_would_be_seen(run_many: RunMany, tmp_path: Path) -> None:
    run_many(f"FOLDER = {str(tmp_path)!r}" + HELD + CARELESS, share=0.01)
