"""The cases of ``surface`` for mailboxes, deliveries, and who waits for them in tasks."""

from __future__ import annotations

import asyncio
import queue as stdlib_queue
from typing import Any

import hermes_core as hc
from hermes_core import _core

from .surface import Tracked, case, refused


@case("_core.Mailbox.__new__", "_core.Mailbox.take", "_core.Lease.ack", "_core.Lease.give_back")
@case("_core.Mailbox.pending", "_core.Mailbox.add_key", "_core.Mailbox.remove_key")
@case("_core.Mailbox.wait", "_core.Mailbox.close", "_core.Mailbox.is_closed")
def native_mailbox(t: Tracked) -> None:
    box = _core.Mailbox(t.queue, [t.key], (t.kind, t.wide), (t.kind,), False, t.soon, None)
    box = _core.Mailbox(t.queue, [t.key], None, None, False, None, None)
    box.add_key(t.lone)
    for event in (t.event, t.wide_event):
        t.queue.put(event)
    box.wait()
    assert box.pending() == 2
    taken = box.take(True, t.soon)
    assert taken is not None
    event, lease, attempt = taken
    assert (event, attempt) == (t.event, 1)
    assert lease.give_back(False, 0)[0]
    assert not lease.give_back(False, t.soon)[0]
    assert not lease.give_back(True, None)[0]
    refused(ValueError, lease.give_back, False, t.bad_timeout)
    refused(TypeError, lease.give_back, False, t.thing)
    event, lease, attempt = box.take(True, None) or taken
    assert (event, attempt) == (t.event, 1)
    # Dropped unsettled, it gives its event back.
    del lease, taken
    t.queue.put(t.event)
    for expected in (t.event, t.wide_event, t.event):
        event, lease, _ = box.take(False, None) or (None, None, None)
        assert event is expected
        assert lease is not None
        assert lease.ack() == (True, expected)
        assert lease.ack() == (False, None)
    refused(stdlib_queue.Empty, box.take, True, t.soon)
    box.remove_key(t.lone)
    box.close()
    assert box.is_closed()
    refused(hc.ShutDown, box.take, True, None)
    refused(hc.ShutDown, box.wait)
    refused(TypeError, box.take, t.thing, None)
    refused(TypeError, box.take, True, t.thing)
    refused(TypeError, box.add_key, t.thing)
    refused(TypeError, box.remove_key, t.thing)
    refused(TypeError, _core.Mailbox, t.thing, None, None, None, False, None, None)
    refused(TypeError, _core.Mailbox, t.queue, [t.thing], None, None, False, None, None)
    refused(TypeError, _core.Mailbox, t.queue, None, t.thing, None, False, None, None)
    refused(ValueError, _core.Mailbox, t.queue, None, None, None, False, t.bad_timeout, None)


@case("_core.Mailbox.take_of", "_core.Lease.requeue", "_core.Registry.forget")
def of_one_delegation(t: Tracked) -> None:
    core = t.core
    core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row)
    core.begin(t.id, t.thing)
    core.finish(t.id, t.thing, t.ended, t.end, t.text, 1.0)
    box = _core.Mailbox(t.queue, None, None, None, False, None, None)
    assert box.take_of(core, t.empty_id) is None
    event, lease, attempt = box.take_of(core, t.id) or (None, None, None)
    assert (event, attempt) == (t.end, 1)
    assert lease is not None
    assert box.take_of(core, t.id) is None
    assert core.forget(t.id) is None
    assert lease.requeue()
    assert not lease.requeue()
    event, lease, attempt = box.take_of(core, t.id) or (None, None, None)
    assert (event, attempt) == (t.end, 1)
    assert lease is not None
    assert lease.ack() == (True, t.end)
    assert core.forget(t.id) is t.thing
    assert core.forget(t.id) is None
    refused(TypeError, box.take_of, t.thing, t.id)
    refused(TypeError, box.take_of, core, t.thing)
    refused(TypeError, core.forget, t.thing)


@case("_core.Mailbox.unfiled", "_core.Mailbox.file", "_core.Mailbox.next_question")
@case("_core.Question.answer")
def judged(t: Tracked) -> None:
    t.queue.put(t.event)
    box = _core.Mailbox(t.queue, [], None, None, True, None, None)
    for place, event in box.unfiled():
        box.file(place, event)
    t.queue.put(t.end)
    assert box.take(False, None) is None
    questions = 0
    while (question := box.next_question()) is not None:
        asked, event = question
        questions += 1
        asked.answer(event is t.end)
        asked.answer(True)
        refused(TypeError, asked.answer, t.thing)
    assert questions == 2
    event, lease, _ = box.take(False, None) or (None, None, None)
    assert event is t.end
    assert lease is not None
    assert lease.ack() == (True, t.end)
    assert t.queue.get() is t.event
    refused(TypeError, box.file, t.thing, t.event)


@case("_core.Collector.__new__", "_core.Collector.poll", "_core.Collector.leave")
@case("_core.Room.__new__", "_core.Room.enter", "_core.Room.leave")
def native_waits(t: Tracked) -> None:
    box = _core.Mailbox(t.queue, [t.key], None, None, False, None, None)
    waiter = _core.Waiter(t.waker)
    collector = _core.Collector(box, waiter)
    assert collector.poll() is False
    t.queue.put(t.event)
    assert waiter.take()
    polled = collector.poll()
    assert isinstance(polled, tuple)
    assert polled[1].ack() == (True, t.event)
    assert collector.poll() is False
    collector.leave()
    collector.leave()
    refused(hc.ShutDown, collector.poll)
    # One goes with its registration.
    assert _core.Collector(box, waiter).poll() is False
    room = _core.Room(t.full, waiter)
    assert room.enter()
    room.leave()
    assert not _core.Room(t.queue, waiter).enter()
    t.waker.ready()
    refused(TypeError, _core.Collector, t.thing, waiter)
    refused(TypeError, _core.Collector, box, t.thing)
    refused(TypeError, _core.Room, t.thing, waiter)
    refused(TypeError, _core.Room, t.queue, t.thing)


@case("CompletionQueue.mailbox", "Mailbox.__init__", "Mailbox.get", "Mailbox.get_nowait")
@case("Mailbox.session_keys", "Mailbox.add_key", "Mailbox.remove_key", "Mailbox.pending")
@case("Mailbox.is_closed", "Mailbox.close", "Mailbox.__enter__", "Mailbox.__exit__")
@case("Delivery.__init__", "Delivery.event", "Delivery.attempt", "Delivery.text", "Delivery.ack")
@case("Delivery.nack", "Delivery.defer", "Delivery.__enter__", "Delivery.__exit__")
@case("Mailbox.take_all", "Batch.__enter__", "Batch.__exit__")
def mailboxes(t: Tracked) -> None:
    def owns(event: Any) -> bool:
        return bool(event["thing"])

    for wanted in ({"session_key": t.key}, {"unaddressed": t.kinds}, {"owns": owns}, {}):
        with t.queue.mailbox(**wanted, types=t.kinds) as box:
            t.queue.put(t.event if "unaddressed" not in wanted else t.nobodys)
            assert box.pending() == (0 if "owns" in wanted else 1)
            assert box.get(timeout=t.soon).event["type"] is t.kind  # dropped, and back
            with box.get_nowait() as delivery:
                delivery.nack(0)  # no pause follows
                assert (delivery.attempt, delivery.text) == (1, delivery.text)
            with box.get() as delivery:
                assert delivery.defer()
                assert not delivery.ack()
            with box.take_all() as batch:
                assert len(batch) == 1
            refused(stdlib_queue.Empty, box.get_nowait)
    box = t.queue.mailbox(session_key=t.key, lease=None)
    box.add_key(t.lone)
    assert box.session_keys == (t.key, t.lone)
    box.remove_key(t.lone)
    t.queue.put(t.event)
    try:
        with box.get() as delivery:
            raise LookupError(t.thing)
    except LookupError:
        assert box.get().ack()
    box.close()
    assert box.is_closed
    refused(hc.ShutDown, box.get)
    refused(ValueError, box.add_key, "")
    refused(TypeError, t.queue.mailbox, session_key=t.thing)
    refused(TypeError, t.queue.mailbox, types=t.bad_kinds)
    refused(ValueError, t.queue.mailbox, lease=t.bad_timeout)


@case("CompletionQueue.new_epoch", "CompletionQueue.parked", "CompletionQueue.pending")
@case("_core.CompletionQueue._new_epoch", "_core.CompletionQueue._parked")
@case("_core.CompletionQueue._pending", "Mailbox.new_epoch")
def epochs(t: Tracked) -> None:
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    box = queue.mailbox(session_key=t.key)
    core: _core.Registry[Any] = _core.Registry(queue, 2)
    core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row)
    assert core.finish(t.id, t.thing, t.ended, t.end, t.text, 1.0) is not None
    assert queue.pending(t.key) == queue.pending() == [t.end]
    box.new_epoch()
    assert queue.new_epoch(t.key) == 3
    assert (queue.pending(t.key), queue.parked()) == ([], [t.end])
    core.clear()
    refused(TypeError, queue.pending, t.thing)
    refused(TypeError, queue.new_epoch, t.thing)


@case("CompletionQueue.aput", "Mailbox.aget", "Mailbox.atake_all")
@case("Mailbox.__aiter__", "Mailbox.__anext__")
def mailboxes_in_tasks(t: Tracked) -> None:
    async def main() -> None:
        box = t.queue.mailbox(session_key=t.key)
        for task in (asyncio.create_task(box.aget()), asyncio.create_task(t.full.aput(t.event))):
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await t.queue.aput(t.event)
        assert (await box.aget(t.soon)).event is t.event  # dropped, and back
        with await box.atake_all(t.soon) as batch:
            assert len(batch) == 1
        try:
            await box.aget(t.soon)
        except stdlib_queue.Empty:
            t.queue.put(t.event)
        async for delivery in box:
            assert delivery.ack()
            box.close()

    asyncio.run(main())
