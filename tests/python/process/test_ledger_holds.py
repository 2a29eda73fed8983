"""Whose a row is: processes that stood still, and registries that share a ledger."""

from __future__ import annotations

import signal
import sqlite3
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
row = ledger.get(handle.id)
say([delivery.event["status"], row["state"], row["delivery"], registry.stats()["undelivered"]])
"""


def test_f12_what_came_back_while_its_process_stood_still_is_delivered_by_it(path: Path) -> None:
    """F12: the process that goes on still has the event, and the row is its own again."""
    script = """
        box = queue.mailbox(session_key="a")
        handle = dispatch()
        say(handle.result(30))
    """
    first = Life(path, dedent(script) + DELIVER, lease=0.5)
    first.hear()
    first.signal(signal.SIGSTOP)
    assert live(path, TAKEN_AND_LEFT, lease=0.5) == ["completed"]
    first.signal(signal.SIGCONT)
    first.tell()
    assert first.end() == [["completed", "completed", "delivered", 0]]


def test_f3_what_was_taken_for_lost_while_its_process_stood_still_is_told_as_lost(
    path: Path,
) -> None:
    """F3: its late result is discarded, and its owner here hears that it was lost."""
    script = """
        go_on = threading.Event()
        box = queue.mailbox(session_key="a")
        handle = dispatch(runner=go_on.wait)
        say(handle.id)
        ask()
        go_on.set()
    """
    first = Life(path, dedent(script) + DELIVER, lease=0.5)
    first.hear()
    first.signal(signal.SIGSTOP)
    assert live(path, TAKEN_AND_LEFT, lease=0.5) == ["lost"]
    first.signal(signal.SIGCONT)
    first.tell()
    first.tell()
    assert first.end() == [["lost", "lost", "delivered", 0]]


def test_f9_an_id_that_another_registry_has_leaves_the_others_row_alone(path: Path) -> None:
    """F9: what is refused takes nothing back."""
    script = """
        from hermes_core._job import Job, new_record

        def job(runner):
            task = dict(goal="a task", context=None, toolsets=None, role="leaf", model=None)
            return Job(new_record(session_key="a", **task), runner, None)

        go_on = threading.Event()
        first = registry.start(job(go_on.wait), capacity=9, delegation_id="d")
        other = hc.DelegationRegistry(ledger=ledger)
        try:
            other.start(job(dict), capacity=9, delegation_id="d")
        except ValueError:
            say("refused")
        go_on.set()
        first.result(30)
        say(queue.get(timeout=30)["delegation_id"])
    """
    assert live(path, script) == ["refused", "d"]
    assert [row["delivery"] for row in hc.Ledger(path).rows()] == ["delivered"]


@pytest.mark.parametrize("table", ["record", "event"])
def test_f3_a_text_that_cannot_be_read_keeps_nothing_else_back(path: Path, table: str) -> None:
    """F3: its own event comes with what is known, and the other one whole."""
    live(path, "for goal in ('damaged', 'whole'): dispatch(goal).result(30)")
    db = sqlite3.connect(path)
    db.execute(f"UPDATE {table}s SET {table} = substr({table}, 1, 20) WHERE seq = 1")
    db.commit()
    db.close()
    script = """
        box = queue.mailbox(session_key="a")
        for delivery in (box.get(timeout=30), box.get(timeout=30)):
            say([delivery.event["status"], delivery.event.get("goal"), delivery.ack()])
        say(len(ledger.rows()))
    """
    damaged, *others = live(path, script)
    assert damaged[2], "it comes, and is acknowledged"
    assert others == [["completed", "whole", True], 2]


def test_f3_what_cannot_be_served_is_not_taken_over(path: Path) -> None:
    """F3: with no thread to be had, the event stays for whoever asks next."""
    live(path, "dispatch().result(30)")
    script = """
        from hermes_core import _workers

        def refuse(*_):
            raise RuntimeError("no thread")

        start, _workers.start_thread = _workers.start_thread, refuse
        try:
            registry.restore(session_keys=["a"])
        except RuntimeError:
            say("refused")
        _workers.start_thread = start
        say(registry.restore(session_keys=["a"]))
    """
    assert live(path, script) == ["refused", 1]


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
    life = Life(path, script)
    life.hear()
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    life.tell()
    life.end()
    lock.close()
    (row,) = hc.Ledger(f"{path}-free").rows()
    assert (row["state"], row["holder"]) == ("lost", "nobody")
