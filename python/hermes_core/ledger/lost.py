"""The completion event of a delegation whose process wrote no end, or none that can be read."""

from __future__ import annotations

import time

from hermes_core.ledger.record import with_further

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]

#: What is known of a lost one.
_LOST = (
    "its process ended before it did; what it had done by then may have taken effect, and nothing "
    "more is known of it"
)
#: The same of one that waited for capacity.
_NEVER_BEGAN = (
    "it never began: it was waiting for capacity when its process ended, and nothing of it was done"
)


def lost(record: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The completion event of a delegation whose process ended before it did.

    Args:
        record: its task, as far as it can be read.
        row: its row, for whose it is and when it was found lost.
    """
    whose: Row = {
        "type": "async_delegation",
        "delegation_id": row["delegation_id"],
        "session_key": row["session_key"],
        "origin_ui_session_id": row["origin_ui_session_id"],
        "parent_session_id": row["parent_session_id"],
        "goal": record.get("goal"),
    }
    task = {field: record.get(field) for field in ("context", "toolsets", "role", "model")}
    when: Row = {
        "dispatched_at": row["dispatched_at"],
        "completed_at": row["completed_at"] or time.time(),
    }
    error = _LOST if row.get("has_begun", True) else _NEVER_BEGAN
    # How long it ran is not known.
    if "is_batch" not in record:
        end: Row = {"status": "lost", "summary": None, "error": error, "api_calls": 0}
        return with_further({**whose, **task, **end, **when, "exit_reason": None}, record)
    goals = record.get("goals")
    # An end for each: a notice names the goals of those that have one.
    results = [
        {"task_index": number, "status": "lost", "error": error}
        for number, _ in enumerate(goals if isinstance(goals, list) else ())
    ]
    end = {"status": "lost", "is_batch": True, "results": results, "live_transcripts": None}
    event = {**whose, "goals": goals, **task, **end, "error": error, **when}
    return with_further(event, record)


def unreadable(record: dict[str, Any], row: dict[str, Any], text: str) -> dict[str, Any]:
    """The event of a delegation whose result was damaged on disk; ``text`` is what is left."""
    error = f"it ended as {row['state']!r}, but its result was damaged on disk"
    event = {**lost(record, row), "status": "error", "error": error}
    if "is_batch" in event:
        event["results"] = [{"status": "error", "summary": text, "error": error}]
    else:
        event["summary"] = text
    return event
