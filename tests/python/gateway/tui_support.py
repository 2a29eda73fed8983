"""A client of the real `tui_gateway.server`, whose agents do what the test's script says.

Sessions, requests, turns, locks, pollers and events are the server's own; only the model, the
agent around it and the subprocess for slash commands are not there.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch, until

BUSY = 4009
CAP = 10_000

#: Twice the time after which the gateway's own loop looks at its queue again.
TWO_POLLS = 1.0

#: What a user asks: start so many children in this turn; stay in it until the test ends it.
ASK = re.compile(r"ask (?P<number>\d+): start (?P<children>\d+)(?P<hold>, stay)?")
RESULT = re.compile(r"^result (\d+)$", re.MULTILINE)


def results_in(text: str) -> list[int]:
    """The numbers of the children whose results are in a text."""
    return [int(number) for number in RESULT.findall(text)]


def load_server() -> ModuleType:
    """Import the server, which takes stdout for its protocol when it is imported."""
    stdout = sys.stdout
    try:
        return importlib.import_module("tui_gateway.server")
    finally:
        sys.stdout = stdout


def threads_of(function: str) -> list[threading.Thread]:
    """The threads that were started with a function of this name."""
    return [thread for thread in threading.enumerate() if f"({function})" in thread.name]


def poller_threads() -> list[threading.Thread]:
    """The threads that deliver to sessions."""
    return threads_of("_notification_poller_loop")


def switches(thread: threading.Thread) -> int:
    """How often a thread has gone to sleep or was put aside, which is how often it was awake."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii")
    return sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status)))


def at_rest(threads: Sequence[threading.Thread]) -> list[int]:
    """Wait until threads have done what they were doing; return their `switches`."""
    counts: list[list[int]] = [[]]

    def unchanged() -> bool:
        counts.append([switches(thread) for thread in threads])
        return counts[-1] == counts[-2]

    until(unchanged, "the threads are at rest")
    return counts[-1]


class Agent:
    """Answers a user's question, or a result, and may start children on the way."""

    def __init__(self, tui: Tui, key: str) -> None:
        self.session_id = key  # another one once its context was compressed
        self.model = "scripted"
        self._tui = tui

    def run_conversation(
        self,
        message: str,
        conversation_history: list[dict[str, str]],
        stream_callback: Callable[[str], None],
        task_id: str,
    ) -> dict[str, Any]:
        stream_callback("…")
        answer = self._tui.turn(self, message)
        said = [{"role": "user", "content": message}, {"role": "assistant", "content": answer}]
        return {"final_response": answer, "messages": [*conversation_history, *said]}


class Session:
    """One session, as its user sees it."""

    def __init__(self, tui: Tui, sid: str) -> None:
        self.sid = sid
        self.state: dict[str, Any] = tui.server._sessions[sid]
        self.key: str = self.state["session_key"]
        self.keys = [self.key]  # and those that it got later
        self.results: list[int] = []  # by the number of the child, as turns began with them
        self.shown: list[int] = []
        self.texts: list[str] = []
        self.answered: list[str] = []
        self.held: threading.Event | None = None
        self.turns = 0  # at the same time
        self.overlaps = 0
        self.poller: threading.Thread


class Tui:
    """The client: opens sessions, asks, and notes what happens in each."""

    def __init__(self, server: ModuleType, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.sessions: dict[str, Session] = {}
        self.children: dict[int, tuple[str, Child]] = {}  # by number, with the key of its owner
        self.asked: dict[int, Session] = {}
        self._host = host
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._holds: dict[int, threading.Event] = {}
        self._under_way: set[int] = set()
        patch = monkeypatch.setattr
        patch(server, "_make_agent", lambda _sid, key, **_: Agent(self, key))
        patch(server, "_SlashWorker", lambda *_: SimpleNamespace(close=lambda: None))
        # What takes long, and says nothing of deliveries.
        patch(server, "_session_info", lambda *_: {})
        patch(server, "_sync_agent_model_with_config", lambda *_: None)
        patch(server, "_stdio_transport", self)  # what is said of a closed session
        patch("agent.title_generator.maybe_auto_title", lambda *_: None)

    # What the user does.

    def request(self, method: str, **params: object) -> dict[str, Any]:
        """Send a request; its events come back by `write`."""
        message = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        answer: dict[str, Any] = self.server.dispatch(message, self)
        return answer

    def open(self) -> Session:
        """Open a session, with its agent and its poller."""
        before = poller_threads()
        sid = self.request("session.create", title="a test")["result"]["session_id"]
        session = self._note(Session(self, sid))
        _, error = self.server._sess({"session_id": sid}, 0)
        assert error is None
        (session.poller,) = (thread for thread in poller_threads() if thread not in before)
        return session

    def open_again(self, key: str) -> Session:
        """Open a session on an earlier one's key, as the server does for a resumed one."""
        sid = f"again {next(self._numbers)}"
        before = poller_threads()
        with_client = self.server.bind_transport(self)
        try:
            self.server._init_session(sid, key, Agent(self, key), [])
        finally:
            self.server.reset_transport(with_client)
        session = Session(self, sid)
        (session.poller,) = (thread for thread in poller_threads() if thread not in before)
        return self._note(session)

    def resume(self, key: str, **params: object) -> Session:
        """Open a session that the gateway's database knows."""
        before = poller_threads()
        with_client = self.server.bind_transport(self)
        try:
            message = {"id": 0, "method": "session.resume", "params": {"session_id": key, **params}}
            sid = self.server.handle_request(message)["result"]["session_id"]
        finally:
            self.server.reset_transport(with_client)
        session = Session(self, sid)
        (session.poller,) = (thread for thread in poller_threads() if thread not in before)
        return self._note(session)

    def _note(self, session: Session) -> Session:
        with self._changed:
            self.sessions[session.sid] = session
            self._changed.notify_all()
        return session

    def close(self, session: Session) -> None:
        """Close a session, as its user does."""
        assert self.request("session.close", session_id=session.sid)["result"] == {"closed": True}

    def ask(self, session: Session, children: int = 0, *, stay: bool = False) -> int:
        """Ask as soon as the session takes a question; return once its children run."""
        number = next(self._numbers)
        self.asked[number] = session
        if stay:
            session.held = self._holds[number] = threading.Event()
        text = f"ask {number}: start {children}{', stay' if stay else ''}"
        while "error" in (answer := self._submit(session, text)):
            assert answer["error"]["code"] == BUSY
            # A result came first: its turn's end is the next chance.
            self.wait(lambda: not session.state["running"])
        self.wait(lambda: number in self._under_way)
        return number

    def _submit(self, session: Session, text: str) -> dict[str, Any]:
        return self.request("prompt.submit", session_id=session.sid, text=text)

    def end_turn(self, session: Session) -> None:
        """End the turn that stayed, and wait for its answer."""
        assert session.held is not None
        (number,) = (number for number, held in self._holds.items() if held is session.held)
        session.held.set()
        session.held = None
        self.wait(lambda: self.is_answered(number))

    def rotate(self, session: Session) -> None:
        """Compress the context in the turn that stays: its end gives the session another key."""
        key = f"{session.key}, {len(session.keys)}"
        session.state["agent"].session_id = key
        self.end_turn(session)
        assert session.state["session_key"] == key
        session.keys.append(key)

    def is_answered(self, number: int) -> bool:
        """Whether the session has shown the answer to a question."""
        return f"answer {number}" in self.asked[number].answered

    def end_children(self, *numbers: int) -> None:
        """Have children end, all of them unless told which."""
        for number in numbers or list(self.children):
            self.children[number][1].go.set()

    def owned_by(self, session: Session) -> list[int]:
        """The children that a session started."""
        return [number for number, (key, _) in self.children.items() if key in session.keys]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a turn or an event of the server brings."""
        with self._changed:
            assert self._changed.wait_for(condition, WAIT), self.describe()

    def delivered(self) -> int:
        """How many turns began with a result."""
        return sum(len(session.results) for session in self.sessions.values())

    def wait_for_results(self, count: int) -> None:
        """Wait until so many turns began with a result."""
        self.wait(lambda: self.delivered() >= count)

    def end(self) -> None:
        """Let everything go, close every session, and wait until nobody delivers any more."""
        for hold in self._holds.values():
            hold.set()
        self.end_children()
        self.server._shutdown_sessions()
        until(lambda: not poller_threads(), "the pollers have gone")
        until(lambda: not threads_of("run"), "the turns are over")

    def describe(self) -> str:
        """What is where, for a failure."""
        lines = [f"waiting: {len(self._host.queue.pending())}"]
        lines += [f"{s.sid} {s.results} {s.answered}" for s in self.sessions.values()]
        return "\n".join(lines)

    # What the server does.

    def write(self, message: dict[str, Any]) -> bool:
        """Note an event of the server: the client is its transport."""
        event = message.get("params", {})
        payload = event.get("payload", {})
        with self._changed:
            session = self.sessions.get(event.get("session_id"))
            if session is not None and event["type"] == "status.update":
                session.shown += results_in(payload["text"])
            if session is not None and event["type"] == "message.complete":
                session.answered.append(payload["text"])
            self._changed.notify_all()
        return True

    def turn(self, agent: Agent, text: str) -> str:
        """Do a turn's work, in the turn's thread and context."""
        # What waited for a session begins a turn as soon as it is open.
        asked = ASK.fullmatch(text)
        with self._changed:
            while not (found := [s for s in self.sessions.values() if s.state["agent"] is agent]):
                assert self._changed.wait(WAIT)
            (session,) = found
            session.overlaps += session.turns
            session.turns += 1
            session.texts.append(text)
            if asked is None:
                session.results += results_in(text)
            self._changed.notify_all()
        try:
            return "noted" if asked is None else self._answer(session, asked)
        finally:
            with self._changed:
                session.turns -= 1

    def _answer(self, session: Session, asked: re.Match[str]) -> str:
        for _ in range(int(asked["children"])):
            self._start_child(session)
        number = int(asked["number"])
        with self._changed:
            self._under_way.add(number)
            self._changed.notify_all()
        if asked["hold"]:
            assert self._holds[number].wait(WAIT)
        return f"answer {number}"

    def _start_child(self, session: Session) -> None:
        from tools.approval import get_current_session_key

        number = next(self._numbers)
        child = Child(f"result {number}")
        key = get_current_session_key(default="")
        assert key == session.keys[-1]
        with self._changed:
            self.children[number] = (key, child)
        delegate = self._host.registry.dispatch_async_delegation
        answer = dispatch(delegate, child, CAP, key)
        assert answer["status"] == "dispatched"
