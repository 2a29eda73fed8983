"""Coroutine runners, and what becomes of their event loops."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import hermes_core as hc
from hermes_core import _core
from hermes_core.delegation import coroutines as _coroutines
from hermes_core.runtime import event_loop as _aio
from unit.loops import LoopFactory, each_loop, endless, turns

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """A log record keeps the traceback of a runner that raised, and pytest keeps the record."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_base_exception_ends_no_loop_of_ours(registry: hc.DelegationRegistry) -> None:
    """Rule 1: also one that asyncio lets through."""

    async def exits() -> Any:
        raise SystemExit(3)

    async def interrupts() -> Any:
        raise KeyboardInterrupt

    async def stops() -> Any:
        asyncio.get_running_loop().stop()
        return {"summary": "stopped"}

    async def goes_on() -> Any:
        await asyncio.sleep(0)
        return {"summary": "done"}

    for runner, error in ((exits, "SystemExit: 3"), (interrupts, "KeyboardInterrupt: ")):
        handle = registry.dispatch(goal="g", runner=runner)
        assert handle.result(60)["error"] == error
    assert registry.dispatch(goal="g", runner=stops).result(60)["summary"] == "stopped"
    assert registry.dispatch(goal="g", runner=goes_on).result(60)["summary"] == "done"


@each_loop
def test_a_system_exit_ends_the_callers_loop_as_any_tasks_does(
    factory: LoopFactory, registry: hc.DelegationRegistry
) -> None:
    async def exits() -> Any:
        raise SystemExit(3)

    async def main() -> None:
        registry.dispatch(goal="g", runner=exits)
        await endless()

    with pytest.raises(SystemExit), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    event: dict[str, Any] = registry.queue.get(timeout=60)
    assert event["error"] == "SystemExit: 3"
    assert registry.queue.empty()


@each_loop
def test_the_end_of_asyncio_run_interrupts(
    factory: LoopFactory, registry: hc.DelegationRegistry
) -> None:
    """F22: what still runs is cancelled, and told."""

    async def main() -> list[hc.DelegationHandle]:
        begun = registry.dispatch(goal="g", runner=endless)
        await turns()
        return [begun, registry.dispatch(goal="g", runner=endless)]

    with asyncio.Runner(loop_factory=factory) as runner:
        begun, fresh = runner.run(main())
    assert begun.result(60)["status"] == "interrupted"
    # Its runner had not been called, or its task was cancelled at once.
    assert fresh.result(60)["status"] in ("error", "interrupted")
    for _ in range(2):
        registry.queue.get(timeout=60)
    assert registry.queue.empty()
    assert registry.active_count() == 0


@each_loop
@pytest.mark.parametrize("steps", range(5))
def test_a_loop_closed_under_it_is_told_once(
    factory: LoopFactory, registry: hc.DelegationRegistry, steps: int
) -> None:
    """Rule 1: not begun, running, and done without the loop having called back."""

    async def done() -> dict[str, Any]:
        return {"summary": "done"}

    async def dispatch() -> list[hc.DelegationHandle]:
        handles = [registry.dispatch(goal="g", runner=runner) for runner in (endless, done)]
        for _ in range(steps):
            await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        return handles

    loop = factory()
    dispatched = loop.create_task(dispatch())
    loop.run_forever()
    loop.close()
    running, ended = (handle.result(60) for handle in dispatched.result())
    assert "event loop was closed" in running["error"]
    assert ended.get("summary") == "done" or "event loop was closed" in ended["error"]
    assert ended.get("summary") == "done" or steps < 4
    for _ in range(2):
        registry.queue.get(timeout=60)
    assert registry.queue.empty()
    assert registry.active_count() == 0


def test_a_forgotten_loop_is_garbage_and_its_delegations_are_told(
    registry: hc.DelegationRegistry,
) -> None:
    """Rule 1: the registry keeps no task, so nothing keeps the loop."""

    class Loop(asyncio.SelectorEventLoop):
        def __del__(self) -> None:
            # It warns, and closes: this one is only dropped.
            pass

    async def dispatch() -> hc.DelegationHandle:
        handle = registry.dispatch(goal="g", runner=endless)
        await turns()
        reader = _aio.reader_of(asyncio.get_running_loop())
        for task in reader.runs.values():
            task._log_destroy_pending = False  # type: ignore[union-attr]
        return handle

    loop = Loop()
    sockets = (loop._ssock, loop._csock)  # type: ignore[attr-defined]
    handle = loop.run_until_complete(dispatch())
    known = weakref.ref(loop)
    del loop
    gc.collect()
    assert known() is None
    assert "event loop was closed" in handle.result(60)["error"]
    for socket in sockets:
        socket.close()


def test_a_task_that_nobody_else_holds_stays(registry: hc.DelegationRegistry) -> None:
    """asyncio itself holds tasks weakly; one that waits for garbage would be garbage."""
    known: list[weakref.ref[Any]] = []

    async def waits_for_garbage() -> dict[str, Any]:
        task = asyncio.current_task()
        assert task is not None
        known.append(weakref.ref(task))
        return await endless()

    async def main() -> None:
        handle = registry.dispatch(goal="g", runner=waits_for_garbage)
        await turns()
        gc.collect()
        assert known[0]() is not None
        assert handle.state == "running"
        handle.cancel()
        await handle
        await turns()
        gc.collect()
        assert known[0]() is None

    asyncio.run(main())


def test_task_factories(registry: hc.DelegationRegistry) -> None:
    def old(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=loop)

    def future(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Future[Any]:
        return asyncio.shield(asyncio.Task(coroutine, loop=loop))

    def bad(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
        raise ValueError("no tasks today")

    async def runner() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"summary": variable.get()}

    async def main(factory: Any) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        variable.set("the caller's")
        try:
            return await registry.dispatch(goal="g", runner=runner)
        finally:
            loop.set_task_factory(None)

    factories = [None, old, getattr(asyncio, "eager_task_factory", None)]
    if sys.version_info < (3, 13):
        # Later loops name what a factory returns, so it must be a task.
        factories.append(future)
    for factory in factories:
        assert asyncio.run(main(factory))["summary"] == "the caller's"
    assert asyncio.run(main(bad))["error"] == "ValueError: no tasks today"


def test_no_descriptor_left_is_a_refusal(
    core: Any, dispatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: on a new event loop and on ours, at its first use; nothing runs, and nothing is left."""

    def none_left() -> Any:
        raise OSError(24, "Too many open files")

    async def main() -> Any:
        return dispatch(endless)

    monkeypatch.setattr(_core, "LoopWaker", none_left)
    monkeypatch.setattr(_coroutines, "_own", {})
    for answer in (asyncio.run(main()), dispatch(endless)):
        assert (answer["status"], answer["reason"]) == ("rejected", "not_started")
        assert "Too many open files" in answer["error"]
    assert core.active_count() == 0
    assert core.list_async_delegations() == []
    assert _coroutines._own == {}


def test_one_end_that_cannot_be_told_keeps_no_other_from_it(
    registry: hc.DelegationRegistry,
) -> None:
    """F9: a hook that raises while a closed loop's delegations are told."""
    told = []

    def on_end(record: dict[str, Any]) -> None:
        told.append(record["delegation_id"])
        raise ValueError("no")

    async def main() -> list[str]:
        ids = [registry.dispatch(goal="g", runner=endless).id for _ in range(3)]
        await turns()
        return ids

    registry.on_end = on_end
    loop = asyncio.new_event_loop()
    ids = loop.run_until_complete(main())
    loop.close()
    assert sorted(told) == sorted(ids)
    assert registry.queue.qsize() == 3


def test_our_loop_closed_before_it_awaits_what_a_runner_returned_is_told(
    registry: hc.DelegationRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 1: begun on a worker thread, and no task yet."""
    loop = _coroutines._OwnLoop()
    reader = _aio.reader_of(loop)
    monkeypatch.setattr(_coroutines, "_own", {_coroutines.THREAD_NAME: loop})
    is_there = threading.Event()

    class Runs(dict[Any, Any]):
        def __setitem__(self, run: Any, task: Any) -> None:
            super().__setitem__(run, task)
            is_there.set()

    reader.runs = Runs()
    returned = endless()
    handle = registry.dispatch(goal="g", runner=lambda: returned)
    assert is_there.wait(60)
    del reader
    loop.close()
    assert "event loop was closed" in handle.result(60)["error"]
    assert registry.active_count() == 0
    returned.close()
