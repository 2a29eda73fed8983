"""How values were stored and redacted before: Python's encoder, and walks in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hermes_core import _core
from hermes_core.text import json as current_json
from hermes_core.text import redact as current

_FLAT = frozenset((str, int, float, bool, type(None)))
_FIELDS = frozenset(_core.notification_keys())
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

Redact = Callable[[str], str]


def dumps(value: Any) -> str:
    """Plain data as JSON, and a look at each of its keys."""
    text = _encode(value)
    waiting: list[Any] = [value]
    while waiting:
        value = waiting.pop()
        inner: Any = ()
        if issubclass(type(value), dict):
            assert all(type(key) is str for key in list(dict.keys(value)))
            inner = dict.values(value)
        elif issubclass(type(value), list):
            inner = list.__iter__(value)
        waiting += [item for item in list(inner) if type(item) not in _FLAT]
    return text


def fields(record: dict[str, Any], redact: Redact) -> dict[str, Any]:
    """A copy with each text passed through the hook, but for what stays."""
    return {
        key: value if current._stays(key, value) else _copied(value, redact, ())
        for key, value in record.items()
    }


def _copied(value: Any, redact: Redact, around: tuple[int, ...]) -> Any:
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return _text(str.__str__(value), redact)
    if issubclass(kind, int):
        return int.__pos__(value)
    if issubclass(kind, float):
        return float.__pos__(value)
    assert id(value) not in around
    around = (*around, id(value))
    if issubclass(kind, list):
        return [_copied(item, redact, around) for item in list(list.__iter__(value))]
    used: dict[str, Any] = {}
    for key, item in list(dict.items(value)):
        name = key if key in _FIELDS else _copied(key, redact, around)
        assert name not in used
        used[name] = item if current._stays(name, item) else _copied(item, redact, around)
    return used


def _text(text: str, redact: Redact) -> str:
    safe = redact(text)
    assert issubclass(type(safe), str)
    return str.__str__(safe)


@contextmanager
def in_use() -> Iterator[None]:
    """Have ends stored and redacted as before."""
    modules: Any = (current_json, current)
    now = current_json.dumps, current.fields
    modules[0].dumps, modules[1].fields = dumps, fields
    try:
        yield
    finally:
        modules[0].dumps, modules[1].fields = now
