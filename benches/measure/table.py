"""Figures as a table, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterable

from .figures import Figure, Goal, Measurements, Run, Unit

HEAD = ("", "compared with", "ours", "theirs", "ratio", "goal", "met")
_WIDTHS = (50, 20, 9, 9, 8, 9, 3)

#: For a reader of numbers without units.
_SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "B": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "x": ((1.0, "×"),),
}


def quantity(value: float, unit: Unit) -> str:
    """A value with three digits, in the unit that suits it."""
    scales = _SCALES[unit]
    factor, name = next((scale for scale in scales if value >= scale[0]), scales[-1])
    return f"{_three_digits(value / factor)} {name}"


def ratio(value: float) -> str:
    """A ratio with three digits."""
    return f"{_three_digits(value)} ×"


def goal_text(goal: Goal, unit: Unit) -> str:
    """What is to be reached."""
    if goal.of == "ratio":
        return f"≥ {goal.bound:g} ×"
    if goal.of == "more":
        return f"≤ + {quantity(goal.bound, unit)}"
    return f"≤ {quantity(goal.bound, unit)}"


def cells(figure: Figure) -> tuple[str, ...]:
    """The figure's row, a text for each column of ``HEAD``."""
    name = figure.case if figure.size is None else f"{figure.case} ({figure.size:,})"
    return (
        name,
        figure.peer or "",
        quantity(figure.ours.median, figure.unit),
        quantity(figure.theirs.median, figure.unit) if figure.theirs else "",
        ratio(figure.ratio) if figure.ratio is not None and figure.unit != "x" else "",
        goal_text(figure.goal, figure.unit) if figure.goal else "",
        {None: "", True: "yes", False: "no"}[figure.is_met],
    )


def title(run: Run) -> str:
    """What the figures of a run were measured on."""
    beside = f", beside hermes-agent {run.gateway}" if run.gateway else ""
    return f"CPython {run.python}{beside}"


def line(row: Iterable[str]) -> str:
    """A row for the terminal."""
    first, second, *rest = zip(row, _WIDTHS, strict=True)
    texts = [f"{text:<{width}}" for text, width in (first, second)]
    return " ".join(texts + [f"{text:>{width}}" for text, width in rest]).rstrip()


def markdown(measurements: Measurements) -> str:
    """All figures, a table for each run."""
    parts = [
        f"Measured on {measurements.cpu}, {measurements.cores} cores, files on "
        f"{measurements.filesystem}, with hermes_core {measurements.hermes_core}; medians of "
        f"{measurements.repetitions} repetitions."
    ]
    for run in measurements.runs:
        rows = [HEAD, ("---", "---", *["---:"] * 4, "---"), *map(cells, run.figures)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        parts.append(f"### {title(run)}\n\n{table}")
    return "\n\n".join(parts)


def _three_digits(value: float) -> str:
    digits = f"{value:.3g}"
    return f"{float(digits):,.0f}" if "e" in digits or value >= 1000 else digits
