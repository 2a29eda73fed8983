"""A TUI that keeps its own loops: what was left for a session comes as its poller starts.

The gateway's own function is called as it is; nothing here takes or delivers.
"""

from __future__ import annotations

import inspect
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import home_ledgers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from hermes_core.gateway.restored import Restored

    Session = dict[str, Any]

logger = logging.getLogger("hermes_core.gateway")


def poller_for(
    original: Callable[..., threading.Event], module: ModuleType, restored: Restored
) -> Callable[..., threading.Event]:
    """Make the wrap around `_start_notification_poller`."""
    signature = inspect.signature(original)

    def _start_notification_poller(*args: Any, **kwargs: Any) -> threading.Event:
        """Start the poller of a session, and have what was left for the session come."""
        stop = original(*args, **kwargs)
        session = signature.bind(*args, **kwargs).arguments.get("session")
        if isinstance(session, dict):
            _offer_aside(module, stop, session, restored)
        return stop

    return _start_notification_poller


def running(module: ModuleType, restored: Restored) -> None:
    """Have what was left come for the sessions that have a poller by now."""
    for session in tuple(module._sessions.values()):
        if (stop := session.get("_notif_stop")) is not None:
            _offer_aside(module, stop, session, restored)


def _offer_aside(
    module: ModuleType, stop: threading.Event, session: Session, restored: Restored
) -> None:
    # The caller has locks that are needed, and a user who waits.
    arguments = (module, stop, session, restored)
    try:
        name = "hermes-core-restore"
        threading.Thread(target=_offer, args=arguments, name=name, daemon=True).start()
    except RuntimeError:
        logger.warning("no thread to look for what was left could be started", exc_info=True)


def _offer(module: ModuleType, stop: threading.Event, session: Session, restored: Restored) -> None:
    key = session.get("session_key")
    if not isinstance(key, str) or not key:
        return
    try:
        # Under this lock a session that is opened again gets its home, after its poller.
        with module._session_resume_lock:
            home = Path(session.get("profile_home") or home_ledgers.process_home())
        keys = [key, *_earlier_keys(module, session, key)]
        current = getattr(session.get("agent"), "session_id", None)
        restored.offer(stop, home, [*keys, current or ""])
    except Exception:
        # What comes while the process runs is delivered all the same.
        logger.exception("what session %s had before cannot be given back", key)


def _earlier_keys(module: ModuleType, session: Session, key: str) -> list[str]:
    try:
        with module._session_db(session) as sessions:
            return home_ledgers.earlier_keys(sessions, key)
    except Exception:
        # What is the session's by its own key comes all the same.
        logger.exception("which keys session %s had before cannot be told", key)
        return []
