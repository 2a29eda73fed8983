"""A TUI server that measures: `python -m measure.front_tui ours|theirs SESSIONS real|none`.

Sessions, pollers and locks are the server's own. With `none`, a turn ends as it begins; with
`real`, it has the gateway's own agent, and goes to the model.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import statistics
import sys
import threading
from itertools import count
from time import perf_counter, process_time, sleep
from types import SimpleNamespace
from typing import Any

from hermes_core import format_process_notification

from .events import EVENT
from .side import serve

TASK = {key: EVENT[key] for key in ("context", "toolsets", "role", "model")}
#: The gateway's pollers wait so long; an event comes at any time in between.
INTERVAL = 0.5


class Tui:
    """The server with its sessions, and where the turns begin."""

    def __init__(self, sessions: int, *, real: bool) -> None:
        server: Any = importlib.import_module("tui_gateway.server")
        self._server = server
        processes: Any = importlib.import_module("tools.process_registry")
        self.queue = processes.process_registry.completion_queue
        server._SlashWorker = lambda *_: SimpleNamespace(close=lambda: None)
        server._emit = lambda *_, **__: None
        self._turn = server._run_prompt_submit
        self._dispatch = importlib.import_module("tools.async_delegation").dispatch_async_delegation
        if not real:
            server._make_agent = lambda sid, key, **_: SimpleNamespace(session_id=key)
            server._run_prompt_submit = self._begin
        self.sessions = [self._open() for _ in range(sessions)]
        self._numbers = count()
        self._random = random.Random(1)
        self._changed = threading.Condition()
        self._begun = 0
        self._begun_at = 0.0

    def _open(self) -> tuple[str, dict[str, Any]]:
        create = {"jsonrpc": "2.0", "id": 1, "method": "session.create", "params": {}}
        sid = self._server.handle_request(create)["result"]["session_id"]
        session, error = self._server._sess({"session_id": sid}, 2)
        assert error is None, error
        while session.get("_notif_stop") is None:
            sleep(0.01)
        return sid, session

    def _begin(self, rid: str, sid: str, session: dict[str, Any], text: str) -> None:
        now = perf_counter()
        with session["history_lock"]:
            session["running"] = False
        with self._changed:
            self._begun += 1
            self._begun_at = now
            self._changed.notify_all()

    def event(self, session: dict[str, Any]) -> dict[str, Any]:
        """The event of a delegation of the session that has ended."""
        number = next(self._numbers)
        key = session["session_key"]
        return {**EVENT, "session_key": key, "delegation_id": f"deleg_{number:016x}"}

    def _wait_for(self, begun: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._begun >= begun, 600)

    def arrival(self, wanted: str) -> float:
        """Seconds from an event's put to the beginning of its owner's turn, in the median."""
        return self._arrival(int(wanted), self.sessions)

    def arrival_beside_another(self, wanted: str) -> float:
        """The same, while another session's event waits for the end of that session's turn."""
        (_, busy), *others = self.sessions
        with busy["history_lock"]:
            busy["running"] = True
        self.queue.put(self.event(busy))
        taken = self._arrival(int(wanted), others)
        expected = self._begun + 1
        with busy["history_lock"]:
            busy["running"] = False
        self._wait_for(expected)
        return taken

    def _arrival(self, times: int, owners: list[tuple[str, dict[str, Any]]]) -> float:
        taken = []
        for _ in range(times):
            sleep(self._random.uniform(0, INTERVAL))
            _, session = self._random.choice(owners)
            expected = self._begun + 1
            start = perf_counter()
            self.queue.put(self.event(session))
            self._wait_for(expected)
            taken.append(self._begun_at - start)
        return statistics.median(taken)

    def processor(self, wanted: str) -> float:
        """Processor seconds of this process per event, of so many that come at once."""
        times = int(wanted)
        expected = self._begun + times
        events = [self.event(session) for _, session in self._spread(times)]
        start = process_time()
        for event in events:
            self.queue.put(event)
        self._wait_for(expected)
        return (process_time() - start) / times

    def _spread(self, times: int) -> list[tuple[str, dict[str, Any]]]:
        return [self.sessions[number % len(self.sessions)] for number in range(times)]

    def delivered(self, name: str) -> float:
        """When a child of that name ended, whose result the model is asked about next."""
        session = self._idle()[1]
        ended = []

        def child() -> dict[str, Any]:
            ended.append(perf_counter())
            return {"status": "completed", "summary": EVENT["summary"], "api_calls": 1}

        task = {**TASK, "goal": f"Child {name} ", "session_key": session["session_key"]}
        self._dispatch(**task, runner=child)
        while not ended:
            sleep(0.001)
        return ended[0]

    def built(self, name: str) -> float:
        """When a turn with the same text was begun by hand."""
        sid, session = self._idle()
        text = format_process_notification({**self.event(session), "goal": f"Child {name} "})
        start = perf_counter()
        with session["history_lock"]:
            session["running"] = True
        self._turn("by-hand", sid, session, text)
        return start

    def _idle(self) -> tuple[str, dict[str, Any]]:
        sid, session = self.sessions[0]
        while session.get("running"):
            sleep(0.01)
        with session["history_lock"]:
            session["history"] = []  # a turn like the one before
        return sid, session


def main() -> None:
    """Open the sessions, and answer questions."""
    side, sessions, agent = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):  # the server takes stdout when it is imported
        importlib.import_module("tui_gateway.server")
    if side == "ours":
        importlib.import_module("hermes_core.gateway").install()
    tui = Tui(int(sessions), real=agent == "real")
    serve(tui.arrival, tui.arrival_beside_another, tui.processor, tui.delivered, tui.built)


if __name__ == "__main__":
    main()
