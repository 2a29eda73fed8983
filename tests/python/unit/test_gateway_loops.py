"""That no loop of the gateway is at large is known by counting who can run it, on each Python."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from hermes_core.gateway import host_loops

WAIT = 60.0

Known = Callable[[Any], host_loops.Loop]


@pytest.fixture
def known() -> Iterator[Known]:
    """Makes the record of a loop that has left its module; plays the swap that puts it back."""
    kept: list[Any] = []

    def make(namespace: dict[str, Any]) -> host_loops.Loop:
        original = namespace.pop("loop")
        kept.append(original)
        loop = host_loops.of(original)
        host_loops.add(loop, namespace.get("take_over", lambda frame: None))
        return loop

    yield make
    host_loops.clear()


def idle() -> dict[str, Any]:
    def loop() -> None:
        pass

    return {"loop": loop}


def test_a_loop_that_nobody_can_run_is_not_at_large(known: Known) -> None:
    loop = known(idle())
    assert not loop.may_be_at_large()
    assert not host_loops.any_at_large()


def test_one_record_serves_every_stay_of_the_core(known: Known) -> None:
    """Whoever runs a stand-in of an earlier one holds the record, and so the function."""
    loop = known(idle())
    host_loops.clear()
    again = host_loops.of(loop.original)
    assert again is loop
    host_loops.add(again, lambda frame: None)
    assert not loop.may_be_at_large()


@pytest.mark.parametrize(
    "holder",
    [
        lambda function: [function],
        lambda function: {"name": function},
        lambda function: functools.partial(function),
        lambda function: lambda: function(),
        lambda function: threading.Thread(target=function),
        lambda function: types.MethodType(function, 1),
        lambda function: iter([function]),
    ],
    ids=["list", "name", "partial", "closure", "thread to start", "bound method", "iterator"],
)
def test_whoever_holds_it_may_run_it(known: Known, holder: Callable[[Any], Any]) -> None:
    loop = known(idle())
    held = holder(loop.original)
    assert loop.may_be_at_large()
    del held
    assert not loop.may_be_at_large()


def test_a_thread_in_it_is_at_large_until_it_is_served(known: Known) -> None:
    inside, meet, met, go_on, alone, leave = (threading.Event() for _ in range(6))

    def loop() -> None:
        inside.set()
        assert meet.wait(WAIT)
        taker = host_loops.by_code[id(sys._getframe().f_code)]
        taker.take_over(sys._getframe())
        alone.set()
        assert leave.wait(WAIT)

    def take_over(frame: FrameType) -> None:
        with record.serving(frame):
            met.set()
            assert go_on.wait(WAIT)

    namespace = {"loop": loop, "take_over": take_over}
    del loop
    record = known(namespace)
    thread = threading.Thread(target=record.original)
    thread.start()
    assert inside.wait(WAIT)
    assert record.may_be_at_large()
    meet.set()
    assert met.wait(WAIT)
    assert not record.may_be_at_large()
    another = threading.Thread(target=record.original)
    assert record.may_be_at_large()
    del another
    go_on.set()
    assert alone.wait(WAIT)
    assert record.may_be_at_large()
    leave.set()
    thread.join()
    assert not record.may_be_at_large()


def test_a_frame_that_a_thread_does_not_run_itself_counts_for_one(known: Known) -> None:
    """What more its caller holds is not known, and may be somebody's who has yet to run it."""
    met, go_on = threading.Event(), threading.Event()

    def loop() -> None:
        host_loops.by_code[id(sys._getframe().f_code)].take_over(sys._getframe())

    def take_over(frame: FrameType) -> None:
        with record.serving(frame):
            met.set()
            assert go_on.wait(WAIT)

    namespace = {"loop": loop, "take_over": take_over}
    del loop
    record = known(namespace)
    thread = threading.Thread(target=lambda: record.original())
    thread.start()
    assert met.wait(WAIT)
    assert not record.may_be_at_large()
    held = [record.original]
    assert record.may_be_at_large()
    go_on.set()
    thread.join()
    assert record.may_be_at_large()
    held.clear()
    assert not record.may_be_at_large()


def test_a_suspended_coroutine_is_at_large(known: Known) -> None:
    async def loop() -> None:
        await asyncio.sleep(3600)

    namespace = {"loop": loop}
    del loop
    record = known(namespace)

    async def main() -> None:
        coroutine = record.original()
        assert record.may_be_at_large()
        task = asyncio.create_task(coroutine)
        del coroutine
        await asyncio.sleep(0)
        assert record.may_be_at_large()
        task.cancel()
        await asyncio.wait([task])
        del task
        # What the loop itself keeps of the task goes with its next round.
        await asyncio.sleep(0)
        assert not record.may_be_at_large()

    asyncio.run(main())


def test_of_two_served_the_end_of_one_hides_nobody(known: Known) -> None:
    """Whatever comes and goes while it is counted: never is one at large called known."""

    def loop() -> None:
        host_loops.by_code[id(sys._getframe().f_code)].take_over(sys._getframe())

    def take_over(frame: FrameType) -> None:
        with record.serving(frame):
            pass

    namespace = {"loop": loop, "take_over": take_over}
    del loop
    record = known(namespace)
    held = [record.original]
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            threads = [threading.Thread(target=held[0]) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    other = threading.Thread(target=come_and_go)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        other.start()
        assert all(record.may_be_at_large() for _ in range(20_000))
    finally:
        stop.set()
        other.join()
        sys.setswitchinterval(interval)
    held.clear()
    assert not record.may_be_at_large()
