"""Counts of what the adapter did apart from delivering; `status()` shows them."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_counts: dict[str, int] = {}


def count(name: str, by: int = 1) -> None:
    """Add to a counter."""
    if by:
        with _lock:
            _counts[name] = _counts.get(name, 0) + by


def snapshot() -> dict[str, int]:
    """Return all counters as they are now."""
    with _lock:
        return dict(_counts)
