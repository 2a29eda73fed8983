"""Notifications of generated batches, as the later gateways run them."""

from __future__ import annotations

from hypothesis import given

from differential import events, reference
from differential.events import Event
from differential.notices import assert_as_the_gateway, assert_safe, has_an_order, ours


@given(events.BATCH_EVENTS)
def test_batch_blocks_hold_the_gateways_fields(event: Event) -> None:
    if reference.has_batches() and has_an_order(event):
        assert_as_the_gateway(event)
    else:
        assert_safe(event, ours(event))


@given(events.HARMFUL_BATCH_EVENTS)
def test_f25_batch_blocks_are_safe(event: Event) -> None:
    """F25: whatever any subagent of a batch answers."""
    if reference.has_batches() and has_an_order(event):
        assert_as_the_gateway(event)
    else:
        assert_safe(event, ours(event))
