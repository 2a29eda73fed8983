"""One event through both formatters: what must be equal, and what safe."""

from __future__ import annotations

import re
from typing import Any

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
