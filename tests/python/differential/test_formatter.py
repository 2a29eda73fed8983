"""Notifications of generated events: as the gateway's own, and safe where those are not."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from differential import events, reference, safety
from differential.events import Event
from hermes_core import format_process_notification

#: The one line of a delegation block that is each formatter's own, behind its header.
_OURS = r"A (?:batch of (\d+) subagent\(s\)|subagent) that you started in the background has .*\n\n"
_THEIRS = r"A background (?:fan-out of (\d+) subagent\(s\)|subagent) you dispatched earlier .*\n\n"

#: An age of more seconds than 128 bits count, which ours does not print.
_AGELESS = re.compile(r" \(\d{33,}h(?:\d+m)? ago\)\n")


def ours(event: Any) -> str:
    text = format_process_notification(event)
    assert type(text) is str
    assert text
    text.encode()
    return text


def theirs(event: Event) -> str | None:
    """The gateway's own text; ``None`` where it raises."""
    try:
        text: str = reference.processes().format_process_notification(event)
    except (Exception, events.Refusal):
        return None
    return text


def fields(text: str, sentence: str) -> tuple[str, str | None]:
    """A delegation block without its explanatory sentence, and the count that is in it."""
    found = re.search(sentence, text)
    assert found is not None, text
    return text[: found.start()] + text[found.end() :], found[1]


def assert_safe(event: Any, text: str) -> None:
    """F25: no line begins with a marker but the formatter's own; nothing is left to expand."""
    assert safety.references(text) == []
    # The same event without what may harm shows which lines the formatter writes itself.
    assert safety.markers(text) == safety.markers(ours(safety.disarmed(event)))


def assert_as_the_gateway(event: Event) -> None:
    """To the byte, around the explanatory sentence; guards apart where there is harm in it."""
    before = ours(event)
    expected = theirs(event)
    after = ours(event)
    assert_safe(event, after)
    if expected is None:
        return
    found: list[tuple[str, str | None]]
    if event.get("type") == "async_delegation":
        found = [fields(text, _OURS) for text in (before, after)]
        if " (? ago)\n" in before:
            expected = _AGELESS.sub(" (? ago)\n", expected, count=1)
        wanted = fields(expected, _THEIRS)
    else:
        found = [(text, None) for text in (before, after)]
        wanted = (expected, None)
    if safety.is_harmless(event):
        # Without completed_at the age goes on while we look.
        assert wanted in found
        return
    assert wanted[1] == found[1][1]
    guarded, original = found[1][0], safety.repaired(wanted[0])
    if found[0] == found[1]:
        for at, token in safety.insertions(guarded, original):
            assert safety.is_needed(guarded, at, token), (at, token, guarded)


def has_an_order(event: Event) -> bool:
    """Whether the tasks of a batch can be sorted: NaN is neither before nor behind a number."""
    results = event.get("results")
    indices = [
        one.get("task_index")
        for one in (results if isinstance(results, list | tuple) else ())
        if isinstance(one, dict)
    ]
    return all(index == index for index in indices if isinstance(index, float))


def is_overflow(event: Event) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and kind.startswith("watch_overflow_")


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


@given(events.BATCH_EVENTS)
def test_batch_blocks_hold_the_gateways_fields(event: Event) -> None:
    if reference.has_batches() and has_an_order(event):
        assert_as_the_gateway(event)
    else:
        assert_safe(event, ours(event))


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


@given(events.HARMFUL_BATCH_EVENTS)
def test_f25_batch_blocks_are_safe(event: Event) -> None:
    """F25: whatever any subagent of a batch answers."""
    if reference.has_batches() and has_an_order(event):
        assert_as_the_gateway(event)
    else:
        assert_safe(event, ours(event))


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
