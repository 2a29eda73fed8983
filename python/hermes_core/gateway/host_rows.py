"""The rows of the gateway's own ledger, its `state.db`: touched by the gateway's functions alone.

The gateway writes a row in the home that its context is in at a dispatch, and looks for it in the
home that its context is in at a claim, which may be another. Here it is claimed, completed and
released in the home that it is in.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
import queue
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hermes_core.gateway import versions
from hermes_core.gateway.claims import CLAIM_SECONDS
from hermes_core.gateway.home_ledgers import current_home, process_home
from hermes_core.runtime import forked
from hermes_core.text import json

Event = dict[str, Any]

logger = logging.getLogger("hermes_core.gateway")

#: What is called of the gateway's registry.
FUNCTIONS = (
    "claim_completion_delivery",
    "complete_completion_delivery",
    "release_completion_delivery",
    "mark_completion_delivered",
    "get_durable_delegation",
    "restore_undelivered_completions",
    "_persist_dispatch",
    "_persist_completion",
)

#: So many failures in a row are enough.
_FAILURES = 2

_lock = forked.lock(sys.modules[__name__])
#: By delegation: the home of its row, where that is another than the process's, or was asked for.
#: They outlast a stay of the core, as the rows do.
_homes: dict[str, Path] = {}
#: By delegation whose row is being written: the home that it is to be in.
_begun: dict[str, Path] = {}
forked.in_child(sys.modules[__name__], lambda _: _begun.clear())


class HostRows:
    """The rows, by the functions that the gateway's registry has when this is made."""

    def __init__(self, registry: ModuleType) -> None:
        own = vars(registry)
        self._functions: dict[str, Callable[..., Any]] = {
            name: own[name] for name in FUNCTIONS if name in own
        }
        #: When a consumer of this process has claimed what.
        self._claimed: dict[str, float] = {}
        #: The homes whose rows could not be used when that was tried last, which is said once.
        self._failing: set[Path] = set()

    def has(self, name: str) -> bool:
        """Say whether it is known that a delegation has a row of the gateway's."""
        return name in _homes

    def note(self, name: str, home: Path) -> None:
        """Remember in which home a delegation has its row."""
        with _lock:
            _homes.setdefault(name, home)
            _begun.pop(name, None)

    def row_home(self, name: str) -> Path | None:
        """Return the home of a row that is known of, or is being written."""
        with _lock:
            return _begun.get(name) or _homes.get(name)

    def begin(self, name: str, home: Path) -> bool:
        """Say whether the caller is to write a delegation's row, and then to `note` it.

        False where it has one, or another writes it: each is written once, or what consumers did to
        it since would be undone.
        """
        with _lock:
            if name in _homes or name in _begun:
                return False
            _begun[name] = home
            return True

    def note_put(self, event: Any) -> None:
        """Remember the home of an event that the gateway puts in the context of its delegation."""
        if isinstance(event, dict) and dict.get(event, "type") == "async_delegation":
            name = dict.get(event, "delegation_id")
            if isinstance(name, str) and (home := current_home()) != process_home():
                self.note(name, home)

    def call(self, function: str, name: Any, *arguments: Any) -> Any:
        """Call one of the gateway's functions on a delegation, in the home of its row."""
        home = _homes.get(name) if isinstance(name, str) else None
        return self.call_in(home, function, name, *arguments)

    def call_in(self, home: Path | None, function: str, *arguments: Any) -> Any:
        """Call one of the gateway's functions in a home, or in that of the context."""
        called = self._functions[function]
        if home is None or home == current_home():
            return called(*arguments)
        return contextvars.copy_context().run(_run_in, home, called, arguments)

    def attempt(
        self, home: Path | None, function: str, *arguments: Any
    ) -> tuple[Literal[True], Any] | tuple[Literal[False], None]:
        """As `call_in`, where something is to go on that does not lean on it.

        Returns whether it did what it does, and its answer. That it fails in a home is said in the
        log, once until it comes through there.
        """
        place = home or current_home()
        try:
            answer = self.call_in(home, function, *arguments)
        except Exception:
            if place not in self._failing:
                self._failing.add(place)
                logger.exception(
                    "the gateway's own ledger in %s cannot be used; the core's results come all "
                    "the same, those of that ledger once it can",
                    place,
                )
            return False, None
        self._failing.discard(place)
        return True, answer

    def restore(self) -> list[Event]:
        """Return what is undelivered by the rows of the present home, if they can be read."""
        found: queue.Queue[Event] = queue.Queue()
        # Into a queue that nobody else knows: it puts while it holds a lock.
        self.attempt(None, "restore_undelivered_completions", found)
        return list(found.queue)

    def claim(self, name: Any, token: Any) -> bool:
        """Claim a result by its row; True where there is none."""
        claimed = bool(self.call("claim_completion_delivery", name, token))
        if claimed and isinstance(name, str):
            self._claimed[name] = time.monotonic()
        return claimed

    def end_claim(self, function: str, name: Any, token: Any) -> bool:
        """Complete a claim, or release it."""
        ended = bool(self.call(function, name, token))
        if ended:
            self._claimed.pop(name, None)
        return ended

    def is_claimed(self, name: str) -> bool:
        """Say whether a consumer of this process has claimed a result, not too long ago."""
        return time.monotonic() - self._claimed.get(name, -CLAIM_SECONDS) < CLAIM_SECONDS

    def is_pending(self, name: str) -> bool | None:
        """Say whether a delegation's result is undelivered by its row; `None`: nobody can tell."""
        done, row = self.attempt(_homes.get(name), "get_durable_delegation", name)
        return None if not done else row is not None and row["delivery_state"] == "pending"

    def write(self, ended: Iterable[tuple[Path, Event, Event]]) -> set[Any]:
        """Write down results as the gateway would have: home, record and event of each.

        Returns the delegations whose results cannot be written. Each try may wait for long: after
        the second in a row that fails in a home, no other is made there.
        """
        failures: Counter[Path] = Counter()
        left: set[Any] = set()

        def is_written(home: Path, of: Event, function: str, *arguments: Any) -> bool:
            if failures[home] < _FAILURES and self.attempt(home, function, *arguments)[0]:
                failures[home] = 0
                return True
            failures[home] += 1
            left.add(of.get("delegation_id"))
            return False

        # In two rounds: what the first leaves unfinished the gateway does not count among the ended
        # ones, of which it keeps so many.
        written = [
            (home, event)
            for home, record, event in ended
            if is_written(home, record, "_persist_dispatch", _plain(record))
        ]
        # What was begun is worth the wait.
        failures.clear()
        for home, event in written:
            plain = _plain(event)
            is_written(home, event, "_persist_completion", plain, result_of(plain))
        if left:
            names = ", ".join(sorted(map(str, left)))
            logger.warning("not in the gateway's own ledger: %s", names)
        return left


def known() -> tuple[str, ...]:
    """Return the delegations that are known to have a row of the gateway's."""
    with _lock:
        return tuple(_homes)


def result_of(event: Event) -> Event:
    """Return the result that a runner gave, as far as its event tells."""
    fields = _OF_A_BATCH if event.get("is_batch") else _OF_ONE
    return {field: event[field] for field in fields if event.get(field) is not None}


_OF_ONE = ("status", "summary", "error", "api_calls", "duration_seconds", "model", "exit_reason")
_OF_A_BATCH = ("results", "live_transcripts", "error", "total_duration_seconds")


def _plain(value: Event) -> Event:
    """What of a dict goes into JSON: the gateway's writers raise for the rest."""
    plain: Event = json.loads(json.dumps(value))
    return plain


def _run_in(home: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    importlib.import_module(versions.CONSTANTS).set_hermes_home_override(str(home))
    return function(*arguments)
