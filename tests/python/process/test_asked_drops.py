"""Drops that are asked for by hand while another process holds the event."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import hermes_core as hc
from process.lives import Life, live

#: Short: whoever holds something hears what is asked of it within a third of it.
LEASE = 0.3

#: ``heard`` is set once it has heard that an event is to be dropped.
HEARS = """
heard, ask_to_drop = threading.Event(), hc.DelegationRegistry._drop_asked_for

def hear(self, *asked):
    ask_to_drop(self, *asked)
    heard.set()

hc.DelegationRegistry._drop_asked_for = hear
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


def drop_by_hand(path: Path, delegation_id: str) -> str:
    """What the command line says of a drop that is possible."""
    command = [sys.executable, "-m", "hermes_core", "drop", delegation_id, "--ledger", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def delivery(path: Path, delegation_id: str) -> str:
    row = hc.Ledger(path).get(delegation_id)
    assert row is not None
    return str(row["delivery"])


def test_f40_what_waits_at_an_idle_mailbox_is_dropped(path: Path) -> None:
    """F40: it never comes; list, counts and row say that it was dropped."""
    script = """
        box = queue.mailbox(session_key="a")
        dropped = dispatch()
        dropped.result(30)
        say(dropped.id)
        queue.join()
        counts = registry.stats()
        say([registry.get(dropped.id)["delivery"], counts["undelivered"], box.pending()])
        dispatch("another task").result(30)
        say(box.get(timeout=30).event["goal"])
    """
    with Life(path, script, lease=LEASE) as holder:
        delegation_id = holder.hear()
        said = drop_by_hand(path, delegation_id)
        assert said.startswith(f"{delegation_id} is ")
        assert holder.end() == [["dropped", 0, 0], "another task"]
    assert delivery(path, delegation_id) == "dropped"


def test_f40_what_is_asked_of_a_process_that_has_no_time_to_hear_is_said_so(path: Path) -> None:
    """F40: whoever asks reads what was done, and what is to be; a hold that ends drops it, too."""
    script = """
        for key in "ab":
            dispatch(key=key).result(30)
        say([row["delegation_id"] for row in ledger.rows()])
        ask()
    """
    with Life(path, script) as holder:
        asked, left = holder.hear()
        assert "is to be given up: its process does so" in drop_by_hand(path, asked)
        assert delivery(path, asked) == "pending"
        holder.tell()
        holder.end()
    script = """
        boxes = [queue.mailbox(session_key=key) for key in "ab"]
        say(boxes[1].get(timeout=60).event["delegation_id"])
        say(boxes[0].pending())
    """
    assert live(path, script) == [left, 0]
    assert delivery(path, asked) == "dropped"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ("delivery.nack()", "dropped"),
        ("delivery.defer()", "dropped"),
        ("del delivery", "dropped"),
        ("delivery.ack()", "delivered"),
    ],
)
def test_f40_what_a_consumer_has_is_dropped_should_he_give_it_back(
    path: Path, ends: str, said: str
) -> None:
    """F40: what he acknowledges is delivered: nobody takes a turn from him that has begun."""
    script = f"""
        box = queue.mailbox(session_key="a")
        handle = dispatch()
        delivery = box.get(timeout=30)
        say(handle.id)
        heard.wait()
        {ends}
        queue.join()
        say([registry.get(handle.id)["delivery"], box.pending()])
    """
    with Life(path, HEARS + dedent(script), lease=LEASE) as holder:
        delegation_id = holder.hear()
        drop_by_hand(path, delegation_id)
        assert holder.end() == [[said, 0]]
    assert delivery(path, delegation_id) == said


def test_f40_what_was_dropped_comes_when_it_is_redelivered(path: Path) -> None:
    """F40: a request that is done is over: whoever holds it next is asked nothing."""
    script = """
        box = queue.mailbox(session_key="a")
        handle = dispatch()
        handle.result(30)
        say(handle.id)
        queue.join()
        registry.ledger.flush()  # it is gone from the queue before its row says so
        say("dropped")
        say(box.get(timeout=30).ack())
    """
    with Life(path, script, lease=LEASE) as holder:
        delegation_id = holder.hear()
        drop_by_hand(path, delegation_id)
        assert holder.hear() == "dropped"
        assert hc.Ledger(path).redeliver(delegation_id)
        assert holder.end() == [True]
    assert delivery(path, delegation_id) == "delivered"


def test_f40_two_ledgers_of_one_process_ask_one_another(path: Path) -> None:
    """F40: it is done at once there."""
    script = """
        handle = dispatch()
        handle.result(30)
        say(hc.Ledger(path).drop(handle.id))
        queue.join()
        say(registry.get(handle.id)["delivery"])
    """
    assert live(path, script) == [True, "dropped"]


def test_f40_hundreds_of_drops_at_once_are_heard(path: Path) -> None:
    """F40: each of them, and no other."""
    script = """
        ledger = registry.ledger = hc.Ledger(path, durability="process", lease=lease)
        for number in range(500):
            dispatch(str(number)).result(30)
        say([row["delegation_id"] for row in ledger.rows()])
        queue.join()
        dispatch("another task").result(30)
        say(queue.get(timeout=30)["goal"])
        say([row["delivery"] for row in ledger.rows()].count("dropped"))
    """
    with Life(path, script, lease=LEASE) as holder:
        ids = holder.hear()
        ledger = hc.Ledger(path, durability="process")
        assert all(ledger.drop(delegation_id) for delegation_id in ids)
        assert holder.end() == ["another task", 500]
