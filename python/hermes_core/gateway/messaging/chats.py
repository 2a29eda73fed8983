"""Where in the messaging gateway an event belongs, and what keeps it from going there now.

Everything here looks and changes nothing but the routing fields of the event.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_core import parse_session_key
from hermes_core.gateway import home_ledgers, versions

if TYPE_CHECKING:
    import asyncio

    Event = dict[str, Any]

#: No chat's key: what waits under it looks again whenever any turn ends.
ANY = "*"


class Obstacle(Enum):
    """What keeps an event from its chat; the value is the name of its count in `status()`."""

    ABSENT = "delegations whose chat is not connected"
    BUSY = "delegations whose chat is in a turn"
    FULL = "delegations that wait for the limit of active sessions"
    OVER = "delegations whose conversation is over"


class View(NamedTuple):
    """How things stand for one event."""

    obstacle: Obstacle | None
    """What keeps it from its chat now, if anything does."""
    keys: tuple[str, ...]
    """The names under which a change may be told that removes the obstacle."""
    owner: asyncio.Task[Any] | None = None
    """The task that runs the chat's turn; its end is such a change, too."""
    session_id: str = ""
    """The conversation that the next turn there would end, where it would end one."""


def session_key(event: Any) -> str:
    """Return whose event this is; an empty key for nobody's."""
    # As the queue reads it, whatever a subclass makes of `get`.
    key = dict.get(event, "session_key") if isinstance(event, dict) else None
    return key if isinstance(key, str) else ""


def name(event: Event) -> str:
    """Return what tells an event's chat from others: its key, or the route that it carries."""
    route = [str(dict.get(event, part) or "") for part in ("platform", "chat_id", "thread_id")]
    return session_key(event) or "\0".join(route)


def look(runner: Any, event: Event) -> View:
    """See whether a `GatewayRunner` can begin a turn with this event now."""
    own = session_key(event)
    _enrich(event, own)
    source = runner._build_process_event_source(event)
    adapter = _adapter(runner, source)
    if adapter is None or adapter._message_handler is None:
        return View(Obstacle.ABSENT, (own,))
    in_adapter = _key_in_adapter(adapter, source)
    in_runner: str = runner._session_key_for_source(source)
    keys = (own, in_adapter, in_runner)
    if in_adapter in adapter._active_sessions and not adapter._session_task_is_stale(in_adapter):
        return View(Obstacle.BUSY, keys, adapter._session_tasks.get(in_adapter))
    if in_runner in runner._running_agents or _asks(runner, in_runner):
        return View(Obstacle.BUSY, keys)
    if runner._active_session_limit_message(in_runner) is not None:
        return View(Obstacle.FULL, (*keys, ANY))
    if session_id := _over(runner, in_runner, source):
        return View(Obstacle.OVER, keys, None, session_id)
    return View(None, keys)


def is_ours(runner: Any, event: Event) -> bool:
    """Say whether an event is for a chat of a `GatewayRunner`, on a platform that it serves."""
    source = runner._build_process_event_source(event)
    if source is None:
        return False
    settings = runner.config.platforms.get(source.platform)
    return (settings is not None and settings.enabled) or source.platform in runner.adapters


def homes(runner: Any) -> list[Path]:
    """Return the homes whose chats a `GatewayRunner` serves: its own, and those of its profiles."""
    own = [home_ledgers.current_home()]
    if not getattr(runner.config, "multiplex_profiles", False):
        return own
    profiles = importlib.import_module(versions.PROFILES)
    return own + [home for _, home in profiles.profiles_to_serve(True) if home not in own]


def _enrich(event: Event, key: str) -> None:
    """Fill in the routing fields that the gateway builds a source from, where it has no better.

    A delegation's event carries its session key alone.
    """
    if event.get("platform"):
        return
    for name, value in (parse_session_key(key) or {}).items():
        if value and name in ("platform", "chat_type", "chat_id", "thread_id"):
            event[name] = value


def _adapter(runner: Any, source: Any) -> Any:
    """The adapter that the gateway's injection would choose."""
    if source is None:
        return None
    name = getattr(source.platform, "value", str(source.platform))
    adapters = list(runner.adapters.items())
    return next((adapter for platform, adapter in adapters if platform.value == name), None)


def _key_in_adapter(adapter: Any, source: Any) -> str:
    """The key under which the adapter's `handle_message` will know the chat."""
    recover = adapter._topic_recovery_fn
    try:
        thread = recover(source) if recover is not None else None
    except Exception:  # the adapter goes on with the thread it has
        thread = None
    sessions = importlib.import_module("gateway.session")
    if thread is not None and str(thread) != str(source.thread_id or ""):
        source = dataclasses.replace(source, thread_id=str(thread))
    extra = adapter.config.extra
    key: str = sessions.build_session_key(
        source,
        group_sessions_per_user=extra.get("group_sessions_per_user", True),
        thread_sessions_per_user=extra.get("thread_sessions_per_user", False),
    )
    return key


def _asks(runner: Any, key: str) -> bool:
    """Say whether a question is open there: any text that comes in is taken as its answer."""
    if runner._update_prompt_pending.get(key):
        return True
    # Where the tool was never loaded it has asked nothing.
    clarify = sys.modules.get("tools.clarify_gateway")
    return clarify is not None and clarify.get_pending_for_session(key) is not None


def _over(runner: Any, key: str, source: Any) -> str:
    """The id of the conversation that the session store would end at the next message there."""
    store = runner.session_store
    entry = store._entries.get(key)
    if entry is None:
        return ""
    over = entry.suspended or (not entry.resume_pending and store._should_reset(entry, source))
    return entry.session_id if over else ""
