"""Measures inside an interactive `hermes chat`: imported by its interpreter as that starts.

The loop is the CLI's own; a turn ends as it begins.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
from itertools import count
from time import perf_counter, sleep
from typing import Any

from .events import EVENT
from .side import PIPES, serve

#: The gateway's loop waits so long; an event comes at any time in between.
INTERVAL = 0.1


class Cli:
    """The CLI that runs in this process, and where its turns begin."""

    def __init__(self, cli: Any) -> None:
        self._queue = sys.modules["tools.process_registry"].process_registry.completion_queue
        self._numbers = count()
        self._random = random.Random(1)
        self._begun = threading.Event()
        self._begun_at = 0.0
        cli._print_user_message_preview = self._begin
        cli.chat = lambda *_, **__: None

    def _begin(self, text: str) -> None:
        self._begun_at = perf_counter()
        self._begun.set()

    def arrival(self, wanted: str) -> float:
        """Seconds from an event's put to the loop's hands, in the median."""
        taken = []
        for _ in range(int(wanted)):
            sleep(self._random.uniform(INTERVAL, 2 * INTERVAL))
            event = {
                **EVENT,
                "session_key": "",
                "delegation_id": f"deleg_{next(self._numbers):016x}",
            }
            self._begun.clear()
            start = perf_counter()
            self._queue.put(event)
            assert self._begun.wait(60)
            taken.append(self._begun_at - start)
        return statistics.median(taken)


def _measure() -> None:
    while (running := _running_cli()) is None:
        sleep(0.05)
    serve(Cli(running).arrival)


def _running_cli() -> Any:
    """The CLI, once it is at its prompt."""
    plugins: Any = sys.modules.get("hermes_cli.plugins")
    cli = getattr(getattr(plugins, "_plugin_manager", None), "_cli_ref", None)
    app = getattr(cli, "_app", None)
    return cli if app is not None and app.is_running else None


def start() -> None:
    """Measure on a thread of its own, in the one process that was asked to."""
    if PIPES in os.environ:
        threading.Thread(target=_measure, daemon=True).start()
