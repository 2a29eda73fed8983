"""What a ledger's row says, also where the disk has changed its texts.

One row that cannot be read must not keep the others from their owners.
"""

from __future__ import annotations

from . import _json, _outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def record(row: dict[str, Any]) -> dict[str, Any]:
    """The task of a row; of one that cannot be read, what is left as its goal."""
    text = row["record"]
    found = _dict(text)
    return {"goal": text} if found is None else found


def event(row: dict[str, Any], record: dict[str, Any]) -> dict[str, Any] | None:
    """The completion event of a row with this task; ``None`` before the end, and in memory."""
    text = row["event"] or ""
    if not text and row["state"] == "lost":
        return _outcome.lost(record, row)
    if not text and (row["state"] in ("queued", "running") or not row["record"]):
        return None
    found = _dict(text)
    if found is None or not isinstance(found.get("status"), str):
        return _outcome.unreadable(record, row, text)
    return found


def _dict(text: str) -> dict[str, Any] | None:
    try:
        found = _json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
