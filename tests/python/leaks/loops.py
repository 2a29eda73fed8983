"""The cases of ``surface`` for what tasks await while it is being written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import hermes_core as hc
from hermes_core import _core

from .surface import Tracked, case, refused


def _ends(pending: _core.Receipt | _core.Dispatching | _core.Acking, t: Tracked) -> None:
    """Wait until it is known what became of it, as an event loop's reader does."""
    waiter = _core.Waiter(t.waker)
    while not pending.poll(waiter):
        t.waker.ready()
        waiter.take()
    refused(TypeError, pending.poll, t.thing)


@case("_core.Receipt.poll", "_core.Receipt.wait", "_core.Receipt.end", "_core.MAX_ATTEMPTS")
@case("_core.Registry.begin_dispatch", "_core.Dispatching.poll", "_core.Dispatching.wait")
@case("_core.Dispatching.is_written", "_core.Dispatching.existing", "_core.Dispatching.end")
@case("_core.Dispatching.is_queued")
def native_receipts(t: Tracked) -> None:
    receipt = t.file.new_epoch(t.key)
    _ends(receipt, t)
    assert receipt.end() is receipt.wait() is True
    core: _core.Registry[Any] = _core.Registry(t.queue, 2)
    request = (None, 9, 0, t.owner, t.thing, None, t.file, t.text, 1.0)
    for keeps in (False, True):
        begun = core.begin_dispatch(*request)
        assert isinstance(begun[2], _core.Dispatching)  # type: ignore[misc]
        _, is_own, dispatching = begun  # type: ignore[misc]
        assert is_own
        dispatching.wait()
        _ends(dispatching, t)
        assert dispatching.is_written()
        assert not dispatching.is_queued()
        assert dispatching.existing() is None
        assert isinstance(dispatching.end(keeps), str)
        assert dispatching.end(keeps) is None
    # One that nobody ends.
    core.begin_dispatch(*request)
    assert core.begin_dispatch(t.id, 9, 0, t.owner, t.thing, *t.row) == t.id
    assert core.begin_dispatch(None, 0, 0, t.owner, t.thing, *t.row) == ("refused", (0, 4, 0))
    refused(TypeError, core.begin_dispatch, None, 9, 0, t.bad_owner, t.thing, *t.row)
    assert t.file.flush(30.0)
    core.clear()


@case("_core.Lease.ack_unwritten", "_core.Lease.begin_ack", "_core.Lease.is_held")
@case("_core.Acking.poll", "_core.Acking.end", "_core.Acking.leave")
def native_acks(t: Tracked) -> None:
    box = _core.Mailbox(t.queue, [t.key], None, None, False, None, None)
    core: _core.Registry[Any] = _core.Registry(t.queue, 2)

    def lease(*, is_written: bool) -> _core.Lease:
        ledger = t.file if is_written else None
        name = core.dispatch(None, 9, 0, t.owner, t.thing, None, ledger, t.text, 1.0)
        assert isinstance(name, str)
        event = {**t.end, "delegation_id": name}
        assert core.finish(name, t.thing, t.ended, event, t.text, 2.0) is not None
        taken = box.take(False, None)
        assert taken is not None
        return taken[1]

    held, event = lease(is_written=False).ack_unwritten() or (False, None)
    assert held
    assert event is not None
    written = lease(is_written=True)
    assert written.ack_unwritten() is None
    assert written.is_held()
    acking = written.begin_ack()
    _ends(acking, t)
    held, events = acking.end()
    assert held
    assert events
    assert acking.end() == acking.leave() == (False, [])
    assert written.ack_unwritten() == (False, None)
    assert lease(is_written=True).begin_ack().leave()[0]
    lease(is_written=True).begin_ack()
    t.queue.join()
    # It sweeps up the events of those that have ended by themselves.
    held, events = lease(is_written=False).begin_ack().end()
    assert held
    core.clear()


@case("DelegationRegistry.aredeliver", "DelegationRegistry.adrop", "DelegationRegistry.aevent")
@case("DelegationRegistry.adispatch", "Delivery.aack", "Delivery.anack", "Delivery.adefer")
@case("Delivery.is_held")
@case("Delivery.__aenter__", "Delivery.__aexit__", "Batch.__aenter__", "Batch.__aexit__")
@case("CompletionQueue.anew_epoch", "Mailbox.anew_epoch")
def awaited(t: Tracked) -> None:
    async def main(registry: hc.DelegationRegistry) -> None:
        for start in (registry.adispatch, registry.dispatch):
            handle: Any = start(goal=t.wide, runner=t.runner, session_key=t.key)
            if start == registry.adispatch:
                handle = await handle
            await handle
        box = t.queue.mailbox(session_key=t.key)
        assert await (await box.aget()).anack()
        assert await (await box.aget()).adefer()
        async with await box.aget() as delivery:
            assert (delivery.attempt, delivery.is_held) == (2, True)
        async with await box.atake_all() as batch:
            assert len(batch) == 1
        handle = await registry.adispatch(goal=t.wide, runner=t.runner, session_key=t.key)
        await handle
        try:
            async with await box.aget():
                raise LookupError(t.thing)
        except LookupError:
            assert await (await box.aget()).aack()
        assert not await registry.aredeliver(t.key)
        assert not await registry.adrop(t.key)
        assert await registry.aevent(t.key) is None
        await box.anew_epoch()
        assert await t.queue.anew_epoch(t.key) > 1
        with suppress(TypeError):
            await registry.adispatch(goal=t.wide, runner=t.thing)
        registry.clear()

    for registry in (t.registry, t.durable):
        asyncio.run(main(registry))
