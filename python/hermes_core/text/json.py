"""Plain data: what any value is made once, and its JSON text, which is what a ledger stores.

Plain data is made of exact dicts with exact str as keys, lists, tuples, str, int, float, bool and
None. The native leaves take it as it is; what they refuse comes here. What JSON cannot carry
becomes text that can be read: nothing is refused, and nothing a value does keeps the rest from
being stored.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from hermes_core._core import to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How deep readers follow a nested value; ``src/python/plain.rs`` has the same number. What is
#: nested deeper becomes the text of its JSON, unless the library takes it.
DEPTH = 100

#: What holds values one by one.
SEQUENCES = (list, tuple, set, frozenset, deque)
_BYTES = (bytes, bytearray, memoryview)


def dumps(value: object) -> str:
    """``value`` as JSON that every reader takes.

    Not a number and infinities become ``"NaN"``, ``"Infinity"``, ``"-Infinity"``; sets become
    lists; bytes their text; other objects their ``repr``, or their type's name where that raises;
    a value within itself ``"<circular reference>"``. Lone surrogates are kept as escapes.
    """
    text = to_json(value)
    return _of_any(value) if text is None else text


def loads(text: str) -> Any:
    """What ``dumps`` has stored."""
    import json

    return json.loads(text)


def plain(value: object, too_deep: str) -> Any:
    """A copy of ``value`` as plain data, with ``too_deep`` in the place of what is nested deeper
    than ``DEPTH``."""
    return loads(_Walk(too_deep).write(value))


def _of_any(value: object) -> str:
    import json

    try:
        text = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode(value)
    except BaseException as exc:
        # Whatever the code of a value's type has raised.
        if is_ctrl_c(exc):
            raise
        text = ""
    walk = _Walk()
    written = walk.write(value)
    # The library lets two keys that look alike become the same.
    return text if text and not walk.has_other_keys else written


def is_ctrl_c(exc: BaseException) -> bool:
    """Whether an exception is the user's, and not what the code of a value has raised."""
    return (
        issubclass(type(exc), KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


class _Open:
    """A list or dict that is being written."""

    __slots__ = ("close", "first", "ident", "items", "outer")

    def __init__(self, ident: int, items: Iterator[Any], close: str) -> None:
        self.ident = ident
        self.items = items
        self.close = close
        self.first = True
        #: What was written before it, where it is to become a text.
        self.outer: list[str] | None = None


class _Walk:
    """Writes any value as JSON in ASCII, without recursion: its depth is whatever it is.

    With a text for what is too deep, it writes what ``plain`` reads back: numbers stay what they
    are. Without one it writes what is stored.
    """

    def __init__(self, too_deep: str | None = None) -> None:
        from json.encoder import encode_basestring_ascii

        self._quote = encode_basestring_ascii
        self._too_deep = too_deep
        #: Whether it has met keys that are no texts.
        self.has_other_keys = False
        self._parts: list[str] = []
        self._open: list[_Open] = []
        self._inside: set[int] = set()

    def write(self, value: object) -> str:
        self._write(value)
        while self._open:
            current = self._open[-1]
            try:
                item = next(current.items)
            except StopIteration:
                self._close()
                continue
            if not current.first:
                self._parts.append(",")
            current.first = False
            if current.close == "}":
                key, item = item
                self._parts.append(f"{self._quote(key)}:")
            self._write(item)
        return "".join(self._parts)

    def _write(self, value: Any) -> None:
        # By the type's own methods: a subclass's would be somebody's code.
        kind = type(value)
        if value is None:
            self._parts.append("null")
        elif value is True or value is False:
            self._parts.append("true" if value else "false")
        elif issubclass(kind, str):
            self._parts.append(self._quote(str.__str__(value)))
        elif issubclass(kind, int):
            self._parts.append(self._number(int.__pos__(value)))
        elif issubclass(kind, float):
            self._parts.append(self._float(float.__pos__(value)))
        elif id(value) in self._inside:
            self._parts.append('"<circular reference>"')
        elif issubclass(kind, dict):
            self._enter(value, self._keyed(list(dict.items(value))), "{", "}")
        elif issubclass(kind, SEQUENCES):
            base = next(base for base in SEQUENCES if issubclass(kind, base))
            self._enter(value, iter(list(base.__iter__(value))), "[", "]")
        else:
            self._parts.append(self._quote(text_of(value)))

    def _enter(self, value: object, items: Iterator[Any], start: str, close: str) -> None:
        if self._too_deep is not None and len(self._open) == DEPTH:
            self._parts.append(self._quote(self._too_deep))
            return
        opened = _Open(id(value), items, close)
        self._inside.add(opened.ident)
        if len(self._open) == DEPTH:
            opened.outer, self._parts = self._parts, []
        self._open.append(opened)
        self._parts.append(start)

    def _close(self) -> None:
        closed = self._open.pop()
        self._inside.discard(closed.ident)
        self._parts.append(closed.close)
        if closed.outer is not None:
            text = "".join(self._parts)
            self._parts = closed.outer
            self._parts.append(self._quote(text))

    def _number(self, value: int) -> str:
        try:
            return int.__repr__(value)
        except ValueError:
            # More digits than Python prints, and readers take.
            return self._quote(hex(value))

    def _float(self, value: float) -> str:
        if value != value:
            text = "NaN"
        elif value in (float("inf"), float("-inf")):
            text = "Infinity" if value > 0 else "-Infinity"
        else:
            return float.__repr__(value)
        return text if self._too_deep is not None else f'"{text}"'

    def _keyed(self, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
        """The items under texts as keys; where those are the same, numbers tell them apart."""
        used: set[str] = set()
        numbers: dict[str, int] = {}
        for key, value in items:
            first = name = self._key(key)
            while name in used:
                number = numbers[first] = numbers.get(first, 1) + 1
                name = f"{first} ({number})"
            used.add(name)
            yield name, value

    def _key(self, key: object) -> str:
        if type(key) is str:
            return key
        self.has_other_keys = True
        if issubclass(type(key), str):
            return str.__str__(key)
        if key is None or key is True or key is False:
            # As the library writes them.
            return {None: "null", True: "true", False: "false"}[key]
        return text_of(key)


def text_of(value: Any) -> str:
    """What stands for a value that is no plain data: its ``repr``; of bytes, the text they are."""
    try:
        if issubclass(type(value), _BYTES):
            return memoryview(value).tobytes().decode("utf-8", "backslashreplace")
    except ValueError:
        # A memory view that was released.
        pass
    try:
        text = repr(value)
        return str.__str__(text)
    except BaseException as exc:
        if is_ctrl_c(exc):
            raise
        # Past any __name__ that a metaclass may pretend.
        name: str = type.__dict__["__name__"].__get__(type(value))
        return f"<{name}>"
