"""A table that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hermes_core._cli import terminal

GAP = "  "
#: The narrowest that a column gets that may be cut.
NARROWEST = 8
#: More characters of a text than any terminal shows.
LONGEST = 1000


class Column(NamedTuple):
    """A column: its head, and whether its texts may be cut."""

    head: str
    is_elastic: bool = False


def lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The lines of a table: the heads, then each row, no wider than `width`.

    The last elastic columns are cut first. Where that is not enough, columns are left out from the
    right; what is left of the first one is cut.
    """
    shown = [[terminal.safe(text[:LONGEST]) for text in row] for row in rows]
    table = [[column.head for column in columns], *shown]
    widths = _widths(columns, table, width)
    for row in table:
        texts = [terminal.fit(text, size) for text, size in zip(row, widths, strict=False)]
        padded = [
            text + " " * (size - terminal.cells(text))
            for text, size in zip(texts, widths, strict=True)
        ]
        yield GAP.join(padded).rstrip()


def _widths(columns: Sequence[Column], table: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide each column is; as many as there is room for."""
    widths = [max(map(terminal.cells, texts)) for texts in zip(*table, strict=True)]
    for place in reversed(range(len(widths))):
        excess = _total(widths) - width
        if columns[place].is_elastic and excess > 0:
            widths[place] -= min(excess, max(0, widths[place] - NARROWEST))
    while len(widths) > 1 and _total(widths) > width:
        widths.pop()
    widths[0] = min(widths[0], width) if len(widths) == 1 else widths[0]
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)
