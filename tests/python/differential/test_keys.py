"""Session keys and deduplication keys of generated input: the gateway's own."""

from __future__ import annotations

from typing import Any

from hypothesis import given, reject
from hypothesis import strategies as st

from differential import events, reference
from differential.events import Event
from hermes_core import notification_dedup_key, parse_session_key

_PARTS = st.one_of(
    st.sampled_from(("agent", "main", "dm", "thread", "group", "")), st.text(max_size=5)
)
SESSION_KEYS = st.one_of(
    st.lists(_PARTS, max_size=8).map(":".join),
    st.lists(_PARTS, max_size=6).map(lambda parts: ":".join(["agent", "main", *parts])),
    st.text(),
)

_VALUES = st.one_of(st.sampled_from(("", 0, "0", None, False, 0.0)), events.SCALARS)
_KINDS = st.one_of(st.sampled_from(events.KINDS), st.text(), st.just("x").map(events.Word))
EVENTS = events.events(
    dict.fromkeys((*events.PROCESS_FIELDS, *events.SPEC_FIELDS), _VALUES), kind=_KINDS
)


def dedup_key_of_the_gateway(event: Event) -> tuple[object, ...]:
    found = reference.module("tui_gateway.server")
    key: tuple[object, ...] = found._notification_event_dedup_key(event)
    return key


@given(SESSION_KEYS)
def test_session_keys_are_parsed_as_the_gateway_does(key: str) -> None:
    expected = reference.module("gateway.run")._parse_session_key(key)
    found = parse_session_key(key)
    assert found == expected
    assert parse_session_key(events.Word(key)) == expected
    if found is not None:
        assert list(found) == list(expected)


@given(EVENTS)
def test_f11_dedup_keys_equal_the_gateways(event: Event) -> None:
    found, expected = notification_dedup_key(event), dedup_key_of_the_gateway(event)
    assert found == expected
    assert all(
        ours is theirs or ours == theirs for ours, theirs in zip(found, expected, strict=True)
    )


@given(EVENTS, st.data())
def test_f11_what_the_gateway_holds_for_the_same_notice_is_the_same(
    event: Event, data: st.DataObject
) -> None:
    """F11: a repeat is one; a notice that differs in what counts is another."""
    change: dict[str, Any] = data.draw(
        st.dictionaries(st.sampled_from((*events.PROCESS_FIELDS, *events.SPEC_FIELDS)), _VALUES)
    )
    other = {**event, **change}
    is_same = notification_dedup_key(event) == notification_dedup_key(other)
    try:
        expected = dedup_key_of_the_gateway(event) == dedup_key_of_the_gateway(other)
    except Exception:
        reject()  # the gateway has no key for one of them
    assert is_same == expected


@given(st.one_of(events.PROCESS_EVENTS, events.ANYTHING))
def test_where_the_gateway_raises_there_is_still_a_key(event: Any) -> None:
    assert type(notification_dedup_key(event)) is tuple
