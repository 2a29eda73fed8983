"""Session keys and deduplication keys: as documented, and safe where the gateway raises."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest

from hermes_core.text.notification import notification_dedup_key, parse_session_key


def test_a_session_key_names_platform_chat_and_sometimes_a_thread() -> None:
    assert parse_session_key("agent:main:telegram:dm:42:7:8") == {
        "platform": "telegram",
        "chat_type": "dm",
        "chat_id": "42",
        "thread_id": "7",
    }
    group = parse_session_key("agent:main:telegram:group:42:7")
    assert group is not None
    assert "thread_id" not in group


def documented_parts(key: str) -> dict[str, str] | None:
    """What the gateway documents for its session keys."""
    found = re.match(r"agent:main:([^:]*):([^:]*):([^:]*)(?::([^:]*))?", key)
    if found is None:
        return None
    platform, chat_type, chat_id, extra = found.groups()
    parts = {"platform": platform, "chat_type": chat_type, "chat_id": chat_id}
    if extra is not None and chat_type in ("dm", "thread"):
        parts["thread_id"] = extra
    return parts


def test_session_keys_of_every_shape() -> None:
    parts = ("agent", "main", "dm", "thread", "", "é", "\ud800", "x y")
    for count in range(6):
        for extra in itertools.product(parts, repeat=min(count, 4)):
            for head in (("agent", "main"), ("agent",), ()):
                key = ":".join((*head, *extra, *["z"] * (count - 4)))
                assert parse_session_key(key) == documented_parts(key), key


@pytest.mark.parametrize("key", [None, 5, b"agent:main:a:dm:c", [], object()])
def test_what_is_no_text_is_no_session_key(key: Any) -> None:
    assert parse_session_key(key) is None


def test_a_subclass_of_str_is_a_session_key() -> None:
    class Name(str):
        __slots__ = ()

    assert parse_session_key(Name("agent:main:a:b:c")) is not None


def test_f11_distinct_matches_are_distinct_and_repeats_are_not() -> None:
    match = {"type": "watch_match", "session_id": "p", "output": "a"}
    assert notification_dedup_key(match) == notification_dedup_key(dict(match))
    assert notification_dedup_key(match) != notification_dedup_key(match | {"output": "b"})
    assert notification_dedup_key({}) == ("", "completion")
    first = {"type": "async_delegation", "delegation_id": "d1"}
    assert notification_dedup_key(first) == ("d1", "async_delegation")


def test_where_the_gateway_raises_the_key_is_safe() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise SystemExit

    assert notification_dedup_key({"type": 7, "session_id": "p"}) == ("p", "7")
    assert notification_dedup_key({"type": None}) == ("", "None")
    assert notification_dedup_key({"type": Hostile()}) == ("", "<unprintable Hostile>")
    items: tuple[Any, ...] = (None, [], 5)
    for item in items:
        assert notification_dedup_key(item) == (
            "",
            "unreadable",
            type(item).__name__,
        )
