"""What a measurement gives: figures, their goals, and the JSON that keeps them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

#: Significant digits that a figure keeps; the noise is larger than what is cut off.
DIGITS = 4

Unit = Literal["s", "B", "x"]


@dataclass(frozen=True)
class Spread:
    """The median of some repetitions, and the quartles around it."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        q1, median, q3 = (
            statistics.quantiles(values, n=4, method="inclusive")
            if len(values) > 1
            else (values[0],) * 3
        )
        return cls(_rounded(median), _rounded(q1), _rounded(q3))

    def over(self, other: Spread) -> Spread:
        """How many times the other's; the quartiles at their furthest."""
        low, high = self.q1 / other.q3, self.q3 / other.q1
        return Spread(_rounded(self.median / other.median), _rounded(low), _rounded(high))


@dataclass(frozen=True)
class Goal:
    """What is to be reached: a ratio at least, ours at most, or no more than theirs and some."""

    of: Literal["ratio", "ours", "more"]
    bound: float

    def is_met(self, figure: Figure) -> bool:
        """Whether the figure reaches it."""
        if self.of == "ratio":
            return figure.ratio is not None and figure.ratio >= self.bound
        if self.of == "more":
            return figure.more is not None and figure.more <= self.bound
        return figure.ours.median <= self.bound


def faster(times: float) -> Goal:
    """At least so many times as fast as the peer."""
    return Goal("ratio", times)


def at_most_times_slower(times: float) -> Goal:
    """No more than so many times as long as the peer."""
    return Goal("ratio", 1 / times)


def at_most(value: float) -> Goal:
    """Ours no larger than that."""
    return Goal("ours", value)


def at_most_more(value: float) -> Goal:
    """Ours no larger than theirs and that."""
    return Goal("more", value)


@dataclass(frozen=True)
class Figure:
    """One comparison."""

    group: str
    case: str
    #: How many events wait or records are kept, where that is what varies.
    size: int | None
    peer: str | None
    unit: Unit
    ours: Spread
    theirs: Spread | None
    goal: Goal | None

    @property
    def ratio(self) -> float | None:
        """How many times theirs is ours: above one, ours is faster or smaller."""
        if self.theirs is None:
            return None
        return _rounded(self.theirs.median / self.ours.median)

    @property
    def more(self) -> float | None:
        """How much more than theirs ours is; less than nothing if it is less."""
        return None if self.theirs is None else _rounded(self.ours.median - self.theirs.median)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; ``None`` without one."""
        return None if self.goal is None else self.goal.is_met(self)

    def to_json(self) -> dict[str, Any]:
        """The figure as plain data."""
        return {**asdict(self), "ratio": self.ratio, "met": self.is_met}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Figure:
        """The figure that ``to_json`` wrote."""
        plain = {key: value for key, value in data.items() if key not in ("ratio", "met")}
        plain["ours"] = Spread(**data["ours"])
        plain["theirs"] = data["theirs"] and Spread(**data["theirs"])
        plain["goal"] = data["goal"] and Goal(**data["goal"])
        return cls(**plain)


@dataclass(frozen=True)
class Run:
    """The figures of one Python."""

    python: str
    #: The version of the gateway beside it, if any.
    gateway: str | None
    figures: list[Figure]

    def to_json(self) -> dict[str, Any]:
        """The run as plain data."""
        figures = [figure.to_json() for figure in self.figures]
        return {"python": self.python, "gateway": self.gateway, "figures": figures}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        """The run that ``to_json`` wrote."""
        figures = [Figure.from_json(figure) for figure in data["figures"]]
        return cls(data["python"], data["gateway"], figures)


@dataclass(frozen=True)
class Measurements:
    """Everything that one `make bench` measured."""

    hermes_core: str
    cpu: str
    cores: int
    #: The type of the file system that the ledger was measured on.
    filesystem: str
    repetitions: int
    runs: list[Run]

    def to_json(self) -> dict[str, Any]:
        """The measurements as plain data."""
        return {**vars(self), "runs": [run.to_json() for run in self.runs]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Measurements:
        """The measurements that ``to_json`` wrote."""
        return cls(**{**data, "runs": [Run.from_json(run) for run in data["runs"]]})


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
