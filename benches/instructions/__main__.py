"""Compare the hot paths' instruction counts with the recorded ones: `make instructions`.

More than 3 % away either way fails: more is a loss to be explained, fewer an improvement to be
recorded (`make instructions-record`). Counts hold for one compiler, C library and processor; where
those differ, nothing is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import conditions
from .callgrind import ROOT, build_fixed, per_run

KEPT = Path(__file__).with_name("counts.json")
LEAF = Path(__file__).with_name("leaf.py").relative_to(ROOT)
#: Away from the recorded count, either way.
TOLERANCE = 0.03

#: How often a scenario is done by the two processes whose difference counts: enough for every
#: buffer to have grown in the first.
TIMES = (1_000, 3_000)
TIMES_1_MB = (2, 6)
TIMES_PYTHON = (200, 1_200)

Counts = dict[str, float]


def main() -> int:
    """Count, and compare or record."""
    parser = argparse.ArgumentParser(
        prog="make instructions", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--record", action="store_true", help="write the counts anew")
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    layers = {"core": conditions.core(), "python": conditions.python()}
    if options.record:
        build_fixed()
        counted = {
            layer: {"hold for": here, "counts": _count(layer)} for layer, here in layers.items()
        }
        KEPT.write_text(json.dumps(counted, indent=1) + "\n", encoding="utf-8")
        return 0
    found: list[str] = []
    for layer, here in layers.items():
        different = conditions.differences(kept[layer]["hold for"], here)
        if different:
            print(f"{layer}: not compared: {'; '.join(different)}")
            continue
        build_fixed()
        away = _compare(kept[layer]["counts"], _count(layer))
        print(*away or [f"{layer}: all as recorded, within {TOLERANCE:.0%}"], sep="\n")
        found += away
    return 1 if found else 0


def _count(layer: str) -> Counts:
    """Instructions per run of each scenario of a layer, shown as they come."""
    command = {"core": _core, "python": _leaf}[layer]()
    done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    counts: Counts = {}
    for scenario in done.stdout.splitlines():
        large = TIMES_1_MB if "1 MB" in scenario else TIMES
        counts[scenario] = per_run(command, scenario, large if layer == "core" else TIMES_PYTHON)
        print(f"{layer:7} {scenario:40} {counts[scenario]:14,.1f}", flush=True)
    return counts


def _core() -> list[str]:
    """The core's scenarios, built."""
    build = ["cargo", "bench", "--no-run", "--no-default-features", "--bench", "core"]
    done = subprocess.run(
        [*build, "--message-format=json-render-diagnostics"],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    messages = map(json.loads, done.stdout.splitlines())
    built = [message["executable"] for message in messages if message.get("executable")]
    return [os.path.relpath(built[-1], ROOT)]


def _leaf() -> list[str]:
    """The scenarios of the Python leaves, for this Python."""
    return [os.path.relpath(sys.executable, ROOT), "-P", str(LEAF)]


def _compare(kept: Counts, counted: Counts) -> list[str]:
    """What is further away than it may be."""
    found = [f"{scenario}: not recorded" for scenario in counted.keys() - kept.keys()]
    found += [f"{scenario}: is gone" for scenario in kept.keys() - counted.keys()]
    for scenario in kept.keys() & counted.keys():
        change = counted[scenario] / kept[scenario] - 1
        if abs(change) > TOLERANCE:
            advice = "explain it" if change > 0 else "record the improvement"
            found.append(
                f"{scenario}: {change:+.1%} ({kept[scenario]:,.1f} to {counted[scenario]:,.1f}): "
                f"{advice} (make instructions-record)"
            )
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
