"""What may be stored and shown of a task and of its result: the host's hook, at every text."""

from __future__ import annotations

from collections.abc import Callable

from hermes_core._core import list_texts, replace_texts
from hermes_core.text import json as _json

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
    than a ledger stores. What is no plain data is made so first. What the fields of an event and of
    a batch's results are called is no text of anybody's.
    """
    return _redacted([value], redact)[0]


def fields(record: dict[str, Any], redact: Callable[[str], str]) -> dict[str, Any]:
    """A copy of a record or an event with its texts redacted; its address and its id stay."""
    open_fields = [key for key in record if not _stays(key, record[key])]
    safe = _redacted([record[key] for key in open_fields], redact)
    return {**record, **dict(zip(open_fields, safe, strict=True))}


def _stays(key: str, value: Any) -> bool:
    return key in _KEPT or (key == "status" and type(value) is str and value in _STATUSES)


def _redacted(values: list[Any], redact: Callable[[str], str]) -> list[Any]:
    texts = list_texts(values, _STATUSES)
    if texts is None:
        values = _plain(values)
        texts = list_texts(values, _STATUSES)
        assert texts is not None
    found = replace_texts(values, _made_safe(texts, redact), _STATUSES)
    # Without a copy, somebody has changed the values meanwhile: nobody else has a plain copy.
    return _redacted(_plain(values), redact) if found is None else found


def _plain(values: list[Any]) -> list[Any]:
    return [_json.plain(value, TOO_DEEP) for value in values]


def _made_safe(texts: list[str], redact: Callable[[str], str]) -> list[str]:
    found = []
    for text in texts:
        try:
            safe = redact(text)
        except BaseException as exc:
            if _json.is_ctrl_c(exc):
                raise
            # Not the exception itself: the text may be in it.
            safe = _withheld(f"raised {type(exc).__name__}")
        if type(safe) is not str:
            is_text = issubclass(type(safe), str)
            name = type(safe).__name__
            safe = str.__str__(safe) if is_text else _withheld(f"gave {name}, not a str")
        found.append(safe)
    return found


def _withheld(problem: str) -> str:
    import logging

    logging.getLogger("hermes_core.registry").error("the redaction hook %s", problem)
    return WITHHELD
