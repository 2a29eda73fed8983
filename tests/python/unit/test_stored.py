"""`_stored`: a row that the disk has damaged comes as far as it can be read, and alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc
from hermes_core.ledger import rows as _stored

ROW = {
    "delegation_id": "deleg_1",
    "session_key": "tui:1",
    "origin_ui_session_id": "",
    "parent_session_id": "",
    "dispatched_at": 1000.0,
    "completed_at": 2000.0,
    "state": "completed",
    "record": json.dumps({"goal": "Find the bug", "role": "leaf"}),
    "event": json.dumps({"status": "completed", "summary": "Off by one."}),
}

FILL = """
import sys
import hermes_core as hc

registry = hc.DelegationRegistry(ledger=sys.argv[1])
for number in range(5):
    result = {"summary": f"Result {number}"}
    handle = registry.dispatch(goal=f"Task {number}", session_key="tui:1", runner=lambda: result)
    handle.result(timeout=10)
"""


def test_a_whole_row() -> None:
    record = _stored.record(ROW)
    assert record == {"goal": "Find the bug", "role": "leaf"}
    assert _stored.event(ROW, record) == {"status": "completed", "summary": "Off by one."}


@pytest.mark.parametrize("text", ['{"goal": "Find', "[1]", "7", "null", "\ufffd", "[" * 100_000])
def test_a_task_that_cannot_be_read(text: str) -> None:
    assert _stored.record({**ROW, "record": text}) == {"goal": text}


@pytest.mark.parametrize("text", ['{"status": "comp', "[1]", "7", "{}", '{"status": 3}', "\ufffd"])
@pytest.mark.parametrize("task", ['{"goal": "a"}', '{"goal": "a", "is_batch": true}', "", "[1]"])
def test_a_result_that_cannot_be_read(text: str, task: str) -> None:
    row = {**ROW, "record": task, "event": text}
    event = _stored.event(row, _stored.record(row))
    assert event is not None
    assert (event["status"], event["session_key"]) == ("error", "tui:1")
    assert "'completed'" in event["error"]
    assert "damaged" in event["error"]
    shown = hc.format_process_notification(event)
    assert shown is not None
    assert text in shown


def test_what_has_no_event() -> None:
    for state in ("queued", "running"):
        assert _stored.event({**ROW, "state": state, "event": None}, {}) is None
    lost = _stored.event({**ROW, "state": "lost", "event": None}, {"goal": "a"})
    assert lost is not None
    assert (lost["status"], lost["goal"]) == ("lost", "a")
    gone = _stored.event({**ROW, "event": None}, {"goal": "a"})
    assert gone is not None
    assert (gone["status"], gone["summary"]) == ("error", "")
    # Memory keeps no texts.
    assert _stored.event({**ROW, "record": "", "event": None}, {}) is None


def test_a_damaged_row_keeps_no_other_from_its_owner(tmp_path: Path) -> None:
    """F3, F4: of five results three come as they were, and what is left of the other two."""
    file = tmp_path / "delegations.db"
    subprocess.run([sys.executable, "-c", FILL, str(file)], check=True, timeout=60)
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        (first,) = db.execute("SELECT min(seq) FROM delegations").fetchone()
        db.execute("UPDATE delegations SET event = substr(event, 1, 60) WHERE seq = ?", (first,))
        db.execute("UPDATE delegations SET record = '[1' WHERE seq = ?", (first + 1,))
        db.execute("UPDATE delegations SET event = NULL WHERE seq = ?", (first + 2,))
    registry = hc.DelegationRegistry(ledger=file)
    assert len(registry.ledger.rows()) == 5
    box = registry.queue.mailbox(session_key="tui:1")
    events: list[Any] = []
    while len(events) < 5:
        with box.get(timeout=10) as delivery:
            events.append(delivery.event)
    assert all(event["restored"] for event in events)
    assert [event["goal"] for event in events] == [f"Task {number}" for number in range(5)]
    assert [event["status"] for event in events] == [
        "error",
        "completed",
        "error",
        "completed",
        "completed",
    ]
    assert events[0]["summary"].startswith('{"type":"async_delegation"')
    assert [event["summary"] for event in events[3:]] == ["Result 3", "Result 4"]
