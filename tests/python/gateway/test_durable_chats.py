"""What an earlier process left for chats of the messaging gateway, and what a reset does to it."""

from __future__ import annotations

from pathlib import Path

from adapter_support import Child, Host, dispatch, until
from durable_support import home, leave, rows
from messaging_support import asynchronous, messaging, running

from hermes_core import gateway
from hermes_core.gateway.messaging.chats import Obstacle

__all__ = ["home", "messaging"]

SESSION = "20260101_000000_abcdef"
TELEGRAM = "agent:main:telegram:dm:4711"


def key(chat: str) -> str:
    from gateway_run.local_platform import session_key

    return session_key(chat)


def deliveries(home: Path) -> list[str | None]:
    return [row["delivery"] for row in rows(home)]


@asynchronous
async def test_each_chat_has_its_own_and_what_is_no_chats_stays(
    messaging: Host, home: Path, tmp_path: Path
) -> None:
    """F1, F2: a session of the TUI, the CLI's, and a platform that is not served, are not its."""
    names = leave(
        home,
        ("one", key("a"), True),
        ("two", key("b"), False),
        ("three", SESSION, True),
        ("four", "", True),
        ("five", TELEGRAM, True),
    )
    async with running(tmp_path / "sessions") as g:
        await g.came("a", names["one"])
        await g.came("b", names["two"])
        assert "status=lost" in g.turn("b").text
        await g.until(lambda: deliveries(home)[:2] == ["delivered"] * 2)
        await g.idle()
    assert deliveries(home)[2:] == ["pending"] * 3
    assert [row["holder"] for row in rows(home)] == ["nobody"] * 5


@asynchronous
async def test_it_waits_for_the_platform(messaging: Host, home: Path, tmp_path: Path) -> None:
    names = leave(home, ("one", key("a"), True))
    async with running(tmp_path / "sessions", connected=False) as g:
        await g.waiting(Obstacle.ABSENT)
        await g.connect()
        await g.came("a", names["one"])


@asynchronous
async def test_it_waits_for_the_end_of_a_lease(messaging: Host, home: Path, tmp_path: Path) -> None:
    names = leave(home, ("one", key("a"), True), lease=2.0)
    async with running(tmp_path / "sessions") as g:
        turn = await g.long_turn("b")
        g.end(turn)
        await g.came("a", names["one"])


@asynchronous
async def test_a_reset_parks_what_is_stored(messaging: Host, home: Path, tmp_path: Path) -> None:
    """F14: what was left, what waits, and what runs; the next process does not have it either."""
    leave(home, ("left", key("a"), True))
    async with running(tmp_path / "sessions") as g:
        await g.until(lambda: len(g.results("a")) == 1)
        await g.idle()
        turn = await g.long_turn("a")
        waits, runs, other = Child("waits"), Child("runs"), Child("other")
        for child, chat in ((waits, "a"), (runs, "a"), (other, "b")):
            dispatch(messaging.registry.dispatch_async_delegation, child, key=key(chat))
        waits.go.set()
        await g.waiting(Obstacle.BUSY)
        await g.say("a", "/new")
        g.end(turn)
        await g.idle()
        await g.until(lambda: deliveries(home)[1] == "parked")
        runs.go.set()
        await g.until(lambda: deliveries(home)[2] == "parked")
        other.go.set()
        await g.until(lambda: len(g.results("b")) == 1)
        await g.idle()
    assert deliveries(home) == ["delivered", "parked", "parked", "delivered"]


@asynchronous
async def test_a_reset_parks_what_an_earlier_process_left(
    messaging: Host, home: Path, tmp_path: Path
) -> None:
    """F14: it waits for its platform when its conversation is begun anew."""
    async with running(tmp_path / "sessions") as g:
        await g.say("a", "hello")
        await g.idle()
    leave(home, ("left", key("a"), True))
    async with running(tmp_path / "sessions", connected=False) as g:
        await g.waiting(Obstacle.ABSENT)
        assert g.runner.session_store.reset_session(key("a")) is not None
        await g.until(lambda: deliveries(home) == ["parked"])
        await g.connect()
        await g.say("a", "hello again")
        await g.idle()
        assert g.results() == []
    assert deliveries(home) == ["parked"]


@asynchronous
async def test_nothing_is_taken_over_once_the_core_is_out(
    messaging: Host, home: Path, tmp_path: Path
) -> None:
    async with running(tmp_path / "sessions"):
        dispatch(messaging.registry.dispatch_async_delegation, child := Child(), key=key("b"))
        gateway.uninstall()
        leave(home, ("left", key("a"), True))
        child.go.set()
        until(lambda: deliveries(home)[0] == "delivered", "the gateway's own queue has it")
    assert deliveries(home)[1] == "pending"
