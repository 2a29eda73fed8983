"""Processes that use one ledger, one after the other or at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Self

#: Seconds after which a process counts as hung; far beyond any honest run.
HUNG = 60

#: What every script begins with. ``say`` tells the test something, ``ask`` waits for the test.
PRELUDE = """
import json, os, signal, sys, threading
import hermes_core as hc

path, lease = sys.argv[1], float(sys.argv[2])
ledger = hc.Ledger(path, lease=lease)
registry = hc.DelegationRegistry(ledger=ledger, capacity=100)
queue = registry.queue

def say(value):
    print(json.dumps(value), flush=True)

def ask():
    return json.loads(sys.stdin.readline())

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dispatch(goal="a task", key="a", runner=lambda: {"summary": "a result"}, **more):
    return registry.dispatch(goal=goal, session_key=key, runner=runner, **more)

def forever():
    threading.Event().wait()

"""


class Child:
    """A process with pipes to it and from it, which is gone when its ``with`` block is."""

    def __init__(self, command: list[str], stderr: int | None = None, **more: Any) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, **more
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # In a test that failed it may run still, or stand still.
        with self.process:
            self.process.kill()

    def hear(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it said nothing more, and ended with {self.process.wait(HUNG)}"
        return json.loads(line)

    def tell(self, value: Any = None) -> None:
        """Answer what it asks."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.process.pid, number)

    def end(self, status: int = 0) -> list[Any]:
        """Wait for its end, with this status; what it had said by then."""
        output, _ = self.process.communicate(timeout=HUNG)
        assert self.process.returncode == status
        return [json.loads(line) for line in output.splitlines()]

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.end(-signal.SIGKILL)


class Life(Child):
    """A process that runs a script with the ledger at ``path``."""

    def __init__(self, path: Path, script: str, lease: float = 3600.0) -> None:
        code = PRELUDE + textwrap.dedent(script)
        super().__init__([sys.executable, "-X", "faulthandler", "-c", code, str(path), str(lease)])


def live(path: Path, script: str, *, lease: float = 3600.0, killed: bool = False) -> list[Any]:
    """Run a script to its end; what it said."""
    with Life(path, script, lease) as life:
        return life.end(-signal.SIGKILL if killed else 0)
