"""A messaging gateway that keeps its own loop: what was left for its chats comes as that starts.

The gateway's own function is called as it is; nothing here takes or delivers.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import consumers
from hermes_core.gateway.messaging import chats

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import ModuleType

    from hermes_core.gateway.restored import Restored

    Watcher = Callable[..., Coroutine[Any, Any, None]]

logger = logging.getLogger("hermes_core.gateway")


def watcher_for(original: Watcher, _: ModuleType, restored: Restored) -> Watcher:
    """Make the wrap around `GatewayRunner._async_delegation_watcher`."""

    @functools.wraps(original)
    async def _async_delegation_watcher(self: Any, *args: Any, **kwargs: Any) -> None:
        """Watch, as the gateway does, once what was left for its chats has come."""
        await asyncio.to_thread(_offer, self, restored)
        await original(self, *args, **kwargs)

    return _async_delegation_watcher


def running(_: ModuleType, restored: Restored) -> None:
    """Have what was left come for a gateway that watches by now."""
    for runner in consumers._runners():
        if getattr(runner, "_running", False):
            threading.Thread(target=_offer, args=(runner, restored), daemon=True).start()


def _offer(runner: Any, restored: Restored) -> None:
    try:
        for home in chats.homes(runner):
            restored.offer(runner, home, (), lambda event: chats.is_ours(runner, event))
    except Exception:
        # What comes while the process runs is delivered all the same.
        logger.exception("what the chats had before cannot be given back")
