"""The crash storm's judge tells what it is there to tell."""

from __future__ import annotations

import pytest

from crash.judge import Journal, faults

#: One life that was killed behind an acknowledgement, and one that delivered the rest.
HONEST = """\
7 lives
7 dispatched d1 g1 None
7 runs g1
7 got d1 g1 completed
7 acks d1
7 acked d1
7 dispatched d2 g2 key-1
7 runs g2
7 got d2 g2 completed
7 acks d2
7 gone
8 lives
8 dispatched d2 g9 key-1
8 got d2 g2 completed
8 acks d2
8 acked d2
8 dispatched d3 g3 key-1
8 runs g3
8 refused g4
8 dispatched d0 g0 None
8 drops d0 g0
8 redelivers d1
8 redelivered d1 True
8 got d1 g1 completed
8 acks d1
8 acked d1
8 got d3 g3 lost
8 acks d3
8 acked d3
8 state 5
8 ends 0
8 gone
"""
#: What a life says of an event that it has once more.
AGAIN = """\
9 got d2 g2 completed
9 acks d2
9 acked d2
"""
TWICE = "d2 was acknowledged 2 times"
BEHIND = "d2 came again behind its acknowledgement"


def test_an_honest_journal_has_no_fault() -> None:
    journal = Journal(HONEST)
    assert list(faults(journal)) == []
    assert journal.states == {5}


def test_a_life_that_stood_still_may_give_out_what_is_another_s() -> None:
    journal = Journal(HONEST + "9 got d2 g2 completed\n9 acks d2\n")
    assert list(faults(journal, was_paused=True)) == []
    assert len(list(faults(journal))) == 1


def test_a_late_result_follows_what_was_told_as_lost_once() -> None:
    late = HONEST + "9 late d3\n9 got d3 g3 completed\n9 acks d3\n9 acked d3\n"
    assert list(faults(Journal(late))) == []
    again = Journal(late + "9 late d3\n9 acks d3\n9 acked d3\n")
    assert list(faults(again)) == ["d3 was acknowledged 3 times"]


@pytest.mark.parametrize(
    "redelivered",
    [
        "9 redelivers d2\n9 redelivered d2 True\n" + AGAIN,
        # It comes before the answer.
        "9 redelivers d2\n" + AGAIN + "9 redelivered d2 True\n",
        # The answer is not known: it failed, or the life was killed.
        "9 redelivers d2\n" + AGAIN,
        "6 redelivers d2\n" + AGAIN + "6 gone\n",
        # Each of two brings it once.
        "9 redelivers d2\n9 redelivered d2 True\n" + AGAIN + "6 redelivers d2\n" + AGAIN,
    ],
)
def test_a_redelivery_brings_an_event_once_more(redelivered: str) -> None:
    assert list(faults(Journal(HONEST + redelivered))) == []


def test_a_redelivery_that_began_before_an_acknowledgement_may_be_done_behind_it() -> None:
    acked = "8 acks d2\n8 acked d2\n"
    for answer, expected in (("True", []), ("False", [TWICE, BEHIND])):
        before, behind = "6 redelivers d2\n", f"6 redelivered d2 {answer}\n"
        journal = Journal(HONEST.replace(acked, before + acked + behind) + AGAIN)
        assert list(faults(journal)) == expected


@pytest.mark.parametrize(
    "redelivered",
    [
        # Refused.
        "9 redelivers d2\n9 redelivered d2 False\n" + AGAIN,
        # Of another event.
        "9 redelivers d1\n9 redelivered d1 True\n" + AGAIN,
        # Too late.
        AGAIN + "9 redelivers d2\n9 redelivered d2 True\n",
        # Its process was gone before: it was not done any more.
        AGAIN + "9 redelivers d2\n",
    ],
)
def test_what_no_redelivery_explains_is_told(redelivered: str) -> None:
    assert list(faults(Journal(HONEST + redelivered))) == [TWICE, BEHIND]


def test_a_redelivery_that_was_done_before_explains_nothing_behind() -> None:
    acked = "8 acks d2\n8 acked d2\n"
    for process in ("6 redelivers d2\n6 redelivered d2 True\n", "6 redelivers d2\n6 gone\n"):
        journal = Journal(HONEST.replace(acked, process + acked) + AGAIN)
        assert list(faults(journal)) == [TWICE, BEHIND]


def test_one_redelivery_brings_an_event_no_more_than_once() -> None:
    journal = Journal(HONEST + "9 redelivers d2\n9 redelivered d2 True\n" + AGAIN + AGAIN)
    assert list(faults(journal)) == ["d2 was acknowledged 3 times", BEHIND]


def test_what_is_taken_back_may_have_been_told_under_its_key() -> None:
    journal = Journal(
        HONEST
        + "9 dispatched d4 g5 key-2\n8 withdrawn g6 key-2\n9 dispatched d6 g7 key-2\n9 drops d6 g7"
    )
    assert list(faults(journal)) == []


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("9 dispatched d4 g5 None", "d4 was dispatched, and nobody had its event"),
        ("9 runs g5", "g5 ran, and nobody had its event"),
        ("9 runs g1", "g1 ran 2 times"),
        ("9 runs g4", "g4 was refused, and ran or had an event"),
        ("9 withdrawn g1 None", "g1 was withdrawn, and ran"),
        (
            "9 dispatched d4 g5 key-4\n8 withdrawn g6 key-5",
            "d4 was dispatched, and nobody had its event",
        ),
        ("9 acks d1\n9 acked d1", "d1 was acknowledged 3 times"),
        ("9 got d2 g2 completed", BEHIND),
        ("9 got d3 g3 completed", "d3 ended in several ways: completed, lost"),
        ("9 ends 1", "a life says: ends 1"),
        ("9 raised KeyError 'x'", "a life says: raised KeyError 'x'"),
        (
            "9 dispatched d5 g6 key-2\n9 dispatched d6 g7 key-2\n9 acks d5\n9 acks d6",
            "key-2 stands for d5 and d6 at once",
        ),
    ],
)
def test_a_fault_is_told(more: str, fault: str) -> None:
    assert fault in list(faults(Journal(HONEST + more)))
