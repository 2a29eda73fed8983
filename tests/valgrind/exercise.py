"""What runs under memcheck: every case and every workload, threads, and an exit beside waiters.

exercise.py [--times 3] [--count 24]
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import logging
import sys
import threading

import hermes_core as hc
from hermes_core.text import json as _json
from leaks import ledgers, loops, mailboxes, surface
from leaks.surface import CASES, Tracked
from leaks.workloads import WORKLOADS

#: What defines the cases.
_DEFINED = (surface, mailboxes, ledgers, loops)

#: The status that says it came to its end.
DONE = 5


def main() -> None:
    """Do everything, then exit with threads in every blocking call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3, help="how often each case is called")
    parser.add_argument("--count", type=int, default=24, help="how often a workload does its work")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # runners that raise are logged
    # CPython 3.11 reads a digit that a zero made of text does not have (cpython.supp); its address
    # then counts as uninitialised wherever the zero goes.
    _json.loads = functools.partial(
        json.loads, parse_int=lambda text: int(text) if text != "0" else 0
    )
    for case in dict.fromkeys(case for cases in CASES.values() for case in cases):
        tracked = Tracked()
        for _ in range(options.times):
            case(tracked)
    for workload in WORKLOADS:
        workload(options.count)
    contend(options.count)
    gc.collect()
    wait_in_every_call()
    sys.exit(DONE)


def contend(count: int) -> None:
    """Producers and consumers of overlapping filters on one queue, with the collector beside."""
    queue: hc.CompletionQueue[dict[str, object]] = hc.CompletionQueue(5)
    registry = hc.DelegationRegistry(queue, capacity=4)

    def produce() -> None:
        for n in range(count):
            queue.put({"session_key": f"key {n % 3}", "queue": queue, "n": n})
            registry.list()

    def consume(**wanted: object) -> None:
        for _ in range(count // 3):
            queue.put_back(queue.get(**wanted))  # type: ignore[arg-type]
            queue.get(**wanted)  # type: ignore[arg-type]
            gc.collect(0)

    threads = [threading.Thread(target=produce)]
    threads += [
        threading.Thread(target=consume, kwargs={"session_key": f"key {n}"}) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def wait_in_every_call() -> None:
    """Leave daemon threads blocked, and events and delegations behind."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    full: hc.CompletionQueue[object] = hc.CompletionQueue(1)
    full.put({"session_key": "a", "full": full})
    registry = hc.DelegationRegistry(queue, capacity=9)
    handle = registry.dispatch(goal="g", runner=threading.Event().wait)
    for call in (queue.get, lambda: queue.get(timeout=3600, types=["x"]), full.join, handle.result):
        threading.Thread(target=call, daemon=True).start()
    threading.Thread(target=lambda: full.put(queue), daemon=True).start()
    threading.Thread(target=lambda: queue.get(session_key="a"), daemon=True).start()


if __name__ == "__main__":
    main()
