"""A mailbox with an owner predicate reads of a ledger what is its own, and no more."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from process.lives import live

#: What an earlier process left: much that is another's, under few addresses, and a little of ours.
LEFT = """
text = "x" * 100_000
others = [f"other-{number % 3}" for number in range(60)]
handles = [
    dispatch("mine" if key == "a" else "another's", key=key, runner=lambda: {"summary": text})
    for key in [*others, "a", "a"]
]
for handle in handles:
    handle.result(60)
"""

#: ``has_read`` says how many bytes this process has read from files so far.
READS = """
asked = []

def owns(event):
    asked.append(event)
    return event["session_key"] == "a"

def has_read():
    with open("/proc/self/io") as counts:
        return int(counts.readline().split()[1])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system counts no reads")
def test_no_text_of_another_owner_is_read(path: Path) -> None:
    """Of what is another's nothing but its address is, once for each."""
    live(path, LEFT)
    assert sum(part.stat().st_size for part in path.parent.iterdir()) > 6_000_000
    script = """
        # It is opened, and looked through for damage, before.
        dispatch("first", key="b").result(30)
        queue.get(timeout=30)
        before = has_read()
        box = queue.mailbox(owns=owns)
        say(has_read() - before < 2_000_000)
        say(sorted(event["session_key"] for event in asked))
        say(sorted(asked[0]))
        for _ in range(2):
            delivery = box.get(timeout=30)
            say([delivery.event["goal"], len(delivery.event["summary"]), delivery.ack()])
        say([box.pending(), len(asked)])
    """
    read, addresses, shown, *got, left = live(path, READS + dedent(script))
    assert read
    assert addresses == ["a", "other-0", "other-1", "other-2"]
    assert shown == [
        "delegation_id",
        "origin_ui_session_id",
        "parent_session_id",
        "restored",
        "session_key",
        "type",
    ]
    assert got == [["mine", 100_000, True]] * 2
    # The queue asks once more, of what it has now.
    assert left == [0, 5]


def test_what_is_found_later_is_asked_for_by_its_address_too(path: Path) -> None:
    """What comes free while a mailbox is open."""
    script = """
        box = queue.mailbox(owns=owns)
        other = hc.DelegationRegistry(ledger=ledger)
        for key in "ab":
            other.dispatch(goal=key, runner=dict, session_key=key).result(30)
        del other
        delivery = box.get(timeout=30)
        say([delivery.event["goal"], delivery.ack()])
        keys = {event["session_key"] for event in asked}
        say([sorted(keys), any("goal" in event for event in asked)])
    """
    said = live(path, READS + dedent(script))
    # Its live queue shows the whole event of what it has.
    assert said == [["a", True], [["a", "b"], True]]
