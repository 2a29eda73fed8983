"""Any value as JSON text that every reader takes: what a ledger stores.

Plain data is what ``json`` makes of it. What JSON cannot carry is stored as text that can be read:
nothing is refused, and nothing a value does keeps the rest from being stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How deep readers follow a nested value. What is nested deeper becomes the text of its JSON.
DEPTH = 100

#: The encoder of plain data, once it is needed.
_quick: dict[str, Callable[[object], str]] = {}

#: What holds values one by one.
SEQUENCES = (list, tuple, set, frozenset, deque)
_BYTES = (bytes, bytearray, memoryview)
#: What holds nothing else.
_FLAT = frozenset((str, int, float, bool, type(None)))


def dumps(value: object) -> str:
    """``value`` as JSON in ASCII.

    Not a number and infinities become ``"NaN"``, ``"Infinity"``, ``"-Infinity"``; sets become
    lists; bytes their text; other objects their ``repr``, or their type's name where that raises;
    a value within itself ``"<circular reference>"``. Lone surrogates are kept as escapes.
    """
    encode = _quick.get("encode")
    if encode is None:
        import json

        encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
        _quick["encode"] = encode
    try:
        text = encode(value)
        if not _has_other_keys(value):
            return text
    except BaseException:
        # Whatever the code of a value's type has raised.
        pass
    return _Encoder().encode(value)


def loads(text: str) -> Any:
    """What ``dumps`` has stored."""
    import json

    return json.loads(text)


def loads_object(text: str | None) -> dict[str, Any]:
    """The object that ``dumps`` has stored; an empty one of a text that the disk has changed."""
    try:
        value = loads(text) if text else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


def _has_other_keys(value: Any) -> bool:
    """Whether keys of a value are no texts; ``json`` lets two that look alike become the same."""
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        inner: Iterable[Any] = ()
        if issubclass(kind, dict):
            if any(type(key) is not str for key in list(dict.keys(value))):
                return True
            inner = dict.values(value)
        elif issubclass(kind, list):
            inner = list.__iter__(value)
        elif issubclass(kind, tuple):
            inner = tuple.__iter__(value)
        waiting += [item for item in list(inner) if type(item) not in _FLAT]
    return False


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


class _Encoder:
    """Writes a value without recursion: its depth is whatever it is."""

    def __init__(self) -> None:
        from json.encoder import encode_basestring_ascii

        self._quote = encode_basestring_ascii
        self._parts: list[str] = []
        self._open: list[_Open] = []
        self._inside: set[int] = set()

    def encode(self, value: object) -> str:
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
            items = list(dict.items(value))
            self._enter(value, keyed(items, _key), "{", "}")
        elif issubclass(kind, SEQUENCES):
            base = next(base for base in SEQUENCES if issubclass(kind, base))
            self._enter(value, iter(list(base.__iter__(value))), "[", "]")
        else:
            self._parts.append(self._quote(text_of(value)))

    def _enter(self, value: object, items: Iterator[Any], start: str, close: str) -> None:
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
            return '"NaN"'
        if value in (float("inf"), float("-inf")):
            return '"Infinity"' if value > 0 else '"-Infinity"'
        return float.__repr__(value)


def keyed(
    items: Iterable[tuple[Any, Any]], name_of: Callable[[Any], Any]
) -> Iterator[tuple[Any, Any]]:
    """The items under what their keys become; where that is the same, numbers tell them apart."""
    used: set[Any] = set()
    numbers: dict[Any, int] = {}
    for key, value in items:
        first = name = name_of(key)
        while name in used:
            number = numbers[first] = numbers.get(first, 1) + 1
            name = f"{first} ({number})"
        used.add(name)
        yield name, value


def _key(key: object) -> str:
    if issubclass(type(key), str):
        return str.__str__(key)
    if key is None or key is True or key is False:
        # As ``json`` writes them.
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
    except BaseException:
        # Past any __name__ that a metaclass may pretend.
        name: str = type.__dict__["__name__"].__get__(type(value))
        return f"<{name}>"
