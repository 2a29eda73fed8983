"""What the adapter's tests share: delegations that end when told, and queues read dry."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

WAIT = 60.0


class Host:
    """The gateway's modules and the core's, with short names for what the tests look at."""

    def __init__(self) -> None:
        self.registry: ModuleType = importlib.import_module("tools.async_delegation")
        self.processes: ModuleType = importlib.import_module("tools.process_registry")
        self.delegations: ModuleType = importlib.import_module("hermes_core.async_delegation")

    def unfinished(self) -> int:
        """How many delegations of the core run, or have ended and are on their way to the disk."""
        live = self.delegations._registry.live_work()
        return int(live["running"] + live["finalizing"])

    @property
    def queue(self) -> Any:
        return self.processes.process_registry.completion_queue


class Child:
    """A background task that runs until it is let go or interrupted."""

    def __init__(self, summary: str = "done") -> None:
        self.summary = summary
        self.started = threading.Event()
        self.go = threading.Event()
        self.interrupted = threading.Event()

    def run(self) -> dict[str, Any]:
        self.started.set()
        assert self.go.wait(WAIT)
        status = "interrupted" if self.interrupted.is_set() else "completed"
        return {"status": status, "summary": self.summary, "api_calls": 1}

    def interrupt(self) -> None:
        self.interrupted.set()
        self.go.set()


def dispatch(
    function: Callable[..., dict[str, Any]], child: Child, cap: int = 3, key: str = ""
) -> dict[str, Any]:
    """Dispatch a child through a registry's function, and wait until it runs."""
    result = function(
        goal=f"goal of {child.summary}",
        context=None,
        toolsets=None,
        role="leaf",
        model="m",
        session_key=key,
        runner=child.run,
        interrupt_fn=child.interrupt,
        max_async_children=cap,
    )
    if result["status"] == "dispatched":
        assert child.started.wait(WAIT)
    return result


def take(a_queue: Any, count: int) -> list[Any]:
    """Take this many events, waiting for each."""
    return [a_queue.get(timeout=WAIT) for _ in range(count)]


def rest(a_queue: Any) -> list[Any]:
    """Take what is there now."""
    events = []
    while True:
        try:
            events.append(a_queue.get_nowait())
        except queue.Empty:
            return events


def until(condition: Callable[[], bool], what: str, seconds: float = WAIT) -> None:
    """Wait for something that announces itself to nobody."""
    pause = threading.Event()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError(f"not within {seconds} s: {what}")
