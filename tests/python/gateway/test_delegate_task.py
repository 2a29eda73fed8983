"""Through the gateway's own `delegate_task`, its CLI commands and its shutdown.

Only the child agent is a stand-in: building a real one takes a model.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, take, until

from hermes_core import gateway


class Agent(SimpleNamespace):
    """What `delegate_task` touches of a parent or a child agent."""


class Tool:
    """The gateway's delegate tool, with children that run until told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module: Any = importlib.import_module("tools.delegate_tool")
        self.children: list[Child] = []
        self.threads: list[threading.Thread] = []
        self.parent = Agent(_active_children=[], _active_children_lock=threading.Lock())
        self.cap = 3
        monkeypatch.setattr(self.module, "_build_child_agent", self._build)
        monkeypatch.setattr(self.module, "_run_single_child", self._run)
        monkeypatch.setattr(self.module, "_load_config", lambda: {"max_async_children": self.cap})
        monkeypatch.setattr(
            self.module,
            "_resolve_delegation_credentials",
            lambda cfg, parent: (
                dict.fromkeys(
                    ("provider", "base_url", "api_key", "api_mode", "command", "args"), None
                )
                | {"model": "stub-model"}
            ),
        )

    def _build(self, *, goal: str, parent_agent: Agent, **rest: Any) -> Agent:
        child = Child(f"summary of {goal}")
        self.children.append(child)
        agent = Agent(work=child, interrupt=lambda reason: child.interrupt())
        parent_agent._active_children.append(agent)
        return agent

    def _run(self, index: int, goal: str, child: Agent, parent: Agent) -> dict[str, Any]:
        self.threads.append(threading.current_thread())
        result: dict[str, Any] = child.work.run()
        return result

    def __call__(self, goal: str | None = "look", **arguments: Any) -> dict[str, Any]:
        arguments = {"background": True, "parent_agent": self.parent, **arguments}
        answer: dict[str, Any] = json.loads(self.module.delegate_task(goal=goal, **arguments))
        return answer


@pytest.fixture
def tool(installed: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tool]:
    tool = Tool(monkeypatch)
    yield tool
    for child in tool.children:
        child.go.set()


@contextlib.contextmanager
def session(key: str) -> Iterator[None]:
    approval = importlib.import_module("tools.approval")
    token = approval.set_current_session_key(key)
    try:
        yield
    finally:
        approval.reset_current_session_key(token)


def test_dispatch_does_not_block_and_the_result_comes_back(tool: Tool, installed: Host) -> None:
    with session("agent:main:telegram:dm:4711"):
        answer = tool("look", context="the logs")
    assert answer["status"] == "dispatched"
    assert answer["mode"] == "background"
    (child,) = tool.children
    assert child.started.wait(WAIT)
    assert not child.go.is_set()
    assert installed.queue.empty()
    child.go.set()
    (event,) = take(installed.queue, 1)
    assert event["type"] == "async_delegation"
    assert event["delegation_id"] == answer["delegation_id"]
    assert event["session_key"] == "agent:main:telegram:dm:4711"
    assert (event["goal"], event["context"]) == ("look", "the logs")
    assert (event["status"], event["summary"]) == ("completed", "summary of look")
    assert (event["model"], event["role"]) == ("stub-model", "leaf")


def test_the_worker_is_a_daemon_with_the_gateways_name(tool: Tool) -> None:
    tool()
    assert tool.children[0].started.wait(WAIT)
    (thread,) = tool.threads
    assert thread.daemon
    assert thread.name.startswith("async-delegate")


def test_the_text_stands_on_its_own(tool: Tool, installed: Host) -> None:
    tool("look", context="the logs")
    tool.children[0].go.set()
    until(lambda: installed.queue.qsize() == 1, "ended")
    ((event, text),) = installed.processes.process_registry.drain_notifications()
    assert f"[ASYNC DELEGATION COMPLETE — {event['delegation_id']}]" in text
    assert "Original goal: look" in text
    assert "summary of look" in text


def test_a_background_batch_is_refused(tool: Tool) -> None:
    answer = tool(None, tasks=[{"goal": "a"}, {"goal": "b"}])
    assert "single-task" in answer["error"]
    assert tool.children == []


def test_the_child_is_detached_from_its_parent(tool: Tool) -> None:
    """An interrupt of the parent's turn must not reach it."""
    tool()
    assert tool.parent._active_children == []


def test_at_the_cap_it_waits_and_the_model_is_told(tool: Tool, installed: Host) -> None:
    """F6, F51: neither refused nor run inline; it runs when there is room."""
    tool.cap = 1
    assert "running in the background" in tool("a")["note"]
    answers = [tool(goal) for goal in "bc"]
    assert {answer["status"] for answer in answers} == {"dispatched"}
    for number, answer in enumerate(answers, 1):
        assert "running in the background" not in answer["note"]
        assert (
            "NOT running yet: as many background delegations run as may, and this one is "
            in (answer["note"])
        )
        assert f"number {number} in line" in answer["note"]
    assert not tool.children[1].started.is_set()
    shown = [(r["goal"], r["status"]) for r in installed.registry.list_async_delegations()]
    assert shown == [("a", "running"), ("b", "queued"), ("c", "queued")]
    assert installed.registry.active_count() == 1
    assert gateway.status().counters["delegations that wait for capacity"] == 2
    assert "at capacity: up to 64 wait; a batch takes a place" in str(gateway.status())
    for child in tool.children:
        child.go.set()
    assert [event["goal"] for event in take(installed.queue, 3)] == ["a", "b", "c"]


def test_stop_ends_what_waits(tool: Tool, installed: Host) -> None:
    """F51: nothing that was asked for is beyond it."""
    tool.cap = 1
    tool("a")
    tool("b")
    assert tool.children[0].started.wait(WAIT)
    assert installed.registry.interrupt_all("stop") == 2
    events = {event["goal"]: event for event in take(installed.queue, 2)}
    assert events["b"]["error"] == "it never began: stop"
    assert {event["status"] for event in events.values()} == {"interrupted"}
    assert not tool.children[1].started.is_set()


def test_after_an_uninstall_what_waits_goes_on(tool: Tool, installed: Host) -> None:
    """The gateway's own registry counts, lists and stops it."""
    tool.cap = 1
    tool("a")
    tool("b")
    tool("c")
    gateway.uninstall()
    assert installed.registry.active_count() == 3
    assert "capacity" in tool("d")["error"]
    tool.children[0].go.set()
    assert tool.children[1].started.wait(WAIT)
    assert installed.registry.interrupt_all("stop") >= 1
    ends = {event["goal"]: event["status"] for event in take(installed.queue, 3)}
    assert ends == {"a": "completed", "b": "interrupted", "c": "interrupted"}
    assert not tool.children[2].started.is_set()
    until(lambda: installed.registry.active_count() == 0, "none is left")


def test_the_refusal_at_the_cap_reaches_the_model(
    tool: Tool, installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F6: refused, and not run inline either."""
    monkeypatch.setenv("HERMES_CORE_MAX_QUEUED", "0")
    tool.cap = 2
    assert tool("a")["status"] == tool("b")["status"] == "dispatched"
    answer = tool("c")
    assert "capacity" in answer["error"]
    assert "2" in answer["error"]
    assert not tool.children[2].started.is_set()
    tool.children[0].go.set()
    take(installed.queue, 1)
    assert tool("d")["status"] == "dispatched"


def test_the_default_cap_is_three(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool.module, "_load_config", dict)
    monkeypatch.delenv("DELEGATION_MAX_ASYNC_CHILDREN", raising=False)
    monkeypatch.setenv("HERMES_CORE_MAX_QUEUED", "0")
    assert [tool(str(n)).get("status") for n in range(4)] == [*["dispatched"] * 3, None]


def test_a_child_that_crashes_reports_an_error(
    tool: Tool, installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(tool.module, "_run_single_child", crash)
    tool()
    (event,) = take(installed.queue, 1)
    assert event["status"] == "error"
    assert event["error"] == "ValueError: broken"


def test_dispatched_before_the_install_comes_back_after(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1: the gateway's own worker, and our queue by the time it ends."""
    tool = Tool(monkeypatch)
    tool("before")
    gateway.install()
    tool("after")
    for child in tool.children:
        child.go.set()
    summaries = {event["summary"] for event in take(host.queue, 2)}
    assert summaries == {"summary of before", "summary of after"}


def test_shutdown_of_the_cli_interrupts_ours(
    tool: Tool, installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F22: each still ends with an event."""
    cli = importlib.import_module("cli")
    tool("a")
    tool("b")
    until(lambda: all(child.started.is_set() for child in tool.children), "both run")
    monkeypatch.setattr(cli, "_cleanup_done", False)
    for name in vars(cli):
        if name.startswith(("_cleanup_all", "_reset_terminal")):
            monkeypatch.setattr(cli, name, lambda *args, **kwargs: None)
    cli._run_cleanup(notify_session_finalize=False)
    assert {event["status"] for event in take(installed.queue, 2)} == {"interrupted"}


def test_agents_and_stop_see_ours(
    tool: Tool,
    installed: Host,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = importlib.import_module("hermes_cli.cli_commands_mixin").CLICommandsMixin()
    cli = importlib.import_module("cli")
    monkeypatch.setattr(cli, "_cprint", print)
    answer = tool("find the bug")
    assert tool.children[0].started.wait(WAIT)
    commands._handle_agents_command()
    shown = capsys.readouterr().out
    assert "Background delegations: 1 running" in shown
    assert answer["delegation_id"] in shown
    assert "find the bug" in shown
    commands._handle_stop_command()
    assert "Interrupted 1 background delegation" in capsys.readouterr().out
    assert take(installed.queue, 1)[0]["status"] == "interrupted"
    commands._handle_stop_command()
    assert "No running background processes" in capsys.readouterr().out


def test_results_stay_with_their_sessions(tool: Tool, installed: Host) -> None:
    """F2: each event carries the key of the session that asked, whoever ends first."""
    tool.cap = 6
    keys = [f"agent:main:telegram:dm:{n}" for n in range(6)]
    for key in keys:
        with session(key):
            tool(key)
    for child in reversed(tool.children):
        child.go.set()
    for event in take(installed.queue, 6):
        assert event["session_key"] == event["goal"]
