"""Sessions in threads that put, take, settle, rotate and close in any order."""

from __future__ import annotations

import itertools
import queue as stdlib_queue
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import hermes_core as hc

HUNG = 60
SESSIONS = 4
STEPS = 150


class Sessions:
    """What all of them know: whose each key is, and who acked what."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.queue: hc.CompletionQueue[dict[str, Any]] = hc.CompletionQueue()
        self.numbers = itertools.count()
        self.keys = [[f"{owner} 0"] for owner in range(SESSIONS)]
        # list.append is atomic.
        self.put: list[tuple[int, int]] = []
        self.acked: list[tuple[int, int]] = []
        self.strangers: list[tuple[int, Any]] = []

    def run(self, owner: int, thread: int) -> None:
        """One of a session's threads, with a mailbox of its own."""
        rng = random.Random(f"{self.seed} {owner} {thread}")
        box = self.open(owner, rng)
        for step in range(STEPS):
            what = rng.randrange(10)
            if what < 4:
                self.put_to(rng.randrange(SESSIONS), rng)
            elif what < 8:
                try:
                    one = what < 7
                    batch = [box.get(rng.random() < 0.5, 1e-4)] if one else box.take_all(1e-4, 1e-4)
                except stdlib_queue.Empty:
                    continue
                for delivery in batch:
                    self.settle(owner, delivery, rng.choice(("ack", "ack", "nack", "defer", "")))
                del batch[:]
            elif what == 8:
                self.keys[owner].append(f"{owner} {thread} {step}")
                box.add_key(self.keys[owner][-1])
                box.remove_key(rng.choice(self.keys[owner]))
            else:
                box.close()
                box = self.open(owner, rng)

    def open(self, owner: int, rng: random.Random) -> hc.Mailbox:
        lease = rng.choice((None, 300.0, 0.0005))
        return self.queue.mailbox(session_key=list(self.keys[owner]), lease=lease)

    def put_to(self, owner: int, rng: random.Random) -> None:
        number = next(self.numbers)
        self.put.append((owner, number))
        key = rng.choice(self.keys[owner])
        self.queue.put({"session_key": key, "owner": owner, "number": number})

    def settle(self, owner: int, delivery: hc.Delivery, how: str) -> None:
        if delivery.event["owner"] != owner:
            self.strangers.append((owner, delivery.event))
        if how == "ack":
            if delivery.ack():
                self.acked.append((owner, delivery.event["number"]))
        elif how:
            getattr(delivery, how)()

    def finish(self) -> None:
        """Have each owner take what is left under any key it ever had."""
        for owner, keys in enumerate(self.keys):
            box = self.queue.mailbox(session_key=keys)
            left = sum(one[0] == owner for one in self.put)
            left -= sum(one[0] == owner for one in self.acked)
            for _ in range(left):
                # What is still under a short lease comes once that ends.
                self.settle(owner, box.get(timeout=HUNG), "ack")


@pytest.mark.parametrize("seed", range(6))
def test_every_event_reaches_its_owner_once(seed: int) -> None:
    """F2, F11, F13: nothing lost, nothing doubled, nothing to a stranger."""
    sessions = Sessions(seed)
    start = threading.Barrier(2 * SESSIONS)

    def run(number: int) -> None:
        start.wait(HUNG)
        sessions.run(number % SESSIONS, number // SESSIONS)

    with ThreadPoolExecutor(2 * SESSIONS) as pool:
        list(pool.map(run, range(2 * SESSIONS)))
    sessions.finish()
    assert sessions.strangers == []
    assert sorted(sessions.acked) == sorted(sessions.put)
    assert sessions.queue.empty()
    assert sessions.queue.unfinished_tasks == 0
