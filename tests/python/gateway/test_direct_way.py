"""docs/direct.md, applied to a copy of the installed gateway, and run.

The lines come out of the page's own blocks, so that page and test cannot differ.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "direct.md"


def block(language: str, file: str) -> str:
    """The page's block for a file of the gateway."""
    pattern = rf"^```{language} file={re.escape(file)}[^\n]*\n(.*?)^```$"
    (found,) = re.findall(pattern, PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def apply(diff: str, source: str) -> str:
    """Apply the page's diff: paragraphs of `-` lines, each with the `+` lines that replace them.

    A `-def name(...): ...` stands for the whole function.
    """
    for change in re.split(r"\n{2,}", diff.strip("\n")):
        lines = change.splitlines()
        assert all(line[0] in "-+" for line in lines), change
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] == "-")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] == "+")
        if old.endswith(": ...\n"):
            old = function(old.removesuffix(" ...\n"), source)
        assert source.count(old) == 1, change
        source = source.replace(old, new)
    return source


def function(head: str, source: str) -> str:
    """The text of the top-level function whose first line is `head`."""
    lines = source.splitlines(keepends=True)
    (found,) = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and lines[node.lineno - 1] == f"{head}\n"
    ]
    return "".join(lines[found.lineno - 1 : found.end_lineno])


@pytest.fixture(scope="module")
def gateway_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the gateway's `tools`, changed as the page says."""
    root = tmp_path_factory.mktemp("direct")
    spec = importlib.util.find_spec("tools")
    assert spec is not None
    assert spec.origin is not None
    shutil.copytree(
        Path(spec.origin).parent, root / "tools", ignore=shutil.ignore_patterns("__pycache__")
    )
    registry = root / "tools" / "async_delegation.py"
    registry.write_text(block("python", "tools/async_delegation.py"), encoding="utf-8")
    processes = root / "tools" / "process_registry.py"
    source = processes.read_text(encoding="utf-8")
    changed = apply(block("diff", "tools/process_registry.py"), source)
    assert len(changed) < len(source)
    processes.write_text(changed, encoding="utf-8")
    return root


PRELUDE = """
import json, queue, threading
from types import SimpleNamespace

import hermes_core
from tools import approval, async_delegation, delegate_tool
from tools.process_registry import format_process_notification, process_registry

assert async_delegation.__file__.startswith({root!r}), async_delegation.__file__
assert process_registry.completion_queue is hermes_core.async_delegation.completion_queue
assert format_process_notification is hermes_core.format_process_notification
events = process_registry.completion_queue

go = threading.Event()
told = []
parent = SimpleNamespace(_active_children=[], _active_children_lock=threading.Lock())
cap = 3


class Child(SimpleNamespace):
    def interrupt(self, reason):
        told.append(self.goal)
        self.stop.set()


def build(*, goal, parent_agent, **rest):
    child = Child(goal=goal, stop=threading.Event())
    parent_agent._active_children.append(child)
    return child


def run(index, goal, child, parent):
    while not go.wait(0.01):
        if child.stop.is_set():
            return {{"status": "interrupted", "error": "told to stop", "api_calls": 1}}
    return {{"status": "completed", "summary": "summary of " + goal, "api_calls": 1}}


delegate_tool._build_child_agent = build
delegate_tool._run_single_child = run
delegate_tool._load_config = lambda: {{"max_async_children": cap}}
names = ("provider", "base_url", "api_key", "api_mode", "command", "args")
delegate_tool._resolve_delegation_credentials = lambda *_: {{**dict.fromkeys(names), "model": "m"}}


def delegate(goal):
    answer = delegate_tool.delegate_task(goal=goal, background=True, parent_agent=parent)
    return json.loads(answer)
"""


def run(root: Path, tmp_path: Path, script: str) -> str:
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE.format(root=str(root)) + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": path, "HERMES_HOME": str(tmp_path)},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_delegate_task_comes_back_through_the_drain(gateway_copy: Path, tmp_path: Path) -> None:
    run(
        gateway_copy,
        tmp_path,
        """
        token = approval.set_current_session_key("agent:main:telegram:dm:4711")
        answer = delegate("look")
        approval.reset_current_session_key(token)
        assert (answer["status"], answer["mode"]) == ("dispatched", "background"), answer
        assert parent._active_children == []
        assert async_delegation.active_count() == 1
        (record,) = async_delegation.list_async_delegations()
        assert (record["goal"], record["status"]) == ("look", "running")
        assert process_registry.drain_notifications() == []

        go.set()
        event = events.get(timeout=30)
        assert event["delegation_id"] == answer["delegation_id"]
        assert event["session_key"] == "agent:main:telegram:dm:4711"
        events.put(event)
        ((again, text),) = process_registry.drain_notifications()
        assert again is event
        assert text.startswith(f"[ASYNC DELEGATION COMPLETE — {event['delegation_id']}]")
        assert "A subagent that you started in the background has ended." in text
        assert "Original goal: look" in text
        assert text.endswith("--- RESULT ---\\nsummary of look")
        """,
    )


def test_the_cap_refuses(gateway_copy: Path, tmp_path: Path) -> None:
    """F6: with an error for the model, and nothing runs in place."""
    run(
        gateway_copy,
        tmp_path,
        """
        cap = 2
        assert delegate("a")["status"] == delegate("b")["status"] == "dispatched"
        assert "capacity reached (2 running, 2 allowed)" in delegate("c")["error"]
        assert async_delegation.active_count() == 2
        go.set()
        assert {events.get(timeout=30)["goal"] for _ in range(2)} == {"a", "b"}
        assert delegate("d")["status"] == "dispatched"
        """,
    )


def test_interrupt_all_reaches_the_children(gateway_copy: Path, tmp_path: Path) -> None:
    """F22: each still ends with an event."""
    run(
        gateway_copy,
        tmp_path,
        """
        delegate("a"), delegate("b")
        assert async_delegation.interrupt_all("shutdown") == 2
        assert sorted(told) == ["a", "b"]
        assert {events.get(timeout=30)["status"] for _ in range(2)} == {"interrupted"}
        assert async_delegation.active_count() == 0
        """,
    )


def test_the_process_registry_and_the_other_drains_go_on(
    gateway_copy: Path, tmp_path: Path
) -> None:
    """Process notices ride the same queue; the messaging gateway's drain takes watch events."""
    run(
        gateway_copy,
        tmp_path,
        """
        import os, pathlib
        process = process_registry.spawn_local(
            "until [ -e end ]; do sleep 0.02; done; echo built", cwd=os.getcwd()
        )
        process.notify_on_complete = True
        pathlib.Path("end").touch()
        event = events.get(timeout=30, types={"completion"})
        assert event["session_id"] == process.id
        events.put(event)
        ((_, text),) = process_registry.drain_notifications()
        assert text.startswith(f"[IMPORTANT: Background process {process.id} completed normally")
        assert "built" in text

        go.set()
        delegate("look")
        events.put(events.get(timeout=30))
        events.put({"type": "watch_match", "session_id": "proc_1", "pattern": "ready"})
        from gateway.run import _drain_gateway_watch_events
        (watch,) = _drain_gateway_watch_events(events)
        assert watch["pattern"] == "ready"
        assert events.get_nowait(types={"async_delegation"})["goal"] == "look"
        async_delegation._reset_for_tests()
        assert async_delegation.list_async_delegations() == []
        """,
    )


def test_the_plugin_stands_aside(gateway_copy: Path, tmp_path: Path) -> None:
    out = run(
        gateway_copy,
        tmp_path,
        """
        from hermes_core import gateway
        try:
            gateway.install()
        except gateway.IncompatibleGateway as refusal:
            print(*refusal.differences, sep="\\n")
        assert process_registry.completion_queue is events
        assert not gateway.status().installed
        """,
    )
    assert "tools.async_delegation.dispatch_async_delegation: not there any more" in out
    assert "tools.process_registry.format_process_notification: not there any more" in out
