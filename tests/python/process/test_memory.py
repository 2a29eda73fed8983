"""No memory is ``MemoryError`` at the call, not the end of the process; the state stays whole."""

from __future__ import annotations

import subprocess
import sys
import textwrap

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
