"""The drains that the adapter replaces: who gets what, what stays, and that they end."""

from __future__ import annotations

import functools
import importlib
import queue
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import later
import pytest
from adapter_support import Child, Host, dispatch, rest, take, until

from hermes_core import gateway


def delegation(key: str = "", name: str = "deleg_1") -> dict[str, Any]:
    return {
        "type": "async_delegation",
        "delegation_id": name,
        "session_key": key,
        "goal": "g",
        "status": "completed",
        "summary": "s",
    }


def watch(n: int, kind: str = "watch_match") -> dict[str, Any]:
    return {"type": kind, "session_id": f"p{n}", "pattern": "x", "output": "x", "message": "m"}


def counters() -> dict[str, int]:
    return gateway.status().counters


def drain_from(module: str, host: Host) -> list[tuple[Any, str]]:
    """Call the drain from a module of that name."""
    caller = types.ModuleType(module)
    caller.__dict__["registry"] = host.processes.process_registry
    exec("def call():\n    return registry.drain_notifications()", caller.__dict__)
    return caller.call()  # type: ignore[no-any-return]


@pytest.fixture
def with_tui(host: Host) -> Host:
    """The gateway with the core in place, and its TUI, which the core delivers to."""
    importlib.import_module("tui_gateway.server")
    gateway.install()
    return host


# -- ProcessRegistry.drain_notifications --------------------------------------------------------


def test_the_cli_gets_all_that_waits_in_order(installed: Host) -> None:
    events = [
        {"type": "completion", "session_id": "p1", "exit_code": 0},
        watch(2),
        delegation(),
        {"session_id": "p3", "exit_code": 1},
        watch(4, "watch_disabled"),
    ]
    for event in events:
        installed.queue.put(event)
    pairs = drain_from("cli", installed)
    assert [event for event, _ in pairs] == events
    assert all(isinstance(text, str) and text for _, text in pairs)
    assert "[ASYNC DELEGATION COMPLETE — deleg_1]" in pairs[2][1]
    assert installed.queue.empty()


def test_the_tui_gets_nothing_after_a_turn_and_the_events_stay(with_tui: Host) -> None:
    """F2: the drain asks on behalf of no session; the pollers know whose each event is."""
    events = [delegation("a", "deleg_a"), delegation("b", "deleg_b")]
    for event in events:
        with_tui.queue.put(event)
    assert drain_from("tui_gateway.server", with_tui) == []
    assert rest(with_tui.queue) == events


UNPROVEN = """
    import types
    import tui_gateway.server
    from tools import process_registry
    from hermes_core import gateway

    report = gateway.install()
    rungs = {each.module: str(each.rung) for each in report.modules}
    assert rungs["tui_gateway.server"] == "the host's", rungs
    registry = process_registry.process_registry
    for key in ("a", "b"):
        event = {"type": "async_delegation", "delegation_id": f"deleg_{key}", "session_key": key}
        registry.completion_queue.put(event)
    server = types.ModuleType("tui_gateway.server")
    server.registry = registry
    drain = "def drain(**proof): return registry.drain_notifications(**proof)"
    exec(drain, vars(server))
    left = registry.completion_queue.qsize
    assert server.drain() == [] and left() == 2
    (own,) = server.drain(session_key="a")
    assert own[0]["delegation_id"] == "deleg_a" and left() == 1
"""


@pytest.mark.parametrize("version", later.LATER)
def test_a_tui_with_its_own_loops_gets_what_a_session_proves_to_own(
    version: str, tmp_path: Path
) -> None:
    """F2: that of 0.18.2 asks for no session, and gave each event to whichever turn ended first."""
    later.run(version, UNPROVEN, tmp_path)


def test_the_tui_gets_nothing_through_another_plugins_wrappers(
    with_tui: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrapped(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            return (lambda: inner(*args, **kwargs))()

        return outer

    ours = vars(with_tui.processes.ProcessRegistry)["drain_notifications"]
    monkeypatch.setattr(
        with_tui.processes.ProcessRegistry, "drain_notifications", wrapped(wrapped(ours))
    )
    with_tui.queue.put(delegation("a", "deleg_a"))
    assert drain_from("tui_gateway.server", with_tui) == []
    assert [event for event, _ in drain_from("cli", with_tui)] == [delegation("a", "deleg_a")]


def test_a_consumed_completion_is_skipped(installed: Host) -> None:
    registry = installed.processes.process_registry
    registry._completion_consumed.add("p1")
    try:
        installed.queue.put({"type": "completion", "session_id": "p1"})
        installed.queue.put({"type": "completion", "session_id": "p2"})
        pairs = drain_from("cli", installed)
    finally:
        registry._completion_consumed.discard("p1")
    assert [event["session_id"] for event, _ in pairs] == ["p2"]


class Hostile(dict[str, Any]):
    """A dict that raises on every look."""

    def get(self, *args: Any) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "bad",
    [None, 7, "text", ["list"], b"bytes", Hostile(), {"type": "completion", "session_id": []}],
    ids=repr,
)
def test_a_bad_event_takes_no_other_along(installed: Host, bad: object) -> None:
    """F4: what the drain took is dequeued for good, so one failure must not end it."""
    installed.queue.put(watch(1))
    installed.queue.put(bad)
    installed.queue.put(delegation())
    pairs = drain_from("cli", installed)
    good = [event for event, _ in pairs if event is not bad]
    assert [event["type"] for event in good] == ["watch_match", "async_delegation"]


def test_a_formatter_that_raises_loses_one_event_only(
    installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def formatter(event: dict[str, Any]) -> str:
        if event["n"] == 1:
            raise ValueError("no")
        return f"text {event['n']}"

    monkeypatch.setattr(installed.processes, "format_process_notification", formatter)
    for n in range(3):
        installed.queue.put({"type": "watch_match", "n": n})
    assert [text for _, text in drain_from("cli", installed)] == ["text 0", "text 2"]


def test_an_event_that_arrives_during_the_drain_waits_for_the_next(
    installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer as fast as the drain must not keep it from its end."""

    def formatter(event: dict[str, Any]) -> str:
        installed.queue.put(watch(99))
        return "text"

    monkeypatch.setattr(installed.processes, "format_process_notification", formatter)
    for n in range(3):
        installed.queue.put(watch(n))
    assert len(drain_from("cli", installed)) == 3
    assert installed.queue.qsize() == 3


def test_the_drain_works_on_any_registry_and_queue(installed: Host) -> None:
    other = installed.processes.ProcessRegistry()
    assert type(other.completion_queue) is queue.Queue
    other.completion_queue.put(watch(1))
    assert len(other.drain_notifications()) == 1


# -- gateway.run._drain_gateway_watch_events ----------------------------------------------------


@pytest.fixture(scope="module")
def run() -> Any:
    import importlib

    return importlib.import_module("gateway.run")


def keyed(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "session_key": "agent:main:telegram:dm:1"}


def test_the_watch_drain_leaves_delegations_alone_and_ends(run: Any, installed: Host) -> None:
    """F1, F15: nothing is taken out to be looked at and put back."""
    gateway.install()
    unknown = {"type": "of tomorrow", "session_key": "k"}
    events = [
        delegation("a"),
        keyed(watch(1)),
        keyed(watch(2, "watch_disabled")),
        unknown,
        {"type": "completion", "session_id": "p1"},
        {"session_id": "p2"},
        watch(3, "watch_overflow_tripped"),
        delegation("b"),
        keyed(watch(5)),
        "not a dict",
    ]
    for event in events:
        installed.queue.put(event)
    before = counters()
    drained = run._drain_gateway_watch_events(installed.queue)
    assert [event["session_id"] for event in drained] == ["p1", "p2", "p5"]
    left = [delegation("a"), unknown, events[6], delegation("b"), "not a dict"]
    assert rest(installed.queue) == left
    ends = "process ends left to the watcher task"
    assert counters()[ends] - before.get(ends, 0) == 2


def test_the_watch_drain_does_what_the_gateways_did(run: Any, host: Host) -> None:
    """The same events through both: the same taken, the same left."""
    kinds = ["watch_match", "async_delegation", "completion", "watch_disabled"]
    events = [keyed({"type": kinds[n * 7 % 4], "session_id": f"p{n}"}) for n in range(40)]
    reference: queue.Queue[Any] = queue.Queue()
    for event in events:
        reference.put(event)
    expected = run._drain_gateway_watch_events(reference)
    gateway.install()
    for event in events:
        host.queue.put(event)
    assert run._drain_gateway_watch_events(host.queue) == expected
    assert rest(host.queue) == list(reference.queue)


def test_a_notice_for_nobody_waits_for_a_chat_and_expires(
    run: Any, installed: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hermes_core.gateway.messaging import watch_drain

    gateway.install()
    installed.queue.put(watch(1))
    installed.queue.put(watch(2, "watch_overflow_tripped"))
    assert run._drain_gateway_watch_events(installed.queue) == []
    installed.queue.put(watch(3))
    assert [event["session_id"] for event in installed.queue.pending()] == ["p1", "p2", "p3"]
    before = counters().get("notices that nobody could take", 0)
    monkeypatch.setattr(watch_drain, "EXPIRY_SECONDS", 0.0)
    assert run._drain_gateway_watch_events(installed.queue) == []
    assert installed.queue.empty()
    assert counters()["notices that nobody could take"] - before == 3


def test_an_overflow_notice_with_a_chat_is_shown_with_its_message(
    run: Any, installed: Host
) -> None:
    gateway.install()
    installed.queue.put(keyed(watch(1, "watch_overflow_tripped")))
    (event,) = run._drain_gateway_watch_events(installed.queue)
    assert run._format_gateway_process_notification(event) == "[IMPORTANT: m]"


def test_a_foreign_queue_is_drained_by_the_gateways_own(run: Any, installed: Host) -> None:
    foreign: queue.Queue[Any] = queue.Queue()
    for event in (delegation(), watch(1)):
        foreign.put(event)
    assert run._drain_gateway_watch_events(foreign) == [watch(1)]
    assert list(foreign.queue) == [delegation()]


def test_uninstall_gives_the_watch_drain_back(run: Any, host: Host) -> None:
    own = run._drain_gateway_watch_events
    gateway.install()
    assert run._drain_gateway_watch_events is not own
    gateway.uninstall()
    assert run._drain_gateway_watch_events is own


# -- delivery in the messaging gateway ----------------------------------------------------------


def test_routing_is_filled_in_from_the_key_and_gives_a_source(run: Any, installed: Host) -> None:
    key = "agent:main:telegram:dm:4711:99"
    for child_key in (key, ""):
        child = Child(child_key or "no key")
        child.go.set()
        dispatch(installed.registry.dispatch_async_delegation, child, key=child_key)
        until(lambda: installed.registry.active_count() == 0, "ended")
    keyed, keyless = take(installed.queue, 2)
    runner = object.__new__(run.GatewayRunner)
    runner.session_store = None
    runner._enrich_async_delegation_routing(keyed)
    runner._enrich_async_delegation_routing(keyless)
    assert keyed["platform"] == "telegram"
    assert keyed["chat_id"] == "4711"
    assert keyed["thread_id"] == "99"
    assert "platform" not in keyless
    source = runner._build_process_event_source(keyed)
    assert source.platform.value == "telegram"
    assert source.chat_id == "4711"
    assert "[ASYNC DELEGATION COMPLETE" in run._format_gateway_process_notification(keyed)
