"""The ledger beside a bare commit, a later gateway's, and durable queues of PyPI."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import chain
from time import perf_counter

import hermes_core as hc

from .durable import AckQueue, BareCommit, Core, LaterGateway, LiteQueue, Runner, folder
from .events import KEY
from .figures import at_most, at_most_more, at_most_times_slower, faster
from .runner import Batch, Case, Effort, Work

#: What a write may take beyond the commit itself.
LITTLE = at_most_more(100e-6)
THREADS = 16
#: How many run at once, which is the cap by default.
TOGETHER = 3

#: Something done a few times; gives what each took.
Step = Callable[[], list[float]]
Side = Core | LaterGateway


def timed(call: Callable[[], object]) -> Step:
    """The step that is a call, and nothing around it."""

    def step() -> list[float]:
        taken = []
        for _ in range(TOGETHER):
            start = perf_counter()
            call()
            taken.append(perf_counter() - start)
        return taken

    return step


def dispatch(side: Side) -> Step:
    """The calls alone, while nothing else is written; the rest of the lives is not timed."""

    def step() -> list[float]:
        go = threading.Event()
        runner = _waits_for(go)
        taken = timed(lambda: side.dispatch(runner))()
        go.set()
        for _ in range(TOGETHER):
            side.settle()
        return taken

    return step


def settle(side: Side) -> Step:
    """Claims and acknowledgements of events that are there."""

    def step() -> list[float]:
        for _ in range(TOGETHER):
            side.dispatch(dict)
            side.arrive()
        return timed(side.settle)()

    return step


def of_many(step: Step, times: int) -> Work:
    """Seconds of one, the median of many."""
    return lambda: statistics.median(chain.from_iterable(step() for _ in range(times)))


def one_by_one(ours: Step, theirs: Step, times: int) -> tuple[Work, Work]:
    """The same for two, a step of each in turn: what else goes to the disk meets both."""
    their_times: list[float] = []

    def first() -> float:
        our_times: list[float] = []
        their_times.clear()
        for _ in range(times):
            our_times += ours()
            their_times.extend(theirs())
        return statistics.median(our_times)

    return first, lambda: statistics.median(their_times)


def lives(side: Side, times: int) -> Work:
    """Seconds from dispatch to acknowledgement of runners that do nothing, all at once."""

    def work() -> float:
        start = perf_counter()
        for _ in range(times):
            side.dispatch(dict)
        for _ in range(times):
            side.settle()
        return (perf_counter() - start) / times

    return work


def passages(queue: AckQueue | LiteQueue, times: int) -> Work:
    """Seconds per put, get and acknowledgement."""

    def work() -> float:
        start = perf_counter()
        for _ in range(times):
            queue.put()
        for _ in range(times):
            queue.settle()
        return (perf_counter() - start) / times

    return work


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
    times = effort.times(30)
    for name, step in (("durable dispatch", dispatch), ("durable claim + ack", settle)):
        works = one_by_one(step(full), insert, times)
        yield [Case("ledger", name, bare.peer, *works, LITTLE)]
        works = one_by_one(step(process), write, times)
        goal = at_most_times_slower(2.5) if step is dispatch else None
        yield [Case("ledger", f'{name}, "process"', unsynced.peer, *works, goal)]


def beside_a_later_gateway(effort: Effort) -> Iterator[Batch]:
    """The same beside the durable delivery of 0.19.0, with one thread and with many."""
    full, process, theirs = Core("full"), Core("process"), LaterGateway()
    times = effort.times(10)
    for name, step, goal in (
        ("durable dispatch", dispatch, faster(50)),
        ("durable claim + ack", settle, None),
    ):
        their_work = of_many(step(theirs), times)
        our_work = of_many(step(process), times)
        yield [
            Case("ledger", name, theirs.peer, of_many(step(full), times), their_work),
            Case("ledger", f'{name}, "process"', theirs.peer, our_work, their_work, goal),
        ]
    each = effort.times(5)
    works = at_once(full, each), at_once(theirs, each)
    name = f"durable dispatch, {THREADS} threads"
    yield [Case("ledger", name, theirs.peer, *works, faster(10))]
    works = lives(full, times), lives(theirs, times)
    yield [Case("ledger", "durable dispatch to ack", theirs.peer, *works)]


def beside_queues(effort: Effort) -> Iterator[Batch]:
    """Whole lives beside what of them a durable queue does."""
    times = effort.times(100)
    for name, ours, theirs in (
        ("durable dispatch to ack", Core("full"), AckQueue()),
        ('durable dispatch to ack, "process"', Core("process"), LiteQueue()),
    ):
        yield [Case("ledger", name, theirs.peer, lives(ours, times), passages(theirs, times))]


def restored(effort: Effort) -> Iterator[Batch]:
    """What an earlier process left, put back on the queue of its owner."""
    count = effort.times(500)
    left = folder() / "delegations.db"
    leave = f"from measure.durable import leave; core = leave({str(left)!r}, {count})"
    subprocess.run([sys.executable, "-c", leave], check=True)

    def work() -> float:
        # With its log.
        path = shutil.copytree(left.parent, folder(), dirs_exist_ok=True) / left.name
        registry = hc.DelegationRegistry(ledger=hc.Ledger(path, durability="process"))
        # Opened, and looked through for damage.
        assert not registry.ledger.dead_letters()
        start = perf_counter()
        restored = registry.restore(session_keys=[KEY], proven=True)
        taken = perf_counter() - start
        assert restored == count
        return taken / count

    yield [Case("ledger", "restored delegation", None, work, None, at_most(25e-6))]


def stored(effort: Effort) -> Iterator[Batch]:
    """Whole lives, with ever more rows that are kept. No sync hides what a write itself takes."""
    name, times = 'dispatch to ack, "process", rows kept', effort.times(500)
    batch: Batch = []
    for size in effort.sizes:
        path = folder() / "delegations.db"
        fill = [sys.executable, "-m", "measure.fill", str(path), str(size)]
        subprocess.run(fill, check=True)
        work = lives(Core("process", path), times)
        batch.append(Case("stored", name, None, work, size=size))
    yield batch
