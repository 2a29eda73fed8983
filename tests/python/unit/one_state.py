"""A plain model of the queue, the registry and the ledger together, for ``test_one_state``.

One ``Event`` for everything that may be on the queue, with one ``stage``; a delegation is one that
has an ``id``. What ``list()``, the counts, the queue, the mailboxes and the rows must say follows
from it alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

#: Where an event may stand: before the end of its delegation, on the queue, kept, gone.
RUNNING = "running"
WAITING, LEASED, DELAYED = "waiting", "leased", "delayed"
PARKED, DEAD = "parked", "dead"
DELIVERED, DROPPED = "delivered", "dropped"

#: What ``delivery`` says of each stage.
DELIVERY = {
    RUNNING: None,
    WAITING: "pending",
    LEASED: "pending",
    DELAYED: "pending",
    PARKED: "parked",
    DEAD: "dead",
    DELIVERED: "delivered",
    DROPPED: "dropped",
}
PENDING = (WAITING, LEASED, DELAYED)
SETTLED = (DELIVERED, DROPPED)


@dataclass
class Event:
    """One event, of a delegation or of anything else."""

    number: int
    key: str
    id: str = ""
    stage: str = WAITING
    state: str = RUNNING
    #: The epoch of its owner that it belongs to.
    epoch: int = 0
    place: int = 0
    attempts: int = 0
    #: How often a consumer failed with it: from the second time on it pauses.
    failures: int = 0
    #: Whether the lease that it is under is the last one.
    is_last: bool = False
    #: Whether only its owner gets it; ``None`` where that depends on which thread came first.
    exclusive: bool | None = False
    #: Whether the registry keeps its record.
    is_kept: bool = True
    #: Whether it is to be dropped should its consumer give it back.
    drops: bool = False
    #: What the row says where it is not what the stage says.
    row: str | None = None
    row_attempts: int = 0
    #: When it was settled.
    turn: int = 0
    #: How it looks on the queue: what ``get`` gave.
    shown: dict[str, Any] = field(default_factory=dict)

    @property
    def is_delegation(self) -> bool:
        return bool(self.id)


@dataclass
class Box:
    """A mailbox."""

    keys: tuple[str, ...] | None
    max_attempts: int | None
    is_closed: bool = False

    def is_for(self, event: Event) -> bool | None:
        """Whether it takes an event that waits; ``None`` where that is not known."""
        if self.keys is not None:
            return event.key in self.keys
        return None if event.exclusive is None else not event.exclusive


class Model:
    """All of it, for one queue, one registry and one ledger."""

    def __init__(self, *, is_file: bool, retention: int) -> None:
        self.is_file = is_file
        self.retention = retention
        self.events: list[Event] = []
        self.epochs: dict[str, int] = {}
        self.is_shutdown = False
        self.unfinished = 0
        self.front = self.back = self.turn = 0
        #: In the order in which they were settled; one that came back and was settled again keeps
        #: its place, unless retention has come past it meanwhile.
        self.settled: list[Event] = []
        #: The records kept, in the order of ``list()``.
        self.kept: list[Event] = []
        self.dispatched = 0
        self.discarded = 0
        #: Deliveries dropped unsettled.
        self.unsettled = 0

    # What is asked of it.

    @property
    def delegations(self) -> list[Event]:
        return [event for event in self.events if event.is_delegation]

    def at(self, *stages: str) -> list[Event]:
        """The events of the queue at these stages, in order."""
        return sorted(
            (event for event in self.events if event.is_kept and event.stage in stages),
            key=lambda event: event.place,
        )

    def live(self, key: str = "") -> dict[str, int]:
        """As ``live_work``."""
        own = [event for event in self.kept if not key or event.key == key]
        return {
            "queued": 0,
            "running": sum(event.stage == RUNNING for event in own),
            "finalizing": 0,
            "undelivered": sum(event.stage in PENDING for event in own),
        }

    def stats(self) -> dict[str, int]:
        """As ``stats``, without the ledger."""
        live = self.live()
        return {
            "running": live["running"],
            "finalizing": 0,
            "undelivered": live["undelivered"],
            "dead": sum(event.stage == DEAD for event in self.kept),
            "retained": self._retained(),
            "dispatched": self.dispatched,
            "refused": 0,
            "discarded": self.discarded,
            "unsettled": self.unsettled,
        }

    def row_of(self, event: Event) -> tuple[str, str | None, int | None]:
        """What the row of a delegation says: its state, its delivery, its attempts, which only a
        file counts."""
        delivery = event.row if event.row is not None else DELIVERY[event.stage]
        return event.state, delivery, event.row_attempts if self.is_file else None

    def is_stale(self, event: Event) -> bool:
        return event.is_delegation and event.epoch < self.epochs.get(event.key, 0)

    # What happens.

    def dispatch(self, event: Event) -> None:
        event.stage, event.epoch = RUNNING, self.epochs.get(event.key, 0)
        self.events.append(event)
        self.kept.append(event)
        self.dispatched += 1

    def put(self, event: Event) -> None:
        self.events.append(event)
        self.to_back(event)
        self.unfinished += 1

    def end(self, event: Event, listed: Collection[str] = ()) -> None:
        """A delegation ends. ``listed`` are the ids listed then, which say what retention let go of
        those that were given up together."""
        event.state = "completed"
        self.unfinished += 1
        self.to_back(event)
        self._wait_or_park(event)
        while self._retained() > self.retention:
            together = [other for other in self.settled if other.turn == self.settled[0].turn]
            gone = [other for other in together if other.id not in listed]
            first = (gone or together)[0]
            self.settled.remove(first)
            if first.stage in SETTLED:
                first.is_kept = False
                self.kept.remove(first)

    def lease(self, event: Event, box: Box) -> None:
        event.attempts += 1
        self._count(event)
        event.is_last = box.max_attempts is not None and event.attempts >= box.max_attempts
        event.stage = LEASED

    def ack(self, event: Event) -> None:
        self.done()
        self.take(event)

    def come_back(self, event: Event, *, was_tried: bool) -> None:
        """A lease ends without an ack, and with no pause."""
        if event.drops:
            return self.drop(event)
        if not was_tried:
            event.attempts -= 1
            self._count(event)
        return self._wait_or_park(event, is_last=was_tried and event.is_last)

    def delay(self, event: Event, *, was_tried: bool) -> None:
        is_last = was_tried and event.is_last and not self.is_stale(event)
        if event.drops or is_last:
            return self.come_back(event, was_tried=True)
        if not was_tried:
            event.attempts -= 1
            self._count(event)
        event.stage = DELAYED
        return None

    def take(self, event: Event) -> None:
        """A plain ``get``."""
        self.turn += 1
        self._settle(event, DELIVERED)

    def put_again(self, event: Event, *, to_front: bool) -> None:
        """A put of an event that was taken: it is tried anew."""
        event.is_kept = True
        event.attempts, event.failures, event.exclusive = 0, 0, False
        if to_front:
            self.front -= 1
            event.place = self.front
        else:
            self.to_back(event)
            self.unfinished += 1
        self._wait_or_park(event)

    def new_epoch(self, key: str) -> None:
        self.epochs[key] = self.epochs.get(key, 0) + 1
        for event in self.delegations:
            if event.key != key:
                continue
            if event.stage == WAITING or event in self.left():
                self.park(event)
            elif self.is_file and (event.stage in (RUNNING, *PENDING) or event.row == "pending"):
                # On disk at once, should the process end before it comes back.
                event.row = "parked"

    def park(self, event: Event) -> None:
        if event.is_kept:
            self.done()
        event.stage, event.row = PARKED, None

    def redeliver(self, event: Event) -> None:
        """A new record takes the place of the one before, if there is one."""
        for records in (self.kept, self.settled):
            if event in records:
                records.remove(event)
        self.kept.append(event)
        event.is_kept = True
        event.drops = False
        event.attempts = event.row_attempts = event.failures = 0
        event.exclusive = None if self.is_file else False
        self._enter(event)
        self.unfinished += 1

    def drop(self, event: Event) -> None:
        if event.is_kept and event.stage in PENDING:
            self.done()
        self.turn += 1
        self._settle(event, DROPPED)

    def drop_by_hand(self, event: Event) -> None:
        """Another process asks for it."""
        is_left = event.stage == DROPPED and event.row is not None
        if event.is_kept and event.stage == LEASED:
            event.drops = True
        elif event.is_kept and (event.stage in (WAITING, DELAYED, PARKED, DEAD) or is_left):
            self.drop(event)

    def shutdown(self, *, immediate: bool) -> None:
        self.turn += 1
        self.is_shutdown = True
        if not immediate:
            return
        for event in self.at(WAITING, DELAYED, PARKED, DEAD):
            before = self.row_of(event)[1] if event.is_delegation else None
            if event.stage in PENDING:
                self.done()
            self._settle(event, DROPPED)
            if self.is_file and event.is_delegation:
                # Nobody gave it up: the next process has it.
                event.row = before
        self.turn += 1

    def restart(self) -> None:
        """Another process: a new queue and a new registry on the same file."""
        for event in self.events:
            event.is_kept = event.drops = False
            if event.stage == RUNNING:
                event.state, event.stage = "lost", WAITING
            if event.is_delegation and event.row is not None:
                event.stage = {"parked": PARKED, "pending": WAITING, "dead": DEAD}[event.row]
                event.row = None
            elif event.stage in PENDING:
                event.stage = WAITING
            event.attempts = event.failures = event.row_attempts
        self.events = self.delegations
        self.kept.clear()
        self.settled.clear()
        self.epochs.clear()
        self.is_shutdown = False
        self.unfinished = self.front = self.back = 0
        self.dispatched = self.discarded = self.unsettled = 0

    def adopt(self, keys: tuple[str, ...]) -> None:
        """A mailbox is opened: what an earlier process left for its owner comes back."""
        for event in self.left():
            if event.key in keys:
                event.is_kept = True
                self.kept.append(event)
                event.exclusive = True
                self._enter(event)
                self.unfinished += 1

    def left(self) -> list[Event]:
        """What an earlier process left, and nobody here has."""
        undelivered = (RUNNING, WAITING)
        return [
            event for event in self.delegations if not event.is_kept and event.stage in undelivered
        ]

    def done(self) -> None:
        self.unfinished = max(0, self.unfinished - 1)

    def to_back(self, event: Event) -> None:
        self.back += 1
        event.place = self.back

    def _enter(self, event: Event) -> None:
        event.stage, event.row = WAITING, None
        event.epoch = self.epochs.get(event.key, 0)
        self.to_back(event)

    def _wait_or_park(self, event: Event, *, is_last: bool = False) -> None:
        if self.is_stale(event):
            self.park(event)
        elif is_last:
            event.stage, event.row = DEAD, None
            self.done()
        else:
            event.stage, event.row = WAITING, None

    def _settle(self, event: Event, stage: str) -> None:
        event.stage, event.row = stage, None
        if event in self.kept:
            if event not in self.settled:
                self.settled.append(event)
                event.turn = self.turn
        elif not event.is_delegation:
            event.is_kept = False

    def _retained(self) -> int:
        return sum(event.stage in SETTLED for event in self.kept)

    def _count(self, event: Event) -> None:
        if event.row is None:
            event.row_attempts = event.attempts
