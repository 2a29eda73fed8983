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


def test_ctrl_c_anywhere_in_a_dispatch_leaks_nothing(run_many: RunMany) -> None:
    """F33, F9: each dispatch either was refused by the interrupt, or ends with one event."""
    script = """
    import signal, sys, time
    import hermes_core as hc

    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=10**6)
    seed = int(sys.argv[1])
    armed = False

    def handler(*_):
        # Only within the try: a real Ctrl-C in the loop itself is the loop's own affair.
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, handler)
    started, refused = 0, 0
    for n in range(300):
        signal.setitimer(signal.ITIMER_REAL, (1 + (seed * 37 + n * 11) % 97) * 1e-6)
        try:
            armed = True
            registry.dispatch(goal="g", runner=dict)
            armed = False
            started += 1
        except (KeyboardInterrupt, RuntimeError):
            # RuntimeError: what an interrupt inside threading.Condition makes of it.
            armed = False
            refused += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    # The interrupted ones that a worker had begun end, too.
    handle = registry.dispatch(goal="last", runner=dict)
    handle.result(60)
    deadline = time.monotonic() + 60
    while registry.active_count() and time.monotonic() < deadline:
        queue.get(timeout=60)
    assert registry.active_count() == 0, registry.stats()
    assert registry.stats()["dispatched"] >= started + 1
    while not queue.empty():
        queue.get()
    assert registry.stats()["undelivered"] == 0
    assert all(record["state"] == "completed" for record in registry.list())
    # Nothing is left that keeps a later job from its worker.
    assert [registry.dispatch(goal="g", runner=dict).result(60) for _ in range(20)] == [{}] * 20
    """
    run_many(script, 0, times=60)
