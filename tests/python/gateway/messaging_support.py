"""A real `GatewayRunner` with a local platform and a stand-in for the agent."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from adapter_support import WAIT, Host

from hermes_core import gateway as adapter
from hermes_core.gateway.messaging.chats import Obstacle
from hermes_core.gateway.messaging.watcher import waiting

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples"))

SLEEP = asyncio.sleep
BLOCK = re.compile(r"\[ASYNC DELEGATION COMPLETE — (\w+)\]")


class Agent:
    """What runs in a turn: `interrupt` is what the gateway calls for a message that comes in."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.interrupted: str | None = None
        self.go = asyncio.Event()
        self._active_children: list[object] = []

    def interrupt(self, reason: str | None = None) -> None:
        self.interrupted = reason or ""
        self.go.set()

    def get_activity_summary(self) -> dict[str, Any]:
        return {"seconds_since_activity": 0.0}

    @property
    def results(self) -> list[str]:
        """The delegations whose results this turn was begun with."""
        return BLOCK.findall(self.text)


class Gateway:
    """The gateway, its chats, and what happened in them."""

    def __init__(self, runner: Any, adapter_of: Callable[..., Any]) -> None:
        self.runner = runner
        self.sent: list[tuple[str, str]] = []
        self.turns: list[tuple[str, Agent]] = []
        self.held: set[str] = set()
        self.watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._adapter_of = adapter_of
        runner._run_agent = self._run_agent
        runner._running = True

    # -- the platform ---------------------------------------------------------------------------

    @property
    def adapter(self) -> Any:
        from gateway.config import Platform

        return self.runner.adapters[Platform.LOCAL]

    async def connect(self) -> Any:
        """Have the platform come in, as the gateway does it at a start and at a reconnect."""
        from gateway.config import Platform

        adapter = self._adapter_of(self._sent)
        adapter.set_message_handler(self.runner._handle_message)
        adapter.set_session_store(self.runner.session_store)
        adapter.set_busy_session_handler(self.runner._handle_active_session_busy_message)
        adapter.set_topic_recovery_fn(self.runner._recover_telegram_topic_thread_id)
        await adapter.connect()
        self.runner.adapters[Platform.LOCAL] = adapter
        self.runner._update_platform_runtime_status("local", platform_state="connected")
        return adapter

    def disconnect(self) -> None:
        from gateway.config import Platform

        del self.runner.adapters[Platform.LOCAL]

    async def say(self, chat: str, text: str) -> None:
        await self.adapter.receive(chat, text)

    def _sent(self, chat: str, text: str) -> None:
        self.sent.append((chat, text))
        self._changed.set()

    # -- turns ----------------------------------------------------------------------------------

    async def _run_agent(
        self, message: str, *args: Any, session_key: str = "", **kwargs: Any
    ) -> dict[str, Any]:
        chat = session_key.rpartition(":")[2]
        agent = Agent(message)
        self.turns.append((chat, agent))
        self.runner._running_agents[session_key] = agent
        self._changed.set()
        if chat in self.held:
            await agent.go.wait()
        answered = agent.interrupted is None
        final = f"answer to {message.splitlines()[0]}" if answered else ""
        return {"final_response": final, "messages": [], "api_calls": 1, "history_offset": 0}

    async def long_turn(self, chat: str, text: str = "a long question") -> Agent:
        """Begin a turn that goes on until `end`."""
        before = len(self.turns)
        self.held.add(chat)
        await self.say(chat, text)
        await self.until(lambda: len(self.turns) > before, text)
        return self.turn(chat)

    def end(self, turn: Agent) -> None:
        """Let a long turn end, and those after it be short."""
        self.held.clear()
        turn.go.set()

    async def came(self, chat: str, *names: str) -> None:
        """Wait until exactly these results have come to a chat, in this order."""
        await self.until(lambda: self.results(chat) == list(names), f"{names} in {chat}")

    def turn(self, chat: str) -> Agent:
        """The latest turn of a chat."""
        return next(agent for name, agent in reversed(self.turns) if name == chat)

    def results(self, chat: str | None = None) -> list[str]:
        """The delegations whose results came, in order, to one chat or to all."""
        return [
            result
            for name, agent in self.turns
            if chat is None or name == chat
            for result in agent.results
        ]

    # -- waiting --------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait for something that happens in a chat, or on the queue's side of it."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await self._changed.wait()

    async def idle(self, chat: str | None = None) -> None:
        """Wait for a chat's turn, or every chat's, to be over."""
        from gateway_run.local_platform import session_key

        def is_idle() -> bool:
            active = self.adapter._active_sessions
            return session_key(chat) not in active if chat else not active

        await self.until(is_idle, "idle")

    async def waiting(self, obstacle: Obstacle, count: int = 1) -> None:
        """Wait until so many results wait for that."""
        await self.until(lambda: waiting().get(obstacle.value) == count, obstacle.value)

    def watch(self) -> asyncio.Task[None]:
        """Start the watcher, as the gateway's start does."""
        self.watcher = asyncio.create_task(self.runner._async_delegation_watcher())
        return self.watcher


@pytest.fixture
def messaging(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The core in the messaging gateway: everybody may write, and nothing is downloaded."""
    import gateway.run
    import tools.tirith_security

    assert gateway.run
    monkeypatch.setenv("GATEWAY_ALLOW_ALL_USERS", "true")
    monkeypatch.setattr(tools.tirith_security, "ensure_installed", lambda **_: None)
    adapter.install()
    return host


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway's own watcher looks as often as the event loop turns."""

    async def sleep(seconds: float, *result: Any) -> None:
        await SLEEP(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)


def result(chat: str, name: str) -> dict[str, Any]:
    """The event of a delegation that has ended."""
    from gateway_run.local_platform import session_key

    return {
        "type": "async_delegation",
        "delegation_id": name,
        "session_key": session_key(chat) if chat else "",
        "goal": f"goal of {name}",
        "status": "completed",
        "summary": f"summary of {name}",
    }


def make_runner(home: Path, **settings: Any) -> Any:
    """A `GatewayRunner` whose sessions are kept in `home`."""
    from gateway.config import GatewayConfig, Platform, PlatformConfig
    from gateway.run import GatewayRunner

    config = GatewayConfig(
        platforms={Platform.LOCAL: PlatformConfig(enabled=True)}, sessions_dir=home, **settings
    )
    return GatewayRunner(config)


@contextlib.asynccontextmanager
async def running(home: Path, *, connected: bool = True, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway whose watcher runs; ended as the end of `asyncio.run` ends it."""
    from gateway.config import Platform

    from gateway_run.local_platform import LocalAdapter

    runner = make_runner(home, **settings)
    config = runner.config.platforms[Platform.LOCAL]
    gateway = Gateway(runner, lambda sent: LocalAdapter(config, sent))
    if connected:
        await gateway.connect()
    gateway.watch()
    try:
        yield gateway
    finally:
        runner._running = False
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return run
