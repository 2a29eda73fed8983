"""The messaging gateway with the local platform; chats go over this process's stdio.

    python -m gateway_run.chat_host

A line in is `{"chat": …, "text": …}`, what somebody writes. A line out is the same, what the
gateway sends, or `{"connected": true}` once it takes messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import IO

# As in the gateway's own launcher, before its plugins put their folders first on the path: one of
# those holds a `cron`, too.
import cron.jobs
import cron.scheduler_provider  # noqa: F401

# The first turn would import it, which takes seconds; now it passes while the first part runs.
import run_agent  # noqa: F401
from gateway.config import GatewayConfig, Platform, PlatformConfig
from gateway.platform_registry import PlatformEntry, platform_registry
from gateway.run import start_gateway

from .local_platform import NAME, LocalAdapter, session_key


class StdioAdapter(LocalAdapter):
    """The local platform on a pipe."""

    def __init__(self, config: PlatformConfig, out: IO[str]) -> None:
        super().__init__(config, self._show)
        self._out = out
        self._reading: asyncio.Task[None] | None = None

    async def connect(self, *, is_reconnect: bool = False) -> bool:
        """Begin to read."""
        self._reading = asyncio.create_task(self._read())
        self._write({"connected": True})
        return await super().connect(is_reconnect=is_reconnect)

    async def disconnect(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
        await super().disconnect()

    async def _read(self) -> None:
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
        )
        async for line in lines:
            message = json.loads(line)
            # Who writes here has waited for the answer: a message into a turn would interrupt it.
            if turn := self._session_tasks.get(session_key(message["chat"])):
                await asyncio.wait([turn])
            await self.receive(message["chat"], message["text"])

    def _show(self, chat_id: str, text: str) -> None:
        self._write({"chat": chat_id, "text": text})

    def _write(self, message: dict[str, object]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


def main() -> int:
    """Run the gateway until it is told to stop."""
    # Whatever else the gateway prints goes where its log goes.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    entry = PlatformEntry(
        NAME, "Local", lambda config: StdioAdapter(config, out), check_fn=lambda: True
    )
    platform_registry.register(entry)
    config = GatewayConfig(platforms={Platform(NAME): PlatformConfig(enabled=True)})
    return 0 if asyncio.run(start_gateway(config)) else 1


if __name__ == "__main__":
    sys.exit(main())
