"""Under ``gevent``, which makes every thread a greenlet of one: a word, never a hang."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from process.conftest import HUNG

#: What ``gevent.monkey.patch_all()`` leaves for others to see, where there is no gevent.
PRETENDED = """
import sys, types, _thread
start = _thread.start_new_thread
_thread.start_new_thread = lambda *arguments: start(*arguments)
sys.modules["gevent.monkey"] = types.ModuleType("gevent.monkey")
"""
REAL = "from gevent import monkey; monkey.patch_all()\n"

SCRIPT = """
import asyncio
import hermes_core as hc

registry = hc.DelegationRegistry()
box = registry.queue.mailbox(session_key="k")
full = hc.CompletionQueue(1)
full.put(1)

def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except RuntimeError as error:
        return "gevent" in str(error)
    return False

assert refused(registry.dispatch, goal="g", runner=dict, session_key="k")
assert registry.active_count() == 0
for call in (box.get, registry.queue.get, lambda: full.put(2), registry.queue.join):
    if call == registry.queue.join:
        registry.queue.put(1)
    assert refused(call)
# What need not wait works.
registry.queue.put({"session_key": "k"})
box.get().ack()
assert full.get() == 1 and full.empty()
print("fine")
"""


@pytest.mark.parametrize("how", ["pretended", "real"])
def test_it_refuses_to_wait_where_threads_are_greenlets(how: str) -> None:
    if how == "real":
        pytest.importorskip("gevent")
    code = (REAL if how == "real" else PRETENDED) + textwrap.dedent(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HUNG
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
