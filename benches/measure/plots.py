"""Which figures are drawn, and how."""

from __future__ import annotations

from . import svg, table
from .figures import Figure, Measurements, Run

_MS = 1e-3
_RATIO = "How many times as fast; the upright mark is the goal."


def draw(measurements: Measurements) -> dict[str, str]:
    """Name to SVG, for every plot whose figures were measured."""
    first = measurements.runs[0]
    beside = f"CPython {first.python}, hermes-agent {first.gateway}"
    groups = {figure.group for figure in first.figures}
    drawn = {"queue": _queue(measurements.runs)}
    if "delegation" in groups:
        rows = [
            figure for figure in first.figures if figure.group in ("delegation", "notification")
        ]
        drawn["gateway"] = _ratios("Beside the gateway's own code", f"{beside}. {_RATIO}", rows)
    if "arrival" in groups:
        rows = [figure for figure in first.figures if figure.group == "arrival"]
        note = f"{beside}. The upright mark is the goal; the axis is logarithmic."
        drawn["arrival"] = _times("From an event to its owner", note, rows)
    if "ledger" in groups:
        rows = [figure for figure in first.figures if figure.group == "ledger"]
        note = f"CPython {first.python}. {_RATIO}"
        drawn["ledger"] = _ratios(
            "Beside what else keeps work on disk", note, rows, with_peers=True
        )
    for group, title, across in (
        ("depth", "A queue operation, with ever more events waiting", "events that wait"),
        ("active_count", "Counting what runs", "delegations that run"),
        ("stored", "A delegation's life, with ever more rows kept", "rows in the file"),
    ):
        if group in groups:
            rows = [figure for figure in first.figures if figure.group == group]
            note = f"CPython {first.python}. Time per call; both axes are logarithmic."
            drawn[group] = svg.lines(title, note, across, _lines(rows), _seconds)
    return drawn


def _queue(runs: list[Run]) -> str:
    """The queue beside the standard library's, for each Python."""
    rows: dict[tuple[str, str], list[svg.Bar]] = {}
    goals: dict[tuple[str, str], float | None] = {}
    for number, run in enumerate(runs):
        for figure in run.figures:
            if figure.group == "queue" and figure.ratio is not None:
                label = figure.case, f"beside {figure.peer}"
                rows.setdefault(label, []).append(svg.Bar(figure.ratio, number))
                goals[label] = _bound(figure)
    bars = [svg.Bars(*label, tuple(found), goals[label]) for label, found in rows.items()]
    legend = [f"CPython {run.python}" for run in runs]
    return svg.bars("The completion queue beside Python's queues", _RATIO, legend, bars)


def _ratios(title: str, note: str, figures: list[Figure], *, with_peers: bool = False) -> str:
    rows = [
        svg.Bars(
            figure.case,
            f"beside {figure.peer}" if with_peers else "",
            (svg.Bar(figure.ratio, 0),),
            _bound(figure) if figure.goal and figure.goal.of == "ratio" else None,
        )
        for figure in figures
        if figure.ratio is not None
    ]
    return svg.bars(title, note, [], rows)


def _times(title: str, note: str, figures: list[Figure]) -> str:
    """What each side takes, in milliseconds."""
    rows = []
    for figure in figures:
        sides = [side for side in (figure.ours, figure.theirs) if side is not None]
        bars = tuple(svg.Bar(side.median / _MS, number) for number, side in enumerate(sides))
        bound = _bound(figure)
        front_end = figure.case.partition(", ")[2]
        rows.append(svg.Bars(front_end, "", bars, None if bound is None else bound / _MS))
    legend = ["hermes_core", figures[0].peer or ""]
    return svg.bars(title, note, legend, rows, lambda value: _seconds(value * _MS))


def _bound(figure: Figure) -> float | None:
    return figure.goal.bound if figure.goal else None


def _lines(figures: list[Figure]) -> list[svg.Line]:
    """A line for each case, and one for its peer."""
    cases: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.size is not None:
            cases.setdefault(figure.case, []).append(figure)
    lines = []
    for series, (case, found) in enumerate(cases.items()):
        ours = [(figure.size or 0, figure.ours.median) for figure in found]
        lines.append(svg.Line(case, series, False, tuple(ours)))
        theirs = [(figure.size or 0, figure.theirs.median) for figure in found if figure.theirs]
        if theirs:
            name = found[0].peer or ""
            lines.append(svg.Line(f"the same, {name}", series, True, tuple(theirs)))
    return lines


def _seconds(value: float) -> str:
    return table.quantity(value, "s")
