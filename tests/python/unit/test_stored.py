"""`_outcome`: the event of a row of a ledger, also where there is none, or none to read."""

from __future__ import annotations

from typing import Any

import pytest

import hermes_core as hc
from hermes_core import _json, _outcome
from hermes_core._job import new_record


def row_of(record: object, event: object = None, state: str = "lost") -> dict[str, Any]:
    return {
        "delegation_id": "deleg_1",
        "session_key": "agent:main:telegram:dm:7",
        "origin_ui_session_id": "ui",
        "parent_session_id": "parent",
        "state": state,
        "dispatched_at": 1000.5,
        "completed_at": 2000.5,
        "record": record,
        "event": event,
    }


def task(**more: Any) -> dict[str, Any]:
    return new_record(
        goal="read the logs", context="of today", toolsets=["files"], role="leaf", model="m",
        session_key="", **more,
    )  # fmt: skip


def event_of(row: dict[str, Any]) -> dict[str, Any]:
    return _outcome.stored_event(_outcome.stored_record(row), row)


@pytest.mark.parametrize("batch", [{}, {"goals": ["one", "two"], "is_batch": True}])
def test_f3_the_notice_of_a_lost_one_says_so_under_the_gateways_labels(
    batch: dict[str, Any],
) -> None:
    """F3, F29: with its task, as no success; that it was restored changes no label."""
    event = event_of(row_of(_json.dumps(task(**batch))))
    text = hc.format_process_notification(event)
    assert text is not None
    name = "ASYNC DELEGATION BATCH COMPLETE" if batch else "ASYNC DELEGATION COMPLETE"
    assert text.startswith(f"[{name} — deleg_1]\n")
    assert "status=lost" in text
    assert text.count(_outcome._LOST) == len(batch.get("goals", ["one"]))
    assert "None" not in text
    assert "✓" not in text
    for goal in batch.get("goals", ["read the logs"]):
        assert goal in text
    assert hc.format_process_notification({**event, "restored": True}) == text
    assert hc.notification_dedup_key({**event, "restored": True}) == hc.notification_dedup_key(
        event
    )


@pytest.mark.parametrize("record", ["", None, "{", "[1]", "7", "\x00", "[" * 100_000])
@pytest.mark.parametrize("event", [None, '{"summary": "in ha', "[1]", "null"])
def test_a_damaged_text_is_shown_as_it_is(record: str | None, event: str | None) -> None:
    """F3: whatever is left in a row, its owner hears of it, and sees what is left."""
    row = row_of(record, event, "lost" if event is None else "completed")
    found = event_of(row)
    assert found["delegation_id"] == "deleg_1"
    assert found["status"] == ("lost" if event is None else "error")
    assert event is None or event in found["error"]
    text = hc.format_process_notification(found)
    assert text is not None
    assert text.startswith("[ASYNC DELEGATION COMPLETE — deleg_1]\n")
