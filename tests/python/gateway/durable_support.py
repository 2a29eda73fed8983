"""Real gateway processes on one home, which are killed and started again; the model on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import later
import pytest
import real_cli
from adapter_support import until

from hermes_core import Ledger
from hermes_core.gateway import home_ledgers
from measure import home as gateway_home
from measure.model import Model, Request

sys.path.append(str(Path(__file__).resolve().parents[3] / "examples"))

from gateway_run.chat_client import ChatGateway
from gateway_run.journal import Journal
from gateway_run.tui_client import Gateway, RpcError

TUI = [sys.executable, "-m", "tui_gateway.entry"]
SECONDS = 60.0
BLOCK = re.compile(r"\[ASYNC DELEGATION (?:BATCH )?COMPLETE — (\w+)\]")
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
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own."""
    monkeypatch.setenv("HERMES_HOME", str(tmp_path))
    yield tmp_path
    # What could not be written is not waited for.
    for path in tuple(home_ledgers._opened):
        if path.is_relative_to(os.path.realpath(tmp_path)):
            del home_ledgers._opened[path]


def rows(home: Path) -> list[dict[str, Any]]:
    """What a home's ledger knows, in the order of dispatch."""
    ledger = home_ledgers.of_home(home)
    assert ledger is not None
    return ledger.rows() if ledger.exists() else []


def blocks(text: str) -> list[str]:
    """The delegations whose results a text holds."""
    return BLOCK.findall(text)


class Home:
    """A gateway's home, and the front ends that are started on it."""

    def __init__(self, folder: Path, model: Model, gateway: str | Path = later.INSTALLED) -> None:
        self.folder = folder
        self._gateway = gateway
        self._ledger = Ledger(folder / "delegations.db")
        self._model = model
        self.enable(plugin=True)

    def enable(self, *, plugin: bool) -> None:
        """Have what is started from now on run with the core, or without."""
        gateway_home.write(self.folder, self._model.base_url, plugin=plugin)
        with (self.folder / "config.yaml").open("a", encoding="utf-8") as config:
            config.write(CHATS)

    def environment(self, lease: float) -> dict[str, str]:
        """The environment of a process on this home."""
        own = later.environment(self._gateway, self.folder)
        return {
            **gateway_home.environment(self.folder),
            **({"PYTHONPATH": own["PYTHONPATH"]} if "PYTHONPATH" in own else {}),
            "GATEWAY_ALLOW_ALL_USERS": "true",
            "HERMES_CORE_LEASE_SECONDS": str(lease),
        }

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the ledger knows, by the goal of the delegation."""
        rows = self._ledger.rows() if self._ledger.exists() else []
        return {row["record"]["goal"]: row for row in rows}

    def until_delivery(self, goal: str, wanted: str) -> None:
        """Wait until the ledger says this of a delegation's result."""
        until(
            lambda: (row := self.rows().get(goal)) is not None and row["delivery"] == wanted,
            f"{goal} is {wanted}",
        )

    @contextlib.contextmanager
    def tui(self, lease: float) -> Iterator[Tui]:
        """A TUI gateway; ended as its user ends it, unless it was killed before."""
        journal = Journal(600.0)
        gateway = Gateway(TUI, self.environment(lease), self.folder, journal)
        try:
            yield Tui(gateway, journal)
        finally:
            gateway.close()

    @contextlib.contextmanager
    def chats(self, lease: float) -> Iterator[Chats]:
        """A messaging gateway; ended by Ctrl-C, unless it was killed before."""
        journal = Journal(600.0)
        gateway = ChatGateway(self.environment(lease), self.folder, journal)
        try:
            yield Chats(gateway, journal)
        finally:
            gateway.close()

    def cli(
        self, lease: float, *arguments: str
    ) -> contextlib.AbstractContextManager[real_cli.Terminal]:
        """An interactive CLI; ended by /quit, unless it was killed before."""
        return real_cli.started(self.folder, self.environment(lease), *arguments)


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


LEAVE = """
import json, os, signal, sys, threading
from hermes_core import DelegationRegistry, Ledger

registry = DelegationRegistry(capacity=100, ledger=Ledger(sys.argv[1], lease=float(sys.argv[2])))
for name, key, has_ended in json.loads(sys.argv[3]):
    runner = (lambda name=name: {"summary": name}) if has_ended else threading.Event().wait
    handle = registry.dispatch(goal=f"goal of {name}", runner=runner, session_key=key)
    if has_ended:
        handle.result()
print(json.dumps({row["record"]["goal"]: row["delegation_id"] for row in registry.ledger.rows()}))
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave(folder: Path, *left: tuple[str, str, bool], lease: float = 0.3) -> dict[str, str]:
    """Have a process be killed that had these delegations: name, session key, whether it has ended.

    Returns their ids by their names.
    """
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, str(folder / "delegations.db"), str(lease), json.dumps(left)],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return {goal.removeprefix("goal of "): name for goal, name in json.loads(done.stdout).items()}
