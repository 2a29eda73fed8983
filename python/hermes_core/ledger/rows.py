"""What a ledger's row says, also where the disk has changed its texts.

One row that cannot be read must not keep the others from their owners.
"""

from __future__ import annotations

from hermes_core.ledger.lost import lost, unreadable
from hermes_core.text import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]


def record(row: dict[str, Any]) -> dict[str, Any]:
    """The task of a row; of one that cannot be read, what is left as its goal."""
    text = row["record"]
    found = _dict(text)
    return {"goal": text} if found is None else found


def event(row: dict[str, Any], record: dict[str, Any]) -> dict[str, Any] | None:
    """The completion event of a row with this task; ``None`` before the end, and in memory."""
    text = row["event"] or ""
    if not text and row["state"] == "lost":
        return lost(record, row)
    if not text and (row["state"] in ("queued", "running") or not row["record"]):
        return None
    found = _dict(text)
    if found is None or not isinstance(found.get("status"), str):
        return unreadable(record, row, text)
    return found


def of_record(
    record: dict[str, Any], key: str | None, delivery: str | None, event: dict[str, Any] | None
) -> dict[str, Any]:
    """The row of a record, as ``DelegationRegistry.list`` gives it, that is in no file."""
    fields = ("delegation_id", "session_key", "origin_ui_session_id", "parent_session_id")
    is_held = record["state"] in ("queued", "running") or delivery == "pending"
    return {
        **{field: record[field] or "" for field in fields},
        "fence": 1,
        "idempotency_key": key,
        "state": record["state"],
        "has_begun": record["state"] != "queued",
        "delivery": delivery,
        "attempts": None,
        "holder": "us" if is_held else "nobody",
        "held_until": None,
        "dispatched_at": record["dispatched_at"],
        "completed_at": record["completed_at"],
        "settled_at": record["completed_at"] if delivery in ("delivered", "dropped") else None,
        "record": record,
        "event": event,
    }


def _dict(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
