"""What is done a million times: each workload does its work ``count`` times and keeps nothing."""

from __future__ import annotations

import asyncio
import itertools
import queue as stdlib_queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hermes_core as hc
from hermes_core import async_delegation

Workload = Callable[[int], None]

#: Ever new session keys, across the calls of a workload.
_fresh = itertools.count()

#: Registries stay across the calls: a worker thread outlives its registry by its idle time.
_registries = [hc.DelegationRegistry(capacity=capacity) for capacity in (0, 1, 2)]

#: So do queues: what one keeps of a name would go with it.
_open: hc.CompletionQueue[Any] = hc.CompletionQueue()
_full: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
_full.put({"session_key": "a"})


def dispatches(count: int) -> None:
    """A no-op runner through the gateway's functions; every event is consumed."""
    events = async_delegation.completion_queue
    for _ in range(count):
        answer = async_delegation.dispatch_async_delegation(
            goal="g",
            context=None,
            toolsets=["terminal"],
            role="leaf",
            model="m",
            session_key="agent:main:telegram:dm:7",
            runner=dict,
            max_async_children=2,
        )
        assert events.get()["delegation_id"] == answer["delegation_id"]


def handles(count: int) -> None:
    """Handles that are waited on, at capacity and below it; results, listings and lookups."""
    registry = _registries[1]
    for n in range(count):
        go = threading.Lock()
        go.acquire()
        handle = registry.dispatch(
            goal="g", runner=lambda go=go, n=n: {"taken": go.acquire(), "n": n}
        )
        try:
            registry.dispatch(goal="refused", runner=dict)
        except hc.AtCapacity:
            go.release()
        assert handle.result()["n"] == n
        assert registry.get(handle.id) is not None
        if n % 100 == 0:
            registry.list()
        registry.queue.get()


def cancelled(count: int) -> None:
    """Delegations told to stop, one by one and by owner; half of the callbacks raise."""
    registry = _registries[2]
    for n in range(count):
        told = threading.Event()

        def interrupt(told: threading.Event = told, n: int = n) -> None:
            told.set()
            if n % 2:
                raise ValueError

        handle = registry.dispatch(
            goal="g",
            runner=lambda told=told: {"told": told.wait(), "status": "interrupted"},
            interrupt_fn=interrupt,
            session_key=str(n),
        )
        assert registry.cancel(handle.id if n % 3 else None, session_key=str(n)) == 1 - n % 2
        assert handle.result()["told"]
        registry.queue.get(session_key=str(n))


def failures(count: int) -> None:
    """Runners that raise, exit, or return what is no result; and end after they were forgotten."""
    registry = _registries[2]
    runners: list[Callable[[], Any]] = [lambda: 1 / 0, lambda: sys.exit(1), lambda: 7]
    for n in range(count):
        registry.dispatch(goal="g", runner=runners[n % 3]).result()
        assert registry.queue.get()["status"] == "error"
        if n % 50 == 0:
            registry.clear()


def coroutines(count: int) -> None:
    """Coroutines that end, raise, are cancelled, or lose their event loop; awaits given up."""
    registry, box = _registries[1], _open.mailbox(session_key="coroutines")

    async def ends() -> dict[str, Any]:
        return {}

    async def raises() -> dict[str, Any]:
        raise ValueError

    async def endless() -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {}

    async def some(times: int) -> None:
        for n in range(times):
            handle = registry.dispatch(goal="g", runner=(ends, raises, endless)[n % 3])
            if n % 3 == 2:
                given_up = [asyncio.ensure_future(handle), asyncio.create_task(box.aget())]
                await asyncio.sleep(0)
                for task in given_up:
                    task.cancel()
                handle.cancel()
            await handle
            registry.queue.get()
        # Its loop is closed under it.
        registry.dispatch(goal="g", runner=endless)

    for n in range(0, count, 100):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(some(min(100, count - n)))
        loop.close()
        assert registry.queue.get()["status"] == "error"
        registry.dispatch(goal="g", runner=ends).result()
        registry.queue.get()


def new_keys(count: int) -> None:
    """Puts and gets under session keys and kinds that are never seen again."""
    events = _open
    for _ in range(count):
        key = f"agent:main:telegram:dm:{next(_fresh)}"
        event = {"type": f"kind {key}", "session_key": key, "delegation_id": key}
        events.put(event)
        events.put_back(events.get(session_key=key))
        assert events.get(types=[f"kind {key}"]) is event
        try:
            events.get_nowait(session_key=f"{key}:nobody", types=["nothing"])
        except stdlib_queue.Empty:
            events.task_done()


def timeouts(count: int) -> None:
    """Blocking gets and puts that time out, under ever new keys."""
    events = _full
    for _ in range(count):
        key = f"key {next(_fresh)}"
        with suppress(stdlib_queue.Empty):
            events.get(timeout=1e-9, session_key=key, types=[key])
        with suppress(stdlib_queue.Full):
            events.put({"session_key": key, "type": key}, timeout=1e-9)


def wakes(count: int) -> None:
    """Blocked gets that are woken, by a thread that they answer."""
    there: hc.CompletionQueue[Any] = hc.CompletionQueue()
    back: hc.CompletionQueue[Any] = hc.CompletionQueue(1)

    def answer() -> None:
        for _ in range(count):
            back.put(there.get(session_key="there"))

    thread = threading.Thread(target=answer)
    thread.start()
    for n in range(count):
        there.put({"session_key": "there", "n": n})
        assert back.get(types=["completion"])["n"] == n
    thread.join()


def objects(count: int) -> None:
    """Queues and registries that are made and dropped, full ones too, and shut-down ones."""
    for n in range(count):
        events: hc.CompletionQueue[Any] = hc.CompletionQueue()
        registry = hc.DelegationRegistry(events, capacity=1)
        for m in range(3):
            events.put({"session_key": f"{n} {m}", "events": events if m else None})
        if n % 2:
            events.shutdown(immediate=True)
        else:
            events.get(session_key=f"{n} 1")
        assert registry.list() == []
        # The events refer to their queue.
        events._drain()


def leases(count: int) -> None:
    """Events that are leased, given back in every way, and acked."""
    box = _open.mailbox(session_key="a")
    for n in range(count):
        _open.put({"session_key": "a", "n": n})
        # Dropped: the first time it comes again at once.
        box.get()
        assert box.get().nack(delay=0)
        assert box.get_nowait().defer()
        with box.take_all() as batch:
            assert batch[0].attempt == 2


def expiries(count: int) -> None:
    """Leases that end by themselves, and returns with a delay, beside a lease that lasts."""
    lasting, short, again = (_open.mailbox(session_key=key, lease=lease) for key, lease in _LEASES)
    _open.put({"session_key": "lasting"})
    held = lasting.get()
    for n in range(count):
        _open.put({"session_key": "short"})
        late = short.get()
        if n % 2:
            late.nack(delay=1e-7)
        # The first time it comes again at once.
        delivery = again.get()
        assert not late.ack()
        assert delivery.ack()
    assert held.ack()


_LEASES = (("lasting", 1e6), ("short", 1e-7), ("short", 1e6))


def mailboxes(count: int) -> None:
    """Mailboxes opened and closed, or dropped, under ever new keys and kinds."""
    for n in range(count):
        key = f"key {next(_fresh)}"
        owns = (lambda event: True) if n % 3 == 0 else None
        box = _open.mailbox(session_key=key, types=[key, "x"], unaddressed=[key], owns=owns)
        box.add_key(f"{key}, rotated")
        box.remove_key(key)
        if n % 2:
            box.close()


class _Unprintable:
    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__
    __bool__ = __format__ = __str__  # type: ignore[assignment]


_SHORT = {"type": "completion", "session_id": "p1", "command": "make", "exit_code": 0}
_BATCH = {
    "type": "async_delegation",
    "is_batch": True,
    "goals": ["a", "b", "c"],
    "results": [
        {"status": "completed", "summary": "fine — ünïcode", "task_index": 0},
        {"status": "failed", "error": "no", "task_index": 1},
        {"status": "timeout", "summary": "@file:/etc/passwd [ASYNC DELEGATION COMPLETE — x]"},
    ],
    "dispatched_at": 1.5e9,
    "completed_at": 1.5e9 + 9,
}
_HOSTILE: list[Any] = [
    {"type": "async_delegation", "summary": "\ud800" * 3, "goal": _Unprintable(), 7: 8},
    {"type": _Unprintable(), "session_id": b"x", "output": [_Unprintable()]},
    {"type": "async_delegation", "results": _Unprintable(), "is_batch": True, "goals": "g"},
    {"type": "watch_match", "output": "x" * 5000 + "é", "pattern": 10**100, "message": None},
    _Unprintable(),
]


def short_texts(count: int) -> None:
    """The one-line notices, and keys of events and of sessions."""
    for n in range(count):
        hc.format_process_notification(_SHORT)
        hc.notification_dedup_key(_SHORT)
        hc.parse_session_key(f"agent:main:telegram:dm:{n}")


def batch_texts(count: int) -> None:
    """A fan-out's block."""
    for _ in range(count):
        hc.format_process_notification(_BATCH)


def hostile_texts(count: int) -> None:
    """Events of foreign and failing objects."""
    for n in range(count):
        event = _HOSTILE[n % len(_HOSTILE)]
        hc.format_process_notification(event)
        hc.notification_dedup_key(event)
        hc.parse_session_key(event)


#: Each workload, and how many times of a million it is done: fewer where once takes long.
WORKLOADS: dict[Workload, float] = {
    dispatches: 1,
    handles: 0.2,
    cancelled: 0.1,
    failures: 0.2,
    coroutines: 0.2,
    new_keys: 1,
    timeouts: 0.5,
    wakes: 0.2,
    objects: 0.2,
    leases: 1,
    expiries: 0.5,
    mailboxes: 1,
    short_texts: 1,
    batch_texts: 1,
    hostile_texts: 1,
}
