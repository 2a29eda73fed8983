"""What can be set of the core in a gateway, through the environment, and what it is otherwise.

A value that is none is said in the log, and the default stands in for it.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import TypedDict

logger = logging.getLogger("hermes_core.gateway")

DURABILITY = "HERMES_CORE_DURABILITY"
"""`full` (the default) survives a power failure, `process` the end of the process, `memory`
nothing: there is no file."""
LEASE_SECONDS = "HERMES_CORE_LEASE_SECONDS"
"""How long after a crash another process leaves alone what the dead one held."""
MAX_ATTEMPTS = "HERMES_CORE_MAX_ATTEMPTS"
"""How often the delivery of a result is tried; `none` for without end."""
DELIVERY_SECONDS = "HERMES_CORE_DELIVERY_SECONDS"
"""After how long a result that a front end holds and says nothing of is given out anew."""
MAX_SUMMARY = "HERMES_CORE_MAX_SUMMARY"
"""The most characters of a summary that enter the conversation; `none` for no bound."""
MAX_TOTAL = "HERMES_CORE_MAX_TOTAL"
"""The same of all summaries of a batch together."""
MAX_QUEUED = "HERMES_CORE_MAX_QUEUED"
"""How many delegations may wait for capacity; with `0` none does, and one more is refused."""
PERMITS = "HERMES_CORE_PERMITS"
"""What takes a place of the capacity: a `batch` (the default), as in the gateway, or each `child`
of one."""

_DURABILITIES = ("full", "process", "memory")
_PERMITS = ("batch", "child")
#: How many may wait if nothing else is said.
_MAX_QUEUED = 64
#: The defaults of the numbers.
_SECONDS = {LEASE_SECONDS: 30.0, DELIVERY_SECONDS: 3600.0}
_COUNTS = {MAX_ATTEMPTS: 20, MAX_SUMMARY: 32_000, MAX_TOTAL: 96_000}


class Terms(TypedDict):
    """On what terms a mailbox gives its events, as `CompletionQueue.mailbox` takes them."""

    lease: float
    max_attempts: int | None


def terms() -> Terms:
    """Return the terms of every mailbox at which a front end waits."""
    return {"lease": _seconds(DELIVERY_SECONDS), "max_attempts": _count(MAX_ATTEMPTS)}


def durability() -> str:
    """Return what a result of the ledger survives."""
    return _word(DURABILITY, _DURABILITIES)


def lease_seconds() -> float:
    """Return how long a claim outlives its process."""
    return _seconds(LEASE_SECONDS)


def bounds() -> tuple[int | None, int | None]:
    """Return the most characters of a summary, and of all summaries of a batch."""
    return _count(MAX_SUMMARY), _count(MAX_TOTAL)


def max_queued() -> int:
    """Return how many delegations may wait for capacity."""
    return _max_queued_of(_text(MAX_QUEUED))


def permits(children: int, limit: int) -> int:
    """Return how many places a batch of so many children takes, where there are `limit`."""
    if _word(PERMITS, _PERMITS) == _PERMITS[0]:
        return 1
    return max(1, min(children, limit))


def at_capacity() -> str:
    """Say what becomes of a delegation at capacity."""
    most, each = max_queued(), _word(PERMITS, _PERMITS)
    waits = f"up to {most} wait" if most else "none waits"
    return f"{waits}; a {each} takes a place"


def _word(name: str, words: tuple[str, ...]) -> str:
    value = _text(name) or words[0]
    if value not in words:
        logger.warning("%s is %r, not one of %s", name, value, ", ".join(words))
        return words[0]
    return value


def _text(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _seconds(name: str) -> float:
    return _seconds_of(name, _text(name))


def _count(name: str) -> int | None:
    return _count_of(name, _text(name))


# Mailboxes are opened all the time: what is wrong is said once.


@functools.cache
def _seconds_of(name: str, value: str) -> float:
    try:
        seconds = float(value) if value else _SECONDS[name]
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        logger.warning("%s is %r, not a number of seconds", name, value)
        return _SECONDS[name]
    return seconds


@functools.cache
def _max_queued_of(value: str) -> int:
    try:
        count = int(value) if value else _MAX_QUEUED
    except ValueError:
        count = -1
    if not 0 <= count < 2**31:
        logger.warning("%s is %r, not a number from 0 on", MAX_QUEUED, value)
        return _MAX_QUEUED
    return count


@functools.cache
def _count_of(name: str, value: str) -> int | None:
    if value == "none":
        return None
    try:
        count = int(value) if value else _COUNTS[name]
    except ValueError:
        count = 0
    if not 0 < count < 2**31:
        logger.warning("%s is %r, neither a number above 0 nor none", name, value)
        return _COUNTS[name]
    return count
