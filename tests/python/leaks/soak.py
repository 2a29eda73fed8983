"""A great many delegations through a ledger in a file: memory stays flat, and so does the file.

    PYTHONPATH=tests/python python -m leaks.soak [--count 1000000]

Each is dispatched, run, delivered and acknowledged, some after a failed delivery. At ten
checkpoints memory and the file are read, once everything that was dispatched has been delivered.
The first three are warm-up. From then on resident memory may grow by what `leaks.flat` allows, and
the file by a tenth: retention keeps a number of rows that is full by then.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import hermes_core as hc
from leaks import flat

WORK = Path(__file__).resolve().parents[3] / ".run" / "soak"
CHECKPOINTS = 10
WARM_UP = 3
CAPACITY = 8
KEY = "agent:main:test:dm:0"
#: Every so many deliveries fail once.
FAILING = 10
#: Rows kept at most; with fewer delegations so few that they are all there in the warm-up.
KEPT_ROWS = 10_000
SUMMARY = "Nothing wrong in the logs. " * 20


class Reading(NamedTuple):
    """What is read at a checkpoint, in bytes."""

    resident: int
    file: int
    log: int


class Soak:
    """A registry with a ledger, a thread that delivers, and no more under way than may run."""

    def __init__(self, path: Path, kept_rows: int) -> None:
        self._path = path
        self._ledger = hc.Ledger(path, durability="process", keep_rows=kept_rows)
        self._queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self._registry = hc.DelegationRegistry(self._queue, capacity=CAPACITY, ledger=self._ledger)
        self._room = threading.Semaphore(CAPACITY)
        self._box = self._queue.mailbox(session_key=KEY)
        threading.Thread(target=self._deliver, daemon=True).start()

    def run(self, count: int) -> None:
        """Lead so many delegations through their lives."""
        for _ in range(count):
            self._room.acquire()
            self._registry.dispatch(goal="Read the logs", runner=_summary, session_key=KEY)
        for _ in range(CAPACITY):
            self._room.acquire()
        self._room.release(CAPACITY)

    def read(self) -> Reading:
        """Read memory, with all garbage gone, and the sizes on disk."""
        assert self._ledger.flush(60), self._ledger.health()
        assert self._registry.active_count() == 0
        gc.collect()
        log = self._path.with_name(f"{self._path.name}-wal")
        return Reading(flat.resident(), self._path.stat().st_size, log.stat().st_size)

    def _deliver(self) -> None:
        number = 0
        while True:
            delivery = self._box.get()
            number += 1
            if number % FAILING == 0 and delivery.attempt == 1:
                delivery.nack()
                continue
            assert delivery.ack()
            self._room.release()


def _summary() -> dict[str, Any]:
    return {"summary": SUMMARY}


def growth(warm: Reading, last: Reading, operations: int) -> list[str]:
    """What has grown past the rules above; empty if nothing has."""
    grown = []
    memory = last.resident - warm.resident
    if memory > (allowed := flat.STEP + flat.PER_OPERATION * operations):
        grown.append(f"{memory:,} bytes more in memory, {allowed:,} are allowed")
    for name, before, now in (("file", warm.file, last.file), ("log", warm.log, last.log)):
        if now > before * 1.1:
            grown.append(f"the {name} grew from {before:,} to {now:,} bytes")
    return grown


def main() -> int:
    """Soak, print a line for each checkpoint, and a verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    step = options.count // CHECKPOINTS
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    soak = Soak(WORK / "delegations.db", min(KEPT_ROWS, options.count // 20))
    readings = []
    for checkpoint in range(1, CHECKPOINTS + 1):
        start = time.monotonic()
        soak.run(step)
        rate = step / (time.monotonic() - start)
        reading = soak.read()
        readings.append(reading)
        resident, file, log = (size / 1e6 for size in reading)
        print(
            f"{checkpoint * step:>9,}: {rate:,.0f} a second, {resident:.1f} MB in memory, "
            f"{file:.1f} MB on disk, {log:.1f} MB of log",
            flush=True,
        )
    grown = growth(readings[WARM_UP - 1], readings[-1], step * (CHECKPOINTS - WARM_UP))
    print("; ".join(grown) or "flat")
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
