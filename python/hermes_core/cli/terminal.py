"""Text for a terminal: what was stored can neither steer it nor pose, and fits its width."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from hermes_core.text import truncate

#: What a terminal acts on, and what hides or reorders the text around it. The two joiners that
#: letters and emoji are made with are left out.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)

#: Up to how many seconds a unit is used, how many seconds it has, and its name.
_UNITS = ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h"), (float("inf"), 86400, "d"))

#: Stands where a text goes on.
MORE = "…"


def safe(text: str) -> str:
    """A text as one line that a terminal shows as it is: what it would act on is escaped."""
    return _UNSEEN.sub(_escaped, text)


def lines(text: str) -> Iterator[str]:
    """The lines of a text, each made safe."""
    for line in text.replace("\r\n", "\n").split("\n"):
        yield safe(line.expandtabs(4))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class NoOutput(Exception):
    """What is printed goes nowhere; the message says why."""


def say(text: str = "") -> None:
    """Print to any kind of output: one that cannot encode a character shows it escaped.

    Raises:
        NoOutput: it cannot be written.
    """
    encoding = sys.stdout.encoding or "utf-8"
    _print(text.encode(encoding, "backslashreplace").decode(encoding))


def complain(text: str, *, is_block: bool = False) -> None:
    """Print to the standard error output, if there is one; a block in several lines."""
    shown = "\n".join(lines(text)) if is_block else safe(text)
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"hermes-core: {shown}", file=sys.stderr, flush=True)


def say_json(value: dict[str, Any]) -> None:
    """Print one JSON object in one line, in ASCII without control characters.

    Raises:
        NoOutput: it cannot be written.
    """
    _print(json.dumps(value).replace("\x7f", "\\u007f"))
    flush()


def flush() -> None:
    """Write out what was printed.

    Raises:
        BrokenPipeError: nobody reads it any more.
        NoOutput: it cannot be written.
    """
    if sys.stdout is not None:
        with _written():
            sys.stdout.flush()


def _print(line: str) -> None:
    with _written():
        print(line)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What is left must not be tried again at the exit, which would say so in its own words.
        sys.stdout = None
        if isinstance(error, BrokenPipeError):
            raise
        raise NoOutput(f"the output cannot be written: {error.strerror}") from None


def span(seconds: float) -> str:
    """A time span as people say it: `12 s`, `3 min`, `2 h`, `5 d`."""
    seconds = max(0.0, seconds)
    size, name = next((size, name) for most, size, name in _UNITS if seconds < most)
    return f"{int(seconds // size)} {name}"


def ago(moment: float | None) -> str:
    """How long ago a moment was, in seconds since the epoch."""
    return "" if moment is None else f"{span(time.time() - moment)} ago"


def width() -> int | None:
    """How many columns there are; ``None`` where nothing bounds them: in a pipe or a file."""
    if not os.environ.get("COLUMNS", "").isdecimal() and not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def cells(text: str) -> int:
    """How many columns of a terminal a text takes, at most."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if character == "\ufe0f":
        # Has the sign before it shown as a picture, which is wider.
        return 1
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """A text of one line, cut to a width without splitting a character."""
    if cells(text) <= columns:
        return text
    if columns < 1:
        return ""
    used = 0
    ends = []
    for character in text:
        used += _cells(character)
        ends.append(used)
    return text[: truncate.boundary(text, bisect_right(ends, columns - 1))] + MORE
