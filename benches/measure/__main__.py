"""Measure `hermes_core` beside its peers, in each Python that is there: `make bench`.

Every figure is the median of repetitions in turn: ours, theirs, ours, theirs, behind a pair that
warms up. A ratio above one says how many times faster, or smaller, ours is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hermes_core

from . import page
from .durable import DISK, filesystem
from .figures import Figure, Measurements, Run
from .peers import gateway_version
from .runner import EARNEST, QUICK
from .table import HEAD, cells, line, title

BENCHES = Path(__file__).resolve().parents[1]
#: A later gateway, as files alone.
LATER_GATEWAY = BENCHES.parent / ".run" / "gateways" / "0.19.0"

ANYWHERE = ("operations", "gateway-queue", "import")
HERE = (
    "depth",
    "mailboxes",
    "stages",
    "plain-data",
    "ledger",
    "durable-queues",
    "restored",
    "stored",
    "queued-memory",
    "coroutine-memory",
    "wheel",
)
BESIDE_A_GATEWAY = (
    "delegations",
    "records",
    "notifications",
    "arrival",
    "turns",
    "processor",
    "record-memory",
)
BESIDE_A_LATER_ONE = ("batches", "later-ledger")


def main() -> int:
    """Measure, print the table, and write what was asked for."""
    options = _options()
    effort = QUICK if options.quick else EARNEST
    repetitions = options.repetitions or effort.repetitions
    arguments = [f"--repetitions={repetitions}", *["--quick"] * options.quick]
    others = {_version(python): python for python in options.also}
    others.pop(platform.python_version(), None)
    disk = filesystem()
    runs = [_run(Path(sys.executable), gateway_version(), arguments)]
    runs += [_run(python, None, arguments) for python in others.values()]
    cores = os.cpu_count() or 1
    measured = Measurements(hermes_core.__version__, _cpu(), cores, disk, repetitions, runs)
    figures = [figure for run in runs for figure in run.figures]
    goals = [figure.is_met for figure in figures if figure.goal]
    print(f"\n{sum(map(bool, goals))} of {len(goals)} goals met")
    if options.json:
        options.json.write_text(page.json_text(measured), encoding="utf-8")
    if options.record:
        page.record(measured)
    return 0


def _run(python: Path, gateway: str | None, arguments: list[str]) -> Run:
    """The figures of one Python, shown as they come."""
    run = Run(_version(python), gateway, [])
    print(f"\n{title(run)}, {arguments[0].strip('-').replace('=', ' ')}\n{line(HEAD)}", flush=True)
    for group in _groups(python, gateway):
        for figure in _measure(python, group, arguments):
            print(line(cells(figure)), flush=True)
            run.figures.append(figure)
    return run


def _groups(python: Path, gateway: str | None) -> tuple[str, ...]:
    groups: tuple[str, ...] = ANYWHERE
    if python == Path(sys.executable):
        groups += HERE
    if gateway is not None:
        groups += BESIDE_A_GATEWAY
        if LATER_GATEWAY.is_dir():
            groups += BESIDE_A_LATER_ONE
    return groups


def _measure(python: Path, group: str, arguments: list[str]) -> Iterator[Figure]:
    """The figures of a group, from a process of its own."""
    path = [LATER_GATEWAY, BENCHES] if group in BESIDE_A_LATER_ONE else [BENCHES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [str(python), "-m", "measure.worker", group, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        for text in worker.stdout:
            yield Figure.from_json(json.loads(text))
    if worker.returncode:
        raise SystemExit(f"measuring {group} failed, see above")
    shutil.rmtree(DISK, ignore_errors=True)


def _version(python: Path) -> str:
    command = [str(python), "-c", "import platform; print(platform.python_version())"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _cpu() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(models, platform.machine())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    parser.add_argument("--record", action="store_true", help="write docs/measurements anew")
    parser.add_argument(
        "--quick", action="store_true", help="try the harness; figures mean nothing"
    )
    parser.add_argument("--repetitions", type=int, help=f"default: {EARNEST.repetitions}")
    parser.add_argument(
        "--also",
        metavar="PYTHON",
        type=Path,
        nargs="*",
        default=[],
        help="other Pythons that have hermes_core",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
