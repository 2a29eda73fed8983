"""Prints the bytes that a delegation takes whose coroutine waits, that coroutine left out.

python -m leaks.in_flight COUNT
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import hermes_core as hc
from measure.memory import per_item


def in_flight(count: int) -> float:
    """The bytes of one, of ``count``."""
    loop = asyncio.new_event_loop()
    gate = loop.create_future()
    coroutines = []

    async def runner() -> dict[str, Any]:
        await gate
        return {}

    def start(_: int) -> None:
        coroutine = runner()
        coroutine.send(None)
        coroutines.append(coroutine)
        # The mark of a future that a task has not seen yet: here is no task.
        gate._asyncio_future_blocking = False

    alone = per_item(start, count)
    registry = hc.DelegationRegistry(capacity=2 * count)

    async def dispatch(number: int) -> None:
        key = f"agent:main:telegram:dm:{number}"
        registry.dispatch(goal="Read the logs", runner=runner, session_key=key)

    taken = per_item(lambda number: loop.run_until_complete(dispatch(number)), count)
    assert registry.active_count() > count
    for coroutine in coroutines:
        coroutine.close()
    gate.set_result(None)
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop)))
    loop.close()
    return taken - alone


if __name__ == "__main__":
    gc.disable()
    print(in_flight(int(sys.argv[1])))
