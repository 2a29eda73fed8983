"""Counts of what the adapter did apart from delivering; `status()` shows them."""

from __future__ import annotations

import sys

from hermes_core.runtime import forked

_lock = forked.lock(sys.modules[__name__])
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
