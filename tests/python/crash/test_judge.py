"""The crash storm's judge tells what it is there to tell."""

from __future__ import annotations

import pytest

from crash.judge import Journal, faults

#: One life that was killed behind an acknowledgement, and one that delivered the rest.
HONEST = """\
lives 7
dispatched d1 g1 None
runs g1
got d1 g1 completed
acks d1
acked d1
dispatched d2 g2 key-1
runs g2
got d2 g2 completed
acks d2
lives 8
dispatched d2 g9 key-1
got d2 g2 completed
acks d2
acked d2
dispatched d3 g3 key-1
runs g3
refused g4
dispatched d0 g0 None
drops d0 g0
redelivers d1
got d1 g1 completed
acks d1
acked d1
got d3 g3 lost
acks d3
acked d3
state 5
ends 8 0
"""


def test_an_honest_journal_has_no_fault() -> None:
    journal = Journal(HONEST)
    assert list(faults(journal)) == []
    assert journal.states == {5}


def test_a_life_that_stood_still_may_give_out_what_is_another_s() -> None:
    journal = Journal(HONEST + "got d1 g1 completed\nacks d1\n")
    assert list(faults(journal, was_paused=True)) == []
    assert len(list(faults(journal))) == 1


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("dispatched d4 g5 None", "d4 was dispatched, and nobody had its event"),
        ("runs g5", "g5 ran, and nobody had its event"),
        ("runs g1", "g1 ran 2 times"),
        ("runs g4", "g4 was refused, and ran or had an event"),
        ("withdrawn g1", "g1 was withdrawn, and ran"),
        ("acked d1", "d1 was acknowledged 2 times"),
        ("got d1 g1 completed", "d1 came again behind its acknowledgement"),
        ("got d3 g3 completed", "d3 ended in several ways: completed, lost"),
        ("ends 8 1", "a life says: ends 8 1"),
        ("raised KeyError 'x'", "a life says: raised KeyError 'x'"),
        (
            "dispatched d5 g6 key-2\ndispatched d6 g7 key-2\nacks d5\nacks d6",
            "key-2 stands for d5 and d6 at once",
        ),
    ],
)
def test_a_fault_is_told(more: str, fault: str) -> None:
    assert fault in list(faults(Journal(HONEST + more)))
