"""The thread of our event loop, with what another thread throws into it."""

from __future__ import annotations

import subprocess
import sys

THROWN_BETWEEN_TWO_TURNS = """
import asyncio, sys, threading
import hermes_core as hc
from hermes_core.delegation import coroutines as _coroutines

code = _coroutines._run_forever.__code__
stopped = threading.Event()

def trace(frame, what, arg):
    if what == "line" and stopped.is_set():
        sys.settrace(None)
        raise KeyboardInterrupt
    return trace if frame.f_code is code else None

async def endless():
    started.set()
    await asyncio.Event().wait()

async def quick():
    return {"status": "completed"}

threading.settrace(trace)
threading.excepthook = lambda args: None
started = threading.Event()
registry = hc.DelegationRegistry(hc.CompletionQueue())
hit = registry.dispatch(runner=endless, goal="hit")
threading.settrace(None)
started.wait()
loop = _coroutines._own[_coroutines.THREAD_NAME]
loop.call_soon_threadsafe(lambda: (stopped.set(), loop.stop()))
assert hit.result(60)["status"] == "error"
assert registry.dispatch(runner=quick, goal="next").result(60)["status"] == "completed"
"""


def test_a_loop_thread_that_is_thrown_out_ends_its_delegations_and_is_replaced() -> None:
    """F33: no delegation waits for a loop that nobody runs."""
    subprocess.run([sys.executable, "-c", THROWN_BETWEEN_TWO_TURNS], check=True, timeout=180)
