"""The TUI's side of the gateway: spawn it, speak JSON-RPC over its stdio, note its events."""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .journal import Journal

BUSY = 4009
# How the line begins by which the core says in a process what of the gateway it serves.
CORE = "hermes_core "


class GatewayGone(Exception):
    """The gateway process ended, or does not answer."""


class RpcError(Exception):
    """The gateway answered a request with an error."""

    def __init__(self, method: str, code: int, message: str) -> None:
        super().__init__(f"{method}: {message} ({code})")
        self.code = code


class Gateway:
    """A running `python -m tui_gateway.entry`."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path, journal: Journal
    ) -> None:
        self.journal = journal
        self.sessions: dict[str, str] = {}  # the gateway's session id -> the name we gave it
        self.stderr_tail: collections.deque[str] = collections.deque(maxlen=40)
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._write_lock = threading.Lock()
        self._ended = False
        # A session of its own: Ctrl-C reaches this process alone, which then ends the whole group,
        # the gateway's slash-command workers included.
        self._process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=self._read_stdout, name="gateway-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="gateway-stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The gateway's process id."""
        return self._process.pid

    def request(self, method: str, seconds: float = 30.0, **params: object) -> dict[str, Any]:
        """Call a method and wait for its result."""
        number = next(self._ids)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        try:
            with self._write_lock:
                stdin = pipe(self._process.stdin)
                stdin.write(json.dumps(message) + "\n")
                stdin.flush()
        except (OSError, ValueError) as error:
            raise GatewayGone(f"the gateway is gone: {method} could not be sent") from error
        answered = self.journal.wait(lambda: number in self._answers or self._ended, seconds)
        answer = self._answers.pop(number, None)
        if answer is None:
            why = "does not answer" if not answered else "ended before it answered"
            raise GatewayGone(f"the gateway {why} {method}")
        if error_ := answer.get("error"):
            raise RpcError(method, int(error_.get("code", 0)), str(error_.get("message", "")))
        result = answer.get("result")
        return result if isinstance(result, dict) else {}

    def open_session(self, name: str) -> str:
        """Open a session and call it `name` from now on."""
        # A title from the start: else the gateway asks the model for one after the first turn.
        result = self.request("session.create", title=f"{name} run", cols=80)
        session_id = str(result["session_id"])
        self.sessions[session_id] = name
        return session_id

    def close(self) -> None:
        """End the gateway on every path: first by closing its stdin, at last by force."""
        try:
            with contextlib.suppress(OSError, ValueError):
                pipe(self._process.stdin).close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        finally:
            # What is left of the group goes too: a gateway that hangs, a slash-command worker.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for thread in self._threads:
            thread.join(2)
        for stream in (self._process.stdout, self._process.stderr):
            pipe(stream).close()

    def _read_stdout(self) -> None:
        for line in pipe(self._process.stdout):
            try:
                message = json.loads(line)
            except ValueError:
                self.stderr_tail.append(f"(not JSON on stdout) {line.rstrip()}")
                continue
            if message.get("method") == "event":
                self._event(message.get("params") or {})
            elif isinstance(message.get("id"), int):
                self._answers[message["id"]] = message
                self.journal.touch()
        self._ended = True
        self.journal.add("gateway.ended", "", "tui")

    def _read_stderr(self) -> None:
        for line in pipe(self._process.stderr):
            self.stderr_tail.append(line.rstrip("\n"))
            if line.startswith(CORE):
                self.journal.add("core", "", "tui", {"text": line.strip()})

    def _event(self, params: dict[str, Any]) -> None:
        """Turn an event of the gateway into an entry of the journal."""
        kind = str(params.get("type", ""))
        session_id = str(params.get("session_id") or "")
        session = self.sessions.get(session_id, session_id)
        payload = params.get("payload")
        data: dict[str, object] = dict(payload) if isinstance(payload, dict) else {}
        name = str(data.get("tool_id") or data.get("subagent_id") or "")
        if not kind.endswith((".delta", ".available", ".generating")):
            self.journal.add(f"tui.{kind}", session, name, data)


def pipe(pipe: IO[str] | None) -> IO[str]:
    """The pipe, which is there because it was asked for."""
    assert pipe is not None
    return pipe
