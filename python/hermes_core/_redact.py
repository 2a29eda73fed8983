"""What may be stored and shown of a task and of its result: the host's hook, at every text."""

from __future__ import annotations

from collections.abc import Callable

from . import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Stands for a text that the hook did not make safe.
WITHHELD = "[withheld: the redaction hook failed on this text]"
#: Stands for what is nested too deep to be looked through.
TOO_DEEP = "[withheld: nested too deep to be redacted]"

#: What says whose an event is, and when it was: no text of anybody's.
_KEPT = frozenset(
    (
        "type",
        "delegation_id",
        "session_key",
        "origin_ui_session_id",
        "parent_session_id",
        "is_batch",
        "dispatched_at",
        "completed_at",
    )
)
#: What a status may say in itself; others are a runner's text.
_STATUSES = frozenset(
    (
        "queued",
        "running",
        "completed",
        "success",
        "error",
        "failed",
        "interrupted",
        "cancelled",
        "canceled",
        "timeout",
        "stalled",
        "lost",
    )
)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """A copy of ``value`` with every text in it passed through ``redact``, keys too.

    A text for which the hook raises, or gives no str, is withheld, and so is what is nested deeper
    than a ledger stores. What is no plain data becomes the text that would be shown of it.
    """
    return _copied(value, redact, ())


def fields(record: dict[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    """A copy of a record or an event with its texts redacted; its address and its id stay."""
    return {
        key: value if key in _KEPT or _is_status(key, value) else redacted(value, redact)
        for key, value in record.items()
    }


def _is_status(key: str, value: object) -> bool:
    return key == "status" and type(value) is str and value in _STATUSES


def _copied(value: Any, redact: Callable[[str], str], around: tuple[int, ...]) -> Any:
    # By the type's own methods: a subclass's would be somebody's code.
    kind = type(value)
    if value is None or kind is bool:
        return value
    if issubclass(kind, str):
        return _text(str.__str__(value), redact)
    if issubclass(kind, int):
        return int.__pos__(value)
    if issubclass(kind, float):
        return float.__pos__(value)
    is_dict = issubclass(kind, dict)
    base = next((base for base in _json.SEQUENCES if issubclass(kind, base)), None)
    if not is_dict and base is None:
        return _text(_json.text_of(value), redact)
    if id(value) in around:
        return "<circular reference>"
    if len(around) == _json.DEPTH:
        return TOO_DEEP
    around = (*around, id(value))
    if base is not None:
        return [_copied(item, redact, around) for item in list(base.__iter__(value))]

    def name(key: Any) -> Any:
        # A list, which a tuple becomes, is no key.
        is_flat = key is None or issubclass(type(key), (str, int, float))
        return _copied(key, redact, around) if is_flat else _text(_json.text_of(key), redact)

    items = _json.keyed(list(dict.items(value)), name)
    return {key: _copied(item, redact, around) for key, item in items}


def _text(text: str, redact: Callable[[str], str]) -> str:
    try:
        safe = redact(text)
        if issubclass(type(safe), str):
            return str.__str__(safe)
        problem = f"gave {type(safe).__name__}, not a str"
    except BaseException as exc:
        # Not the exception itself: the text may be in it.
        problem = f"raised {type(exc).__name__}"
    import logging

    logging.getLogger("hermes_core.registry").error("the redaction hook %s", problem)
    return WITHHELD
