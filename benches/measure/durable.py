"""What keeps work on disk: the core with its ledger, and what it is compared with.

All of them write to one folder of this checkout, so that they share a disk.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Literal

import hermes_core as hc

from .events import EVENT, KEY

DISK = Path(__file__).resolve().parents[2] / ".run" / "bench"
TASK = {key: EVENT[key] for key in ("goal", "context", "toolsets", "role", "model", "session_key")}
#: More than ever run here: the cap is no part of what is measured.
NO_CAP = 1_000_000
#: More than are ever written here: nor is the end of what is kept.
ALL_ROWS = 100_000_000

Runner = Callable[[], dict[str, Any]]


def folder() -> Path:
    """A folder on the disk that is measured, until the end of all measurements."""
    DISK.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=DISK))


def filesystem() -> str:
    """The type of the file system there, as the kernel names it."""
    DISK.mkdir(parents=True, exist_ok=True)
    device = os.stat(DISK).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    mounts = (line.partition(" - ") for line in lines)
    types = (kind.split()[0] for mount, _, kind in mounts if mount.split()[2] == wanted)
    return next(types, "unknown")


class Core:
    """Delegations of one owner, with a ledger."""

    peer = "hermes_core"

    def __init__(self, durability: Literal["full", "process"], path: Path | None = None) -> None:
        path = path or folder() / "delegations.db"
        ledger = hc.Ledger(path, durability=durability, keep_seconds=None, keep_rows=ALL_ROWS)
        queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.registry = hc.DelegationRegistry(queue, capacity=NO_CAP, ledger=ledger)
        self._box = queue.mailbox(session_key=KEY)

    def dispatch(self, runner: Runner) -> None:
        """Start a runner; its row is on disk."""
        self._last = self.registry.dispatch(**TASK, runner=runner)

    def arrive(self) -> None:
        """Wait until the event of the last one is there to be claimed."""
        self._last.result(60)

    def settle(self) -> None:
        """Claim the next event, and acknowledge it."""
        self._box.get(timeout=60).ack()


def live_once(path: str) -> None:
    """Lead one delegation through its life."""
    core = Core("process", Path(path))
    core.dispatch(dict)
    core.settle()


def leave(path: str, count: int) -> Core:
    """Make so many results that nobody takes, for a process to leave when it ends."""
    core = Core("process", Path(path))
    for _ in range(count):
        core.dispatch(dict)
        core.arrive()
    return core


class LaterGateway:
    """hermes-agent 0.19.0, which writes delegations to `state.db`.

    A connection to that file is open beside, as the gateway that runs has one: the last to close it
    would also tidy it up.
    """

    peer = "hermes-agent 0.19.0"

    def __init__(self) -> None:
        os.environ["HERMES_HOME"] = str(folder())
        self._delegation: Any = importlib.import_module("tools.async_delegation")
        registry: Any = importlib.import_module("tools.process_registry")
        self._events = registry.process_registry.completion_queue
        self._beside = self._delegation._connect()
        self._beside.execute("SELECT count(*) FROM async_delegations").fetchall()

    def dispatch(self, runner: Runner) -> None:
        """Start a runner; its row is on disk."""
        self._delegation.dispatch_async_delegation(**TASK, runner=runner, max_async_children=NO_CAP)

    def arrive(self) -> None:
        """Wait until the event of the last one is there to be claimed."""
        self._events.put(self._events.get(timeout=60))

    def settle(self) -> None:
        """Claim the next event, and acknowledge it."""
        event = self._events.get(timeout=60)
        claim = self._delegation.claim_event_delivery(event, "bench")
        assert claim
        self._delegation.complete_event_delivery(event, claim)


class BareCommit:
    """Python's `sqlite3`: a transaction that inserts a row of the bytes of a dispatch."""

    def __init__(self, synchronous: Literal["FULL", "NORMAL"]) -> None:
        self.peer = "a bare commit" if synchronous == "FULL" else "the same, unsynced"
        # Without an isolation level, each statement is a transaction.
        self._connection = sqlite3.connect(folder() / "bare.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, key TEXT, record TEXT)")
        self._record = json.dumps({**TASK, "dispatched_at": EVENT["dispatched_at"]})
        self._numbers = count()

    def insert(self) -> None:
        """Write the next row."""
        row = (f"deleg_{next(self._numbers):016x}", KEY, self._record)
        self._connection.execute("INSERT INTO rows VALUES (?, ?, ?)", row)


class AckQueue:
    """`persist-queue`'s SQLite queue with acknowledgement. Each of its commits is synced."""

    def __init__(self) -> None:
        module: Any = importlib.import_module("persistqueue")
        self.peer = f"persist-queue {importlib.metadata.version('persist-queue')}"
        self._queue = module.SQLiteAckQueue(str(folder()), multithreading=True)

    def put(self) -> None:
        """Put an event."""
        self._queue.put(EVENT)

    def settle(self) -> None:
        """Get an event, and acknowledge it."""
        self._queue.ack(self._queue.get())


class LiteQueue:
    """`litequeue`, which syncs no commit."""

    def __init__(self) -> None:
        module: Any = importlib.import_module("litequeue")
        self.peer = f"litequeue {importlib.metadata.version('litequeue')}"
        self._queue = module.LiteQueue(folder() / "queue.db")

    def put(self) -> None:
        """Put an event."""
        self._queue.put(json.dumps(EVENT))

    def settle(self) -> None:
        """Get an event, and acknowledge it."""
        message = self._queue.pop()
        json.loads(message.data)
        self._queue.done(message.message_id)
