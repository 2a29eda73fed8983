"""Waiting in tasks: for a waiter's signal, and for a delegation's end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import hermes_core as hc
from hermes_core import _core
from hermes_core.runtime import event_loop as _aio
from unit.loops import FACTORIES, LoopFactory, each_loop, run, turns


class Held:
    """A delegation that ends when it is told to."""

    def __init__(self, registry: hc.DelegationRegistry, **more: Any) -> None:
        self._go: hc.CompletionQueue[dict[str, Any]] = hc.CompletionQueue()
        self.handle = registry.dispatch(goal="g", runner=self._go.get, **more)

    def end(self, **result: Any) -> None:
        self._go.put(result)


@pytest.fixture
def held(registry: hc.DelegationRegistry) -> Held:
    return Held(registry)


def sure(waiter: _aio.Waiter, handle: hc.DelegationHandle) -> None:
    """Have the delegation's end wake the waiter."""
    assert handle._registry._core.await_end(handle.id, waiter)


@each_loop
@pytest.mark.parametrize("debug", [False, True])
def test_a_wait_ends_with_the_signal_set_before_or_while(
    factory: LoopFactory, debug: bool, registry: hc.DelegationRegistry
) -> None:
    async def main() -> None:
        before, later = Held(registry), Held(registry)
        waiter = _aio.waiter()
        sure(waiter, before.handle)
        before.end()
        before.handle.result(60)
        assert await _aio.wait(waiter)
        sure(waiter, later.handle)
        task = asyncio.create_task(_aio.wait(waiter, 60))
        await turns()
        assert not task.done()
        later.end()
        assert await task
        assert not await _aio.wait(waiter, 0), "a set counts once"

    run(factory, main(), debug)


@each_loop
def test_a_wait_ends_in_time(factory: LoopFactory) -> None:
    async def main() -> None:
        loop, waiter = asyncio.get_running_loop(), _aio.waiter()
        for timeout in (-1, 0, 0.0, 0.001, 0.02):
            began = loop.time()
            assert not await _aio.wait(waiter, timeout)
            assert loop.time() >= began + timeout
        assert not _aio.reader_of(loop).waiting

    run(factory, main())


@each_loop
def test_a_wake_for_a_signal_taken_already_ends_no_wait(factory: LoopFactory, held: Held) -> None:
    """F15: the loop hears of a wake after the task has looked; the next wait is not for that."""

    async def main() -> None:
        waiter = _aio.waiter()
        sure(waiter, held.handle)
        held.end()
        held.handle.result(60)
        assert waiter.take()
        # Its number is still on the way to the loop.
        assert not await _aio.wait(waiter, 0.02)

    run(factory, main())


@each_loop
def test_a_cancelled_wait_leaves_the_signal_as_it_is(factory: LoopFactory, held: Held) -> None:
    """F4: whoever cancels at the moment of the wake finds it unused."""

    async def main() -> None:
        waiter = _aio.waiter()
        task = asyncio.create_task(_aio.wait(waiter))
        await turns()
        sure(waiter, held.handle)
        held.end()
        held.handle.result(60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waiter.take()
        assert not _aio.reader_of(asyncio.get_running_loop()).waiting

    run(factory, main())


@each_loop
@pytest.mark.parametrize("debug", [False, True])
def test_a_loop_closed_under_waiters_tells_each_once(factory: LoopFactory, debug: bool) -> None:
    """F1: what they were registered for must go to others."""
    abandoned: list[int] = []

    async def wait(number: int) -> None:
        waiter = _aio.waiter()
        waiter.on_abandon = lambda: abandoned.append(number)
        await _aio.wait(waiter, None if number else 60)

    loop = factory()
    loop.set_debug(debug)
    tasks = [loop.create_task(wait(number)) for number in range(3)]
    loop.run_until_complete(turns())
    assert abandoned == []
    loop.close()
    assert sorted(abandoned) == [0, 1, 2]
    for task in tasks:
        # A coroutine that is closed now undoes what it did, and that is done.
        task.get_coro().close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    assert sorted(abandoned) == [0, 1, 2]


def test_a_garbage_loop_tells_its_waiters() -> None:
    """F1: as a closed one, unless a task comes first and undoes what it did.

    (uvloop's own handles keep a loop that is not closed.)
    """
    undone: list[bool] = []

    class Loop(asyncio.SelectorEventLoop):
        def __del__(self) -> None:
            # It warns, and closes: this one is only dropped.
            pass

    async def wait() -> None:
        waiter = _aio.waiter()
        waiter.on_abandon = lambda: undone.append(True)
        try:
            await _aio.wait(waiter)
        finally:
            undone.append(False)

    loop = Loop()
    sockets = (loop._ssock, loop._csock)  # type: ignore[attr-defined]
    task = loop.create_task(wait())
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.run_until_complete(turns())
    known = weakref.ref(loop)
    del loop, task
    gc.collect()
    assert known() is None
    assert undone
    for socket in sockets:
        socket.close()


@each_loop
def test_a_loop_keeps_nothing_of_who_waited_first(factory: LoopFactory) -> None:
    class Thing:
        pass

    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def first() -> weakref.ref[Thing]:
        thing = Thing()
        variable.set(thing)
        assert not await _aio.wait(_aio.waiter(), 0.001)
        return weakref.ref(thing)

    async def main() -> None:
        known = await asyncio.create_task(first())
        await turns()
        gc.collect()
        assert known() is None

    run(factory, main())


def test_a_loop_that_watches_no_descriptor_is_refused() -> None:
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *_: object) -> None:
            raise NotImplementedError

    async def main() -> None:
        with pytest.raises(NotImplementedError):
            _aio.waiter()

    run(Loop, main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        _aio.waiter()


def test_a_bell_is_rung_for_all_who_were_woken_since_it_was_heard() -> None:
    """F15: one wake-up of the loop's thread for many tasks; none for nothing."""
    waker = _core.LoopWaker()
    waiters = [_core.Waiter(waker) for _ in range(3)]
    assert [waiter.number for waiter in waiters] == [0, 1, 2]
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        heard: list[list[int]] = []
        loop.add_reader(waker.fileno(), lambda: heard.append(waker.ready()))
        registry = hc.DelegationRegistry(capacity=9)
        ends = [Held(registry) for _ in range(3)]
        for end, waiter in zip(ends, reversed(waiters), strict=True):
            sure(waiter, end.handle)  # type: ignore[arg-type]
            end.end()
            end.handle.result(60)
        runner.run(asyncio.sleep(0.01))
        assert heard == [[2, 1, 0]]
        loop.remove_reader(waker.fileno())


@each_loop
def test_awaiting_a_handle_is_as_its_result(
    factory: LoopFactory, registry: hc.DelegationRegistry, held: Held
) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(held.handle)
        await turns()
        assert not task.done()
        held.end(summary="done")
        assert await task == {"summary": "done"}
        assert await held.handle is held.handle.result()
        raised = registry.dispatch(goal="g", runner=lambda: {}["nothing"])
        assert (await raised)["error"] == "KeyError: 'nothing'"

    run(factory, main())


@each_loop
def test_a_cancelled_await_cancels_no_delegation(factory: LoopFactory, held: Held) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(held.handle, 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await held.handle
        assert held.handle.state == "running"
        awaits = [asyncio.ensure_future(held.handle) for _ in range(100)]
        await turns()
        for task in awaits[::2]:
            task.cancel()
        held.end(summary="done")
        results = await asyncio.gather(*awaits, return_exceptions=True)
        assert [type(result) for result in results[::2]] == [asyncio.CancelledError] * 50
        assert results[1::2] == [{"summary": "done"}] * 50
        # What those left behind is no reason to keep anything.
        assert not _aio.reader_of(asyncio.get_running_loop()).waiting

    run(factory, main())


@each_loop
def test_a_task_group_joins_delegations(
    factory: LoopFactory, registry: hc.DelegationRegistry
) -> None:
    async def main() -> list[Any]:
        held = [Held(registry) for _ in range(3)]
        async with asyncio.TaskGroup() as group:
            joined = [group.create_task(ended(one.handle)) for one in held]
            await turns()
            for number, one in enumerate(held):
                one.end(summary=number)
        return [task.result()["summary"] for task in joined]

    async def ended(handle: hc.DelegationHandle) -> dict[str, Any]:
        return await handle

    assert run(factory, main()) == [0, 1, 2]


@each_loop
def test_a_forgotten_delegation_is_a_lookup_error(
    factory: LoopFactory, registry: hc.DelegationRegistry, held: Held
) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(held.handle)
        await turns()
        registry.clear()
        with pytest.raises(LookupError):
            await task
        with pytest.raises(LookupError):
            await held.handle

    run(factory, main())
    held.end()


def test_many_await_one_on_several_loops(held: Held) -> None:
    """F1: the end is heard on every loop, in every thread, and by those that block."""
    loops, tasks = 6, 50
    ready = threading.Barrier(loops + 1)

    async def main() -> list[Any]:
        awaits = [asyncio.ensure_future(held.handle) for _ in range(tasks)]
        await turns()
        ready.wait(60)
        return await asyncio.gather(*awaits)

    with ThreadPoolExecutor(loops + 1) as pool:
        blocked = pool.submit(held.handle.result)
        running = [pool.submit(run, FACTORIES[number % 2], main()) for number in range(loops)]
        ready.wait(60)
        held.end(summary="done")
        assert blocked.result(60) == {"summary": "done"}
        for future in running:
            assert future.result(60) == [{"summary": "done"}] * tasks


def test_awaiting_takes_no_thread(registry: hc.DelegationRegistry, held: Held) -> None:
    async def main() -> None:
        before = threading.active_count()
        awaits = [asyncio.ensure_future(held.handle) for _ in range(1000)]
        await turns()
        assert threading.active_count() == before
        held.end()
        await asyncio.gather(*awaits)

    asyncio.run(main())


@each_loop
def test_a_loop_closed_under_awaits_disturbs_nobody(factory: LoopFactory, held: Held) -> None:
    loop = factory()
    tasks = [loop.create_task(held.handle._ended()) for _ in range(3)]
    loop.run_until_complete(turns())
    loop.close()
    for task in tasks:
        task.get_coro().close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]

    async def main() -> dict[str, Any]:
        task = asyncio.ensure_future(held.handle)
        await turns()
        held.end(summary="done")
        return await task

    assert run(factory, main()) == {"summary": "done"}
