"""What a delegation takes while its coroutine waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHES = Path(__file__).resolve().parents[3] / "benches"


def test_ten_thousand_coroutines_take_under_two_kib_each_beside_themselves() -> None:
    command = [sys.executable, "-m", "measure.memory", "in-flight ours", "10000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=BENCHES)
    assert 500 < float(done.stdout) < 2048
