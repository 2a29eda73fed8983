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


def write(formatter: Formatter, event: dict[str, Any], times: int) -> Work:
    """Seconds per notification."""

    def work() -> float:
        call = formatter
        start = perf_counter()
        for _ in repeat(None, times):
            call(event)
        return (perf_counter() - start) / times

    return work


def notifications(effort: Effort) -> Iterator[Batch]:
    """One delegation's notification, with summaries of different lengths."""
    theirs = formatter()
    cases: Batch = []
    for name, summary in SUMMARIES.items():
        is_long = len(summary) > 100_000
        event, times = {**EVENT, "summary": summary}, effort.times(200 if is_long else 20_000)
        goal = faster(2.5 if name == "short" else 1)
        cases.append(_case(f"notification, {name}", theirs, event, times, goal))
    yield cases


def batches(effort: Effort) -> Iterator[Batch]:
    """A batch's notification, which gateways know from 0.18.2 on."""
    name = "notification, 5 tasks of 1 KB"
    yield [_case(name, formatter(), batch(5), effort.times(5_000), None)]


def _case(
    name: str, theirs: Formatter, event: dict[str, Any], times: int, goal: Goal | None
) -> Case:
    peer = f"hermes-agent {gateway_version()}"
    ours = hc.format_process_notification
    sides = write(ours, event, times), write(theirs, event, times)
    return Case("notification", name, peer, *sides, goal)
