"""What a delegation takes while its coroutine waits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_ten_thousand_coroutines_take_little_each_beside_themselves() -> None:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("tests/python", "benches"))
    done = subprocess.run(
        [sys.executable, "-m", "leaks.in_flight", "10000"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    # The place for its event is in it: an end needs no memory.
    assert 500 < float(done.stdout) < 2.2 * 1024
