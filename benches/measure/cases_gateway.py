"""Delegations beside those of hermes-agent."""

from __future__ import annotations

import logging
import statistics
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from time import perf_counter
from typing import Any

from hermes_core import async_delegation as ours
from hermes_core.delegation.delegation import Delegation

from .events import EVENT
from .figures import faster
from .peers import Gateway, gateway_version
from .runner import Batch, Case, Effort, Work

TASK = {key: EVENT[key] for key in ("goal", "context", "toolsets", "role", "model", "session_key")}
#: How many run at once where nothing else is said, on both sides.
DEFAULT_CAP = 3
#: More than ever run here, where the cap is no part of what is measured.
NO_CAP = 1_000_000


def dispatch(module: Any, events: Any, rounds: int) -> Work:
    """Seconds per dispatch call, the median of many, as many at once as may run."""

    def work() -> float:
        call = module.dispatch_async_delegation
        calls: list[float] = []
        for _ in range(rounds):
            go = threading.Event()
            runner = _waits_for(go)
            for _ in range(DEFAULT_CAP):
                start = perf_counter()
                call(**TASK, runner=runner)
                calls.append(perf_counter() - start)
            go.set()
            for _ in range(DEFAULT_CAP):
                events.get(timeout=60)
        return statistics.median(calls)

    return work


def _waits_for(go: threading.Event) -> Callable[[], dict[str, Any]]:
    return lambda: {"status": "completed" if go.wait() else "error"}


def to_event(module: Any, events: Any, times: int) -> Work:
    """Seconds from dispatch to event, of runners that do nothing."""

    def work() -> float:
        start = perf_counter()
        for _ in range(times):
            module.dispatch_async_delegation(**TASK, runner=dict, max_async_children=NO_CAP)
        for _ in range(times):
            events.get()
        return (perf_counter() - start) / times

    return work


def active_count(module: Any, times: int) -> Work:
    """Seconds per call."""

    def work() -> float:
        call = module.active_count
        start = perf_counter()
        for _ in repeat(None, times):
            call()
        return (perf_counter() - start) / times

    return work


def delegations(effort: Effort) -> Iterator[Batch]:
    """Dispatch, and dispatch to event, at the log level that the gateway has and without."""
    gateway = Gateway()
    theirs, their_queue = gateway.delegation, gateway.queue
    our_queue = ours.completion_queue
    peer = f"hermes-agent {gateway_version()}"
    rounds, through = effort.times(100), effort.times(2_000)
    for name, disabled in (("", logging.NOTSET), (", nothing logged", logging.INFO)):
        logging.disable(disabled)
        yield [
            Case(
                "delegation",
                f"dispatch{name}",
                peer,
                dispatch(ours, our_queue, rounds),
                dispatch(theirs, their_queue, rounds),
                faster(2.2),
            ),
            Case(
                "delegation",
                f"dispatch to event{name}",
                peer,
                to_event(ours, our_queue, through),
                to_event(theirs, their_queue, through),
                faster(2.5),
            ),
        ]
    logging.disable(logging.NOTSET)
    yield [Case("delegation", "a line in the gateway's log", None, log_line(rounds))]


def log_line(times: int) -> Work:
    """Seconds that the gateway's log handlers take for the line that each dispatch writes."""
    logger = logging.getLogger("tools.async_delegation")

    def work() -> float:
        start = perf_counter()
        for number in range(times):
            logger.info(
                "delegation dispatched id=%016x session_key=%s", number, EVENT["session_key"]
            )
        return (perf_counter() - start) / times

    return work


def records(effort: Effort) -> Iterator[Batch]:
    """`active_count`, with ever more delegations that run."""
    theirs = Gateway().delegation
    ours._reset_for_tests()
    theirs._reset_for_tests()
    peer = f"hermes-agent {gateway_version()}"
    for size in sorted({10, *effort.sizes} - {1_000_000}):
        # Records alone: so many threads do not start.
        for number in range(ours.active_count(), size):
            owner = (f"key {number}", "", "")
            one, ledger = Delegation({}, dict), ours._registry.ledger._core
            ours._registry._core.dispatch(None, NO_CAP, 0, owner, one, None, ledger, "", 0.0)
        for number in range(theirs.active_count(), size):
            theirs._records[f"deleg_{number:08x}"] = {**EVENT, "status": "running"}
        yield [
            Case(
                "active_count",
                "active_count",
                peer,
                active_count(ours, effort.times(10_000)),
                active_count(theirs, max(1, effort.times(100_000) // size)),
                size=size,
            )
        ]
    ours._reset_for_tests()
    theirs._reset_for_tests()
