"""Reading Markdown: the fenced blocks of a file, and its links."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    *sorted(path.name for path in ROOT.glob("*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^( *)```([^\s`]*)[ \t]*([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block."""

    page: str
    line: int
    """Where its first line stands in the page, from 1."""
    language: str
    info: str
    """What stands behind the language."""
    text: str

    @property
    def padded(self) -> str:
        """The text at its place in the page, so that a traceback names the page's line."""
        return "\n" * (self.line - 1) + self.text

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Return all fenced blocks of a page."""
    text = text_of(page)
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 2,
            match[2],
            match[3],
            textwrap.dedent(match[4]),
        )
        for match in _FENCE.finditer(text)
    ]


def links(page: str) -> list[str]:
    """Return the targets of a page's links, those in its code blocks left out."""
    return _LINK.findall(_FENCE.sub("", text_of(page)))


def words_of_make(page: str) -> set[str]:
    """Return the words that the page has after `make`, in code."""
    text = text_of(page)
    return {*re.findall(r"`make ([a-z-]+)", text), *re.findall(r"^\$ make ([a-z-]+)", text, re.M)}
