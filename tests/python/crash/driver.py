"""One life of a process that works with a ledger and writes down what it knows.

    python -m crash.driver FOLDER SEED [--drain | --put-back]

It dispatches, runs, delivers and acknowledges in several threads, beside a thread that uses a
`state.db` with Python's own SQLite, until its standard input is closed or it is killed. What it
knows goes to a journal (`crash.judge`), one `write` for each line, which the page cache keeps when
the process is gone. With ``--drain`` it starts nothing new, and ends once nothing is left to be
delivered.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty
from typing import Any

import hermes_core as hc
from hermes_core.delegation import executor
from hermes_core.runtime.workers import WorkerPool

#: Short, so that the next life does not wait for long.
LEASE = 1.0
#: Few, so that retention is at work.
KEPT_ROWS = 20
CAPACITY = 8
#: Few, so that there are dead letters.
ATTEMPTS = 2
SESSIONS = tuple(f"agent:main:test:dm:{number}" for number in range(4))
#: What nobody gets by itself.
_SET_ASIDE = ("dead", "parked")
LEDGER = "delegations.db"
JOURNAL = "journal"
STATE = "state.db"

Work = Callable[[random.Random], None]


class Journal:
    """Lines that outlive the process; those of several processes are in the order of writing."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, *words: object) -> None:
        """Write a line of this process."""
        self.note_of(os.getpid(), *words)

    def note_of(self, process: int, *words: object) -> None:
        """Write a line of a process."""
        os.write(self._file, f"{process} {' '.join(map(str, words))}\n".encode())


class Life:
    """A registry, its ledger, and the threads that use them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.note = Journal(folder / JOURNAL).note
        self._seed = seed
        self._folder = folder
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._handles: list[hc.DelegationHandle] = []
        self.queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.ledger = hc.Ledger(folder / LEDGER, lease=LEASE, keep_rows=KEPT_ROWS)
        self.registry = hc.DelegationRegistry(self.queue, capacity=CAPACITY, ledger=self.ledger)
        self.registry._workers = _Workers(seed)

    def start(self, *works: Work) -> None:
        """Start a thread for each of them, which does it again and again."""
        for work in works:
            rng = random.Random(f"{self._seed} {len(self._threads)}")
            thread = threading.Thread(target=self._repeat, args=(work, rng), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads, and wait for them and for what runs."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        for handle in self._handles:
            # One that another life dispatched under the same key has no result here.
            with contextlib.suppress(LookupError):
                handle.result()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        self._end.wait(seconds)

    def _repeat(self, work: Work, rng: random.Random) -> None:
        try:
            while not self._end.is_set():
                work(rng)
        except BaseException as exc:
            self.note("raised", type(exc).__name__, repr(str(exc)))
            traceback.print_exc()
            os._exit(1)

    def dispatch(self, rng: random.Random) -> None:
        """Start a delegation; some wait for capacity, some have a key that another life used."""
        goal = f"{rng.randrange(1 << 48):012x}"
        key = f"key-{rng.randrange(20)}" if rng.random() < 0.2 else None
        seconds = rng.choice((0.0, 0.0, 0.0, rng.random() / 20))
        fails = rng.random() < 0.1
        waits = rng.random() < 0.3

        def runner() -> dict[str, Any]:
            self.note("runs", goal)
            self.pause(seconds)
            if fails:
                raise ValueError("as planned")
            return {"summary": goal}

        try:
            handle = self.registry.dispatch(
                goal=goal,
                runner=runner,
                session_key=SESSIONS[0] if key else rng.choice(SESSIONS),
                idempotency_key=key,
                on_capacity="queue" if waits else "reject",
            )
        except hc.AtCapacity:
            self.pause(0.002)
        except hc.LedgerError:
            self.note("refused", goal)
        except _NoThreads:
            self.note("withdrawn", goal, key)
        else:
            self.note("dispatched", handle.id, goal, key)
            self._handles.append(handle)

    def deliver(self, keys: tuple[str, ...], rng: random.Random) -> None:
        """Take events of some sessions, and settle each in one way or another."""
        box = self.queue.mailbox(session_key=keys, lease=LEASE, max_attempts=ATTEMPTS)
        with contextlib.closing(box):
            while rng.random() > 0.02 and not self._end.is_set():
                with contextlib.suppress(Empty):
                    self._settle(box.get(timeout=0.05), rng)

    def _settle(self, delivery: hc.Delivery, rng: random.Random) -> None:
        event = delivery.event
        delegation_id = event["delegation_id"]
        if event.get("late"):
            self.note("late", delegation_id)
        self.note("got", delegation_id, event["goal"], event["status"])
        if rng.random() < 0.2:
            delivery.nack()
            return
        self.note("acks", delegation_id)
        if delivery.ack():
            self.note("acked", delegation_id)

    def handle_by_hand(self, rng: random.Random) -> None:
        """Do what a person does: cancel, reset, redeliver and drop."""
        self.pause(0.01)
        with contextlib.suppress(hc.LedgerError):
            if rng.random() < 0.1:
                self.queue.new_epoch(SESSIONS[3])
            for row in self.ledger.running():
                if rng.random() < 0.05:
                    self.ledger.cancel(row["delegation_id"])
            for row in self.ledger.rows():
                # What waits is somebody's here or elsewhere, and dropped by them.
                is_set_aside = row["delivery"] in _SET_ASIDE
                waits = row["delivery"] == "pending"
                if is_set_aside and rng.random() < 0.5:
                    self._redeliver(row["delegation_id"])
                elif is_set_aside or (waits and rng.random() < 0.01):
                    self.note("drops", row["delegation_id"], row["record"]["goal"])
                    rng.choice((self.registry, self.ledger)).drop(row["delegation_id"])

    def put_back(self, rng: random.Random) -> None:
        """Take an event without a lease, and return it."""
        with contextlib.suppress(Empty):
            event = self.queue.get(timeout=0.05)
            self.note("drops", event["delegation_id"], event["goal"])
            self.queue.put(event)

    def use_state(self, rng: random.Random) -> None:
        """Use another SQLite file, with connections that come and go."""
        number = rng.randrange(1 << 48)
        connection = sqlite3.connect(self._folder / STATE, timeout=30)
        with contextlib.closing(connection), connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS states (number INTEGER)")
            connection.execute("INSERT INTO states VALUES (?)", (number,))
        self.note("state", number)
        self.pause(0.005)

    def drain(self) -> None:
        """Wait until nothing is left that is to be delivered, here or elsewhere."""
        while any(row["delivery"] not in ("delivered", "dropped") for row in self.ledger.rows()):
            for row in self._set_aside():
                self._redeliver(row["delegation_id"])
            self.pause(0.05)

    def _redeliver(self, delegation_id: str) -> None:
        """Have an event wait again; also one that was delivered a moment ago."""
        self.note("redelivers", delegation_id)
        self.note("redelivered", delegation_id, self.registry.redeliver(delegation_id))

    def _set_aside(self) -> list[dict[str, Any]]:
        """What nobody gets by itself: dead letters, and what a reset has parked."""
        return [row for row in self.ledger.rows() if row["delivery"] in _SET_ASIDE]


class _NoThreads(RuntimeError):
    """Stands for a system that can start no thread."""


class _Workers(WorkerPool[Any]):
    """Worker threads, of which one is missing now and then for what has been written down."""

    __slots__ = ("_rng",)

    def __init__(self, seed: int) -> None:
        super().__init__("async-delegate", executor.run, executor.orphaned)
        self._rng = random.Random(seed)

    def submit(self, job: Any) -> None:
        if self._rng.random() < 0.03:
            raise _NoThreads
        super().submit(job)


def main() -> None:
    """Live."""
    faulthandler.enable()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--drain", action="store_true")
    parser.add_argument("--put-back", action="store_true")
    options = parser.parse_args()
    life = Life(options.folder, options.seed)
    life.start(partial(life.deliver, SESSIONS[:2]), partial(life.deliver, SESSIONS[2:]))
    life.note("lives")
    print("lives", flush=True)
    if options.drain:
        life.drain()
    else:
        life.start(life.dispatch, life.dispatch, life.handle_by_hand, life.use_state)
        if options.put_back:
            life.start(life.put_back)
        sys.stdin.read()
    life.stop()
    life.note("ends", life.registry.active_count())


if __name__ == "__main__":
    main()
