"""Results in the messaging gateway: each to its chat, when that is idle, and nothing polled."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from adapter_support import Child, Host, dispatch
from messaging_support import Gateway, asynchronous, messaging, quick, result, running

from hermes_core import gateway
from hermes_core.gateway.messaging import watcher
from hermes_core.gateway.messaging.chats import Obstacle

__all__ = ["messaging", "quick"]

#: How many results the long mix of chats has.
RESULTS = int(os.environ.get("HERMES_CORE_MESSAGING_RESULTS", "60"))


@asynchronous
async def test_a_result_reaches_its_idle_chat(
    messaging: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F1, F16: on arrival; the watcher has no rhythm of its own."""
    sleep = asyncio.sleep
    async with running(tmp_path) as g:

        async def checked(*args: Any) -> None:
            assert asyncio.current_task() is not g.watcher
            await sleep(*args)

        monkeypatch.setattr(asyncio, "sleep", checked)
        messaging.queue.put(result("a", "d1"))
        await g.until(lambda: bool(g.results()))
        assert g.results("a") == ["d1"]
        await g.idle()
        # An event is done with once its acknowledgement is written.
        await g.until(lambda: messaging.queue.unfinished_tasks == 0)
        assert ("a", f"answer to {g.turn('a').text.splitlines()[0]}") in g.sent
        assert g.watcher is not None
        assert not g.watcher.done()


@asynchronous
async def test_every_busy_turn_is_answered(messaging: Host, tmp_path: Path) -> None:
    """F35: `busy_input_mode` is `interrupt`, and no result interrupts."""
    async with running(tmp_path) as g:
        assert g.runner._busy_input_mode == "interrupt"
        for n in range(6):
            turn = await g.long_turn("a", f"question {n}")
            messaging.queue.put(result("a", f"d{n}"))
            await g.waiting(Obstacle.BUSY)
            assert turn.interrupted is None
            g.end(turn)
            await g.came("a", *(f"d{i}" for i in range(n + 1)))
            await g.idle()
        assert [text for _, text in g.sent if "question" in text] == [
            f"answer to question {n}" for n in range(6)
        ]


@asynchronous
async def test_the_gateways_own_watcher_interrupts_the_turn(
    messaging: Host, tmp_path: Path, quick: None
) -> None:
    """F35: what the test above rules out, on the unmodified gateway."""
    gateway.uninstall()
    async with running(tmp_path) as g:
        turn = await g.long_turn("a", "question")
        g.held.clear()
        messaging.queue.put(result("a", "d1"))
        await g.until(lambda: turn.interrupted is not None)
        await g.idle()
        assert ("a", "answer to question") not in g.sent


@asynchronous
async def test_a_waiting_result_delays_no_other_chat(messaging: Host, tmp_path: Path) -> None:
    """F15: what waits for a busy chat is not touched until that is idle."""
    async with running(tmp_path) as g:
        turn = await g.long_turn("a")
        for name in ("d1", "d2"):
            messaging.queue.put(result("a", name))
        await g.waiting(Obstacle.BUSY, 2)
        messaging.queue.put(result("b", "d3"))
        await g.came("b", "d3")
        assert g.results("a") == []
        assert messaging.queue.qsize() == 0
        g.end(turn)
        await g.came("a", "d1", "d2")


@asynchronous
async def test_a_result_is_no_answer_to_a_question(messaging: Host, tmp_path: Path) -> None:
    """F35: an open question takes any text for its answer; the user's must be it."""
    from tools import clarify_gateway

    from gateway_run.local_platform import session_key

    async with running(tmp_path) as g:
        turn = await g.long_turn("a")
        entry = clarify_gateway.register("c1", session_key("a"), "which one?", None)
        messaging.queue.put(result("a", "d1"))
        await g.waiting(Obstacle.BUSY)
        assert not entry.event.is_set()
        await g.say("a", "the second")
        assert entry.response == "the second"
        clarify_gateway.clear_session(session_key("a"))
        g.end(turn)
        await g.came("a", "d1")


@asynchronous
async def test_a_result_waits_while_an_update_asks(messaging: Host, tmp_path: Path) -> None:
    """F35: this question is open in a chat that is in no turn."""
    from gateway_run.local_platform import session_key

    async with running(tmp_path) as g:
        g.runner._update_prompt_pending[session_key("a")] = True
        messaging.queue.put(result("a", "d1"))
        await g.waiting(Obstacle.BUSY)
        await g.say("a", "yes, do")
        await g.came("a", "d1")
        assert ("a", "✓ Sent `yes, do` to the update process.") in g.sent


@asynchronous
async def test_a_result_waits_for_its_platform(messaging: Host, tmp_path: Path) -> None:
    """F1: not dropped, not given to another, and nothing wakes up for it meanwhile."""
    async with running(tmp_path, connected=False) as g:
        for name in ("d1", "d2"):
            messaging.queue.put(result("a", name))
        messaging.queue.put(result("", "nobody's"))
        await g.waiting(Obstacle.ABSENT, 3)
        assert gateway.status().counters[Obstacle.ABSENT.value] == 3
        loop: Any = asyncio.get_running_loop()
        assert not [timer for timer in loop._scheduled if not timer.cancelled()]
        await g.connect()
        await g.came("a", "d1", "d2")
        g.disconnect()
        messaging.queue.put(result("a", "d3"))
        await g.waiting(Obstacle.ABSENT, 2)
        await g.connect()
        await g.came("a", "d1", "d2", "d3")
        await g.idle()
        await g.waiting(Obstacle.ABSENT, 1)
    assert [event["delegation_id"] for event in messaging.queue.pending()] == ["nobody's"]


@asynchronous
async def test_a_result_waits_for_a_free_place(messaging: Host, tmp_path: Path) -> None:
    """F4: the gateway refuses a turn above `max_concurrent_sessions`, with what it began with."""
    async with running(tmp_path, max_concurrent_sessions=1) as g:
        turn = await g.long_turn("b")
        messaging.queue.put(result("a", "d1"))
        await g.waiting(Obstacle.FULL)
        g.end(turn)
        await g.came("a", "d1")
        assert not any("limit" in text for _, text in g.sent)


@asynchronous
async def test_a_failed_injection_is_repeated_in_order(
    messaging: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4: the gateway logs what the adapter raises, and goes on."""
    monkeypatch.setattr(watcher, "RETRY_SECONDS", (0.0,) * 4)
    async with running(tmp_path) as g:
        handle = g.adapter.handle_message
        left = 3

        async def failing(event: Any) -> None:
            nonlocal left
            if (left := left - 1) >= 0:
                raise OSError("not now")
            await handle(event)

        g.adapter.handle_message = failing
        for n in range(4):
            messaging.queue.put(result("a", f"d{n}"))
        messaging.queue.put(result("b", "other"))
        await g.until(lambda: len(g.results()) == 5)
        assert left < 0
        assert g.results("a") == [f"d{n}" for n in range(4)]
        assert g.results("b") == ["other"]


@asynchronous
async def test_after_its_retries_a_result_waits_for_a_change(
    messaging: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F4, F15: what fails for good is not tried for ever."""
    monkeypatch.setattr(watcher, "RETRY_SECONDS", (0.0,))
    async with running(tmp_path) as g:
        handle, tries = g.adapter.handle_message, 0

        async def failing(event: Any) -> None:
            nonlocal tries
            tries += 1
            raise OSError("no")

        g.adapter.handle_message = failing
        messaging.queue.put(result("a", "d1"))
        await g.until(lambda: tries == 2)
        g.adapter.handle_message = handle
        await g.say("a", "hello")
        await g.came("a", "d1")
        assert tries == 2


@asynchronous
async def test_a_turn_that_never_begins_gives_its_result_back(
    messaging: Host, tmp_path: Path
) -> None:
    """F12: the adapter's acceptance is no delivery."""
    async with running(tmp_path) as g:
        handle = g.runner._handle_message
        accepted = asyncio.Event()

        async def stuck(event: Any) -> None:
            accepted.set()
            await asyncio.Event().wait()

        g.adapter.set_message_handler(stuck)
        for name in ("d1", "d2"):
            messaging.queue.put(result("a", name))
        await accepted.wait()
        g.adapter.set_message_handler(handle)
        await g.adapter.cancel_background_tasks()
        await g.came("a", "d1", "d2")
        await g.idle()
        # An event is done with once its acknowledgement is written.
        await g.until(lambda: messaging.queue.unfinished_tasks == 0)


@asynchronous
async def test_process_ends_are_dropped_on_arrival_and_unknown_kinds_kept(
    messaging: Host, tmp_path: Path
) -> None:
    name = "process ends left to the watcher task"
    before = gateway.status().counters.get(name, 0)
    unknown = {"type": "of tomorrow", "session_key": "k"}
    async with running(tmp_path) as g:
        messaging.queue.put(unknown)
        messaging.queue.put({"type": "completion", "session_id": "p1", "session_key": "k"})
        messaging.queue.put({"session_id": "p2"})
        await g.until(lambda: gateway.status().counters.get(name, 0) == before + 2)
    assert messaging.queue.pending() == [unknown]


@asynchronous
async def test_notices_go_to_their_chats_after_a_turn(messaging: Host, tmp_path: Path) -> None:
    """F35: a notice for a chat in a turn of its own waits for the end of that turn."""
    from gateway_run.local_platform import session_key

    def notice(chat: str, n: int) -> dict[str, Any]:
        event = {"type": "watch_match", "session_id": f"p{n}", "pattern": "x", "output": "o"}
        return {**event, "session_key": session_key(chat)}

    def notices(chat: str) -> str:
        return " ".join(agent.text for name, agent in g.turns if name == chat)

    async with running(tmp_path) as g:
        await g.say("idle", "hello")
        await g.idle()
        turn = await g.long_turn("busy")
        for n, chat in enumerate(("busy", "idle", "own", "idle")):
            messaging.queue.put(notice(chat, n))
        g.held.add("idle")
        await g.say("own", "a short question")
        await g.until(lambda: "p2" in notices("own") and "p1" in notices("idle"))
        await g.idle("own")
        # The second waits for the end of that turn.
        assert session_key("idle") not in g.adapter._pending_messages
        assert turn.interrupted is None
        assert "p0" not in notices("busy")
        g.end(turn)
        g.turn("idle").go.set()
        await g.until(lambda: "p0" in notices("busy") and "p3" in notices("idle"))
        await g.idle()
        assert "answer to a long question" in [text for chat, text in g.sent if chat == "busy"]


@asynchronous
async def test_hundreds_of_results_each_once_and_at_home(messaging: Host, tmp_path: Path) -> None:
    """F2, F11: many chats, whose users write at random while their children end at random."""
    chance = random.Random(4)
    chats = [f"chat{n}" for n in range(20)]
    owners: dict[str, str] = {}
    questions: Counter[str] = Counter()
    async with running(tmp_path) as g:
        for n in range(RESULTS):
            chat = chance.choice(chats)
            child = Child(f"s{n}")
            child.go.set()
            owners[start(messaging, child, chat)] = chat
            if chance.random() < 0.3:
                asker = chance.choice(chats)
                await asked(g, asker, chance)
                questions[asker] += 1
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        await g.until(lambda: len(g.results()) >= RESULTS)
        await g.idle()
        for chat in chats:
            expected = [name for name, owner in owners.items() if owner == chat]
            assert sorted(g.results(chat)) == sorted(expected)
            assert not any(agent.interrupted for name, agent in g.turns if name == chat)
        answers = Counter(chat for chat, text in g.sent if text.startswith("answer to question"))
        assert answers == questions
        # An event is done with once its acknowledgement is written.
        await g.until(lambda: messaging.queue.unfinished_tasks == 0)


def start(host: Host, child: Child, chat: str) -> str:
    from gateway_run.local_platform import session_key

    answer = dispatch(
        host.registry.dispatch_async_delegation, child, cap=RESULTS, key=session_key(chat)
    )
    return str(answer["delegation_id"])


async def asked(g: Gateway, chat: str, chance: random.Random) -> None:
    """Ask in an idle chat: a user's own message does interrupt a turn, and merges with others."""
    await g.idle(chat)
    await g.say(chat, f"question {chance.random()}")
