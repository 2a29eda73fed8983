"""The batches of later gateways at capacity: they wait, where the gateway would run them inline."""

from __future__ import annotations

from pathlib import Path

import pytest
from later import LATER, run

PRELUDE = """
import json, os, threading
from types import SimpleNamespace
from hermes_core import async_delegation, gateway
from tools import delegate_tool, process_registry

gateway.install()
queue = process_registry.process_registry.completion_queue
parent = SimpleNamespace(_active_children=[], _active_children_lock=threading.Lock())
turn, inline, began, gates = threading.current_thread(), [], [], {}
credentials = ("provider", "base_url", "api_key", "api_mode", "command", "args")
delegate_tool._load_config = lambda: {"max_concurrent_children": 2}
delegate_tool._resolve_delegation_credentials = lambda *_: (
    dict.fromkeys(credentials) | {"model": "stub"})

def build(*, goal, parent_agent, **rest):
    gates[goal] = threading.Event()
    agent = SimpleNamespace(goal=goal, interrupt=lambda *_: gates[goal].set())
    parent_agent._active_children.append(agent)
    return agent

def child(index=0, goal="", child=None, parent=None, **rest):
    began.append(goal)
    if threading.current_thread() is turn:
        inline.append(goal)
    assert gates[goal].wait(60)
    return {"task_index": rest.get("task_index", index), "status": "completed", "summary": goal,
            "error": None, "api_calls": 1, "duration_seconds": 0.1}

delegate_tool._build_child_agent, delegate_tool._run_single_child = build, child

def delegate(*goals):
    tasks = [{"goal": goal} for goal in goals]
    return json.loads(delegate_tool.delegate_task(
        tasks=tasks, background=True, parent_agent=parent))

def end(*goals):
    for goal in goals:
        gates[goal].set()
"""


@pytest.mark.parametrize("version", LATER)
def test_f51_a_batch_at_capacity_waits_and_nothing_runs_inline(
    version: str, tmp_path: Path
) -> None:
    """F51: saturated, inline runs are 0, and what waits is told, listed, and stopped."""
    run(
        version,
        PRELUDE
        + """
first, second = delegate("a1", "a2"), delegate("b1", "b2")
third, fourth = delegate("c1", "c2"), delegate("d1", "d2")
answers = (first, second, third, fourth)
assert [answer["status"] for answer in answers] == ["dispatched"] * 4, answers
assert "running in parallel" in second["note"], second
assert "number 1 in line" in third["note"] and "running in" not in third["note"], third
assert "number 2 in line" in fourth["note"], fourth
assert async_delegation.active_count() == 2
statuses = [record["status"] for record in async_delegation.list_async_delegations()]
assert statuses == ["running", "running", "queued", "queued"]

# A stop reaches what waits, also where its children are detached from the turn.
assert async_delegation._registry.cancel(fourth["delegation_id"], reason="stop") == 1
stopped = queue.get(timeout=60)
assert stopped["delegation_id"] == fourth["delegation_id"], stopped
assert stopped["error"] == "it never began: stop", stopped
text = process_registry.format_process_notification(stopped)
assert "it never began: stop" in text, text

end("a1", "a2", "b1", "b2", "c1", "c2")
ended = {queue.get(timeout=60)["delegation_id"] for _ in range(3)}
assert ended == {answer["delegation_id"] for answer in (first, second, third)}
assert not {"d1", "d2"} & set(began) and inline == [], (began, inline)
""",
        tmp_path,
    )


@pytest.mark.parametrize("version", LATER)
def test_f7_a_permit_for_each_child(version: str, tmp_path: Path) -> None:
    """F7: two batches of two count as four, and two may run."""
    run(
        version,
        "import os\nos.environ['HERMES_CORE_PERMITS'] = 'child'\n"
        + PRELUDE
        + """
first, second = delegate("a1", "a2"), delegate("b1", "b2")
assert [first["status"], second["status"]] == ["dispatched"] * 2
assert "number 1 in line" in second["note"], second
assert async_delegation.active_count() == 1
end("a1", "a2", "b1", "b2")
for _ in range(2):
    queue.get(timeout=60)
assert inline == []
""",
        tmp_path,
    )
