"""What a delegation's record holds, and what it was dispatched with besides."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The keys that every record has, and those that a batch's has, too.
_KEYS = (
    "delegation_id",
    "goal",
    "context",
    "toolsets",
    "role",
    "model",
    "session_key",
    "origin_ui_session_id",
    "parent_session_id",
    "status",
    "dispatched_at",
    "completed_at",
)
_KEYS_OF_A_BATCH = (*_KEYS, "goals", "is_batch")


def with_further(event: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """An event, with what else its delegation was dispatched with; none of its own keys changes."""
    keys = _KEYS_OF_A_BATCH if "is_batch" in record else _KEYS
    if len(record) > len(keys):
        for key, value in record.items():
            if key not in keys:
                event.setdefault(key, value)
    return event
