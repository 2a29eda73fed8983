"""Runners that are coroutine functions."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

import hermes_core as hc
from hermes_core.delegation.runners import is_coroutine_function
from hermes_core.runtime import event_loop as _aio
from unit.loops import FACTORIES, endless, turns

#: The keys whose values are the clock's or the registry's.
OWN = {"delegation_id", "dispatched_at", "completed_at", "duration_seconds"}

THREAD = "async-delegate-loop"

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """A log record keeps the traceback of a runner that raised, and pytest keeps the record."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=["ours", "asyncio", "uvloop"])
def host(request: Any) -> Host:
    """Where delegations run: on our event loop, or on a caller's."""
    return Host(request.param)


class Host:
    """A thread that dispatches: with an event loop of its own, or with none."""

    def __init__(self, name: str) -> None:
        self._factory = None if name == "ours" else FACTORIES[name == "uvloop"]

    def end(
        self,
        registry: hc.DelegationRegistry,
        runner: Any,
        then: Callable[[hc.DelegationHandle], object] = lambda handle: None,
        **more: Any,
    ) -> dict[str, Any]:
        """Dispatch, do something ``then``, and wait for the one event."""
        with_loop = self._factory is not None

        async def main() -> dict[str, Any]:
            handle = registry.dispatch(goal="g", runner=runner, **more)
            if with_loop:
                await asyncio.sleep(0)
            then(handle)
            if with_loop:
                await handle
            return handle.result(60)

        if self._factory is None:
            try:
                main().send(None)
            except StopIteration as ended:
                result = ended.value
        else:
            with asyncio.Runner(loop_factory=self._factory) as loop:
                result = loop.run(main())
        event: dict[str, Any] = registry.queue.get(timeout=60)
        for key in ("status", "summary", "error"):
            assert event[key] == result.get(key, "completed" if key == "status" else None)
        assert registry.queue.empty(), "one event"
        assert registry.stats()["discarded"] == 0
        assert registry.active_count() == 0
        return event


def raising() -> Any:
    raise ValueError("no")


@pytest.mark.parametrize(
    "ends",
    [
        lambda: {"summary": "done", "api_calls": 3, "model": "m", "exit_reason": "completed"},
        lambda: {"status": "failed", "error": "E"},
        lambda: {"status": 7},
        lambda: None,
        lambda: 5,
        raising,
        lambda: exec("raise GeneratorExit"),
    ],
)
def test_a_coroutine_ends_as_a_function_does(
    host: Host, registry: hc.DelegationRegistry, ends: Callable[[], Any]
) -> None:
    """Design, rule 1: whatever the runner does, the event is the one of a plain runner."""

    async def runner() -> Any:
        await asyncio.sleep(0)
        return ends()

    registry.dispatch(goal="g", runner=ends)
    plain: dict[str, Any] = registry.queue.get(timeout=60)
    event = host.end(registry, runner)
    assert set(event) == set(plain)
    assert {k: v for k, v in event.items() if k not in OWN} == {
        k: v for k, v in plain.items() if k not in OWN
    }


def test_it_runs_in_a_copy_of_the_callers_context(
    host: Host, registry: hc.DelegationRegistry
) -> None:
    async def runner() -> dict[str, Any]:
        seen = variable.get()
        variable.set("the runner's")
        await asyncio.sleep(0)
        return {"summary": (seen, variable.get())}

    variable.set("the caller's")
    assert host.end(registry, runner)["summary"] == ("the caller's", "the runner's")
    assert variable.get() == "the caller's"


def test_where_it_runs(registry: hc.DelegationRegistry) -> None:
    async def where() -> dict[str, Any]:
        return {"summary": (threading.current_thread().name, asyncio.get_running_loop())}

    async def nested() -> dict[str, Any]:
        return await registry.dispatch(goal="g", runner=where)

    async def main() -> Any:
        return (await registry.dispatch(goal="g", runner=where))["summary"], own()

    def own() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    here = threading.current_thread().name
    (thread, loop), mine = asyncio.run(main())
    assert (thread, loop) == (here, mine)
    thread, loop = registry.dispatch(goal="g", runner=where).result(60)["summary"]
    assert (thread, isinstance(loop, asyncio.SelectorEventLoop)) == (THREAD, True)
    assert registry.dispatch(goal="g", runner=nested).result(60)["summary"] == (THREAD, loop)


class Callable_:
    """An object that is called, in an ``async`` method or in another."""

    async def __call__(self) -> dict[str, Any]:
        return {"summary": threading.current_thread().name}

    async def method(self) -> dict[str, Any]:
        return {"summary": threading.current_thread().name}

    @staticmethod
    async def static() -> dict[str, Any]:
        return {"summary": threading.current_thread().name}

    @classmethod
    async def of_class(cls) -> dict[str, Any]:
        return {"summary": threading.current_thread().name}


async def with_argument(_: int) -> dict[str, Any]:
    return {"summary": threading.current_thread().name}


COROUTINE_FUNCTIONS = [
    Callable_(),
    Callable_().method,
    Callable_.static,
    Callable_.of_class,
    functools.partial(with_argument, 1),
    functools.partial(functools.partial(with_argument), 1),
    functools.partial(Callable_()),
]
RETURN_AWAITABLES = [
    lambda: with_argument(1),
    mock.AsyncMock(side_effect=functools.partial(with_argument, 1)),
    functools.lru_cache(lambda: with_argument(1)),
]


@pytest.mark.parametrize("runner", COROUTINE_FUNCTIONS)
def test_what_a_coroutine_function_is(registry: hc.DelegationRegistry, runner: Any) -> None:
    assert is_coroutine_function(runner)

    async def main() -> dict[str, Any]:
        return await registry.dispatch(goal="g", runner=runner)

    assert asyncio.run(main())["summary"] == threading.current_thread().name


@pytest.mark.parametrize("runner", RETURN_AWAITABLES)
def test_what_a_plain_callable_returns_is_awaited_on_our_loop(
    registry: hc.DelegationRegistry, runner: Any
) -> None:
    assert not is_coroutine_function(runner)

    async def main() -> dict[str, Any]:
        return await registry.dispatch(goal="g", runner=runner)

    assert asyncio.run(main())["summary"] == THREAD


@pytest.mark.parametrize("runner", [dict, raising, "text", None, type, Callable_, mock.Mock()])
def test_what_a_coroutine_function_is_not(runner: Any) -> None:
    assert not is_coroutine_function(runner)


def test_an_awaitable_of_another_loop_is_an_error_event(registry: hc.DelegationRegistry) -> None:
    async def main() -> dict[str, Any]:
        future = asyncio.get_running_loop().create_future()
        runner: Any = lambda: future  # noqa: E731
        return await registry.dispatch(goal="g", runner=runner)

    assert "attached to a different loop" in asyncio.run(main())["error"]


def test_a_cancelled_one_ends_as_interrupted(host: Host, registry: hc.DelegationRegistry) -> None:
    """F22, and rule 1: one event, of the delegation that was told to stop."""

    def cancel(handle: hc.DelegationHandle) -> None:
        assert handle.cancel("enough")

    event = host.end(registry, endless, cancel)
    assert event["status"] == "interrupted"
    assert event["exit_reason"] == "interrupted"
    assert registry.list()[0]["state"] == "interrupted"
    text = hc.format_process_notification(event)
    assert text is not None
    assert "was interrupted before completing" in text


def test_the_reason_is_the_cancellations_message(
    host: Host, registry: hc.DelegationRegistry
) -> None:
    """F22: a coroutine that is cancelled gives back what it has, and ends as it says."""

    async def runner() -> dict[str, Any]:
        try:
            await endless()
        except asyncio.CancelledError as cancelled:
            return {"status": "completed", "summary": f"half of it: {cancelled}"}
        return {}

    event = host.end(registry, runner, lambda handle: started(handle) and handle.cancel("enough"))
    assert (event["status"], event["summary"]) == ("completed", "half of it: enough")


def started(handle: hc.DelegationHandle) -> bool:
    """Whether it has begun; waits for it where another thread runs it."""
    if not asyncio._get_running_loop():
        run = handle._delegation.run
        assert run is not None
        reader = run._reader()
        assert reader is not None
        wait_until(lambda: reader.runs[run] is not None)
        # Its first step is before this one.
        loop = reader.loop()
        assert loop is not None
        asyncio.run_coroutine_threadsafe(turns(), loop).result(60)
    return True


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_that_swallows_a_cancel_goes_on(host: Host, registry: hc.DelegationRegistry) -> None:
    async def runner() -> dict[str, Any]:
        try:
            await endless()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return {"summary": "done all the same"}

    event = host.end(registry, runner, lambda handle: started(handle) and handle.cancel())
    assert (event["status"], event["summary"]) == ("completed", "done all the same")


def test_one_cancelled_before_it_began_never_runs(registry: hc.DelegationRegistry) -> None:
    ran = []

    async def runner() -> dict[str, Any]:
        ran.append(True)
        return {}

    async def main() -> dict[str, Any]:
        handle = registry.dispatch(goal="g", runner=runner)
        assert handle.cancel()
        return await handle

    assert asyncio.run(main())["status"] == "interrupted"
    assert not ran


def test_an_interrupt_fn_is_called_besides(host: Host, registry: hc.DelegationRegistry) -> None:
    told = threading.Event()

    def cancel(handle: hc.DelegationHandle) -> None:
        assert registry.interrupt_all("shutdown") == 1

    event = host.end(registry, endless, cancel, interrupt_fn=told.set)
    assert event["status"] == "interrupted"
    assert told.is_set()


def test_cancel_by_owner_leaves_the_others(registry: hc.DelegationRegistry) -> None:
    """F21, F23."""

    async def main() -> None:
        mine = [registry.dispatch(goal="g", runner=endless, session_key="a") for _ in range(2)]
        other = registry.dispatch(goal="g", runner=endless, session_key="b")
        await turns()
        assert registry.cancel(session_key="a") == 2
        assert [(await handle)["status"] for handle in mine] == ["interrupted"] * 2
        await turns()
        assert other.state == "running"
        assert registry.interrupt_all() == 1
        await other
        assert registry.interrupt_all() == 0

    asyncio.run(main())


def test_a_finished_one_keeps_nothing_alive(host: Host, registry: hc.DelegationRegistry) -> None:
    class Thing:
        pass

    def made() -> tuple[Any, weakref.ref[Thing]]:
        thing = Thing()

        async def runner() -> dict[str, Any]:
            return {"summary": type(thing).__name__}

        return runner, weakref.ref(thing)

    runner, known = made()
    host.end(registry, runner)
    del runner
    deadline = time.monotonic() + 60
    while known() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.001)
    assert known() is None


def test_capacity_counts_coroutines(registry: hc.DelegationRegistry) -> None:
    """F7, and rule 2: a permit each, and back with the end."""

    async def main() -> None:
        handles = [registry.dispatch(goal="g", runner=endless) for _ in range(3)]
        with pytest.raises(hc.AtCapacity):
            registry.dispatch(goal="g", runner=endless)
        handles[0].cancel()
        await handles[0]
        handles[0] = registry.dispatch(goal="g", runner=endless)
        registry.interrupt_all()
        await asyncio.gather(*handles)

    asyncio.run(main())
    assert registry.active_count() == 0


@pytest.mark.parametrize("own", [True, False])
def test_ten_thousand_take_no_thread_each(own: bool) -> None:
    registry = hc.DelegationRegistry(capacity=10_000)

    async def runner() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {}

    def dispatch() -> list[hc.DelegationHandle]:
        return [registry.dispatch(goal="g", runner=runner) for _ in range(10_000)]

    async def main() -> int:
        handles = dispatch()
        threads = threading.active_count()
        await asyncio.gather(*handles)
        return threads

    before = threading.active_count()
    if own:
        handles = dispatch()
        threads = threading.active_count()
        for handle in handles:
            handle.result(60)
    else:
        threads = asyncio.run(main())
    assert threads <= before + own
    assert registry.queue.qsize() == 10_000
    assert registry.active_count() == 0


def test_the_gateways_functions_take_coroutines(core: Any, dispatch: Any) -> None:
    async def runner() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"summary": "done", "results": [{"summary": "one"}]}

    assert dispatch(runner)["status"] == "dispatched"
    assert core.completion_queue.get(timeout=60)["summary"] == "done"
    batch = {"context": None, "toolsets": None, "role": "leaf", "model": None, "session_key": "k"}
    core.dispatch_async_delegation_batch(goals=["a", "b"], runner=runner, **batch)
    assert core.completion_queue.get(timeout=60)["results"] == [{"summary": "one"}]
    core.dispatch_async_delegation_batch(goals=["a", "b"], runner=endless, **batch)
    assert core.interrupt_all() == 1
    event = core.completion_queue.get(timeout=60)
    assert (event["status"], event["results"]) == ("interrupted", [])
    assert hc.format_process_notification(event)
    assert core.active_count() == 0


def test_a_withdrawn_dispatch_runs_nothing(
    registry: hc.DelegationRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: refused, and so never begun and never told."""
    ran = []

    async def runner() -> dict[str, Any]:
        ran.append(True)
        return {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon

        def interrupted(*args: Any, **more: Any) -> Any:
            call_soon(*args, **more)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon", interrupted)
            with pytest.raises(KeyboardInterrupt):
                registry.dispatch(goal="g", runner=runner)
        await turns()
        assert not _aio.reader_of(loop).runs

    asyncio.run(main())
    assert not ran
    assert registry.queue.empty()
    counts = registry._core.stats()
    assert counts == dict.fromkeys(counts, 0)
