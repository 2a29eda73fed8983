"""Gateways that nobody has seen, run: with the core in place nothing is lost in them.

Each is 0.19.0 with some files changed, in a process of its own. What its turns call is called here:
the registry's functions under their names, the drains, the claims, the plain queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import later
import pytest
from later import replacing
from test_versions import otherwise

BATCH = "def dispatch_async_delegation_batch(\n    *,\n"
ONE = "def dispatch_async_delegation(\n    *,\n"
PARENT = "    parent_session_id: Optional[str] = None,\n"
RUNNER = "    runner: Callable[[], Dict[str, Any]],\n"
EXECUTOR = "    executor = _get_executor(max_async_children)\n"
FURTHER = "    origin_session_id: str = '',\n    progress_fn=None,\n"


Edit = Callable[[str], str]

REGISTRY = "tools/async_delegation.py"
PROCESSES = "tools/process_registry.py"


def chained(*edits: Edit) -> Edit:
    def edit(text: str) -> str:
        for one in edits:
            text = one(text)
        return text

    return edit


def before(marker: str, more: str) -> Edit:
    return replacing(marker, more + marker)


#: As main has it: what a dispatch is given besides, and a thread that asks for progress.
MONITOR = """
_monitor = None


def _ensure_monitor():
    global _monitor
    if _monitor is None:
        _monitor = threading.Thread(target=_watch, name="stale-monitor", daemon=True)
        _monitor.start()


def _watch():
    while True:
        with _records_lock:
            running = [r for r in _records.values() if r.get("status") == "running"]
        for record in running:
            if callable(record.get("progress_fn")):
                record["progress_fn"]()
        time.sleep(0.02)


"""

#: Replacing a def by one that a decorator wraps.
TRACED = """
import functools


def _traced(function):
    @functools.wraps(function)
    def traced(*args, **kwargs):
        _calls.append(function.__name__)
        return function(*args, **kwargs)
    return traced


_calls = []


"""

REGISTRY_EDITS: dict[str, dict[str, Edit]] = {
    "every body changed": {
        REGISTRY: otherwise,
        PROCESSES: otherwise,
        "gateway/session_context.py": otherwise,
    },
    "parameters added": {
        REGISTRY: chained(
            replacing(ONE, ONE + FURTHER),
            replacing(BATCH, BATCH + FURTHER),
            *(
                replacing(f"def {name}()", f"def {name}(kind=None)")
                for name in ("active_count", "list_async_delegations")
            ),
            replacing(
                'def interrupt_all(reason: str = "shutdown")',
                'def interrupt_all(reason: str = "shutdown", *, grace: float = 0.0)',
            ),
        ),
        PROCESSES: replacing(
            "skip_poll_observed: bool = True,\n    ) -> \"list[tuple[dict, str]]\":",
            "skip_poll_observed: bool = True, limit=None,\n    ) -> \"list[tuple[dict, str]]\":",
        ),
    },
    "a thread that watches": {
        REGISTRY: chained(
            replacing(ONE, ONE + FURTHER),
            replacing(BATCH, BATCH + FURTHER),
            before('        "is_batch": True,\n    }\n', '        "progress_fn": progress_fn,\n'),
            lambda text: text.replace(EXECUTOR, f"    _ensure_monitor()\n{EXECUTOR}"),
            before("def dispatch_async_delegation(\n", MONITOR),
        ),
    },
    "decorated": {
        REGISTRY: chained(
            before("def dispatch_async_delegation(\n", f"{TRACED}@_traced\n"),
            before("def dispatch_async_delegation_batch(\n", "@_traced\n"),
            replacing("def interrupt_all(", "@_traced\ndef interrupt_all("),
            replacing("def list_async_delegations(", "@_traced\ndef list_async_delegations("),
        ),
    },
    "by position": {
        REGISTRY: chained(
            replacing(ONE, "def dispatch_async_delegation(\n"),
            replacing(f"{PARENT}{RUNNER}", f"{RUNNER}{PARENT}"),
            replacing(
                'session_key: str = "",\n    origin_ui_session_id: str = "",\n',
                'origin_ui_session_id: str = "",\n    session_key: str = "",\n',
            ),
        ),
    },
    "without all of its claims": {
        REGISTRY: lambda text: text.replace("mark_completion_delivered", "_mark_delivered"),
    },
    "another consumer": {
        REGISTRY: replacing("running >= max_", "1 + running > max_"),
        PROCESSES: lambda text: text + CONSUMER,
    },
}  # fmt: skip

CONSUMER = '''

def _consume(taken, stop):
    """As a web front end does it."""
    import queue

    from tools.async_delegation import claim_event_delivery, complete_event_delivery

    while not stop.is_set():
        try:
            event = process_registry.completion_queue.get(timeout=0.05)
        except queue.Empty:
            continue
        token = claim_event_delivery(event, "web")
        if token is None:
            continue
        complete_event_delivery(event, token)
        taken.put(event)
'''

RUN = """
    import inspect, json, queue, sys, threading
    from tools import async_delegation as host
    from tools.process_registry import process_registry
    from hermes_core import gateway
    name = sys.argv[1]
    plain = {"single": inspect.signature(host.dispatch_async_delegation).parameters}
    further = {}
    if "origin_session_id" in plain["single"]:
        looked_at = threading.Event()
        further = {"origin_session_id": "s-9",
                   "progress_fn": lambda: looked_at.set() or (1, False)}
    task = {"context": None, "toolsets": None, "role": "leaf", "model": None}
    answers, goes = [], []

    def one(go=None, session_key="k", **more):
        runner = lambda: {"summary": "done", "waited": go is None or go.wait(60)}
        given = {"goal": "one", **task, "session_key": session_key, "runner": runner,
                 "max_async_children": 50, **further, **more}
        if name == "by position":
            order = ("goal", "context", "toolsets", "role", "model", "session_key", "runner")
            answer = host.dispatch_async_delegation(*[given.pop(each) for each in order], **given)
        else:
            answer = host.dispatch_async_delegation(**given)
        assert answer["status"] == "dispatched", answer
        answers.append(answer["delegation_id"])
        return answer["delegation_id"]

    def batch(go=None, session_key="k", **more):
        runner = lambda: {"results": [{"status": "completed", "summary": str(n)} for n in (0, 1)],
                          "waited": go is None or go.wait(60)}
        answer = host.dispatch_async_delegation_batch(
            goals=["a", "b"], **task, session_key=session_key, runner=runner,
            interrupt_fn=go and go.set, max_async_children=50, **further, **more)
        assert answer["status"] == "dispatched", answer
        answers.append(answer["delegation_id"])
        return answer["delegation_id"]

    events = []
    def take(count):
        for _ in range(count):
            event = process_registry.completion_queue.get(timeout=60)
            token = host.claim_event_delivery(event, "test")
            assert token is not None, event
            host.complete_event_delivery(event, token)
            events.append(event)

    def wait_for_one():
        event = process_registry.completion_queue.get(timeout=60)
        process_registry.completion_queue.put(event)

    # The host's own, before: one runs across the install, one waits on its queue.
    goes += [threading.Event() for _ in range(4)]
    across = batch(goes[0])
    if name == "a thread that watches":
        assert looked_at.wait(60)
    one()
    wait_for_one()

    report = gateway.install()
    said = str(gateway.status())
    rungs = {each.module: str(each.rung) for each in report.modules}
    ours = [one(), batch(delegation_id="deleg_mine"), batch(goes[1])]
    ours.append(one(goes[2], session_key="other"))
    assert ours[1] == "deleg_mine"
    take(3)
    assert host.active_count() == 3, host.active_count()
    listed = {each["delegation_id"]: each for each in host.list_async_delegations()}
    assert across in listed and set(ours) <= set(listed), listed
    if further:
        assert listed[ours[2]]["origin_session_id"] == "s-9"
        assert not any("progress_fn" in each for each in listed.values())
    records = {each["delegation_id"]: each for each in host._records.values()}
    if further:
        assert callable(records[ours[2]]["progress_fn"])
    # A runner asks for approvals as its turn does.
    from tools import terminal_tool
    terminal_tool.set_approval_callback(len)
    asks = []
    one(runner=lambda: asks.append(terminal_tool._get_approval_callback()))
    take(1)
    terminal_tool.set_approval_callback(None)
    assert asks == [len]
    if name == "parameters added":
        assert host.active_count(kind="any") == 3
        assert {each["delegation_id"] for each in host.list_async_delegations(kind="any")} >= {
            across, ours[2], ours[3]}
    asked = host.interrupt_for_session(session_key="nobody's")
    assert asked == 0
    goes[2].set()
    wait_for_one()
    with_limit = {"limit": 5} if name == "parameters added" else {}
    assert process_registry.drain_notifications(session_key="k", **with_limit) == []
    drain = process_registry.drain_notifications
    ((event, text),) = drain(owns_event=lambda event: True, **with_limit)
    assert event["delegation_id"] == ours[3] and "done" in text
    host.complete_event_delivery(event, host.claim_event_delivery(event, "test"))
    events.append(event)
    # The host's own ends while the core is in place.
    goes[0].set()
    take(1)
    assert events[-1]["delegation_id"] == across

    # One of ours runs across the uninstall, one waits.
    waits = batch()
    wait_for_one()
    gateway.uninstall()
    assert type(process_registry.completion_queue).__module__ == "queue"
    assert host.active_count() == 1
    take(1)
    assert events[-1]["delegation_id"] == waits
    goes[1].set()
    take(1)
    assert events[-1]["delegation_id"] == ours[2]
    after = batch()
    take(1)
    gateway.install()
    batch()
    extra = {}
    if name == "another consumer":
        from tools.process_registry import _consume
        stop, taken = threading.Event(), queue.Queue()
        threads = [threading.Thread(target=_consume, args=(taken, stop)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            batch()
        events.extend(taken.get(timeout=60) for _ in range(21))
        stop.set()
        for thread in threads:
            thread.join()
        assert taken.empty()
    elif name == "a thread that watches":
        take(1)
        # It was started by the host's own dispatch, and goes on.
        assert looked_at.is_set() and host._monitor.is_alive()
        gateway.uninstall()
        goes.append(threading.Event())
        further["progress_fn"] = lambda: goes[-1].set() or (1, False)
        batch(goes[-1])
        take(1)
    else:
        take(1)
    assert process_registry.completion_queue.qsize() == 0
    assert sorted(event["delegation_id"] for event in events) == sorted(answers)
    if further:
        ours_events = [each for each in events if each["delegation_id"] in ours]
        assert all(each["origin_session_id"] == "s-9" for each in ours_events)
        assert not any("progress_fn" in each for each in events)
    keys = {key for each in events for key in each}
    print(json.dumps({"rungs": rungs, "said": said, "keys": sorted(keys)}))
"""


@pytest.mark.parametrize("name", REGISTRY_EDITS)
def test_nothing_is_lost_in_an_edited_gateway(name: str, tmp_path: Path) -> None:
    """F52"""
    folder = later.copy("0.19.0", tmp_path / "gateway", REGISTRY_EDITS[name])
    found: dict[str, Any] = json.loads(later.run(folder, RUN, tmp_path / "home", name))
    assert found["rungs"]["tools.async_delegation"] == "by shape"
    unclaimed = "without all functions of its claims, what is taken counts as delivered"
    assert (unclaimed in found["said"]) == (name == "without all of its claims")
    is_watched = name == "a thread that watches"
    said = "a thread that it starts watches its own delegations, not the core's"
    assert (said in found["said"]) == is_watched
    if name in ("parameters added", "a thread that watches"):
        assert (
            "dispatch_async_delegation also takes origin_session_id, progress_fn" in found["said"]
        )


FRONT_ENDS = """
    import sys
    output = sys.stdout
    import tui_gateway.server as server
    import gateway.run as run
    from hermes_core import gateway
    report = gateway.install()
    told = [name for name in report.replaced if name.startswith(("gateway.", "tui_gateway."))]
    from tools import async_delegation as host
    from tools.process_registry import process_registry
    task = {"context": None, "toolsets": None, "role": "leaf", "model": None, "session_key": "k"}
    host.dispatch_async_delegation(goal="a", runner=dict, **task)
    event = process_registry.completion_queue.get(timeout=60)
    host.complete_event_delivery(event, host.claim_event_delivery(event, "test"))
    gateway.uninstall()
    print(server._start_notification_poller.__module__, run.__name__, *told, file=output)
"""


def test_front_ends_with_other_insides_keep_them(tmp_path: Path) -> None:
    """F52: what tells of them is left out where it has nothing to go by."""
    edits: dict[str, Edit] = {
        "tui_gateway/server.py": lambda text: re.sub(r"\b_sessions\b", "_all_sessions", text),
        "gateway/run.py": replacing(
            "async def _async_delegation_watcher(self, interval: float = 2.0)",
            "def _async_delegation_watcher(self, interval: float = 2.0)",
        ),
    }

    def plain(text: str) -> str:
        """Take the body of the watcher away: what is no coroutine awaits nothing."""
        begin = text.index("    def _async_delegation_watcher(")
        end = re.compile(r"^    (?:async )?def ", re.MULTILINE).search(text, begin + 8)
        assert end is not None
        return (
            f"{text[:begin]}    def _async_delegation_watcher(self, interval=2.0):\n"
            f"        return None\n\n{text[end.start() :]}"
        )

    edits["gateway/run.py"] = chained(edits["gateway/run.py"], plain)
    folder = later.copy("0.19.0", tmp_path / "gateway", edits)
    done = later.python(folder, FRONT_ENDS, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    *_, said = done.stdout.splitlines()
    told = "tui_gateway.server._start_notification_poller"
    assert said.split() == ["tui_gateway.server", "gateway.run", told]


ASIDE = """
    import threading
    from hermes_core import plugin
    plugin.register(object())
    from hermes_core import gateway
    print(gateway.status().installed)
    from tools import async_delegation as host
    from tools.process_registry import process_registry
    task = {"context": None, "toolsets": None, "role": "leaf", "model": None, "session_key": "k"}
    host.dispatch_async_delegation(goal="a", runner=dict, **task)
    print(type(process_registry.completion_queue).__module__)
    print(process_registry.completion_queue.get(timeout=60)["goal"])
"""


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (
            replacing("def interrupt_all(", "async def interrupt_all("),
            "interrupt_all: is a coroutine now, not a function",
        ),
        (
            replacing("def active_count()", "def active_count(of)"),
            "active_count: now requires of",
        ),
        (
            lambda text: re.sub(r"\b_records\b", "_all", text),
            "_records: not there any more",
        ),
    ],
    ids=["a coroutine", "a parameter", "another table"],
)
def test_a_gateway_that_cannot_be_served_goes_on_with_its_own(
    edit: Edit, why: str, tmp_path: Path
) -> None:
    """F52: the start says why in one line."""
    folder = later.copy("0.19.0", tmp_path / "gateway", {REGISTRY: edit})
    done = later.python(folder, ASIDE, tmp_path / "home")
    assert done.stdout.splitlines() == ["False", "queue", "a"], done.stderr
    said = "hermes_core stands aside in this gateway: tools.async_delegation."
    assert done.stderr.splitlines()[-1] == f"{said}{why}"
