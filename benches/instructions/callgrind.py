"""Counts the instructions of a scenario with callgrind."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Relative to the root, as everything that a counted process is given: the length of a path moves
#: its stack, and hash seeds are made of addresses.
FIXED = Path(".run/fixed.so")

_TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)


def build_fixed() -> None:
    """Compile what makes runs equal, `fixed.c`."""
    source = Path(__file__).with_name("fixed.c")
    target = ROOT / FIXED
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", target, source], check=True)


def per_run(command: Sequence[str], scenario: str, times: tuple[int, int]) -> float:
    """Instructions that one more run of the scenario takes."""
    few, many = times
    started, ended = (_total([*command, scenario, str(count)]) for count in times)
    return (ended - started) / (many - few)


def _total(command: Sequence[str]) -> int:
    """Instructions of a whole process."""
    with tempfile.NamedTemporaryFile(prefix="callgrind-") as out:
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out.name}"]
        # Nothing of the caller's environment: its size would move the stack, too.
        environment = {
            "PATH": os.environ["PATH"],
            "LD_PRELOAD": f"./{FIXED}",
            "PYTHONHASHSEED": "0",
        }
        subprocess.run([*valgrind, *command], check=True, cwd=ROOT, env=environment)
        found = _TOTAL.search(Path(out.name).read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError(f"callgrind gave no total for {command}")
    return int(found[1])
