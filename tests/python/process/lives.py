"""Processes that use one ledger, one after the other or at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

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


class Life:
    """A process that runs a script with the ledger at ``path``."""

    def __init__(self, path: Path, script: str, lease: float = 3600.0) -> None:
        code = PRELUDE + textwrap.dedent(script)
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", code, str(path), str(lease)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"it said nothing more, and ended with {self._process.wait(HUNG)}"
        return json.loads(line)

    def tell(self, value: Any = None) -> None:
        """Answer what it asks."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self._process.pid, number)

    def end(self, status: int = 0) -> list[Any]:
        """Wait for its end, with this status; what it had said by then."""
        output, _ = self._process.communicate(timeout=HUNG)
        assert self._process.returncode == status
        return [json.loads(line) for line in output.splitlines()]

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self.end(-signal.SIGKILL)


def live(path: Path, script: str, *, lease: float = 3600.0, killed: bool = False) -> list[Any]:
    """Run a script to its end; what it said."""
    return Life(path, script, lease).end(-signal.SIGKILL if killed else 0)
