"""Objects whose ``__del__`` calls back into the core, dropped wherever the core drops anything."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest

RunMany = Callable[..., None]

#: ``Reentrant``: its finalizer uses the very queue and registry that let go of it, in every way.
REENTRANT = """
import gc, logging, queue as stdlib_queue, random, sys, threading, time
import hermes_core as hc

logging.disable(logging.CRITICAL)  # runners that raise are logged
rng = random.Random(int(sys.argv[1]))
sys.setswitchinterval(1e-5)
made, finalized = [], []

class Reentrant:
    def __init__(self, queue=None, registry=None):
        self.queue = hc.CompletionQueue() if queue is None else queue
        self.registry = hc.DelegationRegistry(self.queue) if registry is None else registry
        made.append(None)

    def __del__(self):
        queue, registry = self.queue, self.registry
        try:
            queue.put_nowait(0)
            queue.get(False, types=["completion"])
        except (stdlib_queue.Empty, stdlib_queue.Full, hc.ShutDown):
            pass
        registry.list(), registry.stats(), registry.get("x"), registry.cancel(session_key="x")
        queue.qsize(), queue.unfinished_tasks, queue.full(), queue.maxsize
        try:
            registry.dispatch(goal="from a finalizer", runner=dict, session_key="final")
        except (hc.AtCapacity, RuntimeError):
            pass
        try:
            with queue.mailbox(session_key="final") as box:
                box.get(timeout=0).nack()
        except (stdlib_queue.Empty, RuntimeError, hc.ShutDown):
            pass
        if len(finalized) % 7 == 0:
            gc.collect()
        hc.format_process_notification({"type": "async_delegation", "session_key": "a"})
        # The last reference to a queue and to what waits in it.
        nested = hc.CompletionQueue()
        nested.put(queue)
        nested.put({"session_key": "b", "registry": registry})
        del nested, self.queue, self.registry
        finalized.append(None)
"""

#: What lets go of one: the body of a loop. ``R`` makes one.
DROPS = {
    "get": "queue = hc.CompletionQueue(); queue.put(R(queue)); queue.get()",
    "get by key": "queue.put({'session_key': 'a', 'r': R(queue)}); queue.get(session_key='a')",
    "shutdown": "queue = hc.CompletionQueue(); queue.put(R(queue)); queue.shutdown(immediate=True)",
    "shutdown in finalizer": (
        "class S(R):\n"
        "    def __del__(self):\n"
        "        self.queue.shutdown(immediate=True)\n"
        "        R.__del__(self)\n"
        "one = hc.CompletionQueue(); one.put(S(one)); one.put(R(one)); one.get(); one = S = None"
    ),
    "queue goes": "one = hc.CompletionQueue(); one.put(R(queue)); del one",
    "registry goes": (
        "r = hc.DelegationRegistry(queue); r.dispatch(goal=R(queue), runner=dict).result(50); del r"
    ),
    "clear": (
        "r = hc.DelegationRegistry(queue)\n"
        "r.dispatch(goal=R(queue, r), runner=dict).result(50)\n"
        "r.clear(); queue.get(types=['async_delegation'], timeout=50); r = None"
    ),
    "retention": (
        "registry.dispatch(goal=R(queue, registry), runner=dict).result(50)\n"
        "queue.get(types=['async_delegation'], timeout=50)"
    ),
    "runner": (
        "registry.dispatch(goal='g', runner=lambda r=R(queue, registry): {'r': r}).result(50)"
    ),
    "raised": "registry.dispatch(goal='g', runner=lambda r=R(queue): 1 / r).result(50)",
    "not a dict": "registry.dispatch(goal='g', runner=lambda: R(queue, registry)).result(50)",
    "refused": (
        "try: hc.DelegationRegistry(queue, capacity=0).dispatch(goal=R(queue), runner=dict)\n"
        "except hc.AtCapacity: pass"
    ),
    "full": (
        "one = hc.CompletionQueue(1); one.put(0)\n"
        "try: one.put(R(one), timeout=0)\n"
        "except stdlib_queue.Full: pass"
    ),
    "shut": (
        "one = hc.CompletionQueue(); one.shutdown()\ntry: one.put(R(one))\nexcept hc.ShutDown: pass"
    ),
    "key": (
        "class Key(str): pass\n"
        "key = Key('a'); key.r = R(queue); queue.put({'session_key': key})\n"
        "del key; queue.get(session_key='a', timeout=50)"
    ),
    "argument": ("try: queue.get(False, types=[R(queue)])\nexcept TypeError: pass"),
    "formatted": "hc.format_process_notification({'type': R(queue), 'goal': R(queue)})",
}


@pytest.mark.parametrize("drop", DROPS)
def test_a_finalizer_calls_back(run_many: RunMany, drop: str) -> None:
    """Design, rule 6: nothing is dropped under a core lock, so nothing here can hang."""
    body = indent(DROPS[drop], "        ")
    script = f"""{REENTRANT}
R = Reentrant

def work():
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=1000)
    for _ in range(25):
{body}

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
deadline = time.monotonic() + 50
while len(finalized) < len(made):
    # A worker may hold its last job for a moment yet.
    gc.collect()
    assert time.monotonic() < deadline, (len(made), len(finalized))
    time.sleep(0)
print(len(made) >= 75, len(finalized) - len(made))
"""
    run_many(script, 0, "True 0\n", share=0.1)


def test_a_finalizer_opens_a_mailbox_over_a_ledger(run_many: RunMany) -> None:
    """F39: it may run while its thread reads the file for another mailbox, or dispatches."""
    script = """
import gc, os, queue as stdlib_queue, sys, tempfile, threading
import hermes_core as hc

sys.setswitchinterval(1e-5)
path = os.path.join(tempfile.mkdtemp(), "delegations.db")
registry = hc.DelegationRegistry(capacity=100, ledger=path)
queue, made, finalized = registry.queue, [], []

class Cycle:
    def __init__(self, key):
        self.key, self.myself = key, self
        made.append(None)

    def __del__(self):
        with queue.mailbox(session_key=self.key) as box:
            try:
                box.get(timeout=0).ack()
            except stdlib_queue.Empty:
                pass
        finalized.append(None)

def work(number):
    for turn in range(10):
        key = f"room-{number}"
        Cycle(key)
        registry.dispatch(goal="g", runner=dict, session_key=key).result(50)
        with queue.mailbox(session_key=key):
            Cycle(key)
            gc.collect()

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.collect()
print(len(made), len(finalized))
"""
    run_many(script, 0, "60 60\n", share=0.05)
