"""Session keys, as they are checked at each border."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["session_key_of", "session_keys_of"]


def session_key_of(value: object) -> str:
    """A session key as an exact str.

    Raises:
        TypeError: it is no str.
        ValueError: it is empty.
    """
    if not isinstance(value, str):
        raise TypeError(f"a session key must be a str, not {type(value).__name__}")
    if not value:
        raise ValueError(
            "a session key is empty, and an empty key is nobody's; "
            "say unaddressed={kind, ...} for what is nobody's"
        )
    # A str of another type may compare as it likes.
    return str.__str__(value)


def session_keys_of(values: Iterable[object], *, may_be_empty: bool = False) -> list[str]:
    """Session keys as exact str; with ``may_be_empty`` those that are empty are left out.

    Raises:
        TypeError: they are one str, or not iterable, or one of them is no str.
        ValueError: one is empty.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"session keys must be a list of str, not {type(values).__name__}")
    return [session_key_of(value) for value in values if not may_be_empty or value != ""]
