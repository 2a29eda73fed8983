"""The ledger beside a bare commit, a later gateway's, and durable queues of PyPI."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from time import perf_counter

from .durable import AckQueue, BareCommit, Core, LaterGateway, LiteQueue, Runner, folder
from .figures import at_most_more, faster
from .runner import Batch, Case, Effort, Work

#: What a write may take beyond the commit itself.
LITTLE = at_most_more(100e-6)
THREADS = 16

#: Something done once; gives what it took.
Step = Callable[[], float]
Side = Core | LaterGateway


def timed(call: Callable[[], object]) -> Step:
    """The step that is a call."""

    def step() -> float:
        start = perf_counter()
        call()
        return perf_counter() - start

    return step


def dispatch(side: Side) -> Step:
    """The call alone, while nothing else is written; the rest of the life is not timed."""

    def step() -> float:
        go = threading.Event()
        runner = _waits_for(go)
        start = perf_counter()
        side.dispatch(runner)
        taken = perf_counter() - start
        go.set()
        side.settle()
        return taken

    return step


def settle(side: Side) -> Step:
    """Claim and acknowledgement of an event that is there."""

    def step() -> float:
        side.dispatch(dict)
        side.arrive()
        start = perf_counter()
        side.settle()
        return perf_counter() - start

    return step


def whole_life(side: Side) -> Step:
    """From the dispatch of a runner that does nothing to the acknowledgement of its event."""

    def life() -> None:
        side.dispatch(dict)
        side.settle()

    return timed(life)


def of_many(step: Step, times: int) -> Work:
    """Seconds of a step, the median of many."""
    return lambda: statistics.median(step() for _ in range(times))


def one_by_one(ours: Step, theirs: Step, times: int) -> tuple[Work, Work]:
    """The same for two, a step of each in turn: what else goes to the disk meets both."""
    taken: list[tuple[float, float]] = []

    def first() -> float:
        taken[:] = [(ours(), theirs()) for _ in range(times)]
        return statistics.median(pair[0] for pair in taken)

    def second() -> float:
        return statistics.median(pair[1] for pair in taken)

    return first, second


def at_once(side: Side, each: int) -> Work:
    """Seconds per dispatch, of many threads that do nothing else."""

    def work() -> float:
        go = threading.Event()
        runner = _waits_for(go)
        together = threading.Barrier(THREADS + 1)

        def thread() -> None:
            together.wait()
            for _ in range(each):
                side.dispatch(runner)
            together.wait()

        threads = [threading.Thread(target=thread) for _ in range(THREADS)]
        for each_thread in threads:
            each_thread.start()
        together.wait()
        start = perf_counter()
        together.wait()
        taken = perf_counter() - start
        go.set()
        for _ in range(THREADS * each):
            side.settle()
        return taken / (THREADS * each)

    return work


def _waits_for(go: threading.Event) -> Runner:
    return lambda: {"status": "completed" if go.wait() else "error"}


def beside_a_commit(effort: Effort) -> Iterator[Batch]:
    """What a dispatch, and a claim with its acknowledgement, take beyond a commit."""
    full, bare = Core("full"), BareCommit("FULL")
    process, unsynced = Core("process"), BareCommit("NORMAL")
    insert, write = timed(bare.insert), timed(unsynced.insert)
    times = effort.times(100)
    for name, step in (("durable dispatch", dispatch), ("durable claim + ack", settle)):
        works = one_by_one(step(full), insert, times)
        yield [Case("ledger", name, bare.peer, *works, LITTLE)]
        works = one_by_one(step(process), write, times)
        yield [Case("ledger", f'{name}, "process"', unsynced.peer, *works)]


def beside_a_later_gateway(effort: Effort) -> Iterator[Batch]:
    """The same beside the durable delivery of 0.19.0, with one thread and with many."""
    full, process, theirs = Core("full"), Core("process"), LaterGateway()
    times = effort.times(20)
    for name, step, goal in (
        ("durable dispatch", dispatch, faster(50)),
        ("durable claim + ack", settle, None),
        ("durable dispatch to ack", whole_life, None),
    ):
        their_work = of_many(step(theirs), times)
        yield [
            Case("ledger", name, theirs.peer, of_many(step(full), times), their_work),
            Case(
                "ledger",
                f'{name}, "process"',
                theirs.peer,
                of_many(step(process), times),
                their_work,
                goal,
            ),
        ]
    each = effort.times(10)
    name = f"durable dispatch, {THREADS} threads"
    works = at_once(full, each), at_once(theirs, each)
    yield [Case("ledger", name, theirs.peer, *works, faster(10))]


def beside_queues(effort: Effort) -> Iterator[Batch]:
    """A whole life beside what of it a durable queue does."""
    times = effort.times(100)
    for name, ours, theirs in (
        ("durable dispatch to ack", Core("full"), AckQueue()),
        ('durable dispatch to ack, "process"', Core("process"), LiteQueue()),
    ):
        works = one_by_one(whole_life(ours), timed(theirs.pass_through), times)
        yield [Case("ledger", name, theirs.peer, *works)]


def stored(effort: Effort) -> Iterator[Batch]:
    """A whole life, with ever more rows that are kept. No sync hides what a write itself takes."""
    batch: Batch = []
    for size in effort.sizes:
        path = folder() / "delegations.db"
        fill = [sys.executable, "-m", "measure.fill", str(path), str(size)]
        subprocess.run(fill, check=True)
        work = of_many(whole_life(Core("process", path)), effort.times(500))
        name = 'dispatch to ack, "process", rows kept'
        batch.append(Case("stored", name, None, work, size=size))
    yield batch
