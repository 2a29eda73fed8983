"""A judge of notifications: what a reader, or the host that injects them, could be tricked by.

It knows the host's rules (``agent/context_references.py``, ``cli.py``, the wire format's markers)
and asks no code of ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from differential.events import Says

MARKERS = (
    "[ASYNC DELEGATION",
    "[IMPORTANT",
    "[System",
    "--- RESULT ---",
    "--- ERROR ---",
    "--- ✓ TASK",
    "--- ✗ TASK",
)
LABELS = (
    "Dispatched:",
    "Original goal:",
    "Context you provided:",
    "Toolsets:",
    "Role:",
    "Status:",
    "Total duration:",
    "Partial output:",
    "Full live transcript",
)
JOINER = "\u2060"
QUOTE = "> "

#: The line boundaries of ``str.splitlines``.
_LINE_END = "\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
#: What shows nothing: controls, spaces, and Default_Ignorable_Code_Point of Unicode's
#: DerivedCoreProperties.txt. Without the line ends.
_UNSEEN = (
    "\x00-\x09\x0e-\x1b\x1f\x20\x7f-\x84\x86-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5"
    "\u180b-\u180f\u2000-\u200f\u202a-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_FLAGS = re.IGNORECASE | re.ASCII
_REFERENCE = re.compile(rf"@(?:file:|folder:|git:|url:|diff|staged)|\[pasted(?!{JOINER})", _FLAGS)
_SURROGATE = re.compile("[\ud800-\udfff]")
#: What a terminal acts on.
_CONTROL = re.compile("[\b\r\x1b\x8d\x90\x98\x9b\x9d-\x9f]")
_PICTURES = {"\b": "␈", "\r": "␍", "\x1b": "␛"}


def _any_of(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_MARKER = re.compile(_any_of(MARKERS), _FLAGS)
_LABEL = re.compile(_any_of(LABELS), _FLAGS)
_OPENING = rf"(?:\A|[{_LINE_END}])[{_UNSEEN}]*({{}})"
_MARKER_OPENING = re.compile(_OPENING.format(_any_of(MARKERS)), _FLAGS)
_LABEL_OPENING = re.compile(_OPENING.format(_any_of(LABELS)), _FLAGS)


def _look(text: str) -> str:
    """The text without what is unseen or blank, other widths and styles as the plain characters."""
    plain = unicodedata.normalize("NFKC", text)
    seen = (char for char in plain if unicodedata.category(char)[0] not in "CMZ")
    return re.sub(f"[{_UNSEEN}]", "", "".join(seen)).casefold()


_LOOKS = tuple(map(_look, MARKERS + LABELS))


def references(text: str) -> list[str]:
    """What the host would replace by the contents of a file."""
    return _REFERENCE.findall(text)


def markers(text: str) -> list[str]:
    """The markers that begin a line, for a reader who does not see what is invisible."""
    return _MARKER_OPENING.findall(text)


def labels(text: str) -> list[str]:
    """The labels that begin a line, likewise."""
    return _LABEL_OPENING.findall(text)


def is_harmless(value: object) -> bool:
    """Whether no text in it holds a marker, a label, a reference or a lone surrogate."""
    return not any(map(_is_harmful, _texts(value)))


def disarmed(value: Any) -> Any:
    """The value with every harmful text in it replaced by a word."""
    if isinstance(value, Says):
        return Says("x") if _is_harmful(value.text) else value
    if isinstance(value, str):
        return "x" if _is_harmful(value) else value
    if isinstance(value, dict):
        return {key: disarmed(field) for key, field in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(disarmed(item) for item in value)
    return value


def repaired(text: str) -> str:
    """The text with U+FFFD for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text)


def insertions(guarded: str, original: str) -> list[tuple[int, str]]:
    """Where ``guarded`` has something that ``original`` has not, and what.

    A control may have become a picture of itself.

    Raises:
        AssertionError: they differ in more than inserted quotes and joiners.
    """
    found = []
    at = 0
    for place, char in enumerate(original):
        picture = _PICTURES.get(char, "␛" + chr(max(0, ord(char) - 0x40)))
        if _CONTROL.match(char) and guarded.startswith(picture, at):
            at += len(picture)
            continue
        while guarded[at : at + 1] != char:
            token = next((one for one in (QUOTE, JOINER) if guarded.startswith(one, at)), None)
            assert token is not None, (original[place : place + 80], guarded[at : at + 80])
            found.append((at, token))
            at += len(token)
        at += 1
    assert at == len(guarded), guarded[at:]
    return found


def is_needed(guarded: str, at: int, token: str) -> bool:
    """Whether what was inserted there disarms anything."""
    after = guarded[at + len(token) :]
    if token == JOINER:
        return bool(references(guarded[max(0, at - 7) : at] + after[:7]))
    begins_a_line = re.match(f"[{_LINE_END}]", guarded[at - 1]) is not None
    line = re.split(f"[{_LINE_END}]", after, maxsplit=1)[0]
    return begins_a_line and (_look(line).startswith(_LOOKS) or bool(_CONTROL.search(line)))


def _is_harmful(text: str) -> bool:
    kinds = (_REFERENCE, _SURROGATE, _CONTROL, _MARKER, _LABEL)
    looks = _look(text)
    return any(kind.search(text) for kind in kinds) or any(one in looks for one in _LOOKS)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Says):
        yield value.text
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, field in value.items():
            yield from _texts(key)
            yield from _texts(field)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
