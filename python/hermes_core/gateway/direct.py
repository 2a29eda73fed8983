"""Background delegation with claims, for a gateway that is built on the core.

`docs/direct.md` shows the file of the gateway that imports these names, which are those of
hermes-agent 0.19.0. There is no registry beside the core's, and no ledger beside
`delegations.db` in the home that a delegation is dispatched in. A take from `completion_queue` is a
lease (`hermes_core.gateway.claims`). To import this is to build it in, for the whole process: it
is not for a gateway that the plugin serves.
"""

from __future__ import annotations

import importlib
import queue
from types import SimpleNamespace
from typing import Any

from hermes_core import async_delegation
from hermes_core.async_delegation import (
    active_count,
    completion_queue,
    interrupt_all,
    interrupt_for_session,
    list_async_delegations,
)
from hermes_core.gateway import home_ledgers, queue_swap, settings
from hermes_core.gateway.cli.session import dispatch_for
from hermes_core.gateway.install import redaction
from hermes_core.gateway.leasing import Leasing

__all__ = [
    "active_count",
    "claim_completion_delivery",
    "claim_event_delivery",
    "complete_completion_delivery",
    "complete_event_delivery",
    "completion_queue",
    "dispatch_async_delegation",
    "dispatch_async_delegation_batch",
    "get_durable_delegation",
    "interrupt_all",
    "interrupt_for_session",
    "list_async_delegations",
    "mark_completion_delivered",
    "release_completion_delivery",
    "release_event_delivery",
    "restore_undelivered_completions",
]

#: What the rows of a ledger beside ours would say, had it one: the answers for what nobody knows.
_NO_ROWS: Any = SimpleNamespace(
    claim_completion_delivery=lambda *_: True,
    complete_completion_delivery=lambda *_: False,
    release_completion_delivery=lambda *_: False,
    mark_completion_delivered=lambda *_: False,
    get_durable_delegation=lambda *_: None,
    restore_undelivered_completions=lambda *_: 0,
)


def _propagate(runner: Any) -> Any:
    """Have a runner ask for approvals as the turn does that delegates."""
    return importlib.import_module("tools.thread_context").propagate_context_to_thread(runner)


dispatch_async_delegation = dispatch_for(async_delegation.dispatch_async_delegation, _propagate)
dispatch_async_delegation_batch = dispatch_for(
    async_delegation.dispatch_async_delegation_batch, _propagate
)

_registry = async_delegation._registry
_registry.redact = redaction.redact
_registry.max_summary, _registry.max_total = settings.bounds()
async_delegation._ledger_for = home_ledgers.of_dispatch

_leasing = Leasing(_NO_ROWS, queue.Queue(), completion_queue, _registry)
_deliveries = _leasing.deliveries
claim_event_delivery = _deliveries.claim_event_delivery
complete_event_delivery = _deliveries.complete_event_delivery
release_event_delivery = _deliveries.release_event_delivery
claim_completion_delivery = _deliveries.claim_completion_delivery
complete_completion_delivery = _deliveries.complete_completion_delivery
release_completion_delivery = _deliveries.release_completion_delivery
mark_completion_delivered = _deliveries.mark_completion_delivered
get_durable_delegation = _deliveries.get_durable_delegation
restore_undelivered_completions = _deliveries.restore_undelivered_completions
# The gateway restores what is undelivered as it starts: nobody needs another copy.
_leasing.has_others = True
queue_swap.lease_for_good(completion_queue, _leasing)


def _reset_for_tests() -> None:
    """Forget every delegation, and all that was taken; for tests."""
    async_delegation._reset_for_tests()
    _leasing.claims.clear()
