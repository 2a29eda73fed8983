"""Stand-ins that tell of changes in the messaging gateway: each calls the gateway's own function.

A chat becomes idle, a platform connects, a conversation begins anew: what waits for that looks
again, so nothing has to be looked at in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hermes_core.gateway import _messaging
from hermes_core.gateway._messaging_chats import ANY

Function = Callable[..., Any]


def release_for(original: Function) -> Function:
    """Make the stand-in for `BasePlatformAdapter._release_session_guard`."""

    def _release_session_guard(self: Any, session_key: str, *, guard: Any = None) -> None:
        """Give the chat free."""
        original(self, session_key, guard=guard)
        _messaging.tell(session_key)

    return _release_session_guard


def heal_for(original: Function) -> Function:
    """Make the stand-in for `BasePlatformAdapter._heal_stale_session_lock`."""

    def _heal_stale_session_lock(self: Any, session_key: str) -> bool:
        """Give a chat free whose turn has gone; say whether there was need to."""
        healed: bool = original(self, session_key)
        if healed:
            _messaging.tell(session_key)
        return healed

    return _heal_stale_session_lock


def end_of_run_for(original: Function) -> Function:
    """Make the stand-in for `GatewayRunner._release_running_agent_state`."""

    def _release_running_agent_state(
        self: Any, session_key: str, *, run_generation: int | None = None
    ) -> bool:
        """Give the session's slot free; say whether it was this run's."""
        released: bool = original(self, session_key, run_generation=run_generation)
        if released:
            _messaging.tell(session_key)
            _messaging.tell(ANY)
        return released

    return _release_running_agent_state


def platform_status_for(original: Function) -> Function:
    """Make the stand-in for `GatewayRunner._update_platform_runtime_status`."""

    def _update_platform_runtime_status(
        self: Any,
        platform: str,
        *,
        platform_state: str | None = None,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> None:
        """Write a platform's state down; one that is connected has its adapter in place."""
        original(
            self,
            platform,
            platform_state=platform_state,
            error_code=error_code,
            error_message=error_message,
        )
        if platform_state == "connected":
            _messaging.tell(None)

    return _update_platform_runtime_status


def session_for(original: Function) -> Function:
    """Make the stand-in for `SessionStore.get_or_create_session`."""

    def get_or_create_session(self: Any, source: Any, force_new: bool = False) -> Any:
        """Return the chat's conversation; a new one in the place of an old one is a reset."""
        before = self._entries.get(self._generate_session_key(source))
        entry = original(self, source, force_new)
        if before is None:
            _messaging.tell(entry.session_key)
        elif entry.session_id != before.session_id:
            _messaging.reset(entry.session_key)
        return entry

    return get_or_create_session


def reset_for(original: Function) -> Function:
    """Make the stand-in for `SessionStore.reset_session`."""

    def reset_session(self: Any, session_key: str, display_name: str | None = None) -> Any:
        """Begin a new conversation in a chat that has one."""
        entry = original(self, session_key, display_name)
        if entry is not None:
            _messaging.reset(session_key)
        return entry

    return reset_session
