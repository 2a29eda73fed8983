"""The native delegation core under AI-agent gateways.

    queue = CompletionQueue()
    registry = DelegationRegistry(queue, capacity=3)
    handle = registry.dispatch(goal="Read the logs", runner=read_the_logs, session_key="tui:1")
    event = queue.get()
    print(format_process_notification(event))

``hermes_core.async_delegation`` has the gateway's own function surface, ``hermes_core.gateway``
swaps the core into an installed hermes-agent.
"""

from __future__ import annotations

import os as _os
import threading as _threading

from . import _core
from ._core import LedgerError, ShutDown, __version__
from ._delivery import Batch, Delivery
from ._ledger import Ledger
from ._mailbox import Mailbox
from ._notification import (
    format_process_notification,
    notification_dedup_key,
    parse_session_key,
)
from ._queue import CompletionQueue
from .registry import AtCapacity, DelegationHandle, DelegationRegistry

__all__ = [
    "AtCapacity",
    "Batch",
    "CompletionQueue",
    "DelegationHandle",
    "DelegationRegistry",
    "Delivery",
    "Ledger",
    "LedgerError",
    "Mailbox",
    "ShutDown",
    "__version__",
    "format_process_notification",
    "notification_dedup_key",
    "parse_session_key",
]

_core._set_main_thread(_threading.main_thread().ident or 0)
if hasattr(_os, "register_at_fork"):
    # What the child inherits goes; the locks are seen to by the C library's own hooks.
    _os.register_at_fork(after_in_child=_core._after_fork_in_child)
