"""Notification texts, deduplication keys and session keys, from any Python object.

The Rust leaves look into exact built-in types only and run no Python code. What they refuse is
made plain here, by Python code that no Rust frame stands under, and handed to them again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from hermes_core._core import (
    Printed,
    dedup_key_plain,
    format_plain,
    format_unreadable,
    notification_keys,
    session_key_plain,
)

__all__ = ["format_process_notification", "notification_dedup_key", "parse_session_key"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")

_KEYS = frozenset(notification_keys())
_PLAIN = (str, int, float, bool, type(None))
#: Elements taken from a foreign iterable; it may have no end.
_MAX_ITEMS = 10_000
_type_name = type.__dict__["__name__"].__get__


def format_process_notification(event: Mapping[str, object]) -> str | None:
    """Format a queue event as the text that re-enters a conversation.

    Follows ``format_process_notification`` of the gateway's ``tools/process_registry.py``.
    Process notices are the same to the byte; delegation blocks have the same markers, labels, order
    and spacing around sentences of their own. Three things differ: a ``watch_overflow_*`` notice
    keeps its message; text that would forge a marker or a file reference is defanged; and nothing
    raises, whatever the event holds. ``None`` is never returned; the gateway's signature allows it.
    """
    text = format_plain(event)
    if text is not None:
        return text
    plain = _plain_event(event)
    text = None if plain is None else format_plain(plain)
    return format_unreadable(_name(event)) if text is None else text


def parse_session_key(key: str) -> dict[str, str] | None:
    """Split ``agent:main:{platform}:{chat_type}:{chat_id}[:{extra}…]`` into its parts.

    Follows ``_parse_session_key`` of the gateway's ``gateway/run.py``: ``thread_id`` is there only
    for ``dm`` and ``thread`` chats. ``None`` for a key of another form, also one that is no str.
    """
    if type(key) is not str and issubclass(type(key), str):
        key = str.__str__(key)
    return session_key_plain(key)


def notification_dedup_key(event: Mapping[str, object]) -> tuple[object, ...]:
    """Return what identifies a notice: events with equal keys are the same notice.

    Follows ``_notification_event_dedup_key`` of the gateway's ``tui_gateway/server.py``. Where that
    raises, the answer is safe: a ``type`` that is no str counts by its printed form, and what is
    no event gives ``("", "unreadable", type name)``.
    """
    found = dedup_key_plain(event)
    if found is not None:
        return found
    fields = _fields(event)
    if fields is None:
        return ("", "unreadable", _name(event))
    kind = fields.get("type", "completion")
    printed = _exact_str(kind)
    fields["type"] = _printed(kind) if printed is None else printed
    return dedup_key_plain(fields) or ("", "unreadable", _name(event))


def _guarded(call: Callable[[], _T], fallback: _T) -> _T:
    """The result of ``call``; ``fallback`` if it raises anything, an exit request included."""
    try:
        return call()
    except BaseException:
        return fallback


def _name(value: object) -> str:
    """The name of the value's type, past any ``__name__`` that a metaclass may pretend."""
    name: str = _type_name(type(value))
    return name


def _exact_str(value: object) -> str | None:
    # issubclass of the type, not isinstance: that would ask the object for its ``__class__``.
    return str.__str__(value) if issubclass(type(value), str) else None


def _fields(event: object) -> dict[str, object] | None:
    """The known fields of a mapping, under exact names; ``None`` if it cannot be read."""
    try:
        if not isinstance(event, Mapping):
            return None
        found: dict[str, object] = {}
        # The key may be any object, and only a str is sure to compare quietly.
        for key, value in dict(event).items():
            name = _exact_str(key)
            if name is not None and name in _KEYS:
                found[name] = value
        return found
    except BaseException:
        return None


def _plain_event(event: object) -> dict[str, object] | None:
    fields = _fields(event)
    if fields is None:
        return None
    results = fields.get("results")
    if results is not None:
        fields["results"] = _plain_results(results, bool(_truth(fields.get("is_batch"))))
    goals = fields.get("goals")
    if goals is not None:
        fields["goals"] = _plain_goals(goals, fields.get("results"))
    if "toolsets" in fields:
        fields["toolsets"] = _plain_toolsets(fields["toolsets"])
    whole = ("results", "goals", "toolsets")
    return {key: value if key in whole else _plain(value, key) for key, value in fields.items()}


def _plain(value: object, key: str = "") -> object:
    """The value as the leaf takes it: an exact scalar, or how it prints and what it counts for."""
    if type(value) is int:
        # An int with too many digits does not print.
        return value if abs(value) < 1 << 64 else _counted(value, value)
    if type(value) in _PLAIN:
        return value
    text = _exact_str(value)
    if text is not None:
        return text
    number = _number(value)
    is_number = issubclass(type(value), int | float)
    if is_number and (
        key == "dispatched_at" or _printed(value) == _guarded(lambda: repr(number), "")
    ):
        return number
    return _counted(value, number)


def _counted(value: object, number: int | float | None) -> object:
    if type(number) is int and number.bit_length() > 4096:
        number = None
    return Printed(_printed(value), _truth(value), number)


def _printed(value: object) -> str:
    """What an f-string shows for the value."""
    text = _guarded(lambda: _exact_str(format(value, "")), None)
    return f"<unprintable {_name(value)}>" if text is None else text


def _truth(value: object) -> bool:
    return _guarded(lambda: bool(value), True)


def _number(value: object) -> int | float | None:
    kind = type(value)
    if issubclass(kind, float):
        return float.__float__(value)  # type: ignore[arg-type]
    if issubclass(kind, int):
        return int.__int__(value)  # type: ignore[arg-type]
    index = _guarded(lambda: operator.index(value), None)  # type: ignore[arg-type]
    if index is not None:
        return int.__int__(index)
    if not _guarded(lambda: hasattr(kind, "__float__"), False):
        return None
    number = _guarded(lambda: float(value), None)  # type: ignore[arg-type]
    return None if number is None else float.__float__(number)


def _items(value: object) -> list[object] | None:
    """The elements of a foreign iterable, as many as a notice can use."""

    def take() -> list[object] | None:
        return list(islice(value, _MAX_ITEMS)) if isinstance(value, Iterable) else None

    return _guarded(take, None)


def _plain_toolsets(value: object) -> object:
    """``', '.join`` takes any iterable of str; what is not one is printed whole."""
    if type(value) in _PLAIN:
        return value
    text = _exact_str(value)
    if text is not None:
        return text
    if not _truth(value):
        return None
    items = _items(value)
    if items is None:
        return _plain(value)
    return [_plain(item) for item in items] or [""]


def _plain_results(value: object, is_batch: bool) -> object:
    if type(value) in _PLAIN:
        return value
    is_list = issubclass(type(value), list)
    if not is_list and not is_batch:
        return None
    if not is_list and not _truth(value):
        return None
    items = _items(value)
    if items is None:
        return _plain(value)
    results = [_plain_result(item) for item in items]
    return results if is_list else tuple(results)


def _plain_result(value: object) -> object:
    fields = _fields(value)
    if fields is None:
        return _plain(value)
    return {key: _plain(field, key) for key, field in fields.items()}


def _plain_goals(value: object, results: object) -> object:
    if type(value) in _PLAIN:
        return value
    text = _exact_str(value)
    if text is not None:
        return text
    if not _truth(value):
        return None
    if issubclass(type(value), list | tuple):
        return [_plain(goal) for goal in _items(value) or []]
    # Any other container: each result looks up its own goal, as the gateway does.
    size = _guarded(lambda: len(value), 0)  # type: ignore[arg-type]
    entries = results if isinstance(results, list | tuple) else ()
    for entry in entries:
        if type(entry) is dict:
            _look_up_goal(value, size, entry)
    return None if entries else [""] * min(size, _MAX_ITEMS)


def _look_up_goal(goals: object, size: int, entry: dict[str, object]) -> None:
    index = entry.get("task_index", 0)
    if isinstance(index, int | float) and index < size:
        goal = _guarded(lambda: goals[index], entry.get("goal"))  # type: ignore[index]
        entry["goal"] = _plain(goal)
