"""A messaging gateway that measures: `python -m measure.front_messaging ours|theirs`.

Its `GatewayRunner`, its watcher and its platform adapter's path for messages are the gateway's own;
the platform has no network, and a turn answers at once.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import statistics
import sys
import threading
from itertools import count
from time import perf_counter, sleep
from typing import Any

from .events import EVENT
from .side import serve

#: The gateway looks so often; an event comes at any time in between.
INTERVAL = 2.0


class Messaging:
    """The gateway, and the moment at which its platform got the last message."""

    def __init__(self) -> None:
        run: Any = importlib.import_module("gateway.run")
        config: Any = importlib.import_module("gateway.config")
        local = config.Platform.LOCAL
        settings = config.PlatformConfig(enabled=True)
        self.runner = run.GatewayRunner(config.GatewayConfig(platforms={local: settings}))
        self.runner._run_agent = self._answer
        self.runner._running = True
        adapter = _adapter_class(self)(settings, local)
        adapter.set_message_handler(self.runner._handle_message)
        adapter.set_session_store(self.runner.session_store)
        self.runner.adapters[local] = adapter
        processes: Any = importlib.import_module("tools.process_registry")
        self._queue = processes.process_registry.completion_queue
        self._numbers = count()
        self._random = random.Random(1)
        self.taken_at = 0.0
        self.taken = threading.Event()

    async def _answer(self, message: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"final_response": "", "messages": [], "api_calls": 1, "history_offset": 0}

    def arrival(self, wanted: str) -> float:
        """Seconds from an event's put to the platform's hands, in the median."""
        taken = []
        for _ in range(int(wanted)):
            sleep(self._random.uniform(0, INTERVAL))
            number = next(self._numbers)
            key = f"agent:main:local:dm:{number}"
            event = {**EVENT, "session_key": key, "delegation_id": f"deleg_{number:016x}"}
            self.taken.clear()
            start = perf_counter()
            self._queue.put(event)
            assert self.taken.wait(60)
            taken.append(self.taken_at - start)
        return statistics.median(taken)


def _adapter_class(owner: Messaging) -> Any:
    base: Any = importlib.import_module("gateway.platforms.base")

    class Adapter(base.BasePlatformAdapter):  # type: ignore[misc]
        async def connect(self, **_: Any) -> bool:
            return True

        async def disconnect(self) -> None:
            pass

        async def send(self, *args: Any, **kwargs: Any) -> Any:
            return base.SendResult(success=True)

        async def get_chat_info(self, chat_id: str) -> dict[str, Any]:
            return {"name": chat_id, "type": "dm"}

        async def handle_message(self, event: Any) -> None:
            owner.taken_at = perf_counter()
            owner.taken.set()
            await super().handle_message(event)

    return Adapter


async def main() -> None:
    """Run the watcher, and answer questions beside it."""
    if sys.argv[1] == "ours":
        importlib.import_module("gateway.run")
        importlib.import_module("hermes_core.gateway").install()
    messaging = Messaging()
    watcher = asyncio.create_task(messaging.runner._async_delegation_watcher())
    await asyncio.to_thread(serve, messaging.arrival)
    watcher.cancel()


if __name__ == "__main__":
    asyncio.run(main())
