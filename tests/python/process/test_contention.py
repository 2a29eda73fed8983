"""Sixty-four threads on one queue and one registry, switched as often as the interpreter can."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

RunMany = Callable[..., None]

START = """
import queue as stdlib_queue, random, sys, threading
import hermes_core as hc

sys.setswitchinterval(1e-6)
seed = int(sys.argv[1])
failures = []

def thread(target, *args):
    def run():
        try:
            target(*args)
        except BaseException as exc:
            failures.append(repr(exc))
    made = threading.Thread(target=run)
    made.start()
    return made

def join(threads):
    for one in threads:
        one.join()
"""


def test_overlapping_filters_deliver_every_event_once(run_many: RunMany) -> None:
    """F11, F2: 32 producers; 32 consumers by owner, by kind, by neither; takes that are undone."""
    script = """
    KINDS, OWNERS, EACH = ["completion", "watch_match", "async_delegation"], "abcd", 40
    queue = hc.CompletionQueue(50)
    registry = hc.DelegationRegistry(queue)
    taken, over = [], threading.Event()

    def produce(number):
        rng = random.Random(seed * 100 + number)
        for n in range(EACH):
            queue.put({"type": rng.choice(KINDS), "session_key": rng.choice(OWNERS),
                       "n": (number, n)}, timeout=50)

    FILTERS = [{}, {"session_key": "a"}, {"types": ["watch_match"]},
               {"types": {"completion", "async_delegation"}, "session_key": "b"}]

    def consume(number):
        rng = random.Random(seed * 100 + number)
        wanted = FILTERS[number % len(FILTERS)]
        mine = []
        while not over.is_set():
            try:
                event = queue.get(timeout=0.002, **wanted)
            except stdlib_queue.Empty:
                continue
            if "session_key" in wanted:
                assert event["session_key"] == wanted["session_key"], event
            if "types" in wanted:
                assert event["type"] in wanted["types"], event
            if rng.randrange(4) == 0:
                queue.put_back(event)
            else:
                mine.append(event["n"])
                queue.task_done()
        taken.extend(mine)

    def read():
        while not over.wait(0.001):
            registry.list(), registry.stats(), queue.qsize(), queue.full(), queue.empty()

    producers = [thread(produce, number) for number in range(32)]
    consumers = [thread(consume, number) for number in range(32)]
    readers = [thread(read) for _ in range(2)]
    join(producers)
    queue.join()
    over.set()
    join(consumers + readers)
    assert len(taken) == len(set(taken)) == 32 * EACH, (len(taken), len(set(taken)))
    assert queue.empty() and queue.unfinished_tasks == 0
    print("each once", failures)
    """
    run_many(START + dedent(script), 0, "each once []\n", share=0.1)


def test_one_consumer_per_owner_sees_its_events_in_order(run_many: RunMany) -> None:
    """F2: also when it undoes takes, and others take other owners' events around it."""
    script = """
    OWNERS, EACH = [f"owner {n}" for n in range(32)], 40
    queue = hc.CompletionQueue(40)

    def produce(number):
        # Two owners each, so that each owner has two producers.
        for n in range(EACH):
            for owner in OWNERS[number], OWNERS[number - 1]:
                queue.put({"session_key": owner, "n": n, "from": number}, timeout=50)

    def consume(owner):
        rng = random.Random(f"{seed} {owner}")
        last = {}
        for _ in range(2 * EACH):
            event = queue.get(session_key=owner, timeout=50)
            while rng.randrange(3) == 0:
                queue.put_back(event)
                again = queue.get(session_key=owner, timeout=50)
                assert again is event, (again, event)
            assert event["session_key"] == owner
            assert event["n"] == last.get(event["from"], -1) + 1, (event, last)
            last[event["from"]] = event["n"]

    join([thread(produce, n) for n in range(32)] + [thread(consume, owner) for owner in OWNERS])
    assert queue.empty()
    print("in order", failures)
    """
    run_many(START + dedent(script), 0, "in order []\n", share=0.1)


def test_delegations_of_32_dispatchers_end_once_each(run_many: RunMany) -> None:
    """F11, F7: with cancels, listings and counts in between, and a cap that is never passed."""
    script = """
    EACH, CAP = 10, 6
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=CAP)
    running, most, lock = 0, 0, threading.Lock()
    dispatched, ended, over, room = [], [], threading.Event(), threading.Event()

    def runner(number):
        global running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1
        return {"summary": number, "status": ("completed", "failed", "odd")[number % 3]}

    def dispatch(number):
        done = 0
        while done < EACH:
            try:
                handle = registry.dispatch(
                    goal="g", runner=lambda n=done: runner(n), session_key=str(number),
                    interrupt_fn=lambda: None)
            except hc.AtCapacity as refused:
                assert (refused.limit, refused.running) == (CAP, CAP), refused
                room.wait(0.01)
                room.clear()
                continue
            done += 1
            dispatched.append(handle.id)
            if done % 5 == 0:
                registry.cancel(session_key=str(number))

    def consume():
        while not over.is_set():
            try:
                ended.append(queue.get(types=["async_delegation"], timeout=0.01)["delegation_id"])
                room.set()
            except stdlib_queue.Empty:
                pass

    def read():
        while not over.wait(0.001):
            stats = registry.stats()
            assert 0 <= stats["running"] <= CAP, stats
            for record in registry.list():
                assert record["state"] in ("running", "completed", "error"), record
            assert 0 <= registry.active_count() <= CAP

    dispatchers = [thread(dispatch, n) for n in range(32)]
    others = [thread(consume) for _ in range(30)] + [thread(read) for _ in range(2)]
    join(dispatchers)
    while registry.active_count() or not queue.empty():
        threading.Event().wait(0.001)
    over.set()
    join(others)
    assert most <= CAP, most
    assert len(dispatched) == 32 * EACH and sorted(dispatched) == sorted(ended)
    stats = registry.stats()
    assert stats["undelivered"] == 0 and stats["discarded"] == 0, stats
    print("each once", failures)
    """
    run_many(START + dedent(script), 0, "each once []\n", share=0.1)
