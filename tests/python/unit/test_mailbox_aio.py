"""Mailboxes in ``asyncio`` tasks: whatever is cancelled, closed or late, no event is lost."""

from __future__ import annotations

import asyncio
import collections
import gc
import math
import queue as stdlib_queue
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import hermes_core as hc
from unit.loops import FACTORIES, TURNS, LoopFactory, each_loop, run, turns


def to(key: str, number: int = 0) -> dict[str, Any]:
    return {"type": "completion", "session_key": key, "number": number}


async def numbers(box: hc.Mailbox, taken: list[int]) -> None:
    """Take and acknowledge for ever."""
    while True:
        with await box.aget() as delivery:
            taken.append(delivery.event["number"])


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # Until here the loop holds the exception, and with it the task's frames.
    await turns()


@pytest.fixture
def queue() -> hc.CompletionQueue[Any]:
    return hc.CompletionQueue()


@each_loop
@pytest.mark.parametrize("put_at", range(TURNS))
@pytest.mark.parametrize("cancel_at", range(TURNS))
def test_a_take_cancelled_at_any_turn_has_taken_all_or_nothing(
    factory: LoopFactory, queue: hc.CompletionQueue[Any], put_at: int, cancel_at: int
) -> None:
    """F4: an event that comes before, with, or after the cancel."""

    async def main() -> None:
        box = queue.mailbox(session_key="a")
        task = asyncio.create_task(box.aget())
        for turn in range(TURNS):
            if turn == put_at:
                queue.put(to("a"))
            if turn == cancel_at:
                task.cancel()
            await asyncio.sleep(0)
        try:
            delivery = await task
        except asyncio.CancelledError:
            delivery = box.get_nowait()
        assert delivery.attempt == 1
        assert delivery.ack()
        assert queue.empty()

    run(factory, main())


@each_loop
def test_a_cancelled_batch_gives_its_events_back_though_the_exception_is_kept(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F4: the frames of a kept exception keep the batch."""

    async def main() -> None:
        box = queue.mailbox(session_key="a")
        queue.put(to("a"))
        task = asyncio.create_task(box.atake_all(window=3600))
        await turns()
        assert queue.empty()
        task.cancel()
        kept = await asyncio.gather(task, return_exceptions=True)
        assert box.get_nowait().attempt == 1
        assert isinstance(kept[0], asyncio.CancelledError)

    run(factory, main())


@each_loop
@pytest.mark.parametrize("cancel_at", range(TURNS))
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_wake_of_a_cancelled_take_goes_to_the_next(
    factory: LoopFactory, queue: hc.CompletionQueue[Any], cancel_at: int, in_thread: bool
) -> None:
    """F1: the next is a task behind it, or a thread."""

    async def main(pool: ThreadPoolExecutor) -> None:
        box = queue.mailbox(session_key="a")
        first = asyncio.create_task(box.aget())
        await turns()
        second = (
            asyncio.wrap_future(pool.submit(box.get, timeout=60))
            if in_thread
            else asyncio.create_task(box.aget(60))
        )
        await turns()
        queue.put(to("a", 1))
        await turns(cancel_at)
        first.cancel()
        try:
            delivery = await first
        except asyncio.CancelledError:
            pass
        else:
            assert delivery.ack()
            queue.put(to("a", 2))
        assert (await second).ack()
        assert queue.empty()

    with ThreadPoolExecutor(1) as pool:
        run(factory, main(pool))


@each_loop
def test_a_cancelled_group_leaves_its_events(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F4: the others of a task group are cancelled when one fails."""

    async def fails(box: hc.Mailbox) -> None:
        with await box.aget():
            raise ValueError("no")

    async def all_of(*coroutines: Coroutine[Any, Any, None]) -> None:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
            await turns()
            queue.put(to("a", 7))

    async def main() -> None:
        box, others = queue.mailbox(session_key="a"), queue.mailbox(session_key="b")
        taken: list[int] = []
        with pytest.raises(ExceptionGroup):
            await all_of(*[numbers(others, taken) for _ in range(3)], fails(box))
        for number in range(3):
            queue.put(to("b", number))
        assert taken == []
        deliveries = [others.get_nowait() for _ in range(3)]
        assert [one.event["number"] for one in deliveries] == [0, 1, 2]
        delivery = box.get_nowait()
        assert (delivery.event["number"], delivery.attempt) == (7, 2)

    run(factory, main())


@each_loop
def test_short_timeouts_lose_and_double_nothing(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F4: ``wait_for``, ``timeout`` and ``aget``'s own, each ending just as an event comes."""
    count = 500
    rng = random.Random(7)

    async def main() -> list[int]:
        box = queue.mailbox(session_key="a")
        taken: list[int] = []
        while len(taken) < count:
            seconds = rng.random() * 0.001
            try:
                match rng.randrange(3):
                    case 0:
                        delivery = await asyncio.wait_for(box.aget(), seconds)
                    case 1:
                        async with asyncio.timeout(seconds):
                            delivery = await box.aget()
                    case _:
                        delivery = await box.aget(seconds)
            except (TimeoutError, stdlib_queue.Empty):
                continue
            assert delivery.attempt == 1
            assert delivery.ack()
            taken.append(delivery.event["number"])
        return taken

    pause = threading.Event()

    def put() -> None:
        for number in range(count):
            queue.put(to("a", number))
            pause.wait(number % 5 * 0.0003)

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put)
        assert run(factory, main()) == list(range(count))
        putting.result(60)
    assert queue.empty()


def test_several_loops_and_threads_share_a_mailbox(queue: hc.CompletionQueue[Any]) -> None:
    """F2, F4: each event to one of them, whatever is cancelled meanwhile."""
    count = 3000
    box = queue.mailbox(session_key="a")

    async def tasks(seed: int) -> list[int]:
        rng = random.Random(seed)
        taken: list[int] = []
        running = [asyncio.create_task(numbers(box, taken)) for _ in range(5)]
        ended: list[asyncio.Task[None]] = []
        while not box.is_closed:
            await asyncio.sleep(rng.random() * 0.0005)
            place = rng.randrange(5)
            if running[place].done():
                break
            running[place].cancel()
            ended.append(running[place])
            running[place] = asyncio.create_task(numbers(box, taken))
        outcomes = await asyncio.gather(*ended, *running, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, hc.ShutDown}
        return taken

    def block() -> list[int]:
        taken: list[int] = []
        try:
            while True:
                with box.get() as delivery:
                    taken.append(delivery.event["number"])
        except hc.ShutDown:
            return taken

    with ThreadPoolExecutor(6) as pool:
        takers = [pool.submit(run, FACTORIES[seed % 2], tasks(seed)) for seed in range(4)]
        takers += [pool.submit(block) for _ in range(2)]
        for number in range(count):
            queue.put(to("a", number))
            queue.put(to("b", number))
        queue_of_a = 1
        while queue_of_a:
            queue_of_a = box.pending() or queue.unfinished_tasks - count
        box.close()
        told = collections.Counter(number for taker in takers for number in taker.result(60))
    assert told == collections.Counter(range(count))
    assert queue.qsize() == count


@each_loop
def test_a_loop_closed_under_a_take_hands_its_wake_on(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F1: woken, or waiting, and never to look again."""
    box = queue.mailbox(session_key="a")
    for is_woken in (False, True):
        loop = factory()
        task = loop.create_task(box.aget())
        loop.run_until_complete(turns())
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(box.get, timeout=60)
            if is_woken:
                queue.put(to("a"))
            loop.close()
            if not is_woken:
                queue.put(to("a"))
            assert second.result(60).ack()
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        del task, loop
        gc.collect()
    assert queue.empty()


@each_loop
def test_the_end_of_asyncio_run_takes_nothing_along(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    box = queue.mailbox(session_key="a")
    kept: list[hc.Delivery] = []

    async def hold() -> None:
        kept.append(await box.aget())
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        tasks = [asyncio.create_task(hold()) for _ in range(2)]
        await turns()
        queue.put(to("a", 1))
        await turns(2)
        del tasks

    run(factory, main())
    kept.clear()
    assert box.get_nowait().event["number"] == 1


@each_loop
def test_a_delivery_that_goes_with_its_task_comes_back(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F4, F10: a consumer cut off counts no attempt, and the event stands where it stood."""

    async def consume(box: hc.Mailbox) -> None:
        delivery = await box.aget()
        await asyncio.get_running_loop().create_future()
        delivery.ack()

    async def main() -> None:
        box = queue.mailbox(session_key="a")
        for number in range(2):
            queue.put(to("a", number))
        task = asyncio.create_task(consume(box))
        await turns()
        await cancelled(task)
        del task
        gc.collect()
        deliveries = [box.get_nowait() for _ in range(2)]
        assert [one.event["number"] for one in deliveries] == [0, 1]
        assert [one.attempt for one in deliveries] == [1, 1]

    run(factory, main())


@each_loop
@pytest.mark.parametrize("end", ["close", "shutdown"])
def test_the_end_of_a_mailbox_ends_every_wait(
    factory: LoopFactory, queue: hc.CompletionQueue[Any], end: str
) -> None:
    async def main() -> None:
        box = queue.mailbox(session_key="a")
        waits = [asyncio.create_task(box.aget()) for _ in range(3)]
        waits.append(asyncio.create_task(box.atake_all(0.01)))
        taken: list[int] = []
        iteration = asyncio.create_task(iterate(box, taken))
        queue.put(to("a", 7))
        await turns()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(getattr(box if end == "close" else queue, end)).result(60)
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        await iteration
        # Who waited longest has the event.
        assert [type(one) for one in outcomes] == [hc.Delivery, *[hc.ShutDown] * 3]
        assert taken == []
        with pytest.raises(hc.ShutDown):
            await box.aget()

    async def iterate(box: hc.Mailbox, taken: list[int]) -> None:
        async for delivery in box:
            taken.append(delivery.event["number"])
            delivery.ack()

    run(factory, main())


@each_loop
def test_what_comes_within_the_window_is_one_batch(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F26; and F4: cancelled within its window, a batch gives all back in order."""

    async def main() -> None:
        box = queue.mailbox(session_key="a")
        task = asyncio.create_task(box.atake_all(60))
        await turns()
        for number in range(3):
            queue.put(to("a", number))
            await turns(2)
        await cancelled(task)
        del task
        gc.collect()
        batch = await box.atake_all()
        assert [one.event["number"] for one in batch] == [0, 1, 2]
        assert {one.attempt for one in batch} == {1}
        with batch:
            pass
        with pytest.raises(stdlib_queue.Empty):
            await box.atake_all(timeout=0)

    run(factory, main())


@each_loop
def test_timeouts_are_those_of_get(factory: LoopFactory, queue: hc.CompletionQueue[Any]) -> None:
    """Rule 9: the same values are taken, and the same refused, as where a thread blocks."""

    async def main() -> None:
        box = queue.mailbox(session_key="a")
        for timeout in (0, 0.0, 0.001, False):
            with pytest.raises(stdlib_queue.Empty):
                await box.aget(timeout)
        for bad, error in ((-1, ValueError), (math.nan, ValueError), ("1", TypeError)):
            with pytest.raises(error):
                box.get(timeout=bad)  # type: ignore[arg-type]
            with pytest.raises(error):
                await box.aget(bad)  # type: ignore[arg-type]
        for long in (math.inf, 1e300, 10**30):
            task = asyncio.create_task(box.aget(long))
            await turns()
            assert not task.done()
            queue.put(to("a"))
            assert (await task).ack()

    run(factory, main())


@each_loop
def test_a_cancelled_put_puts_nothing_and_leaves_its_room(factory: LoopFactory) -> None:
    """F4, from the other end: three wait for room, the first gives up as it comes."""

    async def main(cancel_at: int) -> None:
        queue: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
        queue.put(0)
        puts = [asyncio.create_task(queue.aput(number)) for number in (1, 2)]
        await turns()
        assert queue.get() == 0
        await turns(cancel_at)
        puts[0].cancel()
        try:
            await puts[0]
        except asyncio.CancelledError:
            pass
        else:
            assert queue.get() == 1
        await asyncio.wait_for(puts[1], 60)
        assert queue.get() == 2
        assert queue.empty()

    for cancel_at in range(TURNS):
        run(factory, main(cancel_at))


@each_loop
def test_a_loop_closed_under_a_put_leaves_its_room(factory: LoopFactory) -> None:
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
    queue.put(0)
    loop = factory()
    task = loop.create_task(queue.aput(1))
    loop.run_until_complete(turns())
    assert queue.get() == 0
    # It was told of the room, and never looks.
    loop.close()
    queue.put(2, timeout=60)
    assert queue.get() == 2
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@each_loop
def test_a_mailbox_wakes_the_tasks_of_its_owner_only(
    factory: LoopFactory, queue: hc.CompletionQueue[Any]
) -> None:
    """F2, F15."""

    async def main() -> None:
        boxes = {key: queue.mailbox(session_key=key) for key in "abc"}
        tasks = {key: asyncio.create_task(box.aget()) for key, box in boxes.items()}
        await turns()
        queue.put(to("b"))
        assert (await tasks.pop("b")).event["session_key"] == "b"
        await turns()
        assert not any(task.done() for task in tasks.values())
        boxes["a"].add_key("d")
        queue.put(to("d"))
        assert (await tasks.pop("a")).event["session_key"] == "d"
        await cancelled(tasks.pop("c"))

    run(factory, main())
