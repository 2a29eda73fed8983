"""Ctrl-C in every blocking call of the main thread."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunMany = Callable[..., None]


@pytest.mark.parametrize(
    "call",
    [
        "queue.get()",
        "queue.get(timeout=3600)",
        "queue.get(session_key='a')",
        "full.put(2)",
        "full.join()",
        "handle.result()",
    ],
)
def test_ctrl_c_in_a_blocked_call(run_many: RunMany, call: str) -> None:
    script = f"""
    import os, signal, sys, threading
    import hermes_core as hc

    queue, full = hc.CompletionQueue(), hc.CompletionQueue(1)
    full.put(1)
    never = threading.Event()
    handle = hc.DelegationRegistry().dispatch(goal="g", runner=never.wait)

    def ctrl_c():
        # Sent from a thread while the main one is on its way into the call, or in it.
        os.kill(os.getpid(), signal.SIGINT)

    try:
        threading.Thread(target=ctrl_c, daemon=True).start()
        {call}
    except KeyboardInterrupt:
        # Nothing is broken: the queue goes on, and no event went to the interrupted call.
        queue.put("after")
        assert queue.get(timeout=60) == "after"
        assert full.get_nowait() == 1
        sys.exit(9)
    """
    run_many(script, 9, times=60)


def test_ctrl_c_hands_a_wake_on(run_many: RunMany) -> None:
    """F11: an event whose waiter was interrupted goes to the next one."""
    script = """
    import os, signal, sys, threading
    import hermes_core as hc

    queue, got = hc.CompletionQueue(), hc.CompletionQueue()
    threading.Thread(target=lambda: got.put(queue.get()), daemon=True).start()
    taken = []

    def both():
        os.kill(os.getpid(), signal.SIGINT)
        queue.put("event")

    try:
        threading.Thread(target=both, daemon=True).start()
        taken.append(queue.get())
        while True:
            queue.get()
    except KeyboardInterrupt:
        if not taken:
            assert got.get(timeout=60) == "event"
        sys.exit(9)
    """
    run_many(script, 9)
