"""Whose a row is: processes that stood still, and registries that share a ledger."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from textwrap import dedent

import pytest

import hermes_core as hc
from process.lives import Life, live


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


#: Stops while another process takes its row over and gives it back undelivered.
TAKEN_AND_LEFT = """
box = queue.mailbox(session_key="a")
delivery = box.get(timeout=30)
say(delivery.event["status"])
delivery.defer()
"""

DELIVER = """
ask()
while not (delivery := box.get(timeout=30)).ack():
    pass
row, stats = ledger.get(handle.id), registry.stats()
say([delivery.event["status"], row["state"], row["delivery"], stats["undelivered"]])
"""


def test_f12_what_came_back_while_its_process_stood_still_is_delivered_by_it(path: Path) -> None:
    """F12: the process that goes on still has the event, and the row is its own again."""
    script = """
        box = queue.mailbox(session_key="a")
        handle = dispatch()
        say(handle.result(30))
    """
    with Life(path, dedent(script) + DELIVER, lease=0.5) as first:
        first.hear()
        first.signal(signal.SIGSTOP)
        assert live(path, TAKEN_AND_LEFT, lease=0.5) == ["completed"]
        first.signal(signal.SIGCONT)
        first.tell()
        assert first.end() == [["completed", "completed", "delivered", 0]]


#: Stops while another process takes its row over and delivers it.
TAKEN_AND_DELIVERED = """
box = queue.mailbox(session_key="a")
delivery = box.get(timeout=30)
say([delivery.event["status"], delivery.ack()])
"""


@pytest.mark.parametrize(
    ("taken", "said"), [(TAKEN_AND_LEFT, "lost"), (TAKEN_AND_DELIVERED, ["lost", True])]
)
@pytest.mark.parametrize("size", [10, 5_000])
def test_f38_what_was_taken_for_lost_while_its_process_stood_still_is_told_late(
    path: Path, taken: str, said: object, size: int
) -> None:
    """F38: its result comes all the same, marked, whether or not it was told as lost."""
    script = f"""
        go_on = threading.Event()
        box = queue.mailbox(session_key="a")
        def runner():
            go_on.wait()
            return {{"summary": "x" * {size}}}
        handle = dispatch(runner=runner)
        say(handle.id)
        ask()
        go_on.set()
        say([handle.result(30)["summary"] == "x" * {size}, handle.state])
    """
    more = """
say([delivery.event["late"], delivery.event["summary"] == "x" * len(delivery.event["summary"])])
say("It was taken for lost before" in delivery.text)
say([row["event"]["late"], stats["discarded"]])
"""
    with Life(path, dedent(script) + DELIVER + more, lease=0.5) as first:
        first.hear()
        first.signal(signal.SIGSTOP)
        assert live(path, taken, lease=0.5) == [said]
        first.signal(signal.SIGCONT)
        first.tell()
        first.tell()
        assert first.end() == [
            [True, "completed"],
            ["completed", "completed", "delivered", 0],
            [True, True],
            True,
            [True, 0],
        ]


def test_f9_an_id_that_another_registry_has_leaves_the_others_row_alone(path: Path) -> None:
    """F9: what is refused takes nothing back."""
    script = """
        from hermes_core.delegation.delegation import Delegation, new_record

        def delegation(runner):
            task = dict(goal="a task", context=None, toolsets=None, role="leaf", model=None)
            return Delegation(new_record(session_key="a", **task), runner)

        go_on = threading.Event()
        first = registry.start(delegation(go_on.wait), capacity=9, delegation_id="d")
        other = hc.DelegationRegistry(ledger=ledger)
        try:
            other.start(delegation(dict), capacity=9, delegation_id="d")
        except ValueError:
            say("refused")
        go_on.set()
        hc.DelegationHandle(registry, first).result(30)
        say(queue.get(timeout=30)["delegation_id"])
    """
    assert live(path, script) == ["refused", "d"]
    assert [row["delivery"] for row in hc.Ledger(path).rows()] == ["delivered"]


@pytest.mark.parametrize("column", ["record", "event"])
def test_f3_a_text_that_cannot_be_read_keeps_nothing_else_back(path: Path, column: str) -> None:
    """F3: its own event comes with what is known, and the other one whole."""
    live(path, "for goal in ('damaged', 'whole'): dispatch(goal).result(30)")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE delegations SET {column} = substr({column}, 1, 20) WHERE seq = 1")
        db.commit()
    script = """
        box = queue.mailbox(session_key="a")
        for delivery in (box.get(timeout=30), box.get(timeout=30)):
            say([delivery.event["status"], delivery.event.get("goal"), delivery.ack()])
        say(len(ledger.rows()))
    """
    damaged, *others = live(path, script)
    assert damaged[2], "it comes, and is acknowledged"
    assert others == [["completed", "whole", True], 2]


def test_f3_with_no_thread_to_be_had_what_was_left_comes_all_the_same(path: Path) -> None:
    """F3, F40: the thread that hears of others' rows is started at the next use."""
    live(path, "dispatch().result(30)")
    script = """
        from hermes_core.runtime import workers as _workers

        def refuse(*_):
            raise RuntimeError("no thread")

        def hears():
            return "hermes-core-notices" in [one.name for one in threading.enumerate()]

        start, _workers.start_thread = _workers.start_thread, refuse
        say([registry.restore(session_keys=["a"]), hears()])
        _workers.start_thread = start
        dispatch(key="b")
        say(hears())
    """
    assert live(path, script) == [[1, False], True]


def test_owners_that_are_equal_are_told_apart(path: Path) -> None:
    """F3: each gets back what is its own."""
    live(
        path,
        """
        for key in "ab":
            dispatch(key=key, runner=forever)
        die()
        """,
        lease=0.5,
        killed=True,
    )
    script = """
        class Owner:
            def __eq__(self, other):
                return True

        owners = [Owner(), Owner()]
        for owner, key in zip(owners, "ab"):
            registry.restore(session_keys=[key], owner=owner, proven=True)
        say(sorted(queue.get(timeout=30)["session_key"] for _ in owners))
    """
    assert live(path, script, lease=0.5) == [["a", "b"]]


def test_f3_the_end_of_a_process_waits_once_for_all_its_ledgers(path: Path) -> None:
    """F3: locked ones are given up together, and the others are released all the same."""
    script = """
        dispatch(runner=forever)
        others = [hc.Ledger(path) for _ in range(100)]
        free = hc.DelegationRegistry(ledger=path + "-free")
        free.dispatch(goal="a task", session_key="a", runner=forever)
        say("ready")
        ask()
    """
    with Life(path, script) as life:
        life.hear()
        with closing(sqlite3.connect(path, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            life.tell()
            life.end()
    (row,) = hc.Ledger(f"{path}-free").rows()
    assert (row["state"], row["holder"]) == ("lost", "nobody")
