"""F40: registries that share one ``Ledger`` each hold their own there, and give it up alone."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

import hermes_core as hc
from process.lives import Life, live

#: A second registry beside the one that every script has, both on one ``Ledger``. Each has a queue
#: of its own; the lease is an hour: nothing is free because one is over.
SHARE = """
import gc
other = hc.DelegationRegistry(ledger=ledger, capacity=100)

def stand():
    return [[row["goal"], row["holder"], row["state"], row["delivery"]] for row in rows()]

def rows():
    return [{**row, "goal": row["record"]["goal"]} for row in ledger.rows()]

def holders():
    return {row["goal"]: row["holder"] for row in rows()}
"""

#: What the first one has: something that runs, something that waits, something at a consumer.
HAS = """
stop = threading.Event()
runs = dispatch("runs", key="r", runner=lambda: {"summary": stop.wait()})
dispatch("waits", key="w").result(30)
consumer = queue.mailbox(session_key="l")
dispatch("leased", key="l").result(30)
leased = consumer.get(timeout=30)
"""

#: How it ends. What its consumer has comes back as it is given up.
ENDS = {
    "dropped": """
        stop.set()
        runs.result(30)
        del runs, registry, queue, consumer, leased
    """,
    "replaced": """
        stop.set()
        runs.result(30)
        registry = hc.DelegationRegistry(ledger=ledger, capacity=100)
        queue = registry.queue
        del runs, consumer, leased
    """,
    "closed": """
        registry.clear()
        del leased
        consumer.close()
        # Its runner still has it, and its queue is there.
        queue.shutdown(immediate=True)
    """,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


@pytest.mark.parametrize("end", ENDS)
def test_f40_what_one_of_two_registries_held_is_free_at_its_end(path: Path, end: str) -> None:
    """F40: the other one, which waits for it, gets it at once."""
    before = """
        box = other.queue.mailbox(session_key="r")
        box.add_key("w")
        box.add_key("l")
        other.dispatch(goal="the other's", session_key="o", runner=dict).result(30)
        got = []
        say([other.restore(session_keys=list("rwl")), box.pending()])
    """
    after = """
        gc.collect()
        while len(got) < 3:
            got.append(box.get(timeout=30))
        say(sorted([one.event["goal"], one.event["status"], one.ack()] for one in got))
        say(holders()["the other's"])
    """
    status = "lost" if end == "closed" else "completed"
    script = SHARE + HAS + dedent(before) + dedent(ENDS[end]) + dedent(after)
    assert live(path, script) == [
        [0, 0],
        [["leased", "completed", True], ["runs", status, True], ["waits", "completed", True]],
        "us",
    ]


def test_f40_what_a_registry_holds_is_left_alone_by_the_other(path: Path) -> None:
    """F40: also where that has an owner for it, or acts on it by hand."""
    script = """
        box = other.queue.mailbox(owns=lambda event: True)
        say([box.pending(), other.restore(owns=lambda event: True, proven=True)])
        say([other.redeliver(row["delegation_id"]) for row in ledger.rows()])
        say(sorted(stand()))
        say([ledger.elsewhere(), leased.ack()])
        stop.set()
        say(sorted(queue.get(timeout=30)["goal"] for _ in "rw"))
        say(holders())
    """
    assert live(path, SHARE + HAS + dedent(script)) == [
        [0, 0],
        [False] * 3,
        [
            ["leased", "us", "completed", "pending"],
            ["runs", "us", "running", None],
            ["waits", "us", "completed", "pending"],
        ],
        [[], True],
        ["runs", "waits"],
        {"leased": "nobody", "runs": "nobody", "waits": "nobody"},
    ]


def test_f40_what_is_asked_by_hand_reaches_the_registry_that_holds_it(path: Path) -> None:
    """F40: a cancel, a drop, a reset and a redelivery, each at once."""
    script = """
        from queue import SimpleQueue

        heard = SimpleQueue()

        class Hears(hc.DelegationRegistry):
            def _drop_asked_for(self, *asked):
                super()._drop_asked_for(*asked)
                heard.put("drop")

            def _parked_elsewhere(self, *asked):
                super()._parked_elsewhere(*asked)
                heard.put("park")

        registry, other = Hears(ledger=ledger), Hears(ledger=ledger)
        handles = {}
        for one in (registry, other):
            stop = threading.Event()

            def runner():
                return {"summary": stop.wait()}

            run = one.dispatch(goal="a", runner=runner, interrupt_fn=stop.set, session_key="r")
            ended = one.dispatch(goal="b", session_key="w", runner=dict)
            ended.result(30)
            say(ledger.cancel(run.id) and run.result(30) is not None)
            box = one.queue.mailbox(session_key="w")
            say([ledger.drop(ended.id), heard.get(timeout=30)])
            say([one.get(ended.id)["delivery"], box.pending()])
            say([ledger.redeliver(ended.id), box.get(timeout=30).ack()])
            parked = one.dispatch(goal="c", session_key="e", runner=dict)
            parked.result(30)
            handles[one] = parked
            box.close()
        registry.queue.new_epoch("e")
        say(heard.get(timeout=30))
        say([one.get(handle.id)["delivery"] for one, handle in handles.items()])
        say(ledger.flush())
        say({row["delivery"] for row in ledger.rows() if row["session_key"] == "e"} == {"parked"})
        say(heard.empty())
    """
    each = [True, [True, "drop"], ["dropped", 0], [True, True]]
    assert live(path, SHARE + dedent(script)) == [
        *each,
        *each,
        "park",
        ["parked", "parked"],
        True,
        True,
        True,
    ]


def test_f40_what_one_registry_drops_unsettled_goes_on_while_its_queue_is_there(path: Path) -> None:
    """F40: what waits in a queue is held for whoever takes it there, also without its registry."""
    script = """
        box = queue.mailbox(session_key="a")
        dispatch().result(30)
        del registry, dispatch
        gc.collect()
        say([other.restore(session_keys=["a"]), holders()])
        say(box.get(timeout=30).ack())
        say([row["delivery"] for row in ledger.rows()])
    """
    assert live(path, SHARE + dedent(script)) == [[0, {"a task": "us"}], True, ["delivered"]]


def test_f40_a_registry_that_goes_takes_its_thread_along(path: Path) -> None:
    """F40: however many have used a ledger."""
    script = """
        def hear():
            return [one for one in threading.enumerate() if one.name == "hermes-core-notices"]

        for _ in range(20):
            one = hc.DelegationRegistry(ledger=ledger)
            one.dispatch(goal="a task", runner=dict).result(30)
            say(one.queue.get(timeout=30)["goal"])
            (thread,) = hear()
            del one
            gc.collect()
            thread.join(30)
        say(len(hear()))
    """
    assert live(path, SHARE + dedent(script)) == [*["a task"] * 20, 0]


def test_f40_a_registry_that_ends_in_another_process_leaves_its_own_alone(path: Path) -> None:
    """F40: what the one that goes on holds is its own there, too."""
    before = "other.dispatch(goal=\"the other's\", session_key='o', runner=dict).result(30)"
    after = "gc.collect(); say('gone'); ask()"
    script = SHARE + HAS + before + dedent(ENDS["dropped"]) + after
    with Life(path, script) as life:
        life.hear()
        registry = hc.DelegationRegistry(ledger=hc.Ledger(path, lease=0.3))
        box = registry.queue.mailbox(owns=lambda event: True)
        got = [box.get(timeout=30) for _ in range(3)]
        assert sorted(one.event["goal"] for one in got) == ["leased", "runs", "waits"]
        assert all(one.ack() for one in got)
        assert box.pending() == 0
        life.tell()
        life.end()
