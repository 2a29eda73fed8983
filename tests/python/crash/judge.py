"""What a journal of lives must not say.

Each line is something that a life knew at that moment:

- `dispatched ID GOAL KEY`; `refused GOAL`, of which nothing may be there; `withdrawn GOAL`, which
  may not run; `runs GOAL`;
- `got ID GOAL STATUS`, then `acks ID` before the call and `acked ID` behind it; `drops ID GOAL` of
  what is given up, `redelivers ID` of what is to come again;
- `lives PID`, `raised TYPE TEXT`, `ends PID RUNNING`; and `state NUMBER`, of the other file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise


class Journal:
    """The lines, by what they are of."""

    def __init__(self, text: str) -> None:
        self.dispatched: dict[str, int] = {}
        self.refused: set[str] = set()
        self.withdrawn: set[str] = set()
        self.runs: Counter[str] = Counter()
        self.got: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.goals: set[str] = set()
        self.acks: dict[str, int] = {}
        self.acked: defaultdict[str, list[int]] = defaultdict(list)
        self.states: set[int] = set()
        #: The ids that were given under each key, with where.
        self.keys: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        self.complaints: list[str] = []
        for number, line in enumerate(text.splitlines()):
            self._read(number, line)

    def _read(self, number: int, line: str) -> None:
        match line.split(" ", 3):
            case ["dispatched", delegation, _, key]:
                self.dispatched.setdefault(delegation, number)
                if key != "None":
                    self.keys[key].append((number, delegation))
            case ["refused", goal]:
                self.refused.add(goal)
            case ["withdrawn", goal]:
                self.withdrawn.add(goal)
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
            case ["acked", delegation]:
                self.acked[delegation].append(number)
            case ["redelivers", delegation]:
                self.acked.pop(delegation, None)
            case ["state", state]:
                self.states.add(int(state))
            case ["lives", _] | ["ends", _, "0"]:
                pass
            case _:
                self.complaints.append(line)

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
    for delegation in journal.dispatched:
        if delegation not in journal.acks:
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
    for delegation, places in journal.acked.items():
        if len(places) > 1:
            yield f"{delegation} was acknowledged {len(places)} times"
        if not was_paused and any(place > places[0] for place, _ in journal.got[delegation]):
            yield f"{delegation} came again behind its acknowledgement"
    for delegation, got in journal.got.items():
        if len(ends := {status for _, status in got}) > 1:
            yield f"{delegation} ended in several ways: {', '.join(sorted(ends))}"
    for key, given in journal.keys.items():
        # A key is free again once what it stood for was delivered, and is not kept. What a thread
        # was told it may write down late.
        for (_, first), (_, second) in pairwise(given):
            if first != second and not (
                journal.is_over(first, second) or journal.is_over(second, first)
            ):
                yield f"{key} stands for {first} and {second} at once"
