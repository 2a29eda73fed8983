"""Texts: the notification beside the gateway's own formatter, plain data beside how it was done."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import repeat
from time import perf_counter, sleep
from typing import Any

import hermes_core as hc
from hermes_core.delegation.delegation import Delegation, new_record
from hermes_core.text import json, redact

from . import former
from .durable import ALL_ROWS, NO_CAP, TASK, folder
from .events import EVENT, SUMMARIES, batch, record, traced
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
        goal = faster(2.2 if name == "short" else 1)
        cases.append(_case(f"notification, {name}", theirs, {"summary": summary}, times, goal))
    yield cases
    yield [_copy(effort)]


def plain_data(effort: Effort) -> Iterator[Batch]:
    """What is stored and redacted of a task and of its result, beside how that was done before."""
    result = traced(10, 20)
    big = {**batch(10), **result}
    group, peer, cases = "plain data", "as it was before", []
    for name, value, times, goal in (
        ("a record as JSON", record(), 20_000, None),
        ("an event as JSON", EVENT, 20_000, None),
        ("a batch of 10 x 20 as JSON", big, 100, faster(9)),
    ):
        ours = repeated(json.dumps, (value,), effort.times(times))
        theirs = repeated(former.dumps, (value,), effort.times(times))
        cases.append(Case(group, name, peer, ours, theirs, goal))
    hooked = (big, _as_it_is)
    ours = repeated(redact.fields, hooked, effort.times(50))
    theirs = repeated(former.fields, hooked, effort.times(50))
    cases.append(Case(group, "its redaction", peer, ours, theirs, faster(8)))
    yield cases
    times = effort.times(200)
    theirs = ends(result, times)

    def before() -> float:
        with former.in_use():
            return theirs()

    yield [
        Case(group, "its durable end, with redaction", peer, ends(result, times), before, faster(6))
    ]


def repeated(call: Callable[..., object], arguments: tuple[Any, ...], times: int) -> Work:
    """Seconds per call."""

    def work() -> float:
        start = perf_counter()
        for _ in repeat(None, times):
            call(*arguments)
        return (perf_counter() - start) / times

    return work


def ends(result: dict[str, Any], times: int) -> Work:
    """Seconds from a runner's return until its event, which is in a ledger, is on the queue."""
    ledger = hc.Ledger(
        folder() / "delegations.db", durability="process", keep_seconds=None, keep_rows=ALL_ROWS
    )
    registry = hc.DelegationRegistry(capacity=NO_CAP, ledger=ledger, redact=_as_it_is)
    moments: list[float] = []
    registry.on_end = lambda record: moments.append(perf_counter())

    def runner() -> dict[str, Any]:
        moments.append(perf_counter())
        return result

    def work() -> float:
        moments.clear()
        for _ in repeat(None, times):
            task = {**new_record(**TASK), "goals": [TASK["goal"]] * 10, "is_batch": True}
            registry.start(Delegation(task, runner), capacity=NO_CAP)
            registry.queue.get(timeout=60)
            while len(moments) % 2:
                # Its event is there a moment before it is told.
                sleep(0)
        return statistics.median(
            end - start for start, end in zip(moments[::2], moments[1::2], strict=True)
        )

    return work


def _as_it_is(text: str) -> str:
    return text


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
