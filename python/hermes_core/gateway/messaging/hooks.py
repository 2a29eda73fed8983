"""Stand-ins that tell of changes in the messaging gateway.

A chat becomes idle, a platform connects, a conversation begins anew: what waits for that looks
again, so nothing has to be looked at in the meantime. Each calls the gateway's own function, and
hands on whatever else it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hermes_core.gateway.messaging import watcher
from hermes_core.gateway.messaging.chats import ANY

Function = Callable[..., Any]


def release_for(original: Function) -> Function:
    """Make the stand-in for `BasePlatformAdapter._release_session_guard`."""

    def _release_session_guard(self: Any, session_key: str, **how: Any) -> None:
        """Give the chat free."""
        original(self, session_key, **how)
        watcher.tell(session_key)

    return _release_session_guard


def heal_for(original: Function) -> Function:
    """Make the stand-in for `BasePlatformAdapter._heal_stale_session_lock`."""

    def _heal_stale_session_lock(self: Any, session_key: str, **how: Any) -> bool:
        """Give a chat free whose turn has gone; say whether there was need to."""
        healed: bool = original(self, session_key, **how)
        if healed:
            watcher.tell(session_key)
        return healed

    return _heal_stale_session_lock


def end_of_run_for(original: Function) -> Function:
    """Make the stand-in for `GatewayRunner._release_running_agent_state`."""

    def _release_running_agent_state(self: Any, session_key: str, **how: Any) -> bool:
        """Give the session's slot free; say whether it was this run's."""
        released: bool = original(self, session_key, **how)
        if released:
            watcher.tell(session_key)
            watcher.tell(ANY)
        return released

    return _release_running_agent_state


def platform_status_for(original: Function) -> Function:
    """Make the stand-in for `GatewayRunner._update_platform_runtime_status`."""

    def _update_platform_runtime_status(
        self: Any, platform: str, *, platform_state: str | None = None, **how: Any
    ) -> None:
        """Write a platform's state down; one that is connected has its adapter in place."""
        original(self, platform, platform_state=platform_state, **how)
        if platform_state == "connected":
            watcher.tell(None)

    return _update_platform_runtime_status


def session_for(original: Function) -> Function:
    """Make the stand-in for `SessionStore.get_or_create_session`."""

    def get_or_create_session(self: Any, source: Any, *more: Any, **how: Any) -> Any:
        """Return the chat's conversation; a new one in the place of an old one is a reset."""
        before = self._entries.get(self._generate_session_key(source))
        entry = original(self, source, *more, **how)
        if before is None:
            watcher.tell(entry.session_key)
        elif entry.session_id != before.session_id:
            watcher.reset(entry.session_key)
        return entry

    return get_or_create_session


def reset_for(original: Function) -> Function:
    """Make the stand-in for `SessionStore.reset_session`."""

    def reset_session(self: Any, session_key: str, *more: Any, **how: Any) -> Any:
        """Begin a new conversation in a chat that has one."""
        entry = original(self, session_key, *more, **how)
        if entry is not None:
            watcher.reset(session_key)
        return entry

    return reset_session
