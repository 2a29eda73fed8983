"""One side of a comparison of the delivery functions, in a process of its own.

Reads operations as lines of JSON, performs each on the gateway that is there, with the core in its
place (`core`) or without, and answers with a line: what was returned, or the type of what was
raised. Ids and tokens, which differ from side to side, go by numbers that the other process chose.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

Event = dict[str, Any]
WAIT = 60.0


class Worker:
    """The gateway of this process, and what the operations have made in it."""

    def __init__(self, has_core: bool) -> None:
        from tools import async_delegation, process_registry

        self._api: Any = async_delegation
        self._registry = process_registry.process_registry
        self._ahead = 0.0
        clock = SimpleNamespace(**{**vars(time), "time": self._time, "monotonic": self._monotonic})
        async_delegation.time = clock  # type: ignore[assignment]
        self.has_core = has_core
        if has_core:
            from hermes_core import gateway
            from hermes_core.gateway import claims, host_rows

            gateway.install()
            claims.time = host_rows.time = clock  # type: ignore[assignment]
        self._names: dict[int, str] = {}
        self._runners: dict[int, threading.Event] = {}
        self._events: dict[int, Event] = {}
        self._tokens: dict[int, Any] = {}

    def _time(self) -> float:
        return time.time() + self._ahead

    def _monotonic(self) -> float:
        return time.monotonic() + self._ahead

    # -- operations ---------------------------------------------------------------------------

    def begin(self, home: str) -> None:
        """Forget all, and go on in another home."""
        for going in self._runners.values():
            going.set()
        self._until(lambda: self._api.active_count() == 0)
        os.environ["HERMES_HOME"] = home
        self._api._reset_for_tests()
        self._ahead = 0.0
        for made in (self._names, self._runners, self._events, self._tokens):
            made.clear()
        while True:
            try:
                self._registry.completion_queue.get_nowait()
            except queue.Empty:
                return

    def start(self, number: int, key: str, result: Event, is_batch: bool) -> str:
        """Begin a delegation that runs until it is let go."""
        going = self._runners[number] = threading.Event()

        def run() -> Event:
            going.wait(WAIT)
            return result

        task: Event = {"context": None, "toolsets": None, "role": "leaf", "model": None}
        rest: Event = {"session_key": key, "runner": run, "max_async_children": 1000}
        if is_batch:
            name = f"chosen_{number}_{os.path.basename(os.environ['HERMES_HOME'])}"
            answer = self._api.dispatch_async_delegation_batch(
                goals=["a", "b"], delegation_id=name, **task, **rest
            )
        else:
            answer = self._api.dispatch_async_delegation(goal="a", **task, **rest)
        self._names[number] = answer["delegation_id"]
        return str(answer["status"])

    def end(self, number: int) -> None:
        """Let it go, and wait until its event waits; keep a copy."""
        self._runners[number].set()
        self._until(lambda: self._waits(number) is not None)
        self._until(lambda: self._state(number) != "running")
        self._events[number] = dict(self._waits(number) or {})

    def take(self, number: int) -> bool:
        """Take its event; whether it waited."""
        shared = self._registry.completion_queue
        found, others = False, []
        while not found:
            try:
                event = shared.get_nowait()
            except queue.Empty:
                break
            found = event.get("delegation_id") == self._names[number]
            if not found:
                others.append(event)
        for event in others:
            shared.put(event)
        return found

    def put(self, number: int) -> None:
        """Put a copy of it."""
        self._registry.completion_queue.put(dict(self._events[number]))

    def claim(self, number: int, token: int) -> Any:
        """Claim it by its event; keep what is returned as a token."""
        claim = self._api.claim_event_delivery(self._events[number], "consumer")
        self._tokens[token] = claim
        return "a token" if claim else claim

    def claim_by(self, number: int, token: int) -> Any:
        """Claim it by its id, with a token of our own."""
        self._tokens[token] = f"own {token}"
        return self._api.claim_completion_delivery(self._names[number], self._tokens[token])

    def settle(self, function: str, number: int, token: int) -> Any:
        """Complete or release, by its id or by its event."""
        given = self._tokens.get(token, "never given")
        of = self._events[number] if "event" in function else self._names[number]
        return getattr(self._api, function)(of, given)

    def mark(self, number: int) -> Any:
        return self._api.mark_completion_delivered(self._names[number])

    def durable(self, number: int) -> Any:
        found = self._api.get_durable_delegation(self._names[number])
        if found is not None:
            assert found["delegation_id"] == self._names[number]
            found["delegation_id"] = number
            for field in ("dispatched_at", "completed_at"):
                found[field] = found[field] is not None
            if isinstance(found["result"], dict):
                found["result"].pop("duration_seconds", None)
        return found

    def restore(self, into: str) -> Any:
        """Ask for what is undelivered; which came, and how many of each wait."""
        other: queue.Queue[Event] = queue.Queue()
        target = self._registry.completion_queue if into == "shared" else other
        count = self._api.restore_undelivered_completions(target)
        return [count, sorted(self._numbers(list(target.queue)))]

    def waiting(self) -> list[int]:
        return sorted(self._numbers(list(self._registry.completion_queue.queue)))

    def later(self, seconds: float) -> None:
        self._ahead += seconds

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function with any arguments."""
        answer = getattr(self._api, function)(*arguments)
        return "a token" if isinstance(answer, str) and answer else answer

    # -----------------------------------------------------------------------------------------

    def _numbers(self, events: list[Event]) -> list[int]:
        numbers = {name: number for number, name in self._names.items()}
        return [numbers[event["delegation_id"]] for event in events]

    def _waits(self, number: int) -> Event | None:
        events = list(self._registry.completion_queue.queue)
        return next((e for e in events if e["delegation_id"] == self._names[number]), None)

    def _state(self, number: int) -> Any:
        found = self._api.get_durable_delegation(self._names[number])
        return found and found["state"]

    def _until(self, condition: Any) -> None:
        pause, end = threading.Event(), time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < end
            pause.wait(0.001)


def main() -> None:
    """Perform operations until the other side is gone."""
    worker = Worker(sys.argv[1] == "core")
    for line in sys.stdin:
        operation, *arguments = json.loads(line)
        try:
            answer = [getattr(worker, operation)(*arguments), None]
        except Exception as error:
            answer = [None, type(error).__name__]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
