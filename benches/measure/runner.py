"""Runs the two sides of a comparison in turn: ours, theirs, ours, theirs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .figures import Figure, Goal, Spread, Unit, at_most

#: One repetition of one side; gives what it took.
Work = Callable[[], float]

#: A cost that does not grow with what waits; some, for the processor's caches.
FLAT = at_most(1.5)


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    #: Of each side, behind a pair that warms up.
    repetitions: int
    #: Times in a repetition are divided by this.
    divisor: int
    #: How many events wait, or records are kept, where that is what varies.
    sizes: tuple[int, ...]

    def times(self, wanted: int) -> int:
        """How many times to do in a repetition what is done ``wanted`` times in earnest."""
        return max(2, wanted // self.divisor)


EARNEST = Effort(repetitions=9, divisor=1, sizes=(1_000, 10_000, 100_000, 1_000_000))
#: Shows that the harness works; its figures mean nothing.
QUICK = Effort(repetitions=1, divisor=200, sizes=(10, 100))


@dataclass(frozen=True)
class Case:
    """A comparison to be made."""

    group: str
    name: str
    peer: str | None
    ours: Work
    theirs: Work | None = None
    goal: Goal | None = None
    size: int | None = None
    unit: Unit = "s"


#: Cases whose repetitions are interleaved, so that what is compared is measured together. A
#: generator of batches sets one up, yields it, and clears up behind it.
Batch = list[Case]


def measure(batches: Iterable[Batch], repetitions: int) -> Iterator[Figure]:
    """The figures of each batch, as they come."""
    for batch in batches:
        yield from _measure(batch, repetitions)


def _measure(batch: Batch, repetitions: int) -> Iterator[Figure]:
    values: list[tuple[list[float], list[float]]] = [([], []) for _ in batch]
    for repetition in range(repetitions + 1):
        for case, sides in zip(batch, values, strict=True):
            for work, side in zip((case.ours, case.theirs), sides, strict=True):
                if work is not None:
                    value = _once(work)
                    # The first pair warms up.
                    if repetition > 0:
                        side.append(value)
    for case, (ours, theirs) in zip(batch, values, strict=True):
        yield Figure(
            case.group,
            case.name,
            case.size,
            case.peer,
            case.unit,
            Spread.of(ours),
            Spread.of(theirs) if theirs else None,
            case.goal,
        )


def _once(work: Work) -> float:
    gc.collect()
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()


def with_growth(figures: Iterable[Figure]) -> Iterator[Figure]:
    """The figures, and behind those of each case with sizes, how its cost grows with them."""
    sized: dict[str, list[Figure]] = {}
    for figure in figures:
        yield figure
        if figure.size is not None:
            sized.setdefault(figure.case, []).append(figure)
    for series in sized.values():
        yield _growth(series[0], series[-1])


def _growth(first: Figure, last: Figure) -> Figure:
    """What a step takes at the last size, in times of what it takes at the first."""
    return Figure(
        first.group,
        f"{first.case}, {first.size:,} to {last.size:,}: growth",
        None,
        first.peer,
        "x",
        last.ours.over(first.ours),
        last.theirs.over(first.theirs) if first.theirs and last.theirs else None,
        FLAT,
    )
