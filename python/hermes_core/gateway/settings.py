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

_DURABILITIES = ("full", "process", "memory")
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
    value = _text(DURABILITY) or _DURABILITIES[0]
    if value not in _DURABILITIES:
        logger.warning("%s is %r, not one of %s", DURABILITY, value, ", ".join(_DURABILITIES))
        return _DURABILITIES[0]
    return value


def lease_seconds() -> float:
    """Return how long a claim outlives its process."""
    return _seconds(LEASE_SECONDS)


def bounds() -> tuple[int | None, int | None]:
    """Return the most characters of a summary, and of all summaries of a batch."""
    return _count(MAX_SUMMARY), _count(MAX_TOTAL)


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
