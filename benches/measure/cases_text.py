"""The notification's text beside the gateway's own formatter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat
from time import perf_counter
from typing import Any

import hermes_core as hc

from .events import EVENT, SUMMARIES, batch
from .figures import Goal, faster
from .peers import formatter, gateway_version
from .runner import Batch, Case, Effort, Work

Formatter = Callable[[dict[str, Any]], object]

#: Lengths of the text before the summary: how fast a long one is copied depends on where it lands.
OFFSETS = 32


def write(formatter: Formatter, events: list[dict[str, Any]], times: int) -> Work:
    """Seconds per notification."""

    def work() -> float:
        call = formatter
        start = perf_counter()
        for _ in repeat(None, times):
            for event in events:
                call(event)
        return (perf_counter() - start) / (times * len(events))

    return work


def notifications(effort: Effort) -> Iterator[Batch]:
    """One delegation's notification, with summaries of different lengths."""
    theirs = formatter()
    cases: Batch = []
    for name, summary in SUMMARIES.items():
        times = effort.times(200 if len(summary) > 100_000 else 20_000)
        goal = faster(2.5 if name == "short" else 1)
        cases.append(_case(f"notification, {name}", theirs, {"summary": summary}, times, goal))
    yield cases
    yield [_copy(effort)]


def _copy(effort: Effort) -> Case:
    """What no formatter can do without: the copy of a long summary behind a dash."""
    summary, times = SUMMARIES["1 MB"], max(1, effort.times(200) // OFFSETS)
    heads = [f"— {'x' * offset}" for offset in range(OFFSETS)]

    def work() -> float:
        start = perf_counter()
        for _ in repeat(None, times):
            for head in heads:
                "".join((head, summary))
        return (perf_counter() - start) / (times * OFFSETS)

    return Case("notification", "a copy of 1 MB alone", None, work)


def batches(effort: Effort) -> Iterator[Batch]:
    """A batch's notification, which gateways know from 0.18.2 on."""
    name = "notification, 5 tasks of 1 KB"
    yield [_case(name, formatter(), batch(5), effort.times(5_000), None)]


def _case(
    name: str, theirs: Formatter, fields: dict[str, Any], times: int, goal: Goal | None
) -> Case:
    peer = f"hermes-agent {gateway_version()}"
    ours = hc.format_process_notification
    goals = [EVENT["goal"] + "." * offset for offset in range(OFFSETS)]
    events = [{**EVENT, **fields, "goal": text} for text in goals]
    times = max(1, times // OFFSETS)
    sides = write(ours, events, times), write(theirs, events, times)
    return Case("notification", name, peer, *sides, goal)
