"""Measurements, each beside what it is compared with, in one run: `make bench`.

Every figure is the median of interleaved repetitions: ours, theirs, ours, theirs. A ratio above one
says how many times faster ours is. `--json FILE` writes the figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HERMES_HOME", tempfile.mkdtemp(prefix="hermes-bench-"))

import hermes_core as hc
from hermes_core import async_delegation as ours

Work = Callable[[], float]

EVENT = {
    "type": "async_delegation",
    "session_key": "agent:main:telegram:dm:7",
    "delegation_id": "deleg_1",
}
SHORT = {
    **EVENT,
    "goal": "Read the logs",
    "context": "They are in /var/log",
    "toolsets": ["terminal", "file"],
    "role": "leaf",
    "model": "model-1",
    "status": "completed",
    "summary": "Nothing wrong in the logs.",
    "api_calls": 3,
    "duration_seconds": 12.5,
    "dispatched_at": 1_700_000_000.0,
    "completed_at": 1_700_000_060.0,
}


def loop(call: Callable[[], object], times: int) -> Work:
    """Seconds per call, over `times` calls."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start) / times

    return measure


def put_get(box: Any, item: object) -> Work:
    put, get = box.put, box.get

    def call() -> None:
        put(item)
        get()

    return loop(call, 20_000)


def wake(make: Callable[[], Any]) -> Work:
    """Seconds for a message to a blocked consumer and its answer."""

    def measure() -> float:
        there, back = make(), make()

        def consumer() -> None:
            while (item := there.get()) is not None:
                back.put(item)

        thread = threading.Thread(target=consumer)
        thread.start()
        start = time.perf_counter()
        for n in range(1000):
            there.put(n)
            back.get()
        elapsed = time.perf_counter() - start
        there.put(None)
        thread.join()
        return elapsed / 1000

    return measure


def dispatcher(module: Any, runner: Callable[[], dict[str, Any]]) -> Callable[[], object]:
    task = {
        "goal": "g",
        "context": None,
        "toolsets": None,
        "role": "leaf",
        "model": None,
        "session_key": "k",
    }
    dispatch = module.dispatch_async_delegation
    return lambda: dispatch(**task, runner=runner, max_async_children=1_000_000)


def dispatch_only(module: Any, events: Any) -> Work:
    """Seconds per dispatch call, with room, and with as many idle workers as it needs."""

    def measure() -> float:
        times = 50
        for timed in (False, True):
            go = threading.Event()
            call = dispatcher(module, lambda go=go: {"x": go.wait()})  # type: ignore[misc]
            start = time.perf_counter()
            for _ in range(times):
                call()
            elapsed = time.perf_counter() - start
            go.set()
            for _ in range(times):
                events.get()
            if timed:
                return elapsed / times
        raise AssertionError

    return measure


def to_event(module: Any, events: Any) -> Work:
    """Seconds per delegation of a runner that does nothing, dispatch to event, over 2,000."""

    def measure() -> float:
        call = dispatcher(module, dict)
        start = time.perf_counter()
        for _ in range(2000):
            call()
        for _ in range(2000):
            events.get()
        return (time.perf_counter() - start) / 2000

    return measure


def queued(count: int) -> Work:
    """Seconds per filtered put and get with `count` other events waiting."""
    box: hc.CompletionQueue[Any] = hc.CompletionQueue()
    for n in range(count):
        box.put({"type": "completion", "session_key": f"key {n % 1000}"})

    def call() -> None:
        box.put(EVENT)
        box.get(session_key="agent:main:telegram:dm:7")

    return loop(call, 5_000)


def compare(repetitions: int, pair: tuple[Work, Work]) -> tuple[float, float]:
    """The medians of both, their repetitions interleaved."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions + 1):
        for work, seconds in zip(pair, times, strict=True):
            gc.collect()
            seconds.append(work())
    # The first of each is the warm-up.
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


def cases() -> dict[str, tuple[str, Work, Work]]:
    """Name to (peer, ours, theirs)."""
    found: dict[str, tuple[str, Work, Work]] = {
        "put+get of an int": (
            "queue.Queue",
            put_get(hc.CompletionQueue(), 1),
            put_get(queue.Queue(), 1),
        ),
        "put+get of an event": (
            "queue.Queue",
            put_get(hc.CompletionQueue(), EVENT),
            put_get(queue.Queue(), EVENT),
        ),
        "put+get of an event ": (
            "queue.SimpleQueue",
            put_get(hc.CompletionQueue(), EVENT),
            put_get(queue.SimpleQueue(), EVENT),
        ),
        "wake of a consumer and back": (
            "queue.SimpleQueue",
            wake(hc.CompletionQueue),
            wake(queue.SimpleQueue),
        ),
        "filtered take, 100,000 wait": ("the same with 1,000", queued(100_000), queued(1_000)),
    }
    try:
        from tools import async_delegation as theirs
        from tools.process_registry import format_process_notification, process_registry
    except ImportError:
        print("hermes-agent is not installed: its comparisons are left out", file=sys.stderr)
        return found
    logging.disable(logging.INFO)
    ours_queue, theirs_queue = ours.completion_queue, process_registry.completion_queue
    found["dispatch"] = (
        "hermes-agent 0.17.0",
        dispatch_only(ours, ours_queue),
        dispatch_only(theirs, theirs_queue),
    )
    found["dispatch to event"] = (
        "hermes-agent 0.17.0",
        to_event(ours, ours_queue),
        to_event(theirs, theirs_queue),
    )
    for name, summary, times in (
        ("notification, short", SHORT["summary"], 5_000),
        ("notification, 5 KB", "A line of the summary. " * 220, 5_000),
        ("notification, 1 MB", "A line of the summary. " * 45_000, 100),
    ):
        event = {**SHORT, "summary": summary}
        found[name] = (
            "hermes-agent 0.17.0",
            loop(lambda event=event: hc.format_process_notification(event), times),  # type: ignore[misc]
            loop(lambda event=event: format_process_notification(event), times),  # type: ignore[misc]
        )
    return found


def main() -> None:
    """Measure, print the table, and write the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--repetitions", type=int, default=9, help="of each side (default: 9)")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {options.repetitions} repetitions, medians")
    print(f"{'':29}{'compared with':21}{'ours':>10}{'theirs':>11}{'ratio':>8}")
    figures = []
    for name, (peer, our_work, their_work) in cases().items():
        mine, other = compare(options.repetitions, (our_work, their_work))
        print(
            f"{name:29}{peer:21}{mine * 1e6:7.2f} µs{other * 1e6:8.2f} µs{other / mine:8.2f}",
            flush=True,
        )
        figures.append(
            {"case": name.strip(), "peer": peer, "ours_seconds": mine, "theirs_seconds": other}
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"python": platform.python_version(), "figures": figures}, file, indent=1)


if __name__ == "__main__":
    main()
