"""The completion queue beside the standard library's queues."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from time import perf_counter
from types import FrameType, SimpleNamespace
from typing import Any

import hermes_core as hc
from hermes_core import async_delegation
from hermes_core.gateway import host_loops, queue_swap

from .events import EVENT, KEY, numbered
from .figures import at_most_times_slower, faster
from .runner import Batch, Case, Effort, Work

QUEUE = "queue.Queue"
SIMPLE_QUEUE = "queue.SimpleQueue"
PLAIN = "our plain queue"

#: More than a gateway has open at once.
SESSIONS = 1_000


def put_get(box: Any, item: object, times: int) -> Work:
    """Seconds per put and get."""

    def work() -> float:
        put, get = box.put, box.get
        start = perf_counter()
        for _ in repeat(None, times):
            put(item)
            get()
        return (perf_counter() - start) / times

    return work


def put_get_in_time(box: Any, item: object, times: int) -> Work:
    """Seconds per put, and get with a timeout, as the gateway's loops take."""

    def work() -> float:
        put, get = box.put, box.get
        start = perf_counter()
        for _ in repeat(None, times):
            put(item)
            get(timeout=0.5)
        return (perf_counter() - start) / times

    return work


def put_get_by_key(box: hc.CompletionQueue[Any], times: int) -> Work:
    """Seconds per put, and get by a key that nothing else in the queue has."""

    def work() -> float:
        put, get, event, key = box.put, box.get, EVENT, KEY
        start = perf_counter()
        for _ in repeat(None, times):
            put(event)
            get(session_key=key)
        return (perf_counter() - start) / times

    return work


def cycle(box: Any, times: int) -> Work:
    """Seconds per get of the oldest and put of it at the end."""

    def work() -> float:
        put, get = box.put, box.get
        start = perf_counter()
        for _ in repeat(None, times):
            put(get())
        return (perf_counter() - start) / times

    return work


def wake(make: Callable[[], Any], times: int) -> Work:
    """Seconds for an item to a blocked consumer, and its answer."""

    def work() -> float:
        there, back = make(), make()

        def consumer() -> None:
            while (item := there.get()) is not None:
                back.put(item)

        thread = threading.Thread(target=consumer)
        thread.start()
        start = perf_counter()
        for _ in repeat(None, times):
            there.put(EVENT)
            back.get()
        elapsed = perf_counter() - start
        there.put(None)
        thread.join()
        return elapsed / times

    return work


def operations(effort: Effort) -> Iterator[Batch]:
    """Puts and gets of an empty queue, and a wake."""
    group = "queue"
    times = effort.times(50_000)
    shared = async_delegation.completion_queue
    event = "put + get of an event"
    yield [
        Case(
            group,
            event,
            QUEUE,
            put_get(hc.CompletionQueue(), EVENT, times),
            put_get(queue.Queue(), EVENT, times),
            faster(6),
        ),
        Case(
            group,
            event,
            SIMPLE_QUEUE,
            put_get(hc.CompletionQueue(), EVENT, times),
            put_get(queue.SimpleQueue(), EVENT, times),
            at_most_times_slower(4.5),
        ),
        Case(
            group,
            f"{event}, queue of a registry",
            QUEUE,
            put_get(shared, EVENT, times),
            put_get(queue.Queue(), EVENT, times),
        ),
        Case(
            group,
            "put + get of an int",
            QUEUE,
            put_get(hc.CompletionQueue(), 1, times),
            put_get(queue.Queue(), 1, times),
        ),
    ]
    times = effort.times(5_000)
    yield [
        Case(
            group,
            "wake of a consumer, and back",
            SIMPLE_QUEUE,
            wake(hc.CompletionQueue, times),
            wake(queue.SimpleQueue, times),
            faster(1),
        )
    ]


def installed() -> hc.CompletionQueue[Any]:
    """A queue in the place of a gateway's own, as an install puts it there."""
    ours: hc.CompletionQueue[Any] = hc.CompletionQueue()
    queue_swap.QueueSwap(SimpleNamespace(completion_queue=queue.Queue()), ours).install()
    return ours


def of_a_gateway(effort: Effort) -> Iterator[Batch]:
    """The queue of an installed gateway, beside the plain one."""

    def loop() -> None:
        """Stand for a loop of the gateway that may be at work."""

    def take_over(frame: FrameType) -> None:
        """Let it go on."""

    times = effort.times(50_000)
    settled, watched, plain = installed(), installed(), hc.CompletionQueue[Any]()
    queue_swap.watch(host_loops.of(loop), take_over)
    runners = [loop]  # one more than the swap, which keeps it to put it back
    queue_swap.adapt()
    works = (("", put_get), (" in time", put_get_in_time))
    kinds = (("settled", settled, 1.1), ("watched", watched, 3.0))
    event = "put + get of an event"
    yield [
        Case(
            "queue",
            f"{event}{how}, installed gateway's queue, {kind}",
            PLAIN,
            work(ours, EVENT, times),
            work(plain, EVENT, times),
            at_most_times_slower(most),
        )
        for how, work in works
        for kind, ours, most in kinds
    ] + [
        Case(
            "queue",
            f"{event}{how}, installed gateway's queue",
            QUEUE,
            work(settled, EVENT, times),
            work(queue.Queue(), EVENT, times),
            faster(5),
        )
        for how, work in works
    ]
    runners.clear()


def depth(effort: Effort) -> Iterator[Batch]:
    """The same with other events waiting: of some sessions, and each of a session of its own."""
    times = effort.times(20_000)
    for name, sessions in (("cycle", SESSIONS), ("cycle, a session each", None)):
        batch: Batch = []
        for size in effort.sizes:
            ours: hc.CompletionQueue[Any] = hc.CompletionQueue()
            theirs: queue.Queue[Any] = queue.Queue()
            for number in range(size):
                ours.put(numbered(number, sessions))
                theirs.put(numbered(number, sessions))
            pair = cycle(ours, times), cycle(theirs, times)
            batch.append(Case("depth", name, QUEUE, *pair, size=size))
            if sessions is None:
                by_key = put_get_by_key(ours, times)
                batch.append(Case("depth", "by key, a session each", None, by_key, size=size))
        # The collector has nothing to find among them, and much to look at.
        gc.freeze()
        yield batch
        gc.unfreeze()
