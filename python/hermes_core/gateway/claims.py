"""Who has which of our results, where consumers claim what they have taken.

On a gateway with claims a consumer takes an event from the shared queue, claims it, begins a turn
with it, and then completes the claim or releases it; it puts back what is another's. So a plain
take of one of our events is a lease here, and no ack:

    waiting ──take──> taken ──claim──> claimed ──complete──> delivered
       ^                │                 │
       └── put of it ───┴──── release ────┘

What is put back waits behind all others, as in a plain queue: it keeps none of them from its owner.

What a consumer keeps and says nothing of comes back when somebody asks for what is undelivered,
claimed or not; a claim is left alone for `CLAIM_SECONDS` first. And it comes back with the next
process, for the ledger has it as undelivered. A claim is a consumer's whoever took the event: the
consumer may have a copy.

While this process stands still, past the lease of its ledger, another may take a result over. So
before one is claimed, its row is looked at, unless that was done a moment ago: what is another's
cannot be claimed. What was claimed before cannot be completed. On an event loop nothing waits for
the disk: there only the end of the claim shows it.

All other events are acknowledged as they are taken.
"""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

from hermes_core import CompletionQueue, Delivery, LedgerError, _core
from hermes_core.delegation.restore import take_over_one
from hermes_core.gateway import settings
from hermes_core.runtime import event_loop, forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hermes_core import DelegationRegistry

    Event = dict[str, Any]

#: For how long a claim is its consumer's, as with the gateway's own.
CLAIM_SECONDS = 300.0

#: The pause before a result waits again that was released for the second time, and the longest.
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 30.0

#: So many are remembered before those are looked for that were settled otherwise.
_KEPT = 64


class _Held:
    """What is known of one event: who has it, if anybody does, and who has claimed it."""

    __slots__ = ("claimed_at", "delivery", "looked_at", "more", "releases", "token")

    def __init__(self) -> None:
        self.looked_at: float | None = None  # when its row was last known to be ours
        self.delivery: Delivery | None = None  # none where the event waits
        self.more: list[Delivery] = []  # of copies, which others have taken
        self.token: object = None
        self.claimed_at = 0.0
        self.releases = 0

    def is_claimed(self) -> bool:
        """Whether a consumer has claimed it, not too long ago."""
        return self.token is not None and time.monotonic() - self.claimed_at < CLAIM_SECONDS

    def let_go(self) -> list[Delivery]:
        """Have nobody have it any more; return what is to be settled."""
        gone = [] if self.delivery is None else [self.delivery, *self.more]
        self.delivery, self.more = None, []
        return gone


class Claims:
    """The leases and claims of the events of one registry on one queue."""

    def __init__(self, queue: CompletionQueue[Any], registry: DelegationRegistry) -> None:
        self._queue = queue
        self._delegations = registry
        self._registry = registry._core
        self._box = _core.Mailbox(queue, None, None, None, False, None, None)
        # Held for a few steps in memory: no disk is waited for under it, and nobody is called. The
        # garbage collector may run anything under it, and so it may be taken again by its thread.
        self._lock = forked.lock(self, make=threading.RLock)
        self._held: dict[str, _Held] = {}
        self._forget_at = _KEPT
        # There the queue is empty.
        forked.in_child(self, lambda claims: claims._held.clear())

    # -- the queue ----------------------------------------------------------------------------

    def take(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the first event, as `Queue.get`: one of ours under a lease.

        Raises `ShutDown`, too, once nothing is given out here any more.
        """
        taken = self._box.take(block, timeout if block else None)
        assert taken is not None  # there is no predicate to be asked first
        delivery = Delivery(*taken)
        if (name := self.name_of(delivery.event)) is None:
            delivery.ack()
        else:
            self._hold(name, delivery)
        return delivery.event

    def put(self, item: Any) -> bool:
        """Give an event back that is put again; say whether it is one of ours, and so done with.

        One that waits by now, that another has claimed, or that was delivered needs nothing more:
        it is the same event, and is there once.
        """
        name = self.name_of(item)
        if name is None or self._delivery_of(name) is None:
            return False
        with self._lock:
            held = self._held.get(name)
            if held is None or held.is_claimed():
                return True
            if held.more:
                delivery: Delivery | None = held.more.pop()
            else:
                # Where it pauses since its last release, it waits from now on.
                delivery, held.delivery = held.delivery or self._lease(name), None
        if delivery is None:
            return True
        if item is not delivery.event:
            # What was noted on a copy stays with it, as it would in a plain queue.
            delivery.event.update(item)
        delivery._requeue()
        return True

    def name_of(self, event: Any) -> str | None:
        """Return the id of an event that ends a delegation of ours; `None` for any other."""
        if not isinstance(event, dict) or dict.get(event, "type") != "async_delegation":
            return None
        name = dict.get(event, "delegation_id")
        return name if isinstance(name, str) and self.knows(name) else None

    # -- consumers ----------------------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Say whether a delegation is one of ours."""
        return self._registry.state(name) is not None

    def claim(self, name: str, token: object) -> bool:
        """Claim an event; False if another consumer or process has it, or it is settled."""
        if (leave := self._lost(name)) is not None:
            self._leave(name, leave)
            return False
        with self._lock:
            held = self._held.get(name) or _Held()
            if held.is_claimed() or not self.knows(name):
                return False
            is_settled = self._delivery_of(name) in ("delivered", "dropped")
            copies = held.let_go() if is_settled else []
            if not is_settled and held.delivery is None:
                held.delivery = self._lease(name)
                is_settled = held.delivery is None and self._delivery_of(name) is not None
            if not is_settled:
                held.token, held.claimed_at = token, time.monotonic()
                self._held[name] = held
        for copy in copies:
            copy.ack()
        return not is_settled

    def complete(self, name: str, token: object) -> bool:
        """Acknowledge an event; False if this claim is not the last one of it."""
        with self._lock:
            held = self._claimed(name, token)
            if held is None:
                return False
            gone = self._let_go_all(name, held)
            if not gone:
                return False
            del self._held[name]
        return True in [each.ack() for each in gone]

    def release(self, name: str, token: object) -> bool:
        """Have an event wait again; False as for `complete`.

        That is no attempt, and it waits at once. A consumer that releases it time and again is
        given a pause: it may begin anew at once, too.
        """
        with self._lock:
            held = self._claimed(name, token)
            if held is None:
                return False
            gone, held.token = held.let_go(), None
            held.releases += 1
            pause = _pause(held.releases)
        for each in gone:
            each.defer(pause)
        return True

    def mark_delivered(self, name: str) -> bool:
        """Acknowledge an event whoever has it; False if it is settled."""
        with self._lock:
            gone = self._let_go_all(name, self._held.get(name) or _Held())
            if not gone:
                # Of one that runs there is nothing to acknowledge yet.
                return self.knows(name) and self._delivery_of(name) is None
            self._held.pop(name, None)
        return True in [each.ack() for each in gone]

    def token_of(self, name: str) -> object:
        """Return by what an event is claimed; `None` if it is not."""
        with self._lock:
            held = self._held.get(name)
            return held.token if held is not None and held.is_claimed() else None

    def give_back(self, owns: Callable[[Event], object] | None = None) -> int:
        """Have those wait again that were taken and are nobody's claim; return how many.

        Whoever has just taken one and claims it gets it all the same.
        """
        count = 0
        with self._lock:
            taken = [(name, held) for name, held in self._held.items() if held.delivery is not None]
        for name, held in taken:
            delivery = held.delivery
            if delivery is None or not (owns is None or owns(delivery.event)):
                continue
            with self._lock:
                if held.is_claimed() or held is not self._held.get(name):
                    continue
                if held.delivery is not delivery:
                    continue
                gone = held.let_go()
            count += True in [each.defer() for each in gone]
        return count

    def counts(self) -> dict[str, int]:
        """Count those that consumers have."""
        with self._lock:
            held = [each for each in self._held.values() if each.delivery is not None]
            claimed = sum(each.is_claimed() for each in held)
        counts = {"results claimed": claimed, "results taken and not claimed": len(held) - claimed}
        return {name: count for name, count in counts.items() if count}

    # -- the end ------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all that was taken; for tests."""
        with self._lock:
            held, self._held = self._held, {}
        for each in held.values():
            for delivery in each.let_go():
                delivery.ack()

    def stop(self) -> None:
        """Give nothing out any more; who waits for an event is told. Claims go on."""
        self._box.close()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is given out any more."""
        return self._box.is_closed()

    def leaving(self, may_leave: Callable[[str], bool]) -> Iterator[Delivery]:
        """Yield what is to go elsewhere, each to be acknowledged by the caller once it is there.

        Those of ours for which `may_leave` says no stay. What a consumer has claimed does not come:
        it is acknowledged here, for the claim is known elsewhere.
        """
        with self._lock:
            names = [name for name, held in self._held.items() if held.delivery is not None]
            gone = [
                (name, self._held.pop(name))
                for name in names
                if may_leave(name) or not self.knows(name)
            ]
        for _, held in gone:
            first, *more = held.let_go()
            if not held.is_claimed():
                yield first
            for delivery in (first, *more):
                delivery.ack()
        staying: list[Delivery] = []
        rest = _core.Mailbox(self._queue, None, None, None, False, None, None)
        try:
            while True:
                taken = rest.take(False, None)
                assert taken is not None
                delivery = Delivery(*taken)
                name = self.name_of(delivery.event)
                if name is None or may_leave(name):
                    yield delivery
                else:
                    staying.append(delivery)
        except (Empty, _core.ShutDown):
            pass
        finally:
            for delivery in staying:
                delivery.defer()

    # -----------------------------------------------------------------------------------------

    def _delivery_of(self, name: str) -> str | None:
        """Return where an event of ours stands; `None` before it was published."""
        known = self._registry.get(name)
        return None if known is None else known[2]

    def _hold(self, name: str, delivery: Delivery) -> None:
        with self._lock:
            if len(self._held) >= self._forget_at:
                self._forget()
            # It may be claimed already: by whoever has a copy.
            held = self._held.setdefault(name, _Held())
            if held.delivery is None:
                held.delivery = delivery
            else:
                held.more.append(delivery)

    def _forget(self) -> None:
        """Forget those that were settled otherwise."""
        for name in list(self._held):
            if self._held[name].delivery is None and self._delivery_of(name) != "pending":
                del self._held[name]
        self._forget_at = max(_KEPT, 2 * len(self._held))

    def _lease(self, name: str) -> Delivery | None:
        """Lease one event out of its turn; `None` if it does not wait."""
        taken = self._box.take_of(self._registry, name)
        return None if taken is None else Delivery(*taken)

    def _let_go_all(self, name: str, held: _Held) -> list[Delivery]:
        """What is to be settled of an event: what consumers have, and what waits again by now."""
        gone = held.let_go()
        if (waiting := self._lease(name)) is not None:
            gone.append(waiting)
        return gone

    def _lost(self, name: str) -> Callable[[Delivery], object] | None:
        """Return how the delivery of a result ends that is another process's by now.

        `None` if it is ours, as far as can be told here. It reads the ledger, so no lock is held.
        """
        known = self._registry.get(name)
        if known is None or known[2] != "pending" or event_loop.is_running():
            return None
        ledger = known[0].ledger
        if ledger is None or not ledger.keeps_texts:
            return None
        now = time.monotonic()
        with self._lock:
            held = self._held.get(name)
            # A lease that was renewed by then, as it is with every third of it, lasts longer yet.
            is_sure_for = settings.lease_seconds() / 4
            if held and held.looked_at is not None and now - held.looked_at < is_sure_for:
                return None
        try:
            row = ledger.stored(name)
            if row and row["holder"] == "nobody" and row["delivery"] == "pending":
                # Another had it, and has given it back: it goes on here, under a claim of its own.
                take_over_one(self._delegations, ledger, name)
                row = ledger.stored(name)
        except LedgerError:
            # It is delivered from memory, as where it cannot be written.
            return None
        if row and row["holder"] == "other":
            return _pause_for_long
        if row and row["delivery"] in ("delivered", "dropped"):
            # Its ledger does not accept that as this process's, and so it goes.
            return Delivery.ack
        with self._lock:
            self._held.setdefault(name, _Held()).looked_at = now
        return None

    def _leave(self, name: str, leave: Callable[[Delivery], object]) -> None:
        """Leave a result to another process, but for one that a consumer has claimed."""
        with self._lock:
            held = self._held.get(name)
            if held is None or held.is_claimed():
                return
            gone = held.let_go()
        for each in gone:
            leave(each)

    def _claimed(self, name: str, token: object) -> _Held | None:
        held = self._held.get(name)
        is_its = held is not None and held.token is not None and held.token == token
        return held if is_its else None


def _pause_for_long(delivery: Delivery) -> None:
    """Have an event wait that another process has: that may end and leave it."""
    delivery.defer(MAX_PAUSE_SECONDS)


def _pause(releases: int) -> float:
    return (
        0.0
        if releases < 2
        else min(PAUSE_SECONDS * 2.0 ** min(releases - 2, 30), MAX_PAUSE_SECONDS)
    )
