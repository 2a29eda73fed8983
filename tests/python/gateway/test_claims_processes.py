"""Claims in processes that fork, that stand still, and in event loops (F11, F12, F39)."""

from __future__ import annotations

import json
import os
import signal
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from later import environment, run

from process.lives import Child
from process.slow_disk import stopped

VERSION = "0.19.0"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it forks, and stops itself")

PRELUDE = """
import json, os, queue, random, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
from hermes_core import gateway
from hermes_core.gateway import home_ledgers
gateway.install()
from tools import async_delegation as api
from tools.process_registry import process_registry
events = process_registry.completion_queue

def dispatch(summary="s", key="ann"):
    answer = api.dispatch_async_delegation_batch(
        goals=["g"], context=None, toolsets=None, role="leaf", model=None, session_key=key,
        runner=lambda: {"results": [{"status": "completed", "summary": summary}]},
        max_async_children=1000,
    )
    assert answer["status"] == "dispatched", answer
    return answer["delegation_id"]

def deliver(event):
    token = api.claim_event_delivery(event, "a consumer")
    return token and api.complete_completion_delivery(event["delegation_id"], token)

def say(value):
    print(json.dumps(value), flush=True)

def ask():
    return json.loads(sys.stdin.readline())
"""


def script(text: str) -> str:
    return PRELUDE + textwrap.dedent(text)


# Forks.


def test_f39_no_lock_of_ours_is_held_in_a_forked_child(tmp_path: Path) -> None:
    """Another thread has every one of them as the process forks."""
    said = run(VERSION, script(LOCKS), tmp_path)
    assert "Claims._lock" in said
    assert "Restored._lock" in said
    assert "hermes_core.gateway.home_ledgers._lock" in said


LOCKS = """
    import gc, types

    kinds = type(threading.Lock()), type(threading.RLock())

    def ours(one):
        name = one.__name__ if type(one) is types.ModuleType else type(one).__module__
        return type(name) is str and name.startswith("hermes_core.")

    def attributes(one):
        slots = [name for kind in type(one).__mro__ for name in vars(kind).get("__slots__", ())]
        return {*getattr(one, "__dict__", ()), *slots}

    def locks():
        everything = [*sys.modules.values(), *gc.get_objects()]
        for one in {id(one): one for one in everything}.values():
            for name in attributes(one) if ours(one) else ():
                if isinstance(getattr(one, name, None), kinds):
                    yield one, name

    dispatch()
    deliver(events.get(timeout=60))
    process_registry.drain_notifications(session_key="ann")
    found = list(locks())
    for one, name in found:
        of = one.__name__ if isinstance(one, types.ModuleType) else type(one).__name__
        print(f"{of}.{name}")
    held, go = threading.Event(), threading.Event()

    def hold():
        for lock in {id(lock): lock for lock in (getattr(*each) for each in found)}.values():
            assert lock.acquire(timeout=10)
        held.set()
        go.wait()
        os._exit(0)

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(60)
    pid = os.fork()
    if pid == 0:
        busy = [name for one, name in found if not getattr(one, name).acquire(timeout=0)]
        os._exit(len(busy))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sys.stdout.flush()
    os._exit(status)
"""


@pytest.mark.parametrize("end", ["os._exit(11)", "sys.exit(11)"])
def test_f11_a_fork_at_any_moment_leaves_a_child_that_works_and_a_parent_that_completes(
    tmp_path: Path, end: str
) -> None:
    """Threads take, put back, claim, release and complete meanwhile."""
    text = script(FORKS.replace("END", end))
    assert run(VERSION, text, tmp_path, HERMES_CORE_DURABILITY="process").split()[-1] == "fine"


FORKS = """
    rng = random.Random(11)
    started, done, offered = [], [], {}
    stop = threading.Event()

    def consume(number):
        own = random.Random(number)
        while not stop.is_set():
            try:
                event = events.get(timeout=0.01)
            except queue.Empty:
                continue
            if own.random() < 0.2:
                events.put(dict(event))
                continue
            offered["latest"] = event
            token = api.claim_event_delivery(event, str(number))
            if token is None:
                continue
            offered["claimed"] = event, token
            if own.random() < 0.2:
                api.release_event_delivery(event, token)
                continue
            if api.complete_completion_delivery(event["delegation_id"], token):
                done.append(event["delegation_id"])

    def produce():
        while not stop.is_set():
            if len(started) - len(done) < 10:
                started.append(dispatch())
            stop.wait(0.01)  # a child writes to the same file

    def drain():
        while not stop.is_set():
            process_registry.drain_notifications(session_key=f"nobody {rng.random()}")
            gateway.status()
            stop.wait(0.01)

    def child(inherited):
        # What its parent has is its parent's: taken, claimed, or on its way.
        for event in inherited:
            assert api.claim_event_delivery(event, "the child") is None
            assert not api.mark_completion_delivered(event["delegation_id"])
        if "claimed" in offered:
            event, token = offered["claimed"]
            assert not api.complete_completion_delivery(event["delegation_id"], token)
            assert not api.release_completion_delivery(event["delegation_id"], token)
        assert events.empty()
        # And it works.
        for _ in range(2):
            name = dispatch(key="the child's")
            event = events.get(timeout=60)
            assert event["delegation_id"] == name
            events.put(dict(event))
            assert deliver(events.get(timeout=60))
        name = dispatch(key="the child's")
        event = events.get(timeout=60)
        token = api.claim_event_delivery(event, "the child")
        api.release_event_delivery(event, token)
        ((event, _),) = process_registry.drain_notifications(session_key="the child's")
        assert deliver(event)
        home_ledgers.flush()
        assert api.get_durable_delegation(name)["delivery_state"] == "delivered"
        assert gateway.status().installed

    # The gateway imports what it needs at the first use; a fork in there stops its child.
    dispatch()
    deliver(events.get(timeout=60))
    threads = [threading.Thread(target=consume, args=(number,), daemon=True) for number in range(3)]
    threads += [threading.Thread(target=one, daemon=True) for one in (produce, drain)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(rng.random() * 0.05)
        inherited = [offered["latest"]] if "latest" in offered else []
        pid = os.fork()
        if pid == 0:
            try:
                child(inherited)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            END
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    stop.set()
    for thread in threads:
        thread.join()
    # What was released to last pauses, and is whoever's asks for it.
    deadline = time.monotonic() + 60
    while len(done) < len(started) and time.monotonic() < deadline:
        api.restore_undelivered_completions(events)
        try:
            event = events.get(timeout=0.05)
        except queue.Empty:
            continue
        if deliver(event):
            done.append(event["delegation_id"])
    assert sorted(done) == sorted(started), (len(done), len(started), len(set(done)))
    home_ledgers.flush()
    assert all(api.get_durable_delegation(one)["delivery_state"] == "delivered" for one in started)
    print("fine")
"""


# Processes that stand still, past the lease of their ledger.


class Front(Child):
    """A front end beside a gateway; its lease is short."""

    def __init__(self, home: Path, text: str) -> None:
        env = environment(VERSION, home, HERMES_CORE_LEASE_SECONDS="0.5")
        super().__init__([sys.executable, "-c", script(text)], env=env, cwd=home)


#: The other one: it asks for what is undelivered until it has the result, and delivers it or not.
OTHER = """
    while events.empty():
        api.restore_undelivered_completions(events)
        time.sleep(0.01)
    event = events.get(timeout=60)
    token = api.claim_event_delivery(event, "the other")
    say([event["delegation_id"], bool(token)])
    if sys.argv[1:] == ["deliver"]:
        say(api.complete_completion_delivery(event["delegation_id"], token))
    else:
        api.release_completion_delivery(event["delegation_id"], token)
"""


def other(home: Path, *arguments: str) -> list[Any]:
    """Have the other one take the result over; what it said."""
    out = run(VERSION, script(OTHER), home, *arguments, HERMES_CORE_LEASE_SECONDS="0.5")
    return [json.loads(line) for line in out.splitlines()]


#: What it had by the time it stood still.
HAD = {
    "waiting": "",
    "taken": "event = events.get(timeout=60)",
    "claimed": """
    event = events.get(timeout=60)
    token = api.claim_event_delivery(event, "the first")
    """,
}

FIRST = """
    name = dispatch()
    while events.empty():
        time.sleep(0.005)
    home_ledgers.flush()
    copy = dict(events.queue[0])
    HAD
    say(name)
    ask()
"""

TRIES = """
    assert api.get_durable_delegation(name)["delivery_state"] in ("pending", "delivered")
    event = events.get(timeout=60) if events.qsize() else copy
    assert event["delegation_id"] == name
    say([api.claim_event_delivery(one, "the first") for one in (event, copy)])
    say(events.qsize())
"""


@pytest.mark.parametrize("had", ["waiting", "taken"])
def test_f12_what_another_has_delivered_cannot_be_claimed(tmp_path: Path, had: str) -> None:
    with Front(tmp_path, FIRST.replace("HAD", HAD[had]) + TRIES) as first:
        name = first.hear()
        first.signal(signal.SIGSTOP)
        assert other(tmp_path, "deliver") == [[name, True], True]
        first.signal(signal.SIGCONT)
        first.tell()
        assert first.end() == [[None, None], 0]


COMPLETES = """
    say(api.complete_completion_delivery(name, token))
    say(api.complete_completion_delivery(name, token))
    say(events.qsize())
    say(api.get_durable_delegation(name)["delivery_state"])
"""


def test_f12_a_claim_that_outlives_its_lease_is_not_completed(tmp_path: Path) -> None:
    """Another process has delivered the result meanwhile; it comes nowhere again."""
    with Front(tmp_path, FIRST.replace("HAD", HAD["claimed"]) + COMPLETES) as first:
        name = first.hear()
        first.signal(signal.SIGSTOP)
        assert other(tmp_path, "deliver") == [[name, True], True]
        first.signal(signal.SIGCONT)
        first.tell()
        assert first.end() == [False, False, 0, "delivered"]


GOES_ON = """
    event = events.get(timeout=60)
    say([event["delegation_id"], deliver(event)])
"""


@pytest.mark.parametrize("had", ["waiting", "taken"])
def test_f12_what_another_has_given_back_goes_on_here(tmp_path: Path, had: str) -> None:
    more = "\n    events.put(dict(event))" if had == "taken" else ""
    with Front(tmp_path, FIRST.replace("HAD", HAD[had]) + more + GOES_ON) as first:
        name = first.hear()
        first.signal(signal.SIGSTOP)
        assert other(tmp_path) == [[name, True]]
        first.signal(signal.SIGCONT)
        first.tell()
        assert first.end() == [[name, True]]
    assert run(VERSION, script("print(events.qsize())"), tmp_path) == "0\n"


HOLDS = """
    while events.empty():
        api.restore_undelivered_completions(events)
        time.sleep(0.01)
    event = events.get(timeout=60)
    assert api.claim_event_delivery(event, "the second")
    say(event["delegation_id"])
    ask()
"""

LATER = """
    from hermes_core.gateway import claims
    claims.MAX_PAUSE_SECONDS = 0.05
    say([api.claim_event_delivery(copy, "the first"), events.qsize()])
    ask()
    event = events.get(timeout=60)
    say([event["delegation_id"], deliver(event)])
"""


def test_f12_what_another_has_comes_here_again_should_that_end_without_delivering_it(
    tmp_path: Path,
) -> None:
    with Front(tmp_path, FIRST.replace("HAD", HAD["taken"]) + LATER) as first:
        name = first.hear()
        first.signal(signal.SIGSTOP)
        with Front(tmp_path, HOLDS) as second:
            assert second.hear() == name
            first.signal(signal.SIGCONT)
            first.tell()
            assert first.hear() == [None, 0]
            second.tell()
            second.end()
        first.tell()
        assert first.end() == [[name, True]]


# Event loops.


LOOP = """
    import asyncio

    stops = os.environ["DISK_STOPS"]
    waiting = [dispatch(str(number)) for number in range(3)]
    while events.qsize() < 3:
        time.sleep(0.005)
    home_ledgers.flush()

    async def main():
        # The first consumer here that is none of the gateway's.
        open(stops, "w").close()
        stuck = threading.Thread(target=dispatch)
        stuck.start()
        while not api.active_count():
            await asyncio.sleep(0.002)
        first = events.get_nowait()
        events.put(dict(first))
        taken = [events.get(timeout=1) for _ in range(3)]
        assert sorted(event["delegation_id"] for event in taken) == sorted(waiting)
        assert process_registry.drain_notifications(session_key="bob") == []
        tokens = [api.claim_event_delivery(event, "a") for event in taken]
        assert all(tokens)
        assert api.claim_event_delivery(taken[0], "b") is None
        api.complete_event_delivery(taken[0], tokens[0])
        api.release_event_delivery(taken[1], tokens[1])
        assert api.mark_completion_delivered(taken[2]["delegation_id"])
        again = events.get_nowait()
        assert again["delegation_id"] == taken[1]["delegation_id"]
        assert stuck.is_alive()
        os.unlink(stops)
        # What an earlier process left comes once the disk goes on.
        while True:
            try:
                event = events.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.01)
                continue
            if event.get("restored"):
                break
        assert event["session_key"] == "left"
        token = api.claim_event_delivery(event, "a")
        assert token
        api.complete_event_delivery(event, token)
        await asyncio.to_thread(stuck.join)
        while process_registry.drain_notifications(session_key="bob") == []:
            await asyncio.sleep(0.01)

    asyncio.run(main())
    assert home_ledgers.health()[0]["state"] == "ok"
    print("fine")
"""

LEFT = """
    for key in ("left", "bob"):
        dispatch(key=key)
        events.put(events.get(timeout=60))
"""


def test_nothing_waits_for_the_disk_on_an_event_loop(tmp_path: Path) -> None:
    """A take, a put, a drain, a claim and its end, while the ledger's disk stands still."""
    run(VERSION, script(LEFT), tmp_path)
    assert run(VERSION, script(LOOP), tmp_path, **stopped(tmp_path)) == "fine\n"
