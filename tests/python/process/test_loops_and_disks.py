"""Event loops beside a disk that stands still: nothing of ours waits for it on the loop.

Each script stops the disk, goes on in its event loop, which shows that it can, and starts it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from process.slow_disk import STOPPED

#: Seconds after which a process counts as hung; far beyond any honest run.
HUNG = 60

PRELUDE = """
import asyncio, faulthandler, os, resource, signal, sys, threading
import hermes_core as hc

faulthandler.dump_traceback_later(50, exit=True)
path = sys.argv[1]
registry = hc.DelegationRegistry(ledger=hc.Ledger(path), capacity=100)
queue = registry.queue
box = queue.mailbox(session_key="a")

def stop():
    open(os.environ["DISK_STOPS"], "w").close()

def go_on():
    os.unlink(os.environ["DISK_STOPS"])

def dispatch(goal="g", runner=lambda: {"summary": "s"}, key="a", **more):
    return registry.dispatch(goal=goal, runner=runner, session_key=key, **more)

def is_at(handle, delivery):
    return registry.get(handle.id)["delivery"] == delivery

async def until(condition):
    while not condition():
        await asyncio.sleep(.002)
"""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(STOPPED)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library


def run(script: str, folder: Path, shim: Path) -> None:
    environment = {**os.environ, "LD_PRELOAD": str(shim), "DISK_STOPS": str(folder / "stops")}
    code = PRELUDE + textwrap.dedent(script)
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(folder / "delegations.db")]
    done = subprocess.run(command, env=environment, timeout=HUNG, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr


ACKS = {
    "with": """
        with await box.aget():
            pass
    """,
    "a batch": """
        with await box.atake_all():
            pass
    """,
    "async for": """
        async for delivery in box:
            assert delivery.ack()
            break
    """,
}


@pytest.mark.parametrize("how", ACKS)
def test_an_ack_goes_on_by_itself(how: str, tmp_path: Path, shim: Path) -> None:
    """The event leaves when that is written, also if its event loop is gone by then."""
    script = f"""
    handle = dispatch()
    handle.result(50)
    async def main():
        {textwrap.indent(textwrap.dedent(ACKS[how]), " " * 8).strip()}
        assert is_at(handle, "pending") and box.pending() == 0
        assert queue.unfinished_tasks == 1
    stop()
    asyncio.run(main())
    assert is_at(handle, "pending")
    go_on()
    queue.join()
    assert is_at(handle, "delivered")
    # The next one sweeps up what is left of that event.
    dispatch().result(50)
    async def again():
        with await box.aget():
            pass
        await until(lambda: not queue.unfinished_tasks)
    asyncio.run(again())
    assert registry.ledger.rows(10)[0]["delivery"] == "delivered"
    print("good")
    """
    run(script, tmp_path, shim)


def test_an_ack_that_is_awaited_is_written(tmp_path: Path, shim: Path) -> None:
    """Alone, of a batch, by `async with`; and one whose task is cancelled counts all the same."""
    script = """
    handles = [dispatch(str(number)) for number in range(6)]
    [handle.result(50) for handle in handles]
    async def leave():
        async with await box.aget():
            pass
    async def leave_all(batch):
        async with batch:
            pass
    async def main():
        taken = [await box.aget() for _ in range(2)]
        batch = await box.atake_all()
        assert len(batch) == 4
        stop()
        tasks = [asyncio.create_task(taken[0].aack()), asyncio.create_task(taken[1].aack())]
        tasks.append(asyncio.create_task(leave_all(batch)))
        await asyncio.sleep(.02)
        assert not any(task.done() for task in tasks)
        assert queue.unfinished_tasks == 6
        assert taken[0].ack() is await taken[0].aack() is taken[0].nack() is False
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        go_on()
        assert await tasks[0] is True
        await tasks[2]
        await until(lambda: not queue.unfinished_tasks)
        dispatch().result(50)
        await leave()
        assert queue.unfinished_tasks == 0
    asyncio.run(main())
    assert all(is_at(handle, "delivered") for handle in handles)
    print("good")
    """
    run(script, tmp_path, shim)


def test_giving_back_waits_for_nothing(tmp_path: Path, shim: Path) -> None:
    script = """
    dispatch().result(50)
    async def main():
        stop()
        assert await (await box.aget()).anack()
        assert await (await box.aget()).adefer()
        delivery = await box.aget()
        assert delivery.attempt == 2
        assert await delivery.adefer(delay=3600)
        go_on()
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)


RUNNERS = {
    "a function": """
        def runner():
            ran.append(1)
            return {"summary": "s"}
    """,
    "a coroutine": """
        async def runner():
            ran.append(1)
            return {"summary": "s"}
    """,
}


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_dispatch_returns_and_the_runner_waits_for_the_row(
    kind: str, tmp_path: Path, shim: Path
) -> None:
    """And one that is awaited returns once it is written; cancelled, it has dispatched nothing."""
    script = f"""
    ran = []
    {textwrap.indent(textwrap.dedent(RUNNERS[kind]), " " * 4).strip()}
    async def main():
        await registry.adispatch(goal="0", runner=dict, session_key="b")
        stop()
        handle = dispatch(runner=runner)
        task, given_up = (
            asyncio.create_task(registry.adispatch(goal=goal, runner=runner, session_key="a"))
            for goal in ("1", "2")
        )
        cancelled = dispatch("3", runner)
        await asyncio.sleep(.02)
        assert not ran and handle.state == "running" and not task.done()
        assert len(registry.list()) == 5
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        go_on()
        assert (await handle)["summary"] == "s"
        assert (await (await task))["summary"] == "s"
        await cancelled
        taken = [await box.aget(timeout=50) for _ in range(3)]
        goals = {{delivery.event["goal"] for delivery in taken}}
        assert goals == {{"g", "1", "3"}}, goals
        assert len(ran) == 3
    asyncio.run(main())
    registry.ledger.flush(50)
    assert sorted(row["record"]["goal"] for row in registry.ledger.rows(10)) == ["0", "1", "3", "g"]
    print("good")
    """
    run(script, tmp_path, shim)


@pytest.mark.parametrize("kind", RUNNERS)
def test_an_event_loop_that_ends_before_the_row_is_written(
    kind: str, tmp_path: Path, shim: Path
) -> None:
    """What a worker thread runs is run. A coroutine ends with its loop, and its event says so."""
    script = f"""
    ran = []
    {textwrap.indent(textwrap.dedent(RUNNERS[kind]), " " * 4).strip()}
    async def main():
        return dispatch(runner=runner)
    registry.ledger.flush(50)
    stop()
    handle = asyncio.run(main())
    go_on()
    delivery = box.get(timeout=50)
    assert delivery.event["status"] == {"'completed'" if kind == "a function" else "'interrupted'"}
    assert delivery.ack()
    assert len(ran) == {int(kind == "a function")}
    assert registry.active_count() == 0
    print("good")
    """
    run(script, tmp_path, shim)


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_dispatch_that_cannot_be_written_ends_as_an_error(
    kind: str, tmp_path: Path, shim: Path
) -> None:
    """It was accepted, so it has an event, and never ran; one that is awaited is refused."""
    script = f"""
    ran = []
    {textwrap.indent(textwrap.dedent(RUNNERS[kind]), " " * 4).strip()}
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async def main():
        await registry.adispatch(goal="0", runner=dict, session_key="b")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        handle = dispatch(runner=runner, idempotency_key="k")
        result = await handle
        assert result["status"] == "error" and handle.state == "error", result
        async with await box.aget(timeout=50) as delivery:
            assert delivery.event["status"] == "error"
            assert "Ledger" in delivery.event["error"], delivery.event
        assert is_at(handle, "delivered")
        try:
            await registry.adispatch(goal="g", runner=runner, session_key="a")
        except hc.LedgerError:
            pass
        else:
            raise AssertionError("it cannot be written")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        assert registry.active_count() == 0 and not ran
        again = await registry.adispatch(
            goal="g", runner=runner, session_key="a", idempotency_key="k"
        )
        assert again.id != handle.id
        assert (await again)["summary"] == "s"
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_key_that_an_earlier_process_used(kind: str, tmp_path: Path, shim: Path) -> None:
    """F32: the task is not run again; the handle is the first one's once that is known."""
    script = f"""
    ran = []
    {textwrap.indent(textwrap.dedent(RUNNERS[kind]), " " * 4).strip()}
    first = dispatch(idempotency_key="k")
    first.result(50)
    registry.ledger.flush(50)
    registry.clear()
    async def main():
        handle = dispatch(runner=runner, idempotency_key="k")
        await until(lambda: handle.id == first.id)
        assert (await handle)["summary"] == "s" and handle.state == "completed"
        awaited = await registry.adispatch(
            goal="g", runner=runner, session_key="a", idempotency_key="k"
        )
        assert awaited.id == first.id
    asyncio.run(main())
    assert not ran and registry.active_count() == 0
    print("good")
    """
    run(script, tmp_path, shim)


def test_two_with_one_key_at_once(tmp_path: Path, shim: Path) -> None:
    """F32: one runs, and both handles are its own; before and after the row is there."""
    script = """
    async def main():
        await registry.adispatch(goal="0", runner=dict, session_key="b")
        stop()
        tasks = [
            asyncio.create_task(
                registry.adispatch(goal="g", runner=dict, session_key="a", idempotency_key="k")
            )
            for _ in range(2)
        ]
        await asyncio.sleep(.02)
        plain = dispatch(idempotency_key="k")
        go_on()
        ids = {plain.id, *[(await task).id for task in tasks]}
        assert len(ids) == 1, ids
        await plain
        assert len(registry.list()) == 2, registry.list()
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)


def test_a_new_epoch_counts_at_once(tmp_path: Path, shim: Path) -> None:
    """F14: in memory; and one that is awaited is written."""
    script = """
    old = dispatch()
    old.result(50)
    async def main():
        stop()
        box.new_epoch()
        assert is_at(old, "parked") and box.pending() == 0
        assert queue.new_epoch("a") == 3
        tasks = [asyncio.create_task(one) for one in (box.anew_epoch(), queue.anew_epoch("a"))]
        await asyncio.sleep(.02)
        assert not any(task.done() for task in tasks)
        go_on()
        assert await tasks[1] == 5
        await tasks[0]
        assert registry.ledger.rows(1)[0]["delivery"] == "parked"
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)


def test_a_result_that_would_keep_its_own_loop_waiting(tmp_path: Path, shim: Path) -> None:
    """It raises at once and says what to do; a look does not, and another thread may wait."""
    script = """
    async def main():
        go = asyncio.Event()
        async def runner():
            await go.wait()
            return {"summary": "s"}
        handle = dispatch(runner=runner)
        for timeout in (None, 50):
            try:
                handle.result(timeout)
            except RuntimeError as exc:
                assert "await handle" in str(exc)
            else:
                raise AssertionError("it cannot have ended")
        try:
            handle.result(0)
        except TimeoutError:
            pass
        other = asyncio.create_task(asyncio.to_thread(handle.result))
        go.set()
        assert (await handle) == (await other) == handle.result() == {"summary": "s"}
        # What a worker thread runs may be waited for.
        assert dispatch().result(50)["summary"] == "s"
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)


def test_what_is_put_back_waits_again_at_once(tmp_path: Path, shim: Path) -> None:
    """It is written behind, and the row says so once the disk goes on; also with `put`."""
    script = """
    handles = [dispatch(str(number)) for number in range(2)]
    [handle.result(50) for handle in handles]
    events = [queue.get(timeout=50) for _ in handles]
    box.close()
    async def main():
        queue.put_back(events[0])
        queue.put(events[1])
        assert all(is_at(handle, "pending") for handle in handles)
        assert [event["goal"] for event in queue.pending()] == ["0", "1"]
    stop()
    asyncio.run(main())
    go_on()
    assert registry.ledger.flush(50)
    assert [row["delivery"] for row in registry.ledger.rows()] == ["pending"] * 2
    print("good")
    """
    run(script, tmp_path, shim)


def test_actions_by_hand_are_awaited(tmp_path: Path, shim: Path) -> None:
    """A redelivery, a drop, and an event that the ledger alone has: the loop goes on meanwhile."""
    script = """
    handles = [dispatch(str(number)) for number in range(2)]
    [handle.result(50) for handle in handles]
    assert box.get(timeout=50).ack()
    async def main():
        asked = (registry.aredeliver(handles[0].id), registry.adrop(handles[1].id))
        tasks = [asyncio.create_task(one) for one in asked]
        tasks.append(asyncio.create_task(registry.aevent(handles[1].id)))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        go_on()
        *said, event = await asyncio.gather(*tasks)
        assert (said, event["goal"]) == ([True, True], "1")
        assert is_at(handles[0], "pending") and is_at(handles[1], "dropped")
        registry.clear()
        assert (await registry.aevent(handles[1].id))["goal"] == "1"
        assert await registry.aevent("unknown") is None
        assert not await registry.aredeliver("unknown")
    stop()
    asyncio.run(main())
    print("good")
    """
    run(script, tmp_path, shim)
