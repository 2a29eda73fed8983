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
    run_many(script, 9, share=0.3)


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
    run_many(script, 0, share=0.3)


def test_a_storm_of_ctrl_c_on_every_blocking_call(run_many: RunMany) -> None:
    """F11: what an interrupted call did not take, another gets; nothing arrives twice."""
    script = """
    import itertools, queue as stdlib_queue, random, signal, sys, threading
    import hermes_core as hc

    rng = random.Random(int(sys.argv[1]))
    queue, other = hc.CompletionQueue(3), hc.CompletionQueue()
    registry = hc.DelegationRegistry(capacity=1)
    never = threading.Event()
    handle = registry.dispatch(goal="g", runner=never.wait)
    numbers, got, over = itertools.count(), [], False

    def churn():
        while not over:
            try:
                queue.put({"session_key": "k", "n": next(numbers)}, timeout=0.001)
            except stdlib_queue.Full:
                pass

    def consume():
        while not over:
            try:
                got.append(queue.get(timeout=0.001)["n"])
            except stdlib_queue.Empty:
                pass

    threads = [threading.Thread(target=one) for one in (churn, consume)]
    for thread in threads:
        thread.start()
    calls = [queue.get, lambda: queue.get(session_key="k"), queue.join, handle.result, other.get,
             lambda: queue.put({"n": next(numbers)}), lambda: handle.result(3600)]
    armed, interrupted = False, 0

    def handler(*_):
        # Only within the try: elsewhere a Ctrl-C is the loop's own affair.
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
    while interrupted < 15:
        try:
            armed = True
            event = rng.choice(calls)()
            armed = False
            if event is not None:
                got.append(event["n"])
        except KeyboardInterrupt:
            armed = False
            interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    over = True
    for thread in threads:
        thread.join()
    while not queue.empty():
        got.append(queue.get_nowait()["n"])
    # At most one is lost with each interrupt: between the call and the name it is given.
    put = queue.unfinished_tasks
    assert len(got) == len(set(got)) and put - interrupted <= len(got) <= put, (put, len(got))
    for n in range(3):
        queue.put({"n": n})
    print([queue.get()["n"] for _ in range(3)], flush=True)
    """
    run_many(script, 0, "[0, 1, 2]\n", share=0.2)


def test_a_handler_that_uses_the_queue_it_interrupts(run_many: RunMany) -> None:
    """A signal handler runs within the blocked call, which then holds no lock."""
    script = """
    import gc, itertools, signal, sys
    import hermes_core as hc

    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=10**6)
    numbers, dispatched = itertools.count(), []

    def handler(*_):
        queue.put({"n": next(numbers)})
        queue.put_back(queue.get(types=["completion"]))
        dispatched.append(registry.dispatch(goal="g", runner=dict).id)
        registry.list(), registry.stats(), registry.cancel(session_key="nobody"), gc.collect(0)

    signal.signal(signal.SIGALRM, handler)
    events = []
    for _ in range(20):
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        events.append(queue.get())
    signal.setitimer(signal.ITIMER_REAL, 0)
    while registry.active_count() or not queue.empty():
        events.append(queue.get(timeout=50))
    ids = [event["delegation_id"] for event in events if "delegation_id" in event]
    assert sorted(ids) == sorted(dispatched)
    assert sorted(event["n"] for event in events if "n" in event) == list(range(next(numbers)))
    print("each once", flush=True)
    """
    run_many(script, 0, "each once\n", share=0.2)


def test_an_interrupt_loses_no_event_of_a_mailbox(run_many: RunMany) -> None:
    """F4: also one that comes when the event has left the queue and nobody has it yet."""
    script = """
    import gc, signal, sys
    import hermes_core as hc

    class Stop(Exception):
        pass

    def stop(*_):
        global is_armed
        if is_armed:
            is_armed = False
            raise Stop

    is_armed = False
    queue = hc.CompletionQueue()
    # Leases that do not end by themselves.
    box = queue.mailbox(session_key="a", lease=None)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    stops, number = 0, 0
    while stops < 100:
        queue.put({"session_key": "a", "number": number})
        try:
            is_armed = True
            delivery = box.get()
            is_armed = False
        except Stop:
            stops += 1
            delivery = None
        # Not in the handler: there the exception keeps the frames, and the lease in one of them.
        if delivery is None:
            delivery = box.get(timeout=60)
        assert delivery.event["number"] == number and delivery.ack()
        number += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert queue.empty() and queue.unfinished_tasks == 0
    """
    run_many(script, share=0.1)
