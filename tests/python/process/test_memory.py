"""No memory is ``MemoryError`` at the call, not the end of the process; the state stays whole."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

#: Fills the memory that a limit leaves, in the way that ``OPERATION`` does, and frees it again.
CHILD = """
import resource, sys
import hermes_core as hc

inbox = hc.CompletionQueue()
registry = hc.DelegationRegistry(inbox, capacity=10**9)
registry.dispatch(goal="g", runner=dict, session_key="first").result(20)
hold = [registry, inbox]
key = "k" * 100_000
done = 0

def limit(more):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))

limit(60 << 20)
boxes = []
made = 0
try:
    while True:
        OPERATION
        made += 1
except MemoryError:
    pass
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
CHECK
boxes.clear()
# All goes on, and nothing is missing.
with inbox.mailbox(session_key="first").get(timeout=10) as delivery:
    assert delivery.event["goal"] == "g"
inbox.put({"session_key": "last"})
assert inbox.get(session_key="last", timeout=10)
registry.dispatch(goal="h", runner=dict, session_key="again").result(20)
assert inbox.get(session_key="again", timeout=10)["goal"] == "h"
print(made)
"""

OPERATIONS = {
    "put of many": (
        'inbox.put({"session_key": "room", "n": made})',
        'assert [inbox.get(session_key="room")["n"] for _ in range(made)] == list(range(made))',
    ),
    "put of long keys": (
        'inbox.put({"session_key": key + str(made)})',
        "assert inbox.qsize() >= made + 1",
    ),
    "mailboxes": (
        "boxes.append(inbox.mailbox(session_key=key + str(made)))",
        "assert len(boxes) == made and not any(box.is_closed for box in boxes)",
    ),
    "keys of a mailbox": (
        'boxes = boxes or [inbox.mailbox(session_key="a")]; boxes[0].add_key(key + str(made))',
        "pass",
    ),
    "dispatch": (
        "registry.dispatch(goal=str(made), runner=dict, session_key=key + str(made)).result(20)",
        'assert registry.stats()["running"] == 0 and registry.stats()["dispatched"] >= made + 1',
    ),
    "dispatch of a long task": (
        'task = registry.dispatch(goal="x" * (1 << 20), runner=dict); task.result(20)',
        'assert registry.stats()["running"] == 0',
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_memory_is_an_exception(name: str) -> None:
    operation, check = OPERATIONS[name]
    code = textwrap.dedent(CHILD).replace("OPERATION", operation).replace("CHECK", check)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert int(done.stdout) > 0


#: What memory is too small for, in a process that has a limit; then what fits, and the counts.
REFUSED = """
import resource, sys
import hermes_core as hc

LEDGER = sys.argv[1] or "memory"
inbox = hc.CompletionQueue()
registry = hc.DelegationRegistry(inbox, capacity=10**9, ledger=LEDGER)
registry.dispatch(goal="g", runner=dict, session_key="first").result(20)

def limit(more):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))

def is_refused(call):
    try:
        call()
    except MemoryError:
        return True
    return False

def seen():
    stats = registry.stats()
    return inbox.qsize(), inbox.unfinished_tasks, stats["running"], stats["dispatched"]

huge = "x" * (256 << 20)
SETUP
limit(150 << 20)
before = seen()
for _ in range(3):
    assert is_refused(lambda: CALL)
    assert seen() == before, (before, seen())
SMALL
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with inbox.mailbox(session_key="first").get(timeout=10) as delivery:
    assert delivery.event["goal"] == "g"
assert registry.stats()["running"] == 0
registry.close() if hasattr(registry, "close") else None
print("whole")
"""

REFUSALS = {
    "put of a huge key": (
        "",
        'inbox.put({"session_key": huge})',
        'inbox.put({"session_key": "k"}); assert inbox.get(session_key="k", timeout=5)',
    ),
    "put back of a huge key": (
        "",
        'inbox.put_back({"session_key": huge})',
        'inbox.put({"session_key": "k"}); assert inbox.get(session_key="k", timeout=5)',
    ),
    "mailbox of a huge key": (
        "",
        "inbox.mailbox(session_key=huge)",
        'assert not inbox.mailbox(session_key="k").is_closed',
    ),
    "key of a mailbox": (
        'box = inbox.mailbox(session_key="a")',
        "box.add_key(huge)",
        'box.add_key("b"); inbox.put({"session_key": "b"}); box.get(timeout=5).ack()',
    ),
    "dispatch of a huge task": (
        "",
        'registry.dispatch(goal=huge, runner=dict, session_key="k")',
        'registry.dispatch(goal="h", runner=dict, session_key="k").result(20)',
    ),
    "dispatch of a huge key": (
        "",
        'registry.dispatch(goal="h", runner=dict, session_key=huge)',
        'registry.dispatch(goal="h", runner=dict, session_key="k").result(20)',
    ),
    "a huge notification": (
        "forged = '--- RESULT ---\\n' * (8 << 20); event = "
        '{"type": "async_delegation", "summary": forged, "status": "completed"}',
        "hc.format_process_notification(event)",
        'assert "fine" in hc.format_process_notification({**event, "summary": "fine"})',
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ledger", ["memory", "file"])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_too_large_is_refused_whole(name: str, ledger: str, tmp_path: Path) -> None:
    if (name, ledger) == ("dispatch of a huge task", "memory"):
        pytest.skip("nothing of it is copied")
    setup, call, small = REFUSALS[name]
    code = REFUSED.replace("SETUP", setup).replace("CALL", call).replace("SMALL", small)
    path = str(tmp_path / "delegations.db") if ledger == "file" else ""
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout == "whole\n"


#: A runner whose result is too large to be written down: its end is told all the same.
LARGE_RESULT = """
import resource, sys
import hermes_core as hc

inbox = hc.CompletionQueue()
registry = hc.DelegationRegistry(inbox, ledger=sys.argv[1])
registry.dispatch(goal="g", runner=dict, session_key="first").result(20)

def limit(more):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))

summary = "x" * (256 << 20)

def run():
    limit(150 << 20)
    return {"summary": summary}

registry.dispatch(goal="h", runner=run, session_key="k").result(60)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with inbox.mailbox(session_key="k").get(timeout=10) as delivery:
    assert delivery.event["summary"] == summary
assert registry.stats()["running"] == 0
assert registry.stats()["ledger"]["state"] == "ok"
print("told")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_result_that_cannot_be_written_down_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LARGE_RESULT, str(tmp_path / "delegations.db")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout == "told\n"
