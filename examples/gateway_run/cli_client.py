"""The user's side of the interactive CLI: a terminal of its own, with lines typed into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

from .journal import Journal
from .tui_client import CORE, GatewayGone

PROMPT = "❯"
COLUMNS, ROWS = 160, 50
STOP_SECONDS = 20.0
_CORE = re.compile(rb"(?:^|[\r\n])(" + CORE.encode() + rb"[^\r\n]*)[\r\n]")
_WHERE_IS_THE_CURSOR = b"\x1b[6n"
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class CliGateway:
    """A running `hermes chat`."""

    def __init__(self, env: Mapping[str, str], cwd: Path, journal: Journal) -> None:
        self.journal = journal
        self._output = bytearray()
        self._stopping = False
        self._seen: set[str] = set()
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("hermes"), "chat", "--toolsets", "delegation"],
            env={**env, "TERM": "xterm-256color"},
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            # The terminal is its controlling one, as for a shell's; the group can be ended whole.
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, name="cli-screen", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The CLI's process id."""
        return self._process.pid

    @property
    def stderr_tail(self) -> list[str]:
        """The last lines on the screen, without colours."""
        text = _CONTROL.sub("", self._output[-20000:].decode("utf-8", "replace"))
        return [line.rstrip() for line in re.split(r"[\r\n]+", text) if line.strip()]

    def write(self, line: str) -> None:
        """Type a line and press Enter."""
        try:
            os.write(self._terminal, f"{line}\r".encode())
        except OSError as error:
            raise GatewayGone("the CLI is gone: nothing can be typed any more") from error

    def close(self) -> int:
        """Leave the CLI as its user does, at last by force; its exit status."""
        if self._stopping:
            return self._process.wait()
        self._stopping = True
        try:
            if self._process.poll() is None:
                with contextlib.suppress(GatewayGone):
                    self.write("/quit")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        self._reader.join(2)
        os.close(self._terminal)
        return status

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self._terminal, 65536):
                self._output += data
                if _WHERE_IS_THE_CURSOR in data:
                    os.write(self._terminal, b"\x1b[1;1R")
                self._look()
        if not self._stopping:
            self.journal.add("gateway.ended", "", "cli")

    def _look(self) -> None:
        """Note what the driver waits for, once it is on the screen."""
        if "core" not in self._seen and (line := _CORE.search(self._output)):
            self._seen.add("core")
            self.journal.add("core", "", "cli", {"text": line[1].decode()})
        if "prompt" not in self._seen and PROMPT.encode() in self._output:
            self._seen.add("prompt")
            self.journal.add("cli.prompt")
