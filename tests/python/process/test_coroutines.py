"""F30: coroutines in flight, awaits, and event loops, when the process ends or forks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

RunMany = Callable[..., None]

#: Coroutines that wait, spin and come and go, on our event loop and on others, and who awaits them.
BUSY = """
import asyncio, random, sys, threading, time
import hermes_core as hc

rng = random.Random(int(sys.argv[1]))
queue = hc.CompletionQueue()
registry = hc.DelegationRegistry(queue, capacity=1000)

async def endless():
    await asyncio.get_running_loop().create_future()

async def stubborn():
    while True:
        try:
            await asyncio.sleep(3600)
        except BaseException:
            pass

async def spin():
    while True:
        await asyncio.sleep(0)

async def short():
    await asyncio.sleep(0.0001)
    return {}

async def dispatch():
    runners = [endless, stubborn, spin, short, lambda: endless()]
    return [registry.dispatch(goal="g", runner=runner) for runner in runners]

async def busy():
    handles = await dispatch()
    waits = [asyncio.ensure_future(handle) for handle in handles for _ in range(3)]
    while True:
        try:
            await registry.dispatch(goal="g", runner=short)
        except hc.AtCapacity:
            await asyncio.sleep(0)

try:
    dispatch().send(None)
except StopIteration as ended:
    handles = ended.value
for target in (
    lambda: asyncio.run(busy()),
    lambda: asyncio.run(busy()),
    handles[0].result,
):
    threading.Thread(target=target, daemon=True).start()
time.sleep(rng.random() * 0.01)
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit(7)", 7),
        ("import atexit; atexit.register(registry.interrupt_all)", 0),
        ("registry.interrupt_all(); sys.exit(5)", 5),
    ],
    ids=["return", "exit", "atexit", "interrupted"],
)
def test_exit_with_coroutines_in_flight(run_many: RunMany, ending: str, status: int) -> None:
    run_many(BUSY + ending, status, share=0.05)


def test_exit_out_of_a_running_loop(run_many: RunMany) -> None:
    """What ran on it is cancelled by ``asyncio.run``, and told."""
    main = """
async def main():
    handles = await dispatch()
    waits = [asyncio.ensure_future(handle) for handle in handles]
    await asyncio.sleep(rng.random() * 0.002)
    raise SystemExit(9)

async def stubborn():
    return {}

try:
    asyncio.run(main())
finally:
    print(all(handle.state in ("interrupted", "error", "completed") for handle in kept))
"""
    main = main.replace("handles = await dispatch()", "handles = kept[:] = (await dispatch())[:4]")
    run_many(
        BUSY.replace("try:\n    dis", "kept = []\ntry:\n    dis") + main, 9, "True\n", share=0.05
    )


def test_a_fork_leaves_the_parents_coroutines_to_the_parent(run_many: RunMany) -> None:
    """F11: the child tells no end of the parent's, wakes nobody there, and works itself."""
    script = """
    import asyncio, os, random, sys, threading, time, warnings
    import hermes_core as hc
    from hermes_core.runtime import event_loop as _aio

    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
    rng = random.Random(int(sys.argv[1]))
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=100)
    parent = os.getpid()
    stop = False

    async def short():
        await asyncio.sleep(rng.random() * 0.0002)
        return {"summary": os.getpid()}

    async def endless():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            # The parent's cancel, and no other process.
            assert os.getpid() == parent
            print("cancelled", flush=True)

    async def churn():
        while not stop:
            assert (await registry.dispatch(goal="g", runner=short))["summary"] == parent

    def drain():
        while True:
            assert queue.get()["summary"] in (parent, None)

    never = registry.dispatch(goal="never", runner=endless)
    threads = [threading.Thread(target=asyncio.run, args=(churn(),)) for _ in range(2)]
    threading.Thread(target=drain, daemon=True).start()
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(rng.random() * 0.002)
        pid = os.fork()
        if pid == 0:
            assert registry.active_count() == 0
            assert not never.cancel()
            handle = registry.dispatch(goal="child", runner=short)
            assert handle.result(60)["summary"] == os.getpid()

            async def main():
                return await registry.dispatch(goal="child", runner=short)

            assert asyncio.run(main())["summary"] == os.getpid()
            assert [queue.get(timeout=60)["summary"] for _ in range(2)] == [os.getpid()] * 2
            os._exit(11)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    stop = True
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert never.cancel()
    assert never.result(60)["status"] == "interrupted"
    sys.exit(4)
    """
    run_many(script, 4, "cancelled\n", share=0.05)


def test_a_loop_that_a_fork_copied_is_refused_in_the_child(run_many: RunMany) -> None:
    """Its selector and its bell are the parent's, where a wait goes on."""
    script = """
    import asyncio, os, sys, warnings
    import hermes_core as hc
    from hermes_core.runtime import event_loop as _aio

    warnings.simplefilter("ignore", DeprecationWarning)
    registry = hc.DelegationRegistry()
    go = hc.CompletionQueue()
    handle = registry.dispatch(goal="g", runner=go.get)
    loop = asyncio.new_event_loop()

    async def wait():
        return await handle

    async def begin():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def refused():
        try:
            _aio.waiter()
        except RuntimeError as exc:
            return "before the process forked" in str(exc)

    task = loop.run_until_complete(begin())
    waker = _aio.reader_of(loop).waker
    pid = os.fork()
    if pid == 0:
        # What the core forgets in the child wakes nobody, and nothing is read that is the parent's.
        registry.clear()
        assert waker.is_inherited and waker.ready() == []
        assert loop.run_until_complete(refused())
        os._exit(11)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    assert not waker.is_inherited
    go.put({"summary": "done"})
    assert loop.run_until_complete(asyncio.wait_for(task, 60)) == {"summary": "done"}
    loop.close()
    """
    run_many(script, share=0.04)


def test_loops_that_close_while_others_wake_and_cancel(run_many: RunMany) -> None:
    """Rule 1: each delegation is told once, wherever the close comes."""
    script = """
    import asyncio, collections, random, sys, threading
    import hermes_core as hc

    rng = random.Random(int(sys.argv[1]))
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=1000)
    go = hc.CompletionQueue()
    handles = []
    stop = False

    async def endless():
        await asyncio.get_running_loop().create_future()

    async def ended(handle):
        return await handle

    async def main():
        held = registry.dispatch(goal="g", runner=lambda: go.get(timeout=60))
        handles.append(held)
        tasks = [asyncio.create_task(ended(held)) for _ in range(5)]
        for task in tasks:
            task._log_destroy_pending = False
        await asyncio.sleep(0)
        for _ in range(5):
            handles.append(registry.dispatch(goal="g", runner=endless))
        go.put({})
        for _ in range(rng.randrange(5)):
            await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        await asyncio.sleep(3600)

    def cancel():
        while not stop:
            registry.interrupt_all()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    for _ in range(20):
        loop = asyncio.new_event_loop()
        task = loop.create_task(main())
        task._log_destroy_pending = False
        loop.run_forever()
        loop.close()
    del task, loop
    stop = True
    canceller.join(60)
    told = collections.Counter(queue.get(timeout=60)["delegation_id"] for _ in handles)
    assert queue.empty()
    assert told == collections.Counter(handle.id for handle in handles)
    assert registry.active_count() == 0
    """
    run_many(script, share=0.05)
