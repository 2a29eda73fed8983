"""Results in the messaging gateway when something ends: the watcher, the core, a conversation."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch
from messaging_support import SLEEP, Gateway, asynchronous, messaging, quick, result, running

from hermes_core import gateway
from hermes_core.gateway.messaging.chats import Obstacle
from hermes_core.gateway.queue_swap import USES_PER_LOOK, GatewayQueue, WatchedQueue

__all__ = ["messaging", "quick"]

PARKED = "delegations parked by a reset"


def waiting_in(a_queue: Any) -> list[str]:
    return [event["delegation_id"] for event in list(a_queue.queue)]


# -- the watcher ends ---------------------------------------------------------------------------


@asynchronous
async def test_a_watcher_cancelled_anywhere_loses_and_doubles_nothing(
    messaging: Host, tmp_path: Path
) -> None:
    """F4, F11: after every step of the event loop, from the arrival to the end of the turns."""
    async with running(tmp_path) as g:
        names: list[str] = []
        for steps in range(40):
            for chat in ("a", "b"):
                for n in range(2):
                    names.append(f"d{steps}{chat}{n}")
                    messaging.queue.put(result(chat, names[-1]))
            for _ in range(steps):
                await SLEEP(0)
            assert g.watcher is not None
            g.watcher.cancel()
            await asyncio.wait([g.watcher])
            assert g.watcher.cancelled()
            g.watch()
            await g.until(lambda: len(g.results()) >= len(names))
            await g.idle()
        for chat in ("a", "b"):
            assert g.results(chat) == [name for name in names if chat in name]
        # An event is done with once its acknowledgement is written.
        await g.until(lambda: messaging.queue.unfinished_tasks == 0)


@asynchronous
async def test_a_stopping_gateway_begins_no_turn(messaging: Host, tmp_path: Path) -> None:
    """What its end finds waiting, and what arrives then, stays on the queue, in order."""
    async with running(tmp_path) as g:
        await g.long_turn("a")
        for name in ("d1", "d2"):
            messaging.queue.put(result("a", name))
        await g.waiting(Obstacle.BUSY, 2)
        injected: list[str] = []

        async def inject(text: str, event: dict[str, Any]) -> None:
            injected.append(text)

        g.runner._inject_watch_notification = inject
        g.runner._restart_drain_timeout = 0.0
        await g.runner.stop()
        messaging.queue.put(result("b", "d3"))
        assert g.watcher is not None
        await asyncio.wait_for(g.watcher, WAIT)
        assert [event["delegation_id"] for event in messaging.queue.pending()] == ["d1", "d2", "d3"]
        assert injected == []


# -- the core comes and goes --------------------------------------------------------------------


@pytest.mark.parametrize("thread", ["its own", "another"])
@asynchronous
async def test_an_uninstall_gives_way_to_the_gateways_watcher(
    messaging: Host, tmp_path: Path, quick: None, thread: str
) -> None:
    """F11: what a turn has is not given back, all else is; then the gateway's own code delivers."""
    async with running(tmp_path, connected=False) as g:
        for name in ("d1", "d2"):
            messaging.queue.put(result("a", name))
        await g.waiting(Obstacle.ABSENT, 2)
        if thread == "another":
            uninstaller = threading.Thread(target=gateway.uninstall)
            uninstaller.start()
            uninstaller.join()
        else:
            gateway.uninstall()
        assert waiting_in(messaging.queue) == ["d1", "d2"]
        await g.connect()
        messaging.queue.put(result("b", "d3"))
        await g.until(lambda: len(set(g.results())) == 3 or bool(messaging.queue.queue))
        await g.until(lambda: g.results("b") == ["d3"])
        await g.idle()
        assert messaging.queue.empty()


@asynchronous
async def test_an_uninstall_leaves_a_turn_under_way_its_result(
    messaging: Host, tmp_path: Path, quick: None
) -> None:
    """F11, F12: accepted before the uninstall, begun after it."""
    async with running(tmp_path) as g:
        handle = g.runner._handle_message
        accepted, go = asyncio.Event(), asyncio.Event()

        async def slow(event: Any) -> Any:
            accepted.set()
            await go.wait()
            return await handle(event)

        g.adapter.set_message_handler(slow)
        messaging.queue.put(result("a", "d1"))
        await accepted.wait()
        gateway.uninstall()
        assert waiting_in(messaging.queue) == []
        go.set()
        await g.came("a", "d1")
        await g.idle()
        messaging.queue.put(result("b", "d2"))
        await g.came("b", "d2")
        assert g.results() == ["d1", "d2"]


@asynchronous
async def test_an_install_takes_over_from_the_gateways_watcher(
    messaging: Host, tmp_path: Path, quick: None
) -> None:
    """F11: `python -m gateway.run` may load plugins while its watcher is at work."""
    gateway.uninstall()
    async with running(tmp_path) as g:
        messaging.queue.put(result("a", "d1"))
        await g.came("a", "d1")
        await g.idle()
        for n in range(2, 6):
            installer = threading.Thread(target=gateway.install)
            installer.start()
            installer.join()
            assert g.watcher is not None
            await g.until(lambda: g.watcher is None or g.watcher.done())
            turn = await g.long_turn("a")
            messaging.queue.put(result("a", f"d{n}"))
            await g.waiting(Obstacle.BUSY)
            assert turn.interrupted is None
            gateway.uninstall()
            assert waiting_in(messaging.queue) == [f"d{n}"]
            gateway.install()
            g.end(turn)
            await g.came("a", *(f"d{i}" for i in range(1, n + 1)))
            await g.idle()


@asynchronous
async def test_the_queue_is_watched_until_the_gateways_watcher_is_taken_over(
    messaging: Host, tmp_path: Path, quick: None
) -> None:
    """It sleeps somewhere, in a task that the gateway does not keep."""
    gateway.uninstall()
    async with running(tmp_path) as g:
        await SLEEP(0)
        gateway.install()
        assert use(messaging.queue) is WatchedQueue
        await g.until(lambda: g.watcher is None or g.watcher.done())
        g.watcher = None  # what it was cancelled by has its frame
        await g.until(lambda: use(messaging.queue) is GatewayQueue)
        gateway.uninstall()
        gateway.install()
        await g.until(lambda: use(messaging.queue) is GatewayQueue)


def use(events: Any) -> type:
    """Use a queue until it has looked whether it need be watched; return its class."""
    gc.collect()  # the watchers of earlier tests, which these keep in circles
    for _ in range(USES_PER_LOOK):
        events.empty()
    return type(events)


# -- a conversation ends ------------------------------------------------------------------------


def start(host: Host, child: Child, chat: str = "a") -> str:
    from gateway_run.local_platform import session_key

    answer = dispatch(host.registry.dispatch_async_delegation, child, key=session_key(chat))
    return str(answer["delegation_id"])


async def talk(g: Gateway, text: str, chat: str = "a") -> None:
    await g.say(chat, text)
    await g.idle(chat)


def parked() -> int:
    return gateway.status().counters.get(PARKED, 0)


@pytest.mark.parametrize("command", ["/new", "/reset"])
@asynchronous
async def test_a_result_from_before_a_reset_is_parked(
    messaging: Host, tmp_path: Path, command: str
) -> None:
    """F14: an old result wakes no new conversation; another chat's comes, and a new one."""
    before = parked()
    async with running(tmp_path) as g:
        await talk(g, "hello")
        old, other = Child("old"), Child("other")
        start(messaging, old)
        elsewhere = start(messaging, other, "b")
        await talk(g, command)
        await talk(g, "/approve")  # the gateway asks back
        fresh = Child("fresh")
        fresh_name = start(messaging, fresh)
        for child in (old, other, fresh):
            child.go.set()
        await g.came("a", fresh_name)
        await g.came("b", elsewhere)
        await g.until(lambda: parked() == before + 1)
        await g.idle()
        assert g.results("a") == [fresh_name]


@asynchronous
async def test_a_result_that_waits_for_its_chat_is_parked_by_a_reset(
    messaging: Host, tmp_path: Path
) -> None:
    """F14: the chat is in a turn, the result is there, and the user begins anew."""
    before = parked()
    async with running(tmp_path) as g:
        await talk(g, "hello")
        turn = await g.long_turn("a")
        child = Child("old")
        start(messaging, child)
        child.go.set()
        await g.waiting(Obstacle.BUSY)
        await g.say("a", "/new")
        g.end(turn)
        await g.idle()
        assert parked() == before + 1
        assert g.results() == []


@pytest.mark.parametrize("reason", ["idle", "suspended"])
@asynchronous
async def test_a_result_wakes_no_conversation_that_is_over(
    messaging: Host, tmp_path: Path, reason: str
) -> None:
    """F14: the session store resets at the next access, which this result's turn would be."""
    from gateway_run.local_platform import session_key

    before = parked()
    async with running(tmp_path) as g:
        await talk(g, "hello")
        child = Child("old")
        start(messaging, child)
        entry = g.runner.session_store._entries[session_key("a")]
        if reason == "idle":
            entry.updated_at -= timedelta(days=30)
        else:
            entry.suspended = True
        child.go.set()
        await g.until(lambda: parked() == before + 1)
        await talk(g, "anybody there?")
        assert g.runner.session_store._entries[session_key("a")].session_id != entry.session_id
        fresh = Child("fresh")
        name = start(messaging, fresh)
        fresh.go.set()
        await g.came("a", name)
        assert parked() == before + 1


@asynchronous
async def test_a_message_that_resets_its_session_parks_what_was_begun_before(
    messaging: Host, tmp_path: Path
) -> None:
    """F14: the session store resets inside `get_or_create_session`."""
    from gateway_run.local_platform import session_key

    before = parked()
    async with running(tmp_path) as g:
        await talk(g, "hello")
        child = Child("old")
        start(messaging, child)
        g.runner.session_store._entries[session_key("a")].updated_at -= timedelta(days=30)
        await talk(g, "good morning")
        child.go.set()
        await g.until(lambda: parked() == before + 1)
        assert g.results() == []
