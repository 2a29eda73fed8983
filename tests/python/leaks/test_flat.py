"""Memory stays flat: the short form of ``make leaks``, and that it would tell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leaks import flat
from leaks.workloads import WORKLOADS, Workload

#: How often; ``make leaks`` asks for a million.
COUNT = int(os.environ.get("HERMES_CORE_LEAK_COUNT", "50000"))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_memory_stays_flat(workload: Workload) -> None:
    """In a process of its own: another test's threads must not count."""
    command = [sys.executable, "-m", "leaks", "--count", str(COUNT), workload.__name__]
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("leak", "what"),
    [(object, "blocks"), (list, "objects"), (lambda: bytearray(4_000), "bytes")],
    ids=["object", "list", "bytes"],
)
def test_a_leak_is_told(leak: Callable[[], object], what: str) -> None:
    """The bytes are more than what other tests may have left free in this process."""
    kept = []

    def workload(count: int) -> None:
        kept.extend(leak() for _ in range(count))

    grown = flat.growth(flat.run(workload, 40_000), 40_000)
    assert any(f" {what} more" in line for line in grown), grown
