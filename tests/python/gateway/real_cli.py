"""`hermes` as a person has it: a process on a terminal of its own, with a model on loopback."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from adapter_support import until

from measure import home

HERMES = shutil.which("hermes", path=str(Path(sys.executable).parent)) or "hermes"
DELEGATION = ["--toolsets", "delegation"]
PROMPT = "❯"
_WHERE_IS_THE_CURSOR = b"\x1b[6n"


class Terminal:
    """The person's side of it."""

    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self._output = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def screen(self) -> str:
        """What was printed by now, control sequences included."""
        return self._output.decode("utf-8", "replace")

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        os.write(self._descriptor, f"{line}\r".encode())

    def kill(self) -> None:
        """End the process as the kernel does when memory is short."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self._descriptor, 65536):
                self._output += data
                if _WHERE_IS_THE_CURSOR in data:
                    os.write(self._descriptor, b"\x1b[1;1R")


@contextlib.contextmanager
def chat(folder: Path, base_url: str) -> Iterator[Terminal]:
    """An interactive `hermes chat` with our plugin, at its prompt."""
    home.write(folder, base_url, plugin=True)
    with started(folder, home.environment(folder)) as terminal:
        yield terminal


@contextlib.contextmanager
def started(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[Terminal]:
    """The same in a home that is there, ended by its user, unless it was killed before."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [HERMES, "chat", *DELEGATION, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    terminal = Terminal(ours, process)
    try:
        until(lambda: PROMPT in terminal.screen, "the prompt", 120)
        yield terminal
        if process.poll() is None:
            terminal.type("/quit")
            assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def once(folder: Path, base_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A `hermes` with our plugin that answers once and ends."""
    home.write(folder, base_url, plugin=True)
    return subprocess.run(
        [HERMES, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env=home.environment(folder),
        check=False,
        timeout=120,
    )
