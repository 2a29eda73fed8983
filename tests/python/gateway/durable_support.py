"""Real gateway processes on one home, which are killed and started again; the model on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import real_cli
from adapter_support import until

from hermes_core import Ledger
from measure import home
from measure.model import Model, Request

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples"))

from gateway_run.chat_client import ChatGateway
from gateway_run.journal import Journal
from gateway_run.tui_client import Gateway, RpcError

TUI = [sys.executable, "-m", "tui_gateway.entry"]
SECONDS = 60.0
BUSY = 4009

#: So long that only an orderly end can have given up what a process held.
FOREVER = 100_000.0
#: Shorter than a start, most often; what is still held then comes as soon as it is over.
SHORT = 3.0

CHATS = """\
platform_toolsets:
  local: [delegation]
security:
  tirith_enabled: false
"""


@pytest.fixture
def model() -> Iterator[Model]:
    """A model that serves meanwhile."""
    with Model() as model:
        yield model


def results(model: Model) -> list[str]:
    """The texts that turns began with, but for those that a user wrote."""
    return [request.text for request in model.requests if request.kind == "result"]


class Home:
    """A gateway's home, and the front ends that are started on it."""

    def __init__(self, folder: Path, model: Model, lease: float = SHORT) -> None:
        self.folder = folder
        self._model = model
        self._lease = lease
        self._ledgers: dict[Path, Ledger] = {}
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Fill a home, that of another profile, say."""
        home.write(folder, self._model.base_url, plugin=True)
        with (folder / "config.yaml").open("a", encoding="utf-8") as config:
            config.write(CHATS)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process on this home."""
        return {
            **home.environment(self.folder),
            "GATEWAY_ALLOW_ALL_USERS": "true",
            "HERMES_CORE_LEASE_SECONDS": str(self._lease),
        }

    def rows(self, folder: Path | None = None) -> dict[str, dict[str, Any]]:
        """What the ledger knows, by the goal of the delegation."""
        ledger = self._ledgers.setdefault(
            folder or self.folder, Ledger((folder or self.folder) / "delegations.db")
        )
        return {row["record"]["goal"]: row for row in ledger.rows()} if ledger.exists() else {}

    def until_delivery(self, goal: str, wanted: str | None, folder: Path | None = None) -> None:
        """Wait until the ledger says this of a delegation's result."""
        until(
            lambda: (row := self.rows(folder).get(goal)) is not None and row["delivery"] == wanted,
            f"{goal} is {wanted}",
        )

    @contextlib.contextmanager
    def tui(self) -> Iterator[Tui]:
        """A TUI gateway; ended as its user ends it, unless it was killed before."""
        journal = Journal(600.0)
        gateway = Gateway(TUI, self.environment, self.folder, journal)
        try:
            yield Tui(gateway, journal)
        finally:
            gateway.close()

    @contextlib.contextmanager
    def chats(self) -> Iterator[Chats]:
        """A messaging gateway; ended by Ctrl-C, unless it was killed before."""
        journal = Journal(600.0)
        gateway = ChatGateway(self.environment, self.folder, journal)
        try:
            chats = Chats(gateway, journal)
            chats.wait(lambda: bool(journal.first("chats.connected")), "the platform is there")
            yield chats
        finally:
            gateway.close()

    def cli(self, *arguments: str) -> contextlib.AbstractContextManager[real_cli.Terminal]:
        """An interactive CLI; ended by /quit, unless it was killed before."""
        return real_cli.started(self.folder, self.environment, *arguments)


class Tui:
    """The client of a TUI gateway."""

    def __init__(self, gateway: Gateway, journal: Journal) -> None:
        self.gateway = gateway
        self._journal = journal

    def open(self, **params: object) -> tuple[str, str]:
        """Open a session; return its id here, and the one that outlives the gateway."""
        answer = self.gateway.request("session.create", SECONDS, title="a test", **params)
        return str(answer["session_id"]), str(answer["stored_session_id"])

    def resume(self, key: str, **params: object) -> str:
        """Open a session that an earlier gateway had; return its id here."""
        answer = self.gateway.request("session.resume", SECONDS, session_id=key, **params)
        return str(answer["session_id"])

    def close(self, sid: str) -> None:
        """Close a session."""
        assert self.gateway.request("session.close", SECONDS, session_id=sid) == {"closed": True}

    def say(self, sid: str, text: str) -> None:
        """Begin a turn, as soon as the session takes one."""
        until(lambda: self._submit(sid, text), "the session takes a question", SECONDS)

    def _submit(self, sid: str, text: str) -> bool:
        try:
            self.gateway.request("prompt.submit", SECONDS, session_id=sid, text=text)
        except RpcError as error:
            if error.code != BUSY:
                raise
            return False
        return True

    def ask(self, sid: str, text: str) -> None:
        """Go through a turn."""
        before = self.ended(sid)
        self.say(sid, text)
        self.until_ended(sid, before + 1)

    def ended(self, sid: str) -> int:
        """How many turns of a session have ended."""
        return len(self._journal.all("tui.message.complete", sid))

    def until_ended(self, sid: str, count: int) -> None:
        """Wait for so many turns of a session to have ended."""
        self.wait(lambda: self.ended(sid) >= count, f"{count} turns of {sid}")

    def until_shown(self, sid: str, text: str) -> None:
        """Wait until a result is shown in a session."""
        shown = "tui.status.update"
        self.wait(lambda: any(text in e.text("text") for e in self._journal.all(shown, sid)), text)

    def wait(self, condition: Any, what: str) -> None:
        """Wait for something that the gateway says."""
        seen = [(entry.kind, entry.session) for entry in self._journal.entries()]
        assert self._journal.wait(condition, SECONDS), (what, seen[-20:])

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        os.killpg(self.gateway.pid, signal.SIGKILL)


class Chats:
    """The people who write in the chats of a messaging gateway."""

    def __init__(self, gateway: ChatGateway, journal: Journal) -> None:
        self.gateway = gateway
        self._journal = journal

    def say(self, chat: str, text: str) -> None:
        """Begin a turn."""
        self.gateway.write(chat, text)

    def ask(self, chat: str, text: str) -> None:
        """Go through a turn."""
        before = self.sent(chat)
        self.say(chat, text)
        self.until_sent(chat, before + 1)

    def sent(self, chat: str) -> int:
        """How many messages the gateway sent to a chat."""
        return len(self._journal.all("chat.message", chat))

    def until_sent(self, chat: str, count: int) -> None:
        """Wait for so many messages to a chat."""
        self.wait(lambda: self.sent(chat) >= count, f"{count} messages in {chat}")

    def wait(self, condition: Any, what: str) -> None:
        """Wait for something that the gateway says."""
        assert self._journal.wait(condition, SECONDS), (what, list(self.gateway.stderr_tail)[-20:])

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        os.killpg(self.gateway.pid, signal.SIGKILL)


class Held:
    """What the model leaves unanswered until told: children that run, turns that stay."""

    def __init__(self, model: Model) -> None:
        self._going: dict[str, threading.Event] = {}
        model.before_answer = self._wait

    def hold(self, *texts: str) -> None:
        """Leave requests whose last message holds one of these texts unanswered."""
        self._going.update((text, threading.Event()) for text in texts)

    def let_go(self, *texts: str) -> None:
        """Answer them; all, unless told which."""
        for text in texts or list(self._going):
            self._going.pop(text).set()

    def _wait(self, request: Request) -> None:
        if request.kind in ("child", "user"):
            for text, going in list(self._going.items()):
                if text in request.text:
                    going.wait(SECONDS)
