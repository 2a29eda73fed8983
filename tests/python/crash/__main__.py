"""Kill processes that work with a ledger, again and again, and say whether anything was lost.

    PYTHONPATH=tests/python python -m crash [--times 200] [--seed N]

`make crash` runs it on an extension that knows the fail points.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from hermes_core import _core

from .storm import STDERR, Storm

WORK = Path(__file__).resolve().parents[3] / ".run" / "crash"
#: Every named step, where the extension knows them.
STEPS: tuple[str, ...] = tuple(getattr(_core, "FAIL_POINTS", ()))
#: Those on the way of a file that is new.
ON_A_NEW_FILE = ("create", "migrate", "migrated")
#: Those on the way of one that is damaged.
ON_A_DAMAGED_FILE = ("quarantine", "recovered", "set_aside", "log_set_aside", "replaced")

#: What is done in a storm; gives the steps that were not reached.
Scenario = Callable[[Storm], Iterable[str]]


def at_random(times: int) -> Scenario:
    """One process, killed at any moment; now and then it may end."""

    def scenario(storm: Storm) -> Iterable[str]:
        for number in range(times):
            if number % 10 == 9:
                storm.end_orderly()
            else:
                storm.kill_at_random()
        return ()

    return scenario


def two_at_once(times: int) -> Scenario:
    """Two processes on one file, each killed at any moment."""

    def scenario(storm: Storm) -> Iterable[str]:
        for _ in range(times):
            storm.kill_at_random(2)
        return ()

    return scenario


def stopped(times: int) -> Scenario:
    """The same, but one of them stands still beyond its lease, and goes on."""

    def scenario(storm: Storm) -> Iterable[str]:
        for _ in range(times):
            storm.pause()
        return ()

    return scenario


def each(times: int, *steps: Callable[[Storm], object]) -> Scenario:
    """Steps of a storm in turn, with a life that is killed now and then."""

    def scenario(storm: Storm) -> Iterable[str]:
        for number in range(times):
            steps[number % len(steps)](storm)
            if number % 3 == 2:
                storm.kill_at_random()
        return ()

    return scenario


def at_steps(steps: Iterable[str], times: int, rng: random.Random) -> Scenario:
    """Killed at every step, its first time and a later one; and the step fails once."""

    def scenario(storm: Storm) -> Iterable[str]:
        for step in steps:
            reached = [storm.kill_at(step, 1)]
            reached += [storm.kill_at(step, rng.randint(1, 20)) for _ in range(times - 1)]
            storm.fail_at(step, rng.randint(1, 5))
            if not any(reached):
                yield step

    return scenario


def at_a_step(step: str, *, damaged: bool) -> Scenario:
    """Killed at a step that a file is at once only, when it is new or damaged."""

    def scenario(storm: Storm) -> Iterable[str]:
        if damaged:
            storm.end_orderly()
            storm.damage()
        if not storm.kill_at(step, 1):
            yield step
        storm.end_orderly()

    return scenario


def scenarios(times: int, rng: random.Random) -> dict[str, Scenario]:
    """Each with its name; about so many lives in all."""
    found = {
        "at any moment": at_random(times // 2),
        "two at once": two_at_once(times // 4),
        "one stands still": stopped(1 + times // 40),
        "the clock is set": each(1 + times // 40, Storm.step_clock, Storm.pause),
        "files lose their names": each(1 + times // 40, Storm.unlink, Storm.copy_over),
    }
    once = (*ON_A_NEW_FILE, *ON_A_DAMAGED_FILE)
    often = [step for step in STEPS if step not in once]
    if STEPS:
        found["at every step"] = at_steps(often, 1 + times // 100, rng)
    for step in once if STEPS else ():
        found[f"at {step}"] = at_a_step(step, damaged=step in ON_A_DAMAGED_FILE)
    return found


def main() -> int:
    """Run the scenarios, and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=200, help="lives (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("only", nargs="*", metavar="SCENARIO", help="by name; default: all")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    print(f"seed {options.seed}, {len(STEPS)} fail points", flush=True)
    failed = False
    for name, scenario in scenarios(options.times, rng).items():
        seed = rng.randrange(1 << 32)
        if not options.only or name in options.only:
            failed |= not _holds(name, scenario, seed)
    return 1 if failed else 0


def _holds(name: str, scenario: Scenario, seed: int) -> bool:
    """Run a scenario in a folder of its own; whether every promise was kept."""
    folder = Path(tempfile.mkdtemp(dir=WORK))
    storm = Storm(folder, seed)
    start = time.monotonic()
    faults = [f"the step {step} was not reached" for step in scenario(storm)]
    faults += storm.verdict()
    seconds = time.monotonic() - start
    print(f"{name}: {storm.counts()}, {seconds:.0f} s: {'NO' if faults else 'ok'}", flush=True)
    if not faults:
        shutil.rmtree(folder)
        return True
    print(f"  in {folder.relative_to(WORK.parents[1])}", flush=True)
    for fault in faults[:20]:
        print(f"  {fault}", flush=True)
    for line in (folder / STDERR).read_text(encoding="utf-8", errors="replace").splitlines()[-20:]:
        print(f"  | {line}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
