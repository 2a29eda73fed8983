"""Bar and line charts on logarithmic axes, as SVG that reads on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH = 760
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .note { font-size: 12px; fill: #57606a }
  .value { font-size: 12px; stroke: #ffffff; stroke-width: 4; paint-order: stroke }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .card { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #e4e8ec } .one { stroke: #57606a }
  .goal { stroke: #24292f; stroke-width: 2 }
  .c0 { fill: #0969da; stroke: #0969da } .c1 { fill: #bc4c00; stroke: #bc4c00 }
  .c2 { fill: #8250df; stroke: #8250df }
  .bar { stroke: none } path { fill: none !important; stroke-width: 2 }
  .peer { stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .note { fill: #9198a1 }
    .value { stroke: #0d1117 }
    .card { fill: #0d1117; stroke: #3d444d } .grid { stroke: #262c36 } .one { stroke: #9198a1 }
    .goal { stroke: #e6edf3 }
    .c0 { fill: #4493f8; stroke: #4493f8 } .c1 { fill: #f0883e; stroke: #f0883e }
    .c2 { fill: #ab7df8; stroke: #ab7df8 }
  }
"""
_ROW = 22
_TOP = 74


@dataclass(frozen=True)
class Bar:
    """One bar: a value, from 1 to the left or the right."""

    value: float
    #: The place of its name in the legend.
    series: int


@dataclass(frozen=True)
class Bars:
    """The bars of one label, with the goal that they share."""

    label: str
    #: Beneath the label.
    note: str
    bars: tuple[Bar, ...]
    goal: float | None


@dataclass(frozen=True)
class Line:
    """A named line through points."""

    name: str
    series: int
    #: Drawn in dashes.
    is_peer: bool
    points: tuple[tuple[float, float], ...]


def bars(
    title: str,
    note: str,
    legend: Sequence[str],
    rows: Sequence[Bars],
    show: Callable[[float], str] | None = None,
) -> str:
    """A chart of ratios, one group of bars a row; of what `show` makes of the values, if given."""
    left, right = 300, WIDTH - 76
    values = [bar.value for row in rows for bar in row.bars]
    goals = [row.goal for row in rows if row.goal is not None]
    low = 2.0 ** math.floor(math.log2(min([1.0, *values, *goals])))
    high = 2.0 ** math.ceil(math.log2(max([2.0, *values, *goals])))
    x = _axis(low, high, left, right)
    heights = [_ROW * len(row.bars) + 12 for row in rows]
    start = _TOP if legend else _TOP - 16
    bottom = start + sum(heights)
    parts = [_legend(legend)]
    for tick in _doublings(low, high):
        kind = "one" if tick == 1 else "grid"
        parts.append(_rule(x(tick), start, x(tick), bottom, kind))
        parts.append(_text(x(tick), bottom + 18, (show or _times)(tick), "note middle"))
    top = float(start)
    for row, height in zip(rows, heights, strict=True):
        inner = height - 12
        middle = top + 6 + inner / 2
        parts.append(_text(left - 12, middle + (-2 if row.note else 5), row.label, "end"))
        if row.note:
            parts.append(_text(left - 12, middle + 13, row.note, "note end"))
        places = [(top + 6 + number * _ROW, bar) for number, bar in enumerate(row.bars)]
        parts += [_bar(x, place, bar) for place, bar in places]
        if row.goal is not None:
            parts.append(_rule(x(row.goal), top + 3, x(row.goal), top + inner + 9, "goal"))
        for place, bar in places:
            right_end = max(x(1.0), x(bar.value))
            value = show(bar.value) if show else f"{bar.value:.3g}×"
            parts.append(_text(right_end + 8, place + 16, value, "value"))
        top += height
    return _picture(title, note, bottom + 36, parts)


def lines(
    title: str, note: str, across: str, chart: Sequence[Line], show: Callable[[float], str]
) -> str:
    """A chart of how a cost grows, on logarithmic axes."""
    start = _TOP - 6
    left, right, bottom = 76, WIDTH - 260, start + 260
    xs = sorted({point[0] for line in chart for point in line.points})
    ys = [point[1] for line in chart for point in line.points]
    low = 10.0 ** math.floor(math.log10(min(ys)))
    high = 10.0 ** math.ceil(math.log10(max(ys)))
    x, y = _axis(xs[0], xs[-1], left, right), _axis(low, high, bottom, start)
    parts = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        at = y(10.0**power)
        parts.append(_rule(left, at, right, at, "grid"))
        parts.append(_text(left - 10, at + 4, show(10.0**power), "note end"))
    for value in xs:
        anchor = "end" if value == xs[-1] else "middle"
        parts.append(_text(x(value), bottom + 20, f"{value:,.0f}", f"note {anchor}"))
    parts.append(_text((left + right) / 2, bottom + 42, across, "note middle"))
    for number, line in enumerate(chart):
        points = [(x(point[0]), y(point[1])) for point in line.points]
        parts += [_path(points, line)]
        parts += [
            f'<circle class="c{line.series}" cx="{px:.1f}" cy="{py:.1f}" r="3.5"/>'
            for px, py in points
        ]
        height = start + 6 + 24 * number
        parts.append(_path([(right + 26, height), (right + 54, height)], line))
        parts.append(_text(right + 62, height + 4, line.name, ""))
    return _picture(title, note, bottom + 58, parts)


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = math.log(high / low)
    return lambda value: start + (end - start) * math.log(value / low) / span


def _doublings(low: float, high: float) -> list[float]:
    count = round(math.log2(high / low))
    step = max(1, math.ceil(count / 10))
    first = round(math.log2(low))
    powers = range(first, first + count + 1)
    return [2.0**power for power in powers if power % step == 0]


def _times(power_of_two: float) -> str:
    return f"{power_of_two:g}×" if power_of_two >= 1 else f"1/{1 / power_of_two:g}×"


def _bar(x: Callable[[float], float], top: float, bar: Bar) -> str:
    start, end = sorted((x(1.0), x(bar.value)))
    return (
        f'<rect class="bar c{bar.series}" x="{start:.1f}" y="{top + 3:.1f}" '
        f'width="{max(1.0, end - start):.1f}" height="{_ROW - 6}" rx="2"/>'
    )


def _path(points: Sequence[tuple[float, float]], line: Line) -> str:
    kind = f"c{line.series} peer" if line.is_peer else f"c{line.series}"
    return f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'


def _legend(names: Sequence[str]) -> str:
    parts, left = [], 20.0
    for number, name in enumerate(names):
        parts.append(f'<rect class="bar c{number}" x="{left:.1f}" y="54" width="10" height="10"/>')
        parts.append(_text(left + 16, 64, name, ""))
        left += 46 + 7 * len(name)
    return "\n".join(parts)


def _text(x: float, y: float, text: str, classes: str) -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _picture(title: str, note: str, height: float, parts: Sequence[str]) -> str:
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        '<rect class="card" x="0.5" y="0.5" '
        f'width="{WIDTH - 1}" height="{height - 1:.0f}" rx="6"/>\n'
        f"{_text(20, 28, title, 'title')}\n{_text(20, 46, note, 'note')}\n{body}\n</svg>\n"
    )
