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

from hermes_core import _core
from hermes_core._core import (
    HermesCoreError,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    LedgerNewerSchema,
    NotALedger,
    ShutDown,
    __version__,
)
from hermes_core.delegation.registry import (
    AtCapacity,
    DelegationHandle,
    DelegationRegistry,
    TooManyPermits,
)
from hermes_core.ledger.ledger import Ledger
from hermes_core.queue.completion_queue import CompletionQueue
from hermes_core.queue.delivery import Batch, Delivery
from hermes_core.queue.mailbox import Mailbox
from hermes_core.text.notification import (
    format_process_notification,
    notification_dedup_key,
    parse_session_key,
)

__all__ = [
    "AtCapacity",
    "Batch",
    "CompletionQueue",
    "DelegationHandle",
    "DelegationRegistry",
    "Delivery",
    "HermesCoreError",
    "Ledger",
    "LedgerBusy",
    "LedgerError",
    "LedgerFull",
    "LedgerNewerSchema",
    "Mailbox",
    "NotALedger",
    "ShutDown",
    "TooManyPermits",
    "__version__",
    "format_process_notification",
    "notification_dedup_key",
    "parse_session_key",
]

_core._set_main_thread(_threading.main_thread().ident or 0)
if hasattr(_os, "register_at_fork"):
    # Nobody writes to a disk meanwhile, and what the child inherits goes; the locks are seen to by
    # the C library's own hooks.
    _os.register_at_fork(
        before=_core._before_fork,
        after_in_parent=_core._after_fork_in_parent,
        after_in_child=_core._after_fork_in_child,
    )
