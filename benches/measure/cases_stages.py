"""What a decision about an event costs, with ever more events: it is found where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import hermes_core as hc

from .events import numbered
from .figures import at_most
from .runner import Batch, Case, Effort, Work

#: What a return may take, however many come back.
NACK = at_most(1e-6)
SIZES = (1_000, 16_000)


def stages(effort: Effort) -> Iterator[Batch]:
    """Events given back in the order of taking, and events of delegations dropped by id."""
    sizes = [effort.times(size) for size in SIZES]
    yield [
        Case("stages", "nack, in the order of taking", None, nacked(size), None, NACK, size)
        for size in sizes
    ]
    yield [Case("stages", "drop by id", None, dropped(size), size=size) for size in sizes]


def nacked(size: int) -> Work:
    """Seconds per event, of so many that are on lease together."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    box = queue.mailbox(session_key=numbered(0, None)["session_key"])
    for _ in range(size):
        queue.put(numbered(0, None))

    def work() -> float:
        deliveries = [box.get() for _ in range(size)]
        start = perf_counter()
        for delivery in deliveries:
            delivery.nack()
        return (perf_counter() - start) / size

    return work


def dropped(size: int) -> Work:
    """Seconds per event, of so many that wait."""

    def work() -> float:
        registry = hc.DelegationRegistry(capacity=1)
        ids = []
        for _ in range(size):
            handle = registry.dispatch(goal="", runner=dict)
            handle.result()
            ids.append(handle.id)
        start = perf_counter()
        # The one that came last first: whoever searches from the front sees all.
        for delegation_id in reversed(ids):
            registry.drop(delegation_id)
        return (perf_counter() - start) / size

    return work
