"""How soon a task runs that another thread wakes: by our descriptor, and by a call into the loop.

``python benches/wake.py`` prints medians of repetitions that alternate. The call is what
``pyo3-async-runtimes`` completes a future by, here made from a Python thread: the least it costs.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import threading
import time
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any

import hermes_core as hc

#: Hands a job to the other thread.
Serve = Callable[[Callable[[], object]], None]

ROUNDS = 2_000
REPETITIONS = 9


async def by_descriptor(serve: Serve) -> float:
    """A round is: ask the other thread, await the event that it puts."""
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    box = queue.mailbox(session_key="a", lease=None)
    event = {"type": "completion", "session_key": "a"}
    start = time.perf_counter()
    for _ in range(ROUNDS):
        serve(lambda: queue.put(event))
        (await box.aget()).ack()
    return (time.perf_counter() - start) / ROUNDS


async def by_call(serve: Serve) -> float:
    """A round is: ask the other thread, await the future that it completes."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    for _ in range(ROUNDS):
        future: asyncio.Future[None] = loop.create_future()
        serve(functools.partial(loop.call_soon_threadsafe, future.set_result, None))
        await future
    return (time.perf_counter() - start) / ROUNDS


def main() -> None:
    """Measure both in turn."""
    jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def work() -> None:
        while (job := jobs.get()) is not None:
            job()

    thread = threading.Thread(target=work)
    thread.start()
    sides: dict[str, Callable[..., Coroutine[Any, Any, float]]]
    sides = {
        "descriptor, with the queue and its lease": by_descriptor,
        "call into the loop": by_call,
    }
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(REPETITIONS):
        for name, side in sides.items():
            took[name].append(asyncio.run(side(jobs.put)))
    jobs.put(None)
    thread.join()
    for name, times in took.items():
        print(f"{name}: {statistics.median(times) * 1e6:.1f} µs a round")


if __name__ == "__main__":
    main()
