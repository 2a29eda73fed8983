"""Whether memory stays flat while a workload runs, and what counts as flat.

Memory is read at checkpoints of equal work. The first three are warm-up: by then caches, free
lists, arenas, worker threads and the 50 kept records are there. From the third to the last:

- **blocks**: ``sys.getallocatedblocks()`` is exact: what Python has allocated. It may differ by
  what is in flight at the moment of reading, which is a worker thread or two (36 blocks each) and
  a job in hand, and does not depend on the count: ``BLOCKS``. In the short form one block leaked in
  a hundred operations is more than that.
- **objects**: ``len(gc.get_objects())`` is exact for containers; the same bound.
- **bytes**: resident memory, which also sees what Rust has allocated. The C library's heap
  grows in steps of 132 KiB, so ``STEP``, two of them, is allowed whatever the count, and
  ``PER_OPERATION`` for what a longer run fragments. A leaked ``Arc`` is 16 bytes at least and takes
  32, a session key some 64.
"""

from __future__ import annotations

import gc
import os
import sys
from array import array
from pathlib import Path

from leaks.workloads import Workload

#: Checkpoints in all, of which the first ``WARM_UP`` are not compared.
CHECKPOINTS = 8
WARM_UP = 3

#: Blocks and objects by which two checkpoints may differ.
BLOCKS = 150

#: Bytes by which resident memory may grow whatever the count, and with each operation.
STEP = 1 << 18
PER_OPERATION = 1

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


KINDS = ("blocks", "objects", "bytes")


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(_STATM.read_bytes().split()[1]) * _PAGE


class Readings:
    """Memory at each checkpoint, in room that is there before the first."""

    def __init__(self) -> None:
        self._numbers = array("q", bytes(8 * len(KINDS) * CHECKPOINTS))

    def take(self, checkpoint: int) -> None:
        """Read memory, with all garbage gone."""
        gc.collect()
        place = len(KINDS) * checkpoint
        self._numbers[place + 2] = resident()
        self._numbers[place + 1] = len(gc.get_objects())
        self._numbers[place] = sys.getallocatedblocks()

    def at(self, checkpoint: int) -> dict[str, int]:
        """What was read there."""
        place = len(KINDS) * (checkpoint % CHECKPOINTS)
        return dict(zip(KINDS, self._numbers[place : place + len(KINDS)], strict=True))


def run(workload: Workload, count: int) -> Readings:
    """Do the work ``count`` times in all, and read memory at each checkpoint."""
    readings = Readings()
    for checkpoint in range(CHECKPOINTS):
        workload(count // CHECKPOINTS)
        readings.take(checkpoint)
    return readings


def growth(readings: Readings, count: int) -> list[str]:
    """What has grown past the rule above; empty if memory is flat."""
    first, last = readings.at(WARM_UP - 1), readings.at(-1)
    operations = count // CHECKPOINTS * (CHECKPOINTS - WARM_UP)
    allowed = {"blocks": BLOCKS, "objects": BLOCKS, "bytes": STEP + PER_OPERATION * operations}
    return [
        f"{last[kind] - first[kind]} {kind} more after {operations} operations, "
        f"{allowed[kind]} are allowed"
        for kind in KINDS
        if last[kind] - first[kind] > allowed[kind]
    ]
