"""The mailboxes' part of the surface."""

from __future__ import annotations

import asyncio
import gc
import queue as stdlib_queue
from collections.abc import Awaitable, Callable
from typing import Any

import hermes_core as hc
from hermes_core import _aio, _core
from leaks.tracked import Tracked, case, refused


def native(t: Tracked, **more: Any) -> _core.Mailbox:
    """A native mailbox of the tracked key, and of its kind that is nobody's."""
    given: dict[str, Any] = {"types": None, "has_say": False, "lease": None, **more}
    return _core.Mailbox(
        t.queue, [t.key], given["types"], (t.kind,), given["has_say"], given["lease"]
    )


@case("_core.Mailbox.__new__", "_core.Mailbox.close", "_core.Mailbox.is_closed")
@case("_core.Mailbox.add_key", "_core.Mailbox.remove_key", "_core.Mailbox.pending")
def native_mailboxes(t: Tracked) -> None:
    box = native(t, types=(t.kind, t.wide), lease=t.number)
    for key in (t.lone, t.wide, t.lone):
        box.add_key(key)
    t.queue.put(t.event)
    t.queue.put(t.nobodys)
    t.queue.put(t.wide_event)
    assert box.pending() == 3
    box.remove_key(t.lone)
    box.remove_key(t.id)
    assert box.pending() == 2
    refused(TypeError, box.add_key, t.thing)
    refused(TypeError, box.remove_key, t.thing)
    assert not box.is_closed()
    box.close()
    box.close()
    assert box.is_closed()
    assert box.pending() == 0
    refused(hc.ShutDown, box.take, False, None)
    assert len(t.queue._drain()) == 3
    new: Callable[..., object] = _core.Mailbox
    refused(TypeError, new, t.thing, [t.key], None, None, False, None)
    refused(TypeError, new, t.queue, [t.key, t.thing], None, None, False, None)
    refused(TypeError, new, t.queue, [t.key], t.thing, None, False, None)
    refused(TypeError, new, t.queue, [t.key], None, (t.thing,), False, None)
    refused(TypeError, new, t.queue, [t.key], None, None, False, t.thing)
    refused(ValueError, new, t.queue, [t.key], None, None, False, t.bad_timeout)


@case("_core.Mailbox.take", "_core.Mailbox.ack", "_core.Mailbox.give_back")
def native_leases(t: Tracked) -> None:
    box = native(t)
    t.queue.put(t.event)
    event, lease, attempt = box.take(False, None) or ()
    assert (event, attempt) == (t.event, 1)
    refused(stdlib_queue.Empty, box.take, False, None)
    refused(stdlib_queue.Empty, box.take, True, t.soon)
    refused(ValueError, box.take, True, t.bad_timeout)
    refused(TypeError, box.take, True, t.thing)
    for is_attempt in (True, False):
        assert box.give_back(lease, is_attempt, 0.0)
        assert not box.give_back(lease, is_attempt, 0.0)
        _, lease, attempt = box.take(True, None) or ()
        assert attempt == 2
    refused(TypeError, box.give_back, lease, True, t.thing)
    refused(TypeError, box.give_back, t.thing, True, 0.0)
    refused(ValueError, box.give_back, lease, True, t.bad_timeout)
    refused(TypeError, box.ack, t.thing)
    assert box.ack(lease) == [t.event]
    assert box.ack(lease) == []
    assert t.queue.unfinished_tasks == t.queue.qsize()


@case("_core.Mailbox.next_question", "_core.Mailbox.answer")
@case("_core.Mailbox.unfiled", "_core.Mailbox.file")
def native_questions(t: Tracked) -> None:
    t.queue.put(t.wide_event)
    box = native(t, has_say=True)
    for place, event in box.unfiled():
        assert event is t.wide_event
        refused(TypeError, box.file, t.thing, event)
        box.file(place, event)
    assert box.take(False, None) is None
    for is_own in (None, False):
        address, event = box.next_question() or (0, None)
        assert event is t.wide_event
        box.answer(address, is_own)
    refused(TypeError, box.answer, t.thing, True)
    refused(TypeError, box.answer, address, t.thing)
    assert box.next_question() is None
    refused(stdlib_queue.Empty, box.take, False, None)
    assert t.queue.get() is t.wide_event


@case("_core.Collector.__new__", "_core.Collector.poll", "_core.Collector.leave")
def collectors(t: Tracked) -> None:
    box = native(t)
    waiter = _core.Waiter(t.waker)
    collector = _core.Collector(box, waiter)
    left = _core.Collector(box, _core.Waiter(t.waker))
    assert collector.poll() is False
    assert left.poll() is False
    left.leave()
    left.leave()
    refused(hc.ShutDown, left.poll)
    t.queue.put(t.event)
    assert t.waker.ready() == [waiter.number]
    assert waiter.take()
    polled = collector.poll()
    assert isinstance(polled, tuple)
    assert polled[0] is t.event
    assert box.ack(polled[1]) == [t.event]
    assert collector.poll() is False
    box.close()
    assert len(t.waker.ready()) == 1
    refused(hc.ShutDown, collector.poll)
    new: Callable[..., object] = _core.Collector
    refused(TypeError, new, t.thing, waiter)
    refused(TypeError, new, box, t.thing)


@case("_core.Room.__new__", "_core.Room.enter", "_core.Room.leave")
def rooms(t: Tracked) -> None:
    waiter = _core.Waiter(t.waker)
    room = _core.Room(t.full, waiter)
    assert room.enter()
    assert t.full.get() == 0
    assert t.waker.ready() == [waiter.number]
    assert not room.enter()
    t.full.put(0)
    room.leave()
    new: Callable[..., object] = _core.Room
    refused(TypeError, new, t.thing, waiter)
    refused(TypeError, new, t.queue, t.thing)


@case("_core.CompletionQueue._pending", "_core.CompletionQueue._parked")
@case("_core.CompletionQueue._new_epoch", "CompletionQueue.pending", "CompletionQueue.parked")
@case("CompletionQueue.new_epoch")
def listings(t: Tracked) -> None:
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    core: _core.Registry[Any] = _core.Registry(queue, 2)
    core.dispatch(t.id, 1, 0, t.owner, t.thing)
    core.begin(t.id, t.thing)
    core.finish(t.id, t.thing, t.ended, t.end)
    queue.put(t.event)
    queue.put(t.nobodys)
    waiting = queue.pending()
    assert len(waiting) == 3
    assert queue.pending(t.key) == waiting[:2]
    assert queue.pending("") == [t.nobodys]
    assert queue.pending(t.lone) == queue.parked() == []
    assert queue.new_epoch(t.key) == 2
    assert queue.new_epoch(t.key) == 3
    assert queue.parked() == waiting[:1]
    assert queue.pending() == waiting[1:]
    refused(TypeError, queue.pending, t.thing)
    refused(TypeError, queue.new_epoch, t.thing)


@case("CompletionQueue.mailbox", "Mailbox.__init__", "Mailbox.__enter__", "Mailbox.__exit__")
@case("Mailbox.session_keys", "Mailbox.add_key", "Mailbox.remove_key", "Mailbox.pending")
@case("Mailbox.close", "Mailbox.is_closed", "Mailbox.new_epoch")
def mailboxes(t: Tracked) -> None:
    t.queue.put(t.event)
    with t.queue.mailbox(session_key=t.key, types=t.kinds, unaddressed=[t.kind]) as box:
        assert box.session_keys == (t.key,)
        box.add_key(t.lone)
        box.remove_key(t.key)
        assert box.pending() == 0
        box.add_key(t.key)
        assert box.pending() == 1
        box.new_epoch()
        for bad in ("", t.thing):
            refused((TypeError, ValueError), box.add_key, bad)
            refused((TypeError, ValueError), box.remove_key, bad)
    assert box.is_closed
    refused(ValueError, t.queue.mailbox().add_key, t.key)
    refused(ValueError, t.queue.mailbox, session_key="")
    refused(TypeError, t.queue.mailbox, session_key=[t.thing])
    refused(TypeError, t.queue.mailbox, session_key=t.thing)
    refused(TypeError, t.queue.mailbox, types=t.key)
    refused(TypeError, t.queue.mailbox, types=t.bad_kinds)
    refused(TypeError, t.queue.mailbox, unaddressed=t.key)
    refused(TypeError, t.queue.mailbox, lease=t.thing)
    refused(ValueError, t.queue.mailbox, lease=t.bad_timeout)
    assert t.queue.get() is t.event


@case("Mailbox.get", "Mailbox.get_nowait", "Delivery.__init__", "Delivery.text")
@case("Delivery.event", "Delivery.attempt", "Delivery.__repr__", "Delivery.ack", "Delivery.nack")
@case("Delivery.defer", "Delivery.__enter__", "Delivery.__exit__", "Delivery.__del__")
def deliveries(t: Tracked) -> None:
    box = t.queue.mailbox(session_key=t.key)
    t.queue.put(t.event)
    delivery = box.get(timeout=t.number)
    assert (delivery.event, delivery.attempt) == (t.event, 1)
    repr(delivery), delivery.text
    refused(TypeError, delivery.nack, t.thing)
    refused(ValueError, delivery.defer, t.bad_timeout)
    assert delivery.nack()
    assert not delivery.nack()
    assert box.get().defer()
    assert box.get_nowait().attempt == 2  # and dropped
    refused(ZeroDivisionError, _fail, box)
    with box.get():
        pass
    refused(stdlib_queue.Empty, box.get_nowait)
    refused(stdlib_queue.Empty, box.get, timeout=t.soon)
    refused(TypeError, box.get, timeout=t.thing)
    t.queue.put(t.event)
    late = box.get()
    box.close()
    refused(hc.ShutDown, box.get)
    assert late.ack()


def _fail(box: hc.Mailbox) -> None:
    with box.get():
        raise ZeroDivisionError


@case("Mailbox.take_all", "Batch.__enter__", "Batch.__exit__")
def batches(t: Tracked) -> None:
    box = t.queue.mailbox()
    for event in (t.event, t.wide_event, t.thing):
        t.queue.put(event)
    with box.take_all(t.soon) as batch:
        assert [one.event for one in batch] == [t.event, t.wide_event, t.thing]
        batch[1].nack()
    with box.take_all(timeout=t.number) as batch:
        assert [one.event for one in batch] == [t.wide_event]
    refused(stdlib_queue.Empty, box.take_all, timeout=t.soon)
    t.queue.put(t.event)
    refused(TypeError, box.take_all, t.thing)
    assert t.queue.get() is t.event


@case("CompletionQueue.mailbox", "Mailbox.get")
def owners(t: Tracked) -> None:
    t.queue.put(t.end)
    box = t.queue.mailbox(owns=lambda event: event.get("summary"))
    t.queue.put(t.wide_event)
    with box.get() as delivery:
        assert delivery.event is t.end
    refused(stdlib_queue.Empty, box.get, timeout=t.soon)
    box.close()
    assert t.queue.get() is t.wide_event


@case("Mailbox.aget", "Mailbox.atake_all", "Mailbox.__aiter__", "Mailbox.__anext__")
@case("CompletionQueue.aput")
def tasks(t: Tracked) -> None:
    asyncio.run(_tasks(t))
    gc.collect()
    assert not _aio._readers


async def _tasks(t: Tracked) -> None:
    box = t.queue.mailbox(session_key=t.key)
    first, second = (asyncio.create_task(box.aget()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await t.queue.aput(t.event)
    assert (await second).nack()
    with await box.atake_all(t.soon) as batch:
        assert batch[0].attempt == 2
    await _refused(stdlib_queue.Empty, box.aget(0))
    await _refused(stdlib_queue.Empty, box.atake_all(timeout=t.soon))
    put = asyncio.create_task(t.full.aput(t.event))
    given_up = asyncio.create_task(t.full.aput(t.thing))
    await asyncio.sleep(0)
    given_up.cancel()
    assert t.full.get() == 0
    await put
    assert t.full.get() is t.event
    t.full.put(0)
    await _refused(hc.ShutDown, t.shut.aput(t.event))
    await t.queue.aput(t.event)
    async for delivery in box:
        assert delivery.ack()
        box.close()
    await _refused(hc.ShutDown, box.aget())


async def _refused(error: type[BaseException], call: Awaitable[object]) -> None:
    try:
        await call
    except error:
        return
    raise AssertionError(f"{call} did not raise {error.__name__}")
