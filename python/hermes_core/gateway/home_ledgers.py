"""Which ledger keeps what: each of the gateway's homes has one of its own.

A delegation belongs to the home that its turn works in: the gateway's own, or the profile's that a
session of the TUI, or a chat of a gateway with several profiles, is bound to. In a turn the
gateway's `get_hermes_home()` says which. So the same session key in two homes stays two owners.

Who a result is for outlives the process under these names:

* A session of the TUI has its id in `state.db`; `session.resume` opens it under the same one. The
  compression of its context gives it another, and `state.db` says which ones it had before.
* The CLI's session is one of the same kind. Its turns dispatch under its id; what runs beside them,
  `/background`, say, dispatches under no key at all, and gets the session's id as its parent's.
* A chat of the messaging gateway has its key, made of platform and chat, for good.

A ledger is opened by the first dispatch, or to look for what an earlier process left; where there
is no file there is nothing to look for, and none is made. When the gateway ends in order, Python's
`atexit` runs: what this process held is anybody's at once. After a crash it is when the lease is
over.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core import Ledger, LedgerError, async_delegation
from hermes_core.delegation.restore import events_of, take_over_one
from hermes_core.gateway import settings, versions
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Event = dict[str, Any]

logger = logging.getLogger("hermes_core.gateway")

FILE = "delegations.db"

_lock = forked.lock(sys.modules[__name__])
_opened: dict[Path, Ledger] = {}


def path_of_home(home: str | os.PathLike[str]) -> Path:
    """Return where the ledger of a home is, or would be."""
    return Path(home) / FILE


def current_home() -> Path:
    """Return the home that the present context works in."""
    return Path(importlib.import_module(versions.CONSTANTS).get_hermes_home())


def process_home() -> Path:
    """Return the home of a context that has none of its own."""
    constants = importlib.import_module(versions.CONSTANTS)
    return Path(contextvars.Context().run(constants.get_hermes_home))


def of_home(home: str | os.PathLike[str]) -> Ledger | None:
    """Return the one ledger of a home; `None` where nothing is to outlive the process."""
    durability = settings.durability()
    if durability == "memory":
        return None
    path = path_of_home(os.path.realpath(home))
    with _lock:
        if (ledger := _opened.get(path)) is None:
            ledger = _opened[path] = Ledger(
                path, durability=durability, lease=settings.lease_seconds()
            )
        return ledger


def of_dispatch(record: Event) -> Ledger | None:
    """Return the ledger of what is dispatched in the present context."""
    return of_home(current_home())


class Want:
    """As long as somebody keeps this, what comes free later is given back to them, too."""

    __slots__ = ("__weakref__",)


def restore(
    home: str | os.PathLike[str],
    *,
    session_keys: Iterable[str] = (),
    owns: Callable[[Event], object] | None = None,
) -> Want:
    """Have what an earlier process left for an owner delivered here."""
    want = Want()
    if not path_of_home(home).exists() or (ledger := of_home(home)) is None:
        return want
    try:
        # As proven: it may be taken as if it had been dispatched here.
        async_delegation._registry.restore(
            session_keys=session_keys, owns=owns, ledger=ledger, proven=True, owner=want
        )
    except LedgerError as error:
        logger.warning("what %s keeps cannot be given back: %s", ledger.path, error)
    return want


def find(delegation_id: str) -> tuple[Ledger, Event] | None:
    """Return the ledger that has a row of a delegation, and the row, its texts as stored.

    One that cannot be read is passed over, and that is said in the log.
    """
    for ledger in _existing():
        try:
            row = ledger.stored(delegation_id)
        except LedgerError as error:
            logger.warning(
                "whether %s has %s cannot be told: %s", ledger.path, delegation_id, error
            )
            continue
        if row is not None:
            return ledger, row
    return None


def take_over(delegation_id: str) -> bool:
    """Have a result that an earlier process left wait here, if no other was quicker.

    Say whether there is a row of it at all.
    """
    if (found := find(delegation_id)) is None:
        return False
    ledger, row = found
    if row["holder"] == "nobody" and row["delivery"] in (None, "pending"):
        take_over_one(async_delegation._registry, ledger, delegation_id)
    return True


def undelivered(home: str | os.PathLike[str]) -> list[Event]:
    """Return the results that earlier processes left in a home, and nobody holds, marked so."""
    if not path_of_home(home).exists() or (ledger := of_home(home)) is None:
        return []
    try:
        return events_of(row for row in ledger.unclaimed() if row["holder"] == "nobody")
    except LedgerError as error:
        logger.warning("what %s keeps cannot be given back: %s", ledger.path, error)
        return []


def keeps(home: str | os.PathLike[str], event: Any) -> bool:
    """Say whether an event belongs to a home: no other home's ledger has its delegation."""
    name = event.get("delegation_id") if isinstance(event, dict) else None
    if not isinstance(name, str) or len(_ledgers()) < 2:
        return True
    ledger = async_delegation._registry._ledger_of(name)
    return ledger.path is None or ledger is of_home(home)


def earlier_keys(sessions: Any, key: str) -> list[str]:
    """Return the keys that a session had before its context was compressed, the latest first.

    `sessions` is a `SessionDB` of the gateway's. A branch, and a subagent's session, has a parent,
    too; only a compressed one ends for its continuation.
    """
    keys: list[str] = []
    row = sessions.get_session(key) if sessions is not None else None
    while row is not None and (parent := row.get("parent_session_id")) not in (None, key, *keys):
        before = sessions.get_session(parent)
        if (
            before is None
            or before.get("end_reason") != "compression"
            or row["started_at"] < before["ended_at"]
        ):
            break
        keys.append(parent)
        row = before
    return keys


def health() -> list[dict[str, Any]]:
    """Return how each ledger is that was opened here."""
    return [ledger.health() for ledger in _ledgers()]


def flush() -> None:
    """Have everything written that was submitted by now; say where that failed."""
    for ledger in _ledgers():
        if not ledger.flush():
            logger.warning("%s could not be written to its end", ledger.path)


def _existing() -> list[Ledger]:
    """The ledgers that are opened, and those of the homes at hand if they have a file."""
    for home in (process_home(), current_home()):
        if path_of_home(home).exists():
            of_home(home)
    return [ledger for ledger in _ledgers() if ledger.exists()]


def _ledgers() -> list[Ledger]:
    with _lock:
        return list(_opened.values())
