"""Do every workload a million times, or fewer, and say whether memory stays flat.

PYTHONPATH=tests/python python -m leaks [--count 1000000] [workload ...]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from leaks import flat
from leaks.workloads import WORKLOADS


def main() -> int:
    """Run the workloads named, or all."""
    names = {workload.__name__: workload for workload in WORKLOADS}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--count", type=int, default=1_000_000, help="how often (default: %(default)s)"
    )
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(names))
    options = parser.parse_args()
    # The lines about runners that raise are made, and go nowhere.
    logging.getLogger("hermes_core").addHandler(logging.NullHandler())
    logging.getLogger("hermes_core").propagate = False
    failed = 0
    for name in options.workloads or names:
        workload = names[name]
        count = round(options.count * WORKLOADS[workload])
        started = time.monotonic()
        readings = flat.run(workload, count)
        grown = flat.growth(readings, count)
        failed += bool(grown)
        print(f"{name}: {count} times in {time.monotonic() - started:.0f} s", flush=True)
        for checkpoint in range(flat.CHECKPOINTS):
            at = ", ".join(f"{number} {kind}" for kind, number in readings.at(checkpoint).items())
            print(f"  {checkpoint + 1}/{flat.CHECKPOINTS}: {at}")
        print("  " + ("; ".join(grown) or "flat"), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
