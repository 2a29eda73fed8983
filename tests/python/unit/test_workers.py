"""Worker threads that are told to go."""

from __future__ import annotations

import queue
import threading
from typing import Any

from hermes_core.runtime.workers import WorkerPool

HUNG = 60.0


def test_idle_workers_end_when_they_are_retired_and_the_others_do_not() -> None:
    """As a thread pool of the standard library that is shut down."""
    done: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    go = threading.Event()

    def run(job: Any) -> None:
        done.put(threading.current_thread())
        job()

    pool = WorkerPool("a-worker", run, idle_seconds=1e6)
    pool.submit(lambda: None)
    idle = done.get(timeout=HUNG)
    pool.submit(lambda: go.wait(HUNG))
    busy = done.get(timeout=HUNG)
    while idle is busy:
        # It was idle again by then, and took both.
        pool.submit(lambda: None)
        idle = done.get(timeout=HUNG)
    for _ in range(int(HUNG * 1000)):
        # It may be on its way to being idle.
        pool.retire()
        idle.join(0.001)
        if not idle.is_alive():
            break
    assert not idle.is_alive()
    assert busy.is_alive()
    go.set()
    pool.submit(lambda: None)
    done.get(timeout=HUNG)
