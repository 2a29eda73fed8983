"""What a process pays: the import, the wheel, memory; each value from a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .figures import at_most
from .peers import gateway_version
from .runner import Batch, Case, Effort, Work

WHEELS = Path(__file__).resolve().parents[2] / ".run" / "wheel"

IMPORT = """
from time import perf_counter
start = perf_counter()
import hermes_core
print(perf_counter() - start)
"""


def script(*arguments: str) -> Work:
    """The number that a fresh Python prints."""

    def work() -> float:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
        return float(done.stdout)

    return work


def memory(what: str, count: int) -> Work:
    """Bytes that one more of `what` takes."""
    return script("-m", "measure.memory", what, str(count))


def import_time(effort: Effort) -> Iterator[Batch]:
    """`import hermes_core` by a process that has just started."""
    goal = at_most(0.015) if sys.version_info[:2] == (3, 11) else None
    yield [Case("process", "import hermes_core", None, script("-I", "-c", IMPORT), goal=goal)]


def wheel_size(effort: Effort) -> Iterator[Batch]:
    """The wheel that this checkout builds."""
    for wheel in WHEELS.glob("*.whl"):
        size = partial(float, wheel.stat().st_size)
        yield [Case("process", "wheel", None, size, goal=at_most(4e6), unit="B")]


def queued_memory(effort: Effort) -> Iterator[Batch]:
    """What the queue adds to an event that waits."""
    count = effort.times(100_000)
    ours, theirs = memory("queue ours", count), memory("queue theirs", count)
    yield [Case("process", "memory per queued event", "queue.Queue", ours, theirs, unit="B")]


def record_memory(effort: Effort) -> Iterator[Batch]:
    """What a delegation that runs takes, its thread left out."""
    count = effort.times(10_000)
    ours, theirs = memory("record ours", count), memory("record theirs", count)
    peer = f"hermes-agent {gateway_version()}"
    yield [Case("process", "memory per running delegation", peer, ours, theirs, unit="B")]


def coroutine_memory(effort: Effort) -> Iterator[Batch]:
    """What a delegation takes whose runner is a coroutine, the coroutine itself left out."""
    count = effort.times(10_000)
    whole, coroutine = memory("coroutine delegation", count), memory("coroutine alone", count)
    yield [
        Case(
            "process",
            "memory per coroutine delegation in flight",
            None,
            lambda: whole() - coroutine(),
            goal=at_most(2_000),
            unit="B",
        )
    ]
