"""A table that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hermes_core.cli import terminal
from hermes_core.text import truncate

GAP = "  "
#: The narrowest that a column gets that may be cut.
NARROWEST = 8
#: More characters of a text than any terminal shows.
LONGEST = 1000
#: Where nothing bounds a line, a column with longer texts is not aligned.
ALIGNED = 60


class Column(NamedTuple):
    """A column: its head, and whether its texts may be cut."""

    head: str
    is_elastic: bool = False


def lines(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> Iterator[str]:
    """The lines of a table: the heads, then each row, no wider than `width`; whole without one.

    Elastic columns share what the others leave. Where that is too little, columns are left out
    from the right, and the first one is cut.
    """
    longest = None if width is None else LONGEST
    shown = [[terminal.safe(text[:longest]) for text in row] for row in rows]
    table = [[column.head for column in columns], *shown]
    if width is None:
        whole = [max(map(terminal.cells, texts)) for texts in zip(*table, strict=True)]
        widths = [min(size, ALIGNED) for size in whole]
    else:
        widths = _widths(columns, table, width)
    for row in table:
        texts = row[: len(widths)]
        if width is not None:
            texts = [terminal.fit(text, size) for text, size in zip(texts, widths, strict=True)]
        padded = [
            text + " " * (size - terminal.cells(text))
            for text, size in zip(texts, widths, strict=True)
        ]
        yield GAP.join(padded).rstrip()


def _widths(columns: Sequence[Column], table: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide each column is; as many as there is room for."""
    widths = [max(map(terminal.cells, texts)) for texts in zip(*table, strict=True)]
    while True:
        elastic = [place for place, _ in enumerate(widths) if columns[place].is_elastic]
        room = width - _total(widths) + sum(widths[place] for place in elastic)
        if room >= sum(min(widths[place], NARROWEST) for place in elastic):
            sizes = truncate.shares([widths[place] for place in elastic], None, room)
            for place, size in zip(elastic, sizes, strict=True):
                widths[place] = size
            return widths
        if len(widths) == 1:
            return [width]
        widths.pop()


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)
