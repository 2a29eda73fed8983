"""What the tests on event loops share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

FACTORIES: list[LoopFactory] = [asyncio.new_event_loop, uvloop.new_event_loop]

#: For a test that takes a ``factory``: with each.
each_loop = pytest.mark.parametrize("factory", FACTORIES, ids=["asyncio", "uvloop"])

#: Turns of the loop within which anything that will happen in a test has happened.
TURNS = 8


def run(factory: LoopFactory, main: Coroutine[Any, Any, Any], debug: bool | None = None) -> Any:
    """Run a coroutine on a new event loop, as ``asyncio.run`` does."""
    with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
        return runner.run(main)


async def turns(count: int = TURNS) -> None:
    """Let every task run until it waits."""
    for _ in range(count):
        await asyncio.sleep(0)


async def endless() -> dict[str, Any]:
    """A runner that waits for ever."""
    await asyncio.get_running_loop().create_future()
    return {}
