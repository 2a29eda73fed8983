"""Cyclic garbage through every part of the core: all of it goes, once, and nothing hangs."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

RunMany = Callable[..., None]

#: ``CYCLES`` tie one ``Token`` each into a cycle through each part of the core.
CYCLES = """
import functools, gc, queue as stdlib_queue, random, sys, threading, time, weakref
import hermes_core as hc
from hermes_core import _core

rng = random.Random(int(sys.argv[1]))

class Token:
    pass

def alive():
    # Not by weak references: the collector clears those also where it then frees nothing.
    return sum(issubclass(type(one), Token) for one in gc.get_objects())

def all_died():
    deadline = time.monotonic() + 50
    gc.collect()
    while alive():
        # A worker may hold the last job for a moment yet.
        assert time.monotonic() < deadline, f"{alive()} are never collected"
        time.sleep(0.001)
        gc.collect()
    return True

def queue_in_itself(token):
    queue = hc.CompletionQueue()
    queue.put({"queue": queue, "token": token, "session_key": "a"})

def two_queues(token):
    one, other = hc.CompletionQueue(), hc.CompletionQueue(1)
    one.put((other, token))
    other.put([one])

def queue_subclass(token):
    class Queue(hc.CompletionQueue):
        pass
    queue = Queue()
    queue.itself, queue.token = queue, token
    queue.put_back(queue)

def bound_method(token):
    queue = hc.CompletionQueue()
    queue.put([queue.get, queue.put, token])

def running_runner(token):
    # Ended by its own queue, which the closure holds as it holds the handle.
    registry = hc.DelegationRegistry()
    go = hc.CompletionQueue()
    def runner():
        go.get()
        return {"summary": token, "registry": registry, "handle": handle}
    handle = registry.dispatch(goal="g", runner=runner, interrupt_fn=lambda: registry)
    go.put(handle)

def undelivered_event(token):
    registry = hc.DelegationRegistry()
    handle = registry.dispatch(goal=[registry], runner=lambda: {"summary": (registry, token)})
    handle.result(50)["handle"] = handle

def delivered_event(token):
    registry = hc.DelegationRegistry()
    registry.on_end = lambda record: (registry, token)
    registry.dispatch(goal="g", runner=functools.partial(dict, summary=registry))
    registry.queue.get(timeout=50)["registry"] = registry

def waiting_job(token):
    handoff = _core.Handoff()
    # A tuple, unlike a list, leaves it to the hand-off to break the cycle.
    handoff.submit((handoff, token), 0)

def shut_down(token):
    queue = hc.CompletionQueue()
    queue.put((queue, token))
    queue.shutdown()

def refused(token):
    registry = hc.DelegationRegistry(capacity=0)
    try:
        registry.dispatch(goal=registry, runner=lambda: (registry, token))
    except hc.AtCapacity as exc:
        exc.registry = registry

def traceback(token):
    queue = hc.CompletionQueue(1)
    queue.put(token)
    try:
        queue.put_nowait(queue)
    except stdlib_queue.Full as exc:
        kept = exc
    queue.get()
    queue.put((kept, token))

CYCLES = [queue_in_itself, two_queues, queue_subclass, bound_method, running_runner,
          undelivered_event, delivered_event, waiting_job, shut_down, refused, traceback]
"""


def test_every_cycle_is_collected(run_many: RunMany) -> None:
    script = """
    gc.disable()
    for cycle in CYCLES:
        for _ in range(5):
            cycle(Token())
        assert all_died(), cycle
    assert gc.garbage == []
    print("all died")
    """
    run_many(CYCLES + dedent(script), 0, "all died\n", share=0.3)


@pytest.mark.parametrize("threshold", [1, 700])
def test_cycles_while_threads_collect_and_use_the_core(run_many: RunMany, threshold: int) -> None:
    """The collector runs in any allocation, also in one between two of the core's steps."""
    script = f"""
    gc.set_threshold({threshold})
    sys.setswitchinterval(1e-5)
    shared = hc.CompletionQueue()
    registry = hc.DelegationRegistry(shared, capacity=1000)
    stop = threading.Event()

    def make():
        mine = random.Random(rng.random())
        for _ in range(8):
            for cycle in mine.sample(CYCLES, 5):
                cycle(Token())
                shared.put({{"type": "completion", "session_key": str(mine.randrange(9)),
                            "cycle": [shared, registry, Token()]}})
                registry.dispatch(goal="g", runner=dict, session_key="b")

    def collect():
        while not stop.is_set():
            gc.collect(rng.randrange(3))

    def read():
        while not stop.is_set():
            registry.list(), registry.stats(), shared.qsize()

    makers = [threading.Thread(target=make) for _ in range(3)]
    others = [threading.Thread(target=one) for one in (collect, collect, read)]
    for thread in makers + others:
        thread.start()
    for thread in makers:
        thread.join()
    taken = [shared.get(timeout=50) for _ in range(240)]
    assert sum(event["type"] == "completion" for event in taken) == 120
    stop.set()
    for thread in others:
        thread.join()
    assert shared.empty() and registry.active_count() == 0
    taken.clear()
    print(all_died(), gc.garbage)
    """
    run_many(CYCLES + dedent(script), 0, "True []\n", share=0.1)


def test_finalizers_in_cycles_run_once_each(run_many: RunMany) -> None:
    """Each sees a core that works: a queue that is about to go takes and gives events."""
    script = """
    class Final(Token):
        count = 0
        def __init__(self, queue):
            self.queue, self.itself = queue, self
        def __del__(self):
            Final.count += 1
            mine = {"session_key": str(id(self)), "final": self}
            self.queue.put(mine)
            assert self.queue.get(timeout=0, session_key=str(id(self))) is mine

    def make():
        for _ in range(20):
            queue = hc.CompletionQueue()
            queue.put({"type": Final(queue), "session_key": "a"})
            queue.put([Final(queue), Final(queue)])
            registry = hc.DelegationRegistry(queue)
            registry.dispatch(goal=Final(queue), runner=lambda: {"summary": Final(queue)})
            registry.final = Final(queue)

    gc.set_threshold(1)
    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(all_died(), Final.count, gc.garbage)
    """
    run_many(CYCLES + dedent(script), 0, "True 360 []\n", share=0.1)


def test_what_a_finalizer_resurrects_works(run_many: RunMany) -> None:
    script = """
    saved = []

    class Phoenix(Token):
        def __init__(self, queue):
            self.queue = queue
        def __del__(self):
            saved.append(self)

    class PhoenixQueue(hc.CompletionQueue):
        def __del__(self):
            saved.append(self)

    for _ in range(20):
        queue = hc.CompletionQueue()
        queue.put(Phoenix(queue))
        registry = hc.DelegationRegistry(queue)
        queue.put(registry)
    for _ in range(20):
        queue = PhoenixQueue()
        queue.put([queue, "kept"])
    del queue, registry
    gc.collect()
    assert len(saved) == 40, len(saved)
    for one in saved:
        queue = getattr(one, "queue", one)
        if isinstance(one, PhoenixQueue):
            # Its finalizer does not empty it, and brought it back whole.
            assert queue.get_nowait() == [queue, "kept"]
        registry = hc.DelegationRegistry(queue)
        registry.dispatch(goal="g", runner=dict).result(50)
        assert queue.get(timeout=50)["status"] == "completed"
        queue.put([queue, registry])
    # For good: a finalizer runs once.
    del one, queue, registry
    saved.clear()
    print(all_died(), saved)
    """
    run_many(CYCLES + dedent(script), 0, "True []\n", share=0.1)


def test_weak_references_are_cleared(run_many: RunMany) -> None:
    """And a callback that uses the core, from within the collector, finds it free."""
    script = """
    called = hc.CompletionQueue()
    registry = hc.DelegationRegistry(called, capacity=1000)

    def callback(ref):
        assert ref() is None
        called.put("called")
        registry.list()
        gc.collect()

    refs, values = [], weakref.WeakValueDictionary()
    for n in range(50):
        queue = hc.CompletionQueue()
        other = hc.DelegationRegistry(queue)
        queue.put([queue, other])
        refs += [weakref.ref(queue, callback), weakref.ref(other, callback)]
        refs.append(weakref.proxy(other))
        values[n] = queue
    del queue, other
    gc.collect()
    assert [called.get(timeout=50) for _ in range(100)] == ["called"] * 100
    assert len(values) == 0 and called.empty()
    try:
        refs[-1].queue
    except ReferenceError:
        print("cleared")
    """
    run_many(CYCLES + dedent(script), 0, "cleared\n", share=0.1)


def test_the_collector_may_take_what_a_put_reads(run_many: RunMany) -> None:
    """On 3.11 making an exception may run the collector: amid the look at a lone surrogate."""
    script = """
    import gc, sys
    import hermes_core as hc
    from hermes_core import _core

    at = int(sys.argv[1]) % 6 + 1  # the run of the collector that takes the event's texts away
    queue = hc.CompletionQueue()
    calls = [queue.put, queue.put_back, lambda event: queue.put(item=event), _core.format_plain]
    gc.disable()
    runs, kept = 0, []

    def collected(phase, info):
        global runs
        if phase == "stop":
            # The next object makes it run again.
            kept.append([[] for _ in range(300)])
            return
        runs += 1
        if runs == at:
            event.update(dict.fromkeys(event))
            kept.append(["\\u4e00" * 400 for _ in range(50)])

    for n in range(40):
        lone = "\\udc80" * 4
        event = {"type": "x" * n + lone * (n % 2), "session_key": lone + "y" * (n + 400)}
        del lone
        runs = 0
        gc.set_threshold(10, 10**6, 10**6)
        kept.append([[] for _ in range(300)])
        gc.callbacks.append(collected)
        gc.enable()
        calls[n // 2 % len(calls)](event)
        gc.disable()
        gc.callbacks.clear()
    print("as ever")
    """
    run_many(script, 0, "as ever\n", share=0.1)
