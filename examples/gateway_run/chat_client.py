"""The people's side of the messaging gateway: spawn it, write in its chats, note what it sends."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from .journal import Journal
from .tui_client import CORE, GatewayGone, pipe

STOP_SECONDS = 15.0


class ChatGateway:
    """A running `python -m gateway_run.chat_host`."""

    def __init__(self, env: Mapping[str, str], cwd: Path, journal: Journal) -> None:
        self.journal = journal
        self.stderr_tail: collections.deque[str] = collections.deque(maxlen=40)
        self._stopping = False
        path = [*filter(None, [env.get("PYTHONPATH")]), str(Path(__file__).resolve().parents[1])]
        # As for the TUI's gateway: a session of its own, so that the whole group can be ended.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.chat_host"],
            env={**env, "PYTHONPATH": os.pathsep.join(path)},
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
            threading.Thread(target=self._read_stdout, name="chats-stdout", daemon=True),
            threading.Thread(target=self._read_stderr, name="chats-stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The gateway's process id."""
        return self._process.pid

    def write(self, chat: str, text: str) -> None:
        """Write a line in a chat."""
        try:
            stdin = pipe(self._process.stdin)
            stdin.write(json.dumps({"chat": chat, "text": text}) + "\n")
            stdin.flush()
        except (OSError, ValueError) as error:
            raise GatewayGone(f"the messaging gateway is gone: {chat} could not write") from error

    def close(self) -> int:
        """End the gateway as Ctrl-C does, at last by force; its exit status."""
        self._stopping = True
        try:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        with contextlib.suppress(OSError, ValueError):
            pipe(self._process.stdin).close()
        for thread in self._threads:
            thread.join(2)
        for stream in (self._process.stdout, self._process.stderr):
            pipe(stream).close()
        return status

    def _read_stdout(self) -> None:
        for line in pipe(self._process.stdout):
            message = json.loads(line)
            if message.get("connected"):
                self.journal.add("chats.connected")
            else:
                self.journal.add("chat.message", message["chat"], "", {"text": message["text"]})
        if not self._stopping:
            self.journal.add("gateway.ended", "", "chats")

    def _read_stderr(self) -> None:
        for line in pipe(self._process.stderr):
            self.stderr_tail.append(line.rstrip("\n"))
            if line.startswith(CORE):
                self.journal.add("core", "", "chats", {"text": line.strip()})
