"""What earlier processes left, where the gateway keeps its own loops.

The gateway brings all that is undelivered in a home to every process that starts there: its queue
has others' results, too, before anybody has asked. Here they are kept aside, and ours stay in the
ledger, until somebody proves to own them: a session of the TUI as it starts, the CLI's as it drains
with its key, the messaging gateway by what it can route. Whoever takes from the queue and is none
of the gateway's own loops gets what it would have got without us: a copy of each, which nobody has
until it is claimed.

Ours come first, and whatever becomes of the gateway's rows, which may be locked or damaged. On an
event loop nothing of this is waited for.
"""

from __future__ import annotations

import contextvars
import logging
import math
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core import CompletionQueue
from hermes_core.gateway import home_ledgers
from hermes_core.runtime import event_loop, forked

if TYPE_CHECKING:
    from hermes_core.gateway.claims import Claims
    from hermes_core.gateway.host_rows import HostRows

    Event = dict[str, Any]
    Owns = Callable[[Event], object]

logger = logging.getLogger("hermes_core.gateway")

#: Of so many sessions it is remembered that they drain.
_DRAINING = 64

#: The pause before the gateway's rows are looked at again for a session that drains, where they
#: could not be read.
AGAIN_SECONDS = 30.0


class Restored:
    """The results of earlier processes, and who gets them."""

    def __init__(self, queue: CompletionQueue[Any], claims: Claims, rows: HostRows) -> None:
        self._queue = queue
        self._claims = claims
        self._rows = rows
        # Held for a few steps in memory. The garbage collector may run anything under it.
        self._lock = forked.lock(self, make=threading.RLock)
        #: By delegation: those of the gateway's rows, and the home of each.
        self._kept: dict[str, tuple[Path, Event]] = {}
        #: By home and session key: who stands for a session that drains, and when the gateway's
        #: rows are to be looked at again for it.
        self._drains: OrderedDict[tuple[Path, str], tuple[object, float]] = OrderedDict()
        #: By owner: what has what comes free later come to them.
        self._wanted: weakref.WeakKeyDictionary[object, list[home_ledgers.Want]] = (
            weakref.WeakKeyDictionary()
        )
        self._shown: set[str] = set()
        self._for_all: home_ledgers.Want | None = None
        self._is_over = False
        forked.in_child(self, Restored._begin_anew)

    def keep(self, event: Any) -> bool:
        """Keep an event of the gateway's queue aside; False if it is for whoever comes first."""
        name = _name_of(event)
        if not name or not event.get("restored") or self._claims.knows(name):
            return False
        self._kept[name] = (home_ledgers.process_home(), event)
        return True

    def look(self) -> None:
        """Leave those of the kept ones to our ledger that it has as undelivered, too.

        A process that ended as it handed them back had not said yet that they were the gateway's.
        """
        for name, (home, _) in list(self._kept.items()):
            if (found := home_ledgers.find(name)) is not None and _is_undelivered(found[1]):
                self._rows.attempt(home, "mark_completion_delivered", name)
                del self._kept[name]
            else:
                self._rows.note(name, home)

    def leave(self) -> Iterator[Event]:
        """End; yield those of the kept ones that nobody has had."""
        self._is_over = True
        with self._lock:
            self._drains.clear()
            self._wanted.clear()
            self._for_all = None
        waiting = self._waiting()
        for name, (_, event) in list(self._kept.items()):
            # Where its row cannot be read, the claim of it will tell.
            if name not in waiting and self._rows.is_pending(name) is not False:
                yield event
            self._kept.pop(name, None)

    # -- who gets them ------------------------------------------------------------------------

    def offer(
        self, owner: object, home: Path, session_keys: Iterable[str], owns: Owns | None = None
    ) -> bool:
        """Have what was left for an owner in a home wait in the queue, and what comes free later.

        That is as long as the owner is there: any object with weak references. Returns whether the
        gateway's rows could be read.
        """
        keys = frozenset(session_keys) - {""}

        def is_theirs(event: Event) -> bool:
            return event.get("session_key") in keys or (owns is not None and _owns(owns, event))

        # Whoever took some and owns none of them leaves them lying.
        self._claims.give_back(is_theirs)
        wanted = home_ledgers.restore(home, session_keys=keys, owns=owns)
        with self._lock:
            if not self._is_over:
                self._wanted.setdefault(owner, []).append(wanted)
        return self._bring(is_theirs, home)

    def session_drains(self, session_key: str, earlier: Callable[[str], list[str]]) -> None:
        """A session takes what is its own by its key; what was left for it comes, once."""
        if not session_key:
            return
        place = (home_ledgers.current_home(), session_key)
        with self._lock:
            if time.monotonic() < self._drains.get(place, (None, -math.inf))[1]:
                return
            owner = home_ledgers.Want()
            self._drains[place] = owner, math.inf
            while len(self._drains) > _DRAINING:
                self._drains.popitem(last=False)

        def offer() -> None:
            if not self.offer(owner, place[0], [session_key, *earlier(session_key)]):
                with self._lock:
                    self._drains[place] = owner, time.monotonic() + AGAIN_SECONDS

        _off_loop(offer, f"what session {session_key} had before")

    def offer_to_all(self) -> bool:
        """Have copies of all that was left in the process's home wait in the queue.

        Returns False if it is to be asked again.
        """

        def offer() -> None:
            if self._is_over or self._for_all is not None:
                return
            self._for_all = home_ledgers.restore(home_ledgers.process_home(), owns=self._show)
            self._bring(lambda _: True, None)

        return _off_loop(offer, "what earlier processes left")

    def bring_all(self, target: Any) -> int:
        """Have all that is undelivered in the present home wait in a queue; how much came."""
        home = home_ledgers.current_home()
        is_ours = target is self._queue
        put = CompletionQueue.put if is_ours else type(target).put
        count = self._claims.give_back()
        if not is_ours:
            pending = [
                one for one in self._queue.pending() if self._claims.name_of(one) is not None
            ]
            for event in pending:
                put(target, {**event, "restored": True})
            count = len(pending)
        for bring in (self._left_to_us, self._left_to_the_gateway):
            waiting = self._waiting() if is_ours else ()
            for event in bring(home):
                if _name_of(event) not in waiting:
                    put(target, event)
                    count += 1
        return count

    # -----------------------------------------------------------------------------------------

    def _left_to_us(self, home: Path) -> Iterator[Event]:
        """What is undelivered by our ledger, but for what was taken over here meanwhile."""
        for event in home_ledgers.undelivered(home):
            if not self._claims.knows(_name_of(event)):
                yield event

    def _left_to_the_gateway(self, home: Path) -> list[Event]:
        """What is undelivered by the gateway's rows in the present home, and is to come."""
        return [event for event in self._rows.restore() if self._is_to_come(home, event)]

    def _bring(self, is_theirs: Owns, home: Path | None) -> bool:
        """Put copies of the kept ones that an owner may have, where none waits and none was had.

        Returns False once the row of one cannot be read: the rest stay for the next time.
        """
        waiting = self._waiting()
        for name, (its_home, event) in list(self._kept.items()):
            if name in waiting or not (home is None or _are_one(home, its_home)):
                continue
            if not is_theirs(event):
                continue
            if (is_pending := self._rows.is_pending(name)) is None:
                return False
            if is_pending:
                CompletionQueue.put(self._queue, dict(event))
            else:
                self._kept.pop(name, None)
        return True

    def _is_to_come(self, home: Path, event: Event) -> bool:
        """Whether an undelivered result of the gateway's rows is to come again."""
        name = _name_of(event)
        if not name:
            return True
        if not self._rows.has(name):
            found = home_ledgers.find(name)
            if self._claims.knows(name) or (found is not None and _is_undelivered(found[1])):
                return False  # it is ours
            self._rows.note(name, home)
        if self._rows.is_claimed(name):
            return False
        self._kept[name] = (home, event)
        return True

    def _show(self, event: Event) -> bool:
        """Put a copy of what an earlier process left; it is nobody's until it is claimed."""
        name = _name_of(event)
        with self._lock:
            if self._is_over or name in self._shown or self._claims.knows(name):
                return False
            self._shown.add(name)
        CompletionQueue.put(self._queue, event)
        return False

    def _waiting(self) -> set[str]:
        """The delegations of which an event waits."""
        return {_name_of(event) for event in self._queue.pending()}

    def _begin_anew(self) -> None:
        """In a forked child nobody has asked for anything yet."""
        self._drains.clear()
        self._shown.clear()
        self._for_all = None


def _off_loop(call: Callable[[], None], what: str) -> bool:
    """Call it, in a thread of its own where an event loop runs: it waits for disks.

    It must not end its caller's loop: a failure is said in the log. Returns False where there is no
    thread for it.
    """

    def called() -> None:
        try:
            call()
        except Exception:
            logger.exception("%s cannot be given back", what)

    if not event_loop.is_running():
        called()
        return True
    context = contextvars.copy_context()
    name = "hermes-core-restore"
    try:
        threading.Thread(target=context.run, args=(called,), name=name, daemon=True).start()
    except RuntimeError:
        logger.warning("no thread to look for %s could be started", what, exc_info=True)
        return False
    return True


def _owns(owns: Owns, event: Event) -> bool:
    try:
        return bool(owns(event))
    except Exception:
        logger.exception("whose an event is could not be told")
        return False


def _name_of(event: Any) -> str:
    """The delegation whose event this is; an empty one for any other event."""
    if not isinstance(event, dict) or dict.get(event, "type") != "async_delegation":
        return ""
    name = dict.get(event, "delegation_id")
    return name if isinstance(name, str) else ""


def _is_undelivered(row: Event) -> bool:
    return row["delivery"] in (None, "pending")


def _are_one(home: Path, other: Path) -> bool:
    return home == other or os.path.realpath(home) == os.path.realpath(other)
