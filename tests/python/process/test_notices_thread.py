"""F40: the thread that acts on a ledger's notices comes back, and nothing keeps it waiting."""

from __future__ import annotations

from pathlib import Path

import pytest

from process.lives import live

THROW = """
import ctypes

def throw(kind):
    for thread in threading.enumerate():
        if thread.name == "hermes-core-notices":
            ident = ctypes.c_ulong(thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(kind))

looked = threading.Event()
look = registry._look

class Hears(hc.DelegationRegistry):
    def _look(self, ledger):
        super()._look(ledger)
        looked.set()

registry = Hears(queue, ledger=ledger, capacity=5000)

def hears():
    looked.clear()
    ledger.look_again(0.0)
    return looked.wait(30)

"""


@pytest.mark.parametrize("kind", ["ValueError", "SystemExit", "KeyboardInterrupt", "MemoryError"])
def test_f40_what_is_thrown_in_ends_nothing(tmp_path: Path, kind: str) -> None:
    said = live(
        tmp_path / "l.db",
        THROW
        + f"""
dispatch().result(30)
heard = [hears()]
for _ in range(50):
    throw({kind})
    heard.append(hears())
say(all(heard))
say(sum(one.name == "hermes-core-notices" for one in threading.enumerate()))
""",
    )
    assert said == [True, 1]


def test_f40_an_owner_who_exits_ends_nothing(tmp_path: Path) -> None:
    """SystemExit from a predicate is a no, and others get theirs."""
    path = tmp_path / "l.db"
    said = live(
        path,
        THROW
        + """
asked = []

def owns(event):
    asked.append(threading.current_thread().name)
    if asked[-1] != "MainThread":
        sys.exit(3)
    return False

box = queue.mailbox(owns=owns)
other = queue.mailbox(session_key="b")
handle = dispatch(key="a")
handle.result(30)
queue.get(session_key="a", timeout=30)
dispatch(key="b").result(30)
other.get(timeout=30).ack()
for row in ledger.rows():
    ledger.redeliver(row["delegation_id"])
other.get(timeout=30).ack()
say(hears())
say("hermes-core-notices" in asked)
""",
    )
    assert said == [True, True]


def test_f40_a_thread_that_cannot_be_started_is_started_later(tmp_path: Path) -> None:
    said = live(
        tmp_path / "l.db",
        THROW
        + """
from hermes_core.runtime import workers

def refuse(*_):
    raise RuntimeError("no thread")

start, workers.start_thread = workers.start_thread, refuse
box = queue.mailbox(session_key="a")
registry.ledger.follow(registry)
workers.start_thread = start
registry.ledger.follow(registry)
say(hears())
""",
    )
    assert said == [True]


def test_f40_an_interrupt_fn_that_hangs_keeps_no_notice_waiting(tmp_path: Path) -> None:
    """Cancels by hand are heard, and what comes free is seen, while ten of them hang."""
    said = live(
        tmp_path / "l.db",
        THROW
        + """
stops = [threading.Event() for _ in range(3)]
hung = [dispatch(runner=forever, interrupt_fn=forever) for _ in range(10)]
good = [dispatch(runner=stop.wait, interrupt_fn=stop.set, key="good") for stop in stops]
for handle in (*hung, *good):
    assert ledger.cancel(handle.id)
say([handle.result(30) is not None for handle in good])
say(hears())
say(registry.active_count())
""",
    )
    assert said == [[True] * 3, True, 10]


def test_f40_every_cancel_of_a_crowd_is_heard(tmp_path: Path) -> None:
    said = live(
        tmp_path / "l.db",
        THROW
        + """
import asyncio

async def runs():
    await asyncio.sleep(3600)

handles = [dispatch(runner=runs) for _ in range(3000)]
assert all(ledger.cancel(handle.id) for handle in handles)
for handle in handles:
    handle.result(60)
say(len({handle.state for handle in handles}))
say(handles[0].state)
""",
    )
    assert said == [1, "interrupted"]
