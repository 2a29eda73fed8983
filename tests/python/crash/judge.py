"""What a journal of lives must not say.

Each line begins with the process that wrote it, and is something that it knew at that moment:

- `dispatched ID GOAL KEY`; `refused GOAL`, of which nothing may be there; `withdrawn GOAL KEY`,
  which may not run; `runs GOAL`;
- `got ID GOAL STATUS`, then `acks ID` before the call and `acked ID` behind it; `drops ID GOAL` of
  what is given up;
- `redelivers ID` before the call, and `redelivered ID ANSWER` behind it, unless that failed: then
  it may be done at any time until the process is gone;
- `late ID` before the `got` of a result whose task was taken for lost, and may have been told so;
- `lives`, `raised TYPE TEXT`, `ends RUNNING`; and `state NUMBER`, of the other file.

The storm writes `gone` of a process that has ended.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """The lines between which something was done."""

    begin: int
    end: int


class Journal:
    """The lines, by what they are of."""

    def __init__(self, text: str) -> None:
        self.dispatched: dict[str, int] = {}
        self.refused: set[str] = set()
        self.withdrawn: set[str] = set()
        self.withdrawn_keys: set[str] = set()
        self.runs: Counter[str] = Counter()
        self.got: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.goals: set[str] = set()
        self.acks: dict[str, int] = {}
        #: The acknowledgements that counted, in the order of their answers.
        self.acked: defaultdict[str, list[Span]] = defaultdict(list)
        #: What may have had an event wait again.
        self.again: defaultdict[str, list[Span]] = defaultdict(list)
        self.late: set[str] = set()
        self.states: set[int] = set()
        #: The ids that were given under each key, with where.
        self.keys: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.complaints: list[str] = []
        #: The last line before each call, by its process and what it is about.
        self._acks: dict[tuple[str, str], int] = {}
        self._redelivers: dict[tuple[str, str], list[int]] = {}
        lines = text.splitlines()
        for number, line in enumerate(lines):
            process, _, words = line.partition(" ")
            self._read(number, process, words)
        for process in {process for process, _ in self._redelivers}:
            self._is_gone(len(lines), process)

    def _read(self, number: int, process: str, line: str) -> None:
        match line.split(" ", 3):
            case ["dispatched", delegation, _, key]:
                self.dispatched.setdefault(delegation, number)
                if key != "None":
                    self.keys[key].append((number, delegation))
            case ["refused", goal]:
                self.refused.add(goal)
            case ["withdrawn", goal, key]:
                self.withdrawn.add(goal)
                self.withdrawn_keys.add(key)
            case ["runs", goal]:
                self.runs[goal] += 1
            case ["got", delegation, goal, status]:
                self.got[delegation].append((number, status))
                self.goals.add(goal)
            case ["drops", delegation, goal]:
                self.acks.setdefault(delegation, number)
                self.goals.add(goal)
            case ["acks", delegation]:
                self.acks.setdefault(delegation, number)
                self._acks[process, delegation] = number
            case ["acked", delegation]:
                self.acked[delegation].append(Span(self._acks[process, delegation], number))
            case ["redelivers", delegation]:
                self._redelivers.setdefault((process, delegation), []).append(number)
            case ["redelivered", delegation, answer]:
                begin = self._redelivers[process, delegation].pop()
                if answer == "True":
                    self.again[delegation].append(Span(begin, number))
            case ["late", delegation]:
                if delegation not in self.late:
                    # What was told as lost may have been acknowledged before.
                    self.again[delegation].append(Span(0, number))
                self.late.add(delegation)
            case ["state", state]:
                self.states.add(int(state))
            case ["gone"]:
                self._is_gone(number, process)
            case ["lives"] | ["ends", "0"]:
                pass
            case _:
                self.complaints.append(line)

    def _is_gone(self, number: int, process: str) -> None:
        """What a process has begun is over, or will not be any more."""
        for key in [key for key in self._redelivers if key[0] == process]:
            begun = self._redelivers.pop(key)
            self.again[key[1]].extend(Span(begin, number) for begin in begun)

    def is_explained(self, delegation: str, spans: Iterable[Span]) -> bool:
        """Whether before each but the first of these a redelivery of its own can have been done."""
        left = sorted(self.again.get(delegation, ()), key=lambda again: again.end)
        now = -1
        for place, span in enumerate(spans):
            if place:
                found = (one for one in left if one.end > now and one.begin < span.end)
                again = next(found, None)
                if again is None:
                    return False
                left.remove(again)
                now = max(now, again.begin)
            now = max(now, span.begin)
            if now > span.end:
                return False
        return True

    def is_over(self, first: str, second: str) -> bool:
        """Whether one was about to be acknowledged before another is known to be there."""
        place = self.acks.get(first)
        return place is not None and place < self.dispatched[second]


def faults(journal: Journal, *, was_paused: bool = False) -> Iterable[str]:
    """What is wrong, in words; nothing if every promise was kept.

    A life that stood still beyond its lease may still give out what it holds in memory; its
    consumer hears from the ``ack`` that the event is another's.
    """
    yield from (f"a life says: {line}" for line in journal.complaints)
    # What was taken back may have been told to another life, under the same key.
    taken_back = {
        delegation for key in journal.withdrawn_keys for _, delegation in journal.keys[key]
    } - journal.acks.keys()
    for delegation in journal.dispatched:
        if delegation not in journal.acks and delegation not in taken_back:
            yield f"{delegation} was dispatched, and nobody had its event"
    for goal, times in journal.runs.items():
        if times > 1:
            yield f"{goal} ran {times} times"
        if goal not in journal.goals:
            yield f"{goal} ran, and nobody had its event"
    for goal in journal.refused & (journal.goals | journal.runs.keys()):
        yield f"{goal} was refused, and ran or had an event"
    for goal in journal.withdrawn & journal.runs.keys():
        yield f"{goal} was withdrawn, and ran"
    for delegation, acked in journal.acked.items():
        if not journal.is_explained(delegation, acked):
            yield f"{delegation} was acknowledged {len(acked)} times"
        if not was_paused and any(
            not journal.is_explained(delegation, [*before, Span(place, place)])
            for place, _ in journal.got[delegation]
            if (before := [ack for ack in acked if ack.end < place])
        ):
            yield f"{delegation} came again behind its acknowledgement"
    for delegation, got in journal.got.items():
        before_it_came = {"lost"} if delegation in journal.late else set()
        if len(ends := {status for _, status in got} - before_it_came) > 1:
            yield f"{delegation} ended in several ways: {', '.join(sorted(ends))}"
    for key, given in journal.keys.items():
        # A key is free again once what it stood for was delivered, and is not kept. What a thread
        # was told it may write down late.
        for (_, first), (_, second) in pairwise(given):
            if first != second and not (
                {first, second} & taken_back
                or journal.is_over(first, second)
                or journal.is_over(second, first)
            ):
                yield f"{key} stands for {first} and {second} at once"
