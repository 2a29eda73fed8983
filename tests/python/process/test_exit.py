"""F30: a process ends at once, with its own status, whatever runs and waits in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunMany = Callable[..., None]

#: Runners that sleep, spin, and wait in the core; consumers blocked in every way there is.
BUSY = """
import atexit, random, sys, threading, time
import hermes_core as hc
from hermes_core import async_delegation

rng = random.Random(int(sys.argv[1]))
queue = hc.CompletionQueue()
full = hc.CompletionQueue(1)
full.put(0)
registry = hc.DelegationRegistry(queue, capacity=100)
forever = hc.CompletionQueue()
stop = False

def spin():
    while not stop:
        sum(range(50))

def churn():
    while not stop:
        try:
            registry.dispatch(goal="tiny", runner=dict)
        except hc.AtCapacity:
            pass

def drain():
    while True:
        queue.get()

runners = [forever.get, lambda: time.sleep(3600), threading.Event().wait, spin]
handles = [registry.dispatch(goal=str(n), runner=runner) for n, runner in enumerate(runners)]
for target in (
    forever.get,
    lambda: forever.get(timeout=3600),
    lambda: forever.get(session_key="a"),
    lambda: forever.get(types={"x"}, timeout=3600),
    lambda: full.put(1),
    full.join,
    handles[0].result,
    drain,
    *[churn] * rng.randrange(3),
):
    threading.Thread(target=target, daemon=True).start()
time.sleep(rng.random() * 0.01)
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [("", 0), ("sys.exit(7)", 7), ("import os; os._exit(3)", 3)],
    ids=["return", "exit", "_exit"],
)
def test_exit_with_running_children_and_blocked_consumers(
    run_many: RunMany, ending: str, status: int
) -> None:
    run_many(BUSY + ending, status)


def test_interrupt_all_from_atexit_is_bounded_and_tells_the_others(run_many: RunMany) -> None:
    """Also on 3.12, which starts no thread once ``atexit`` runs."""
    script = """
    import atexit, sys, threading
    import hermes_core as hc
    from hermes_core import async_delegation
    from hermes_core.delegation import interrupt as _interrupt

    _interrupt.call_all.__defaults__ = (0.2,)
    never = threading.Event()
    told = []

    def dispatch(interrupt_fn):
        answer = async_delegation.dispatch_async_delegation(
            goal="g", context=None, toolsets=None, role="leaf", model=None, session_key="",
            runner=never.wait, interrupt_fn=interrupt_fn, max_async_children=9)
        assert answer["status"] == "dispatched"

    @atexit.register
    def at_exit():
        count = async_delegation.interrupt_all("exit")
        assert count == 2 and sorted(told) == [1, 2], (count, told)
        print("told", flush=True)

    dispatch(lambda: told.append(1))
    dispatch(never.wait)
    dispatch(lambda: told.append(2))
    """
    run_many(script, 0, "1 of 3 interrupt_fn calls are still running\ntold\n", share=0.2)


def test_exit_while_workers_start_and_end(run_many: RunMany) -> None:
    script = """
    import random, sys, threading, time
    import hermes_core as hc

    registry = hc.DelegationRegistry(capacity=50)
    rng = random.Random(int(sys.argv[1]))

    def dispatcher():
        while True:
            try:
                registry.dispatch(goal="g", runner=lambda: {"summary": "s"})
            except (hc.AtCapacity, RuntimeError):
                pass

    for _ in range(4):
        threading.Thread(target=dispatcher, daemon=True).start()
    time.sleep(rng.random() * 0.02)
    sys.exit(5)
    """
    run_many(script, 5)


def test_an_unhandled_exception_keeps_its_status(run_many: RunMany) -> None:
    script = BUSY + "sys.excepthook = lambda *_: None\nraise RuntimeError"
    run_many(script, 1, share=0.2)


#: Drops something, on a daemon thread, whose ``__del__`` gives the interpreter up while it ends.
DROP = """
import random, sys, threading, time
import hermes_core as hc

rng = random.Random(int(sys.argv[1]))
dropping = threading.Event()

class Slow:
    def __del__(self):
        dropping.set()
        time.sleep(0.05)

class Colliding:
    def __hash__(self):
        return hash("type")
    def __eq__(self, other):
        dropping.set()
        time.sleep(0.05)
        return False

class Kinds(list):
    def __iter__(self):
        dropping.set()
        time.sleep(0.05)
        return iter(["x"])
"""


@pytest.mark.parametrize(
    "drop",
    [
        "queue = hc.CompletionQueue(); queue.put(Slow()); del queue",
        "queue = hc.CompletionQueue(); queue.put(Slow()); queue.shutdown(immediate=True)",
        "queue = hc.CompletionQueue(); queue.put(Slow()); queue.get()",
        "hc.DelegationRegistry().dispatch(goal='g', runner=lambda: {'summary': Slow()})",
        "dropping.set(); queue = hc.CompletionQueue(); queue.put({Colliding(): 1})",
        "dropping.set(); hc.CompletionQueue().get(False, types=Kinds(['x']))",
    ],
    ids=["dealloc", "shutdown", "get", "registry", "eq", "types"],
)
def test_what_is_dropped_or_compared_at_exit_aborts_nothing(run_many: RunMany, drop: str) -> None:
    """Design, rule 7: no Python code runs above a native frame that a thread could be ended in."""
    script = f"""{DROP}
def work():
    while True:
        try:
            {drop}
        except (TypeError, hc.ShutDown):
            pass

threading.Thread(target=work, daemon=True).start()
dropping.wait()
time.sleep(rng.random() * 0.01)
sys.exit(6)
"""
    run_many(script, 6, share=0.2)


#: Each call that waits, alone: in the public surface, and in the native leaves beneath it.
BLOCKING = {
    "get": "queue.get()",
    "get, timeout": "queue.get(timeout=3600)",
    "get by key": "queue.get(session_key='k')",
    "get by kind": "queue.get(types={'x', 'y'}, timeout=3600)",
    "get unaddressed": "queue.get(unaddressed=True)",
    "put": "full.put({'session_key': 'k'})",
    "put, timeout": "full.put(1, True, 3600)",
    "join": "full.join()",
    "result": "handle.result()",
    "result, timeout": "handle.result(3600)",
    "registry wait": "registry._core.wait(handle.id, None)",
    "handoff take": "_core.Handoff().take(3600.0, [], 0, 1)",
    "cancel": "handle.cancel()",
    "interrupt_all": "registry.interrupt_all()",
}


@pytest.mark.parametrize("call", BLOCKING.values(), ids=BLOCKING)
def test_exit_with_threads_in_one_blocking_call(run_many: RunMany, call: str) -> None:
    script = f"""
    import random, sys, threading, time
    import hermes_core as hc
    from hermes_core import _core
    from hermes_core.delegation import interrupt as _interrupt

    _interrupt.call_all.__defaults__ = (3600,)
    queue, full = hc.CompletionQueue(), hc.CompletionQueue(1)
    full.put(0)
    registry = hc.DelegationRegistry()
    never = threading.Event()
    handle = registry.dispatch(goal="g", runner=never.wait, interrupt_fn=never.wait)
    for _ in range(4):
        threading.Thread(target=lambda: {call}, daemon=True).start()
    # From "not there yet" to "waiting": the number of the run says.
    time.sleep(random.Random(int(sys.argv[1])).random() * 0.005)
    sys.exit(8)
    """
    run_many(script, 8, share=0.1)


def test_atexit_handlers_use_the_core(run_many: RunMany) -> None:
    """All of it works there but starting a thread: that, an old Python may refuse."""
    script = """
    import atexit, queue as stdlib_queue, sys, threading
    import hermes_core as hc
    from hermes_core import async_delegation

    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=9)
    never = threading.Event()
    running = registry.dispatch(goal="g", runner=never.wait, session_key="k")
    threading.Thread(target=hc.CompletionQueue().get, daemon=True).start()
    idle = registry.dispatch(goal="idle", runner=lambda: {"summary": "s"})
    idle.result(50)

    @atexit.register
    def last():
        queue.put({"session_key": "k"})
        queue.put_back({"session_key": "first"})
        assert queue.get()["session_key"] == "first"
        assert queue.get(types=["async_delegation"], timeout=50)["goal"] == "idle"
        assert queue.get(session_key="k", timeout=50) == {"session_key": "k"}
        try:
            queue.get(timeout=0.01)
        except stdlib_queue.Empty:
            pass
        assert running.state == "running" and len(registry.list()) == 2
        assert registry.stats()["running"] == async_delegation.active_count() + 1 == 1
        assert "PROCESS" in hc.format_process_notification({"type": "completion"}).upper()
        try:
            handle = registry.dispatch(goal="late", runner=lambda: {"summary": "late"})
        except RuntimeError:
            assert sys.version_info[:2] == (3, 12)
        else:
            assert handle.result(50) == {"summary": "late"}
        queue.shutdown(immediate=True)
        print("used", flush=True)

    sys.exit(2)
    """
    run_many(script, 2, "used\n", share=0.2)


def test_exit_with_a_sweeper_that_waits_or_sweeps(run_many: RunMany) -> None:
    """The thread that an uninstall starts; nobody ends it, and producers go on."""
    script = """
    import queue, random, sys, threading, time, types
    import hermes_core as hc
    from hermes_core.gateway import queue_swap

    rng = random.Random(int(sys.argv[1]))
    host = types.SimpleNamespace(completion_queue=queue.Queue())
    theirs, ours = host.completion_queue, hc.CompletionQueue()
    swap = queue_swap.QueueSwap(host, ours)
    swap.install()
    bound = ours.put
    swap.uninstall()
    assert host.completion_queue is theirs
    bound({"type": "completion"})
    assert theirs.get(timeout=60) == {"type": "completion"}

    def produce():
        while True:
            bound({"type": "completion"})
            theirs.get()

    for _ in range(rng.randrange(3)):
        threading.Thread(target=produce, daemon=True).start()
    time.sleep(rng.random() * 0.01)
    """
    run_many(script)
