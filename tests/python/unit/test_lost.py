"""`lost`: F3, the one event of a delegation whose process ended before it did."""

from __future__ import annotations

from typing import Any

import pytest

import hermes_core as hc
from hermes_core.ledger.lost import lost

ROW = {
    "delegation_id": "deleg_1",
    "session_key": "tui:1",
    "origin_ui_session_id": "ui",
    "parent_session_id": "parent",
    "dispatched_at": 1000.0,
    "completed_at": 2000.0,
    "state": "lost",
}
TASK = {"goal": "Find the bug", "context": "It crashes", "toolsets": ["web"], "role": "leaf"}
#: What an event has that came about in the usual way.
KEYS = [
    "type", "delegation_id", "session_key", "origin_ui_session_id", "parent_session_id", "goal",
    "context", "toolsets", "role", "model", "status", "summary", "error", "api_calls",
    "dispatched_at", "completed_at", "exit_reason",
]  # fmt: skip


def test_it_carries_the_task_and_the_owner() -> None:
    event = lost({**TASK, "model": "model-1"}, ROW)
    assert list(event) == KEYS
    assert event["type"] == "async_delegation"
    assert (event["status"], event["summary"]) == ("lost", None)
    assert "nothing more is known" in event["error"]
    for name, value in {**TASK, "model": "model-1"}.items():
        assert event[name] == value
    for name in ("delegation_id", "session_key", "origin_ui_session_id", "parent_session_id"):
        assert event[name] == ROW[name]
    assert (event["dispatched_at"], event["completed_at"]) == (1000.0, 2000.0)


def test_the_row_says_whose_it_is() -> None:
    """Whatever the stored task says: it may have been damaged."""
    record = {**TASK, "session_key": "another", "delegation_id": "another", "dispatched_at": "?"}
    event = lost(record, ROW)
    assert (event["session_key"], event["delegation_id"]) == ("tui:1", "deleg_1")
    assert event["dispatched_at"] == 1000.0


@pytest.mark.parametrize("record", [{}, TASK, {"is_batch": True}, {"goals": None, "is_batch": 1}])
def test_whatever_is_left_of_the_task(record: dict[str, Any]) -> None:
    event = lost(record, {**ROW, "completed_at": None})
    assert event["status"] == "lost"
    assert event["completed_at"] > 1000.0
    assert "duration_seconds" not in event
    assert "total_duration_seconds" not in event
    text = hc.format_process_notification(event)
    assert text is not None
    assert "deleg_1" in text


def test_a_batch_is_lost_as_one() -> None:
    event = lost({**TASK, "is_batch": True, "goals": ["One", "Two"]}, ROW)
    assert (event["is_batch"], event["goals"]) == (True, ["One", "Two"])
    assert [result["status"] for result in event["results"]] == ["lost", "lost"]
    assert event["status"] == "lost"
    assert "nothing more is known" in event["error"]


def test_the_message_says_what_became_of_it() -> None:
    text = hc.format_process_notification(lost(TASK, ROW)) or ""
    assert "Find the bug" in text
    assert "lost" in text
    assert "its process ended before it did" in text
