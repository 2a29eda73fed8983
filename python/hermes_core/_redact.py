"""What may be stored and shown of a task and of its result: the host's hook, at every text."""

from __future__ import annotations

from collections.abc import Callable

from . import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Stands for a text that the hook did not make safe.
WITHHELD = "[withheld: the redaction hook failed on this text]"

#: What says whose an event is, and what became of it: no text of anybody's.
_KEPT = frozenset(
    (
        "type",
        "delegation_id",
        "session_key",
        "origin_ui_session_id",
        "parent_session_id",
        "status",
        "is_batch",
        "dispatched_at",
        "completed_at",
    )
)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """A copy of ``value`` with every text in it passed through ``redact``, keys too.

    A text for which the hook raises, or gives no str, is withheld. What is no plain data becomes
    the text that would be shown of it.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return _text(value, redact)
    try:
        if isinstance(value, dict):
            items = list(dict.items(value))
            return {redacted(key, redact): redacted(item, redact) for key, item in items}
        if isinstance(value, (list, tuple)):
            return [redacted(item, redact) for item in list(value)]
    except RecursionError:
        return WITHHELD
    return _text(_json.dumps(value), redact)


def fields(record: dict[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    """A copy of a record or an event with its texts redacted; its address and its id stay."""
    return {
        key: value if key in _KEPT else redacted(value, redact) for key, value in record.items()
    }


def _text(text: str, redact: Callable[[str], str]) -> str:
    try:
        safe = redact(text)
        if isinstance(safe, str):
            return safe
        problem = f"gave {type(safe).__name__}, not a str"
    except Exception as exc:
        # Not the exception itself: the text may be in it.
        problem = f"raised {type(exc).__name__}"
    import logging

    logging.getLogger("hermes_core.registry").error("the redaction hook %s", problem)
    return WITHHELD
