"""What a restore decodes, and what it hands out."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc
from hermes_core.text import json as texts

LEAVE = """
import sys
import hermes_core as hc

registry = hc.DelegationRegistry(ledger=sys.argv[1])
for number in range(6):
    registry.dispatch(
        goal=f"Task {number}",
        session_key=f"room:{number % 3}",
        runner=lambda: {"summary": "done", "results": []},
    ).result(timeout=30)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "delegations.db"
    subprocess.run([sys.executable, "-c", LEAVE, str(path)], check=True, timeout=60)
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each text was decoded."""
    count: Counter[str] = Counter()

    def loads(text: str) -> Any:
        count[text] += 1
        return json.loads(text)

    monkeypatch.setattr(texts, "loads", loads)
    return count


def test_each_text_is_decoded_once_and_only_of_what_is_wanted(
    path: Path, decoded: Counter[str]
) -> None:
    registry = hc.DelegationRegistry(ledger=path)
    assert registry.restore(session_keys=["room:0", "room:1"], proven=True) == 4
    events = [registry.queue.get(timeout=30) for _ in range(4)]
    assert [event["goal"] for event in events] == ["Task 0", "Task 1", "Task 3", "Task 4"]
    # A task and an event of each.
    assert len(decoded) == 8
    assert set(decoded.values()) == {1}


def test_the_order_is_that_of_dispatch_whatever_the_wall_clock_said(path: Path) -> None:
    # F38: the clock was set back between any two dispatches.
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE delegations SET dispatched_at = 1000000 - dispatched_at")
    registry = hc.DelegationRegistry(ledger=path)
    keys = [f"room:{number}" for number in range(3)]
    assert registry.restore(session_keys=keys, proven=True) == 6
    goals = [registry.queue.get(timeout=30)["goal"] for _ in range(6)]
    assert goals == [f"Task {number}" for number in range(6)]


def test_what_an_owner_is_asked_about_is_decoded_once(path: Path, decoded: Counter[str]) -> None:
    registry = hc.DelegationRegistry(ledger=path)
    asked: list[str] = []

    def owns(event: Any) -> bool:
        asked.append(event["goal"])
        return event["session_key"] == "room:1"

    assert registry.restore(session_keys=["room:0"], owns=owns, proven=True) == 4
    assert asked == ["Task 1", "Task 2", "Task 4", "Task 5"]
    assert len(decoded) == 12
    assert set(decoded.values()) == {1}
    events = [registry.queue.get(timeout=30) for _ in range(4)]
    assert [event["goal"] for event in events] == ["Task 0", "Task 1", "Task 3", "Task 4"]
    assert all(event["restored"] and event["summary"] == "done" for event in events)


def test_a_restored_event_is_not_the_dict_that_the_registry_keeps(path: Path) -> None:
    registry = hc.DelegationRegistry(ledger=path)
    assert registry.restore(session_keys=["room:0"], proven=True) == 2
    event = registry.queue.get(timeout=30)
    event.clear()
    (first, _) = registry.list()
    assert first["goal"] == "Task 0"
    assert registry.event(first["delegation_id"])["summary"] == "done"
