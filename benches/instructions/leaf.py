"""The Python leaves' hot paths, each in a loop: `python leaf.py SCENARIO TIMES`.

Two runs with different times differ by nothing but the scenario itself. Without arguments it lists
the scenarios.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from itertools import repeat

import hermes_core as hc

KEY = "agent:main:telegram:dm:7"
EVENT = {
    "type": "async_delegation",
    "delegation_id": "deleg_00112233445566aa",
    "session_key": KEY,
    "goal": "Read the logs and say why it restarted",
    "context": "They are in /var/log; the service is called gateway.",
    "toolsets": ["terminal", "file"],
    "role": "leaf",
    "model": "model-1",
    "status": "completed",
    "summary": "Nothing wrong in the logs.",
    "error": None,
    "api_calls": 3,
    "duration_seconds": 12.5,
    "dispatched_at": 1_700_000_000.0,
    "completed_at": 1_700_000_060.0,
    "exit_reason": None,
}


def put_get(times: int) -> None:
    """A put and a get of an event."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    put, get, event = queue.put, queue.get, EVENT
    for _ in repeat(None, times):
        put(event)
        get()


def put_get_by_key(times: int) -> None:
    """A put, and a get that does not wait, by session key."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    put, get, event, key = queue.put, queue.get_nowait, EVENT, KEY
    for _ in repeat(None, times):
        put(event)
        get(session_key=key)


def notification(times: int) -> None:
    """A short notification."""
    write, event = hc.format_process_notification, EVENT
    for _ in repeat(None, times):
        write(event)


SCENARIOS: dict[str, Callable[[int], None]] = {
    "put, get of an event": put_get,
    "put, get_nowait by session key": put_get_by_key,
    "notification: short": notification,
}


if __name__ == "__main__":
    gc.disable()
    if len(sys.argv) == 3:
        SCENARIOS[sys.argv[1]](int(sys.argv[2]))
    else:
        print(*SCENARIOS, sep="\n")
