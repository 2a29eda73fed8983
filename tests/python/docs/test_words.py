"""Names and sentences use the words of the glossary, not those that only we understood."""

from __future__ import annotations

import functools
import os
import re
import sys

import pytest

sys.path.append(os.path.dirname(__file__))

from pages import ROOT

#: What was said before, and what is said now; `_` counts as the end of a word.
GONE = {
    "desk": "writer",
    "papers": "what the writer holds",
    "telling": "status, subscriber",
    "trouble": "failure",
    "carry_over": "recover",
    "salvage": "quarantine, recover",
    "inbox": "write queue",
    "pen": "write context",
    "judge": "owner predicate",
    "appoint": "owner predicate",
    "lane": "list",
    "bell": "wake descriptor",
    "board": "watch",
    "letters": "dead letters",
    "caps": "truncate",
    "by_hand": "actions",
    "has_say": "owner predicate",
    "home_of": "row handle",
}
#: Where one of them is the right word: the line, and what makes it so.
RIGHT = {
    # The names of files that a release left or may leave.
    "salvage": r"\.salvage|\bsalvaged\b",
    # Of an alphabet; dead ones are in the glossary.
    "letters": r"[Dd]ead[ _]letters|ASCII letters|later letters|letters and emoji|Its letters",
    # A queue of the reader's own.
    "inbox": r"inbox(?: =|\.|\)|,|$)",
    "caps": r"no caps|test_caps",
    "board": r"key-?board|board\b.*kanban|kanban\b.*board",
    "judge": r"[Tt]he judge of that",
}
FOLDERS = ("src", "python", "docs")
#: Measurements that were written by a program.
MADE = ("docs/measurements",)


@functools.cache
def texts() -> dict[str, list[str]]:
    """The lines of each file, its name before them."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.*"))]
    names = {path.relative_to(ROOT).as_posix(): path for path in files}
    return {
        name: [name, *path.read_text("utf-8").splitlines()]
        for name, path in names.items()
        if path.suffix in (".rs", ".py", ".pyi", ".sql", ".md") and not name.startswith(MADE)
    }


def lines(word: str) -> list[str]:
    """Where a word stands: in the names of files, and in their lines."""
    inflected = re.compile(rf"(?<![a-z]){word}(?:s|d|ed|ing)?(?![a-z])", re.IGNORECASE)
    found = []
    for name, all_lines in texts().items():
        for number, line in enumerate(all_lines):
            if inflected.search(line):
                left = re.sub(RIGHT[word], "", line) if word in RIGHT else line
                if inflected.search(left):
                    found.append(f"{name}:{number}: {line.strip()}")
    return found


@pytest.mark.parametrize("word", GONE)
def test_a_private_word_is_gone(word: str) -> None:
    found = lines(word)
    assert not found, f"say {GONE[word]!r} instead of {word!r}:\n" + "\n".join(found)
