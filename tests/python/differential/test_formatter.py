"""Notifications of generated events: as the gateway's own, and safe where those are not."""

from __future__ import annotations

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from differential import events, reference, safety
from differential.events import Event
from differential.notices import assert_as_the_gateway, assert_safe, is_overflow, ours, theirs


@given(events.PROCESS_EVENTS)
@example({"exit_code": 2**70})
def test_process_notices_equal_the_gateways(event: Event) -> None:
    if is_overflow(event):
        assert_safe(event, ours(event))
    else:
        assert_as_the_gateway(event)


@given(events.OVERFLOW_EVENTS)
def test_f1_an_overflow_notice_keeps_the_message_that_the_gateways_loses(event: Event) -> None:
    """F1: an event of a kind that the formatter does not know is shown as an exited process."""
    message = f"{event.get('message', '')}"
    assume(safety.is_harmless(message))
    assert ours(event) == f"[IMPORTANT: Background process notifications: {message}]"
    expected = theirs(event)
    if expected is not None:
        assert expected == theirs({**event, "message": "another"})


@given(events.DELEGATION_EVENTS)
@example({"type": "async_delegation", "dispatched_at": 0, "completed_at": 2**200})
def test_delegation_blocks_hold_the_gateways_fields(event: Event) -> None:
    assert_as_the_gateway(event)


@given(events.HARMFUL_PROCESS_EVENTS)
def test_f25_process_notices_are_safe(event: Event) -> None:
    """F25: whatever a process prints, or its command is."""
    text = ours(event)
    if is_overflow(event):
        assert_safe(event, text)
    else:
        assert_as_the_gateway(event)
    assert text.startswith("[IMPORTANT: ")
    assert text.endswith("]")


@given(events.HARMFUL_DELEGATION_EVENTS)
def test_f25_delegation_blocks_are_safe(event: Event) -> None:
    """F25: whatever a subagent answers, or the task says."""
    assert_as_the_gateway(event)


@given(events.LABELLED_EVENTS)
def test_f25_goals_and_context_forge_no_label(event: Event) -> None:
    """F25: a task's own text gives the block no second status, goal or role."""
    assert safety.labels(ours(event)) == safety.labels(ours(safety.disarmed(event)))


@given(st.one_of(events.HARMFUL_DELEGATION_EVENTS, events.HARMFUL_PROCESS_EVENTS))
def test_the_gateways_own_parser_finds_nothing_to_expand(event: Event) -> None:
    parse = reference.module("agent.context_references").parse_context_references
    assert parse(ours(event)) == []


@given(events.ANYTHING)
def test_what_is_no_event_is_named(item: Any) -> None:
    if not isinstance(item, dict):
        assert ours(item).startswith("[IMPORTANT: Background process notification could not be ")


# The eighths are ties: the shortest digits lie halfway between two, and Python takes the even one.
@given(st.lists(st.one_of(st.floats(), st.integers(2**49, 2**53).map(lambda n: n / 8))))
def test_floats_print_as_in_python(numbers: list[float]) -> None:
    for number in numbers:
        text = ours({"type": "async_delegation", "api_calls": number})
        assert f"API calls: {number!r}   " in text
