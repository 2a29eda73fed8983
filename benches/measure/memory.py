"""Prints the bytes that one more thing takes: `python -m measure.memory WHAT COUNT`.

Resident memory before and after, over the count: `tracemalloc` sees no Rust.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import queue
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

import hermes_core as hc

from .peers import use_own_home

KEYS = ("goal", "context", "toolsets", "role", "model", "session_key")


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def per_item(add: Callable[[int], None], count: int) -> float:
    """Bytes per call of ``add`` with a number."""
    # What the first ones set up counts for none.
    for number in range(count // 10):
        add(count + number)
    gc.collect()
    before = resident()
    for number in range(count):
        add(number)
    return (resident() - before) / count


def queued(box: hc.CompletionQueue[object] | queue.Queue[object], count: int) -> float:
    """Bytes that the queue takes for an event, the event itself left out."""
    numbers = range(count + count // 10)
    events = [
        {"type": "completion", "session_key": f"agent:main:telegram:dm:{number}"}
        for number in numbers
    ]
    return per_item(lambda number: box.put(events[number]), count)


def dispatched(module: str, pool: str, start: str, count: int) -> float:
    """Bytes that a dispatched delegation takes, up to the point where a thread would start."""
    logging.disable()
    dispatch = importlib.import_module(module).dispatch_async_delegation
    task = {**dict.fromkeys(KEYS), "goal": "Read the logs", "role": "leaf"}

    def add(number: int) -> None:
        key = f"agent:main:telegram:dm:{number}"
        task["session_key"] = key
        answer = dispatch(**task, runner=lambda: {"key": key}, max_async_children=10 * count)
        assert answer["status"] == "dispatched"

    pool_module, _, pool_class = pool.rpartition(".")
    workers = getattr(importlib.import_module(pool_module), pool_class)
    with mock.patch.object(workers, start, _nothing):
        return per_item(add, count)


async def _wait_for_ever() -> dict[str, object]:
    await asyncio.get_running_loop().create_future()
    return {}


def coroutines(count: int) -> float:
    """Bytes that a coroutine takes that waits."""
    kept = []

    async def main() -> float:
        return per_item(lambda _: kept.append(_started()), count)

    return asyncio.run(main())


def _started() -> Coroutine[Any, Any, object]:
    coroutine = _wait_for_ever()
    coroutine.send(None)
    return coroutine


def coroutine_delegations(count: int) -> float:
    """Bytes that a delegation takes whose runner is a coroutine that waits."""
    logging.disable()

    async def main() -> float:
        registry = hc.DelegationRegistry(capacity=2 * count)
        first, rest = count // 10, count
        await _dispatched(registry, first)
        gc.collect()
        before = resident()
        await _dispatched(registry, rest)
        taken = (resident() - before) / rest
        registry.interrupt_all("measured")
        return taken

    return asyncio.run(main())


async def _dispatched(registry: hc.DelegationRegistry, count: int) -> None:
    """Dispatch so many, and have them all come to where they wait."""
    for number in range(count):
        registry.dispatch(
            goal="Read the logs",
            role="leaf",
            runner=_wait_for_ever,
            session_key=f"agent:main:telegram:dm:{number}",
        )
    for _ in range(3):
        await asyncio.sleep(0)


def _nothing(*_: object) -> None:
    # Not a mock: that would remember its calls.
    pass


def main() -> None:
    """Measure what the arguments say."""
    _, what, number = sys.argv
    count = int(number)
    gc.disable()
    use_own_home()
    match what:
        case "queue ours":
            taken = queued(hc.CompletionQueue(), count)
        case "queue theirs":
            taken = queued(queue.Queue(), count)
        case "record ours":
            core = "hermes_core.async_delegation"
            taken = dispatched(core, "hermes_core.runtime.workers.WorkerPool", "_start", count)
        case "record theirs":
            tools = "tools.async_delegation"
            pool = f"{tools}._DaemonThreadPoolExecutor"
            taken = dispatched(tools, pool, "_adjust_thread_count", count)
        case "coroutine alone":
            taken = coroutines(count)
        case "coroutine delegation":
            taken = coroutine_delegations(count)
        case _:
            raise SystemExit(f"unknown: {what}")
    print(taken)


if __name__ == "__main__":
    main()
