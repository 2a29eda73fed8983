"""docs/direct.md, applied to copies of two gateways, and run.

The lines come out of the page's own blocks, so that page and test cannot differ.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import later
import pytest
from front_end import lines as journal

PAGE = Path(__file__).resolve().parents[3] / "docs" / "direct.md"
FRONT_END = Path(__file__).with_name("front_end.py")

REGISTRY, PROCESSES = "tools/async_delegation.py", "tools/process_registry.py"
VERSIONS = ("0.17.0", "0.19.0")


def block(language: str, file: str, version: str = "") -> str:
    """The page's block for a file of the gateway."""
    of = re.escape(f"file={file}{version and f' version={version}'}")
    pattern = rf"^```{language} {of}[^\n]*\n(.*?)^```$"
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


class Copy:
    """A copy of a gateway, changed as the page says."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        edits: later.Edits = {
            REGISTRY: lambda _: block("python", REGISTRY, version),
            PROCESSES: lambda source: apply(block("diff", PROCESSES), source),
        }
        self.root = later.copy(version, folder, edits)

    def run(self, script: str, home: Path, **more: str) -> str:
        """Run a script beside it; what it printed."""
        return later.run(self.root, PRELUDE + textwrap.dedent(script), home, **more)


@pytest.fixture(scope="module")
def copy_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Copy]:
    """Makes the copy of a version, once."""
    return functools.cache(lambda version: Copy(version, tmp_path_factory.mktemp("direct")))


@pytest.fixture(params=VERSIONS)
def copy(request: pytest.FixtureRequest, copy_of: Callable[[str], Copy]) -> Copy:
    return copy_of(request.param)


@pytest.fixture
def with_claims(copy_of: Callable[[str], Copy]) -> Copy:
    """That of today's gateway."""
    return copy_of("0.19.0")


PRELUDE = """
import json, queue, threading
from types import SimpleNamespace

import hermes_core
from tools import approval, async_delegation, delegate_tool
from tools.process_registry import format_process_notification, process_registry

assert process_registry.completion_queue is hermes_core.async_delegation.completion_queue
assert format_process_notification is hermes_core.format_process_notification
events = process_registry.completion_queue
has_claims = hasattr(async_delegation, "claim_event_delivery")

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
            return {"status": "interrupted", "error": "told to stop", "api_calls": 1}
    return {"status": "completed", "summary": "summary of " + goal, "api_calls": 1}


delegate_tool._build_child_agent = build
delegate_tool._run_single_child = run
delegate_tool._load_config = lambda: {"max_async_children": cap, "max_concurrent_children": cap}
names = ("provider", "base_url", "api_key", "api_mode", "command", "args")
delegate_tool._resolve_delegation_credentials = lambda *_: {**dict.fromkeys(names), "model": "m"}


def delegate(goal):
    answer = delegate_tool.delegate_task(goal=goal, background=True, parent_agent=parent)
    return json.loads(answer)
"""


def test_delegate_task_comes_back_through_the_drain(copy: Copy, tmp_path: Path) -> None:
    copy.run(
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
        single = f"[ASYNC DELEGATION COMPLETE — {event['delegation_id']}]"
        batch = f"[ASYNC DELEGATION BATCH COMPLETE — {event['delegation_id']}]"
        assert text.splitlines()[0] == (batch if has_claims else single)
        assert "look" in text
        assert text.endswith("summary of look")
        """,
        tmp_path,
    )


def test_the_cap_refuses(copy: Copy, tmp_path: Path) -> None:
    """F6: where the gateway does not run it in place, with an error for the model."""
    copy.run(
        """
        cap = 2
        if has_claims:
            def delegate(goal):
                return async_delegation.dispatch_async_delegation_batch(
                    goals=[goal], context=None, toolsets=None, role="leaf", model=None,
                    session_key="", runner=lambda: {"results": [run(0, goal, Child(
                        goal=goal, stop=threading.Event()), None)]}, max_async_children=cap,
                )
        assert delegate("a")["status"] == delegate("b")["status"] == "dispatched"
        assert "capacity reached (2 running, 2 allowed)" in delegate("c")["error"]
        assert async_delegation.active_count() == 2
        go.set()
        assert {events.get(timeout=30)["goal"] for _ in range(2)} == {"a", "b"}
        assert delegate("d")["status"] == "dispatched"
        """,
        tmp_path,
    )


def test_interrupt_all_reaches_the_children(copy: Copy, tmp_path: Path) -> None:
    """F22: each still ends with an event."""
    copy.run(
        """
        delegate("a"), delegate("b")
        assert async_delegation.interrupt_all("shutdown") == 2
        assert sorted(told) == ["a", "b"]
        ended = [events.get(timeout=30) for _ in range(2)]
        # Of a batch that is the status of each child.
        if has_claims:
            assert [event["status"] for event in ended] == ["error"] * 2
            ended = [result for event in ended for result in event["results"]]
        assert {event["status"] for event in ended} == {"interrupted"}
        assert async_delegation.active_count() == 0
        """,
        tmp_path,
    )


def test_the_process_registry_and_the_other_drains_go_on(copy: Copy, tmp_path: Path) -> None:
    """Process notices ride the same queue; the messaging gateway's drain takes watch events."""
    copy.run(
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
        tmp_path,
    )


def test_the_plugin_stands_aside(copy: Copy, tmp_path: Path) -> None:
    out = copy.run(
        """
        from hermes_core import gateway
        try:
            gateway.install()
        except gateway.IncompatibleGateway as refusal:
            print(*refusal.differences, sep="\\n")
        assert process_registry.completion_queue is events
        assert not gateway.status().installed
        """,
        tmp_path,
    )
    assert "tools.async_delegation.dispatch_async_delegation: not there any more" in out
    assert "tools.process_registry.format_process_notification: not there any more" in out


def test_a_take_is_a_lease_and_a_claim_its_consumers(with_claims: Copy, tmp_path: Path) -> None:
    """As with the gateway's own functions; and a result that is put back waits once."""
    with_claims.run(
        """
        go.set()
        name = delegate("look")["delegation_id"]
        event = events.get(timeout=30)
        events.put(dict(event))
        events.put(event)
        assert events.qsize() == 1
        event = events.get_nowait()
        token = async_delegation.claim_event_delivery(event, "a window")
        assert async_delegation.claim_event_delivery(event, "another") is None
        async_delegation.release_event_delivery(event, token)
        event = events.get_nowait()
        token = async_delegation.claim_event_delivery(event, "another")
        assert async_delegation.get_durable_delegation(name)["delivery_state"] == "pending"
        assert async_delegation.complete_completion_delivery(name, token)
        assert async_delegation.get_durable_delegation(name)["delivery_state"] == "delivered"
        assert not async_delegation.mark_completion_delivered(name)
        assert events.empty()
        plain = {"type": "async_delegation", "delegation_id": "a plugin's"}
        events.put(plain)
        assert events.get_nowait() is plain
        assert async_delegation.claim_event_delivery(plain, "a")
        assert async_delegation.get_durable_delegation("a plugin's") is None
        """,
        tmp_path,
    )


def test_what_a_killed_process_had_comes_to_its_session_in_the_next(
    with_claims: Copy, tmp_path: Path
) -> None:
    """F3: as `ProcessRegistry` restores it; and once."""
    killed = with_claims.run(
        """
        import os
        go.set()
        token = approval.set_current_session_key("mine")
        name = delegate("look")["delegation_id"]
        event = events.get(timeout=30)
        assert async_delegation.claim_event_delivery(event, "a window")
        print(name, flush=True)
        os._exit(0)
        """,
        tmp_path,
        HERMES_CORE_LEASE_SECONDS="0.3",
    )
    next_one = """
        import time
        assert process_registry.drain_notifications(session_key="another's") == []
        deadline = time.monotonic() + 60
        drained = []
        while not drained and time.monotonic() < deadline and EXPECTED:
            async_delegation.restore_undelivered_completions(events)
            drained = process_registry.drain_notifications(session_key="mine")
        for event, text in drained:
            assert event["restored"] is True
            token = async_delegation.claim_event_delivery(event, "a window")
            assert async_delegation.complete_completion_delivery(event["delegation_id"], token)
            print(event["delegation_id"])
    """
    assert with_claims.run(next_one.replace("EXPECTED", "True"), tmp_path) == killed
    assert with_claims.run(next_one.replace("EXPECTED", "False"), tmp_path) == ""
    assert not [
        file for file in tmp_path.glob("state.db") if b"summary of look" in file.read_bytes()
    ]


def test_a_front_end_of_others_has_each_result_once(with_claims: Copy, tmp_path: Path) -> None:
    """F53: two users, whose process is killed between a claim and its turn."""
    started: list[str] = []
    # What the killed one held is free soon; who lives holds what it has, however slow it is.
    for lease, arguments in (("0.3", ["start=3", "die=claimed"]), ("100000", ["until=6"])):
        done = subprocess.run(
            [sys.executable, str(FRONT_END), *("journal", "ann", "bob", "core=0"), *arguments],
            env=later.environment(with_claims.root, tmp_path, HERMES_CORE_LEASE_SECONDS=lease),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == (0 if "until=6" in arguments else -signal.SIGKILL), done.stderr
        started += json.loads(done.stdout)
    found = journal(str(tmp_path / "journal"))
    assert sorted(line["id"] for line in found) == sorted(started)
    assert all(line["summary"].startswith(line["key"]) for line in found)


def test_the_page_says_how_many_lines_go(copy_of: Callable[[str], Copy]) -> None:
    rows = re.findall(r"^\| `(tools/\w+\.py)` \| (.*) \|$", PAGE.read_text("utf-8"), re.M)
    assert [file for file, _ in rows] == [REGISTRY, PROCESSES]
    for file, numbers in rows:
        counted = []
        for version in VERSIONS:
            both = (later.tree(version), copy_of(version).root)
            counted += [len((root / file).read_text("utf-8").splitlines()) for root in both]
        assert numbers == " | ".join(map(str, counted))
