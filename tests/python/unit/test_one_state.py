"""One state for each event: queue, registry and ledger say the same of it after every step.

Generated steps go through the public API and through the plain model in ``one_state``. After each,
``list()``, ``live_work()``, ``stats()``, the queue, the mailboxes and the rows are compared with
it.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import hermes_core as hc
from unit.one_state import (
    DEAD,
    DELAYED,
    DELIVERY,
    DROPPED,
    LEASED,
    PARKED,
    RUNNING,
    SETTLED,
    WAITING,
    Box,
    Event,
    Model,
)

#: Longer than anything here takes; only a failure waits so long.
HUNG = 60.0
#: Longer than any example takes: what is delayed so stays so.
LATER = 3600.0
#: So short that whoever waits for its end does not wait long.
SOON = 0.001
#: How many settled records a registry keeps.
RETENTION = 50

KEYS = ("a", "b")
OWNERS = st.sampled_from((*KEYS, ""))
WHICH = st.integers(0, 7)


class OneState(RuleBasedStateMachine):
    """Steps through the public API, in step with the model."""

    is_file = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory() if self.is_file else None
        self.model = Model(is_file=self.is_file, retention=RETENTION)
        self.numbers = iter(range(10**9))
        self.last_steps: list[threading.Event] = []
        self.gone: list[hc.DelegationHandle] = []
        self.start()

    def start(self) -> None:
        self.queue: hc.CompletionQueue[dict[str, Any]] = hc.CompletionQueue()
        ledger: Any = "memory"
        if self.folder is not None:
            path = Path(self.folder.name) / "delegations.db"
            ledger = hc.Ledger(path, durability="process", lease=3600.0)
        self.registry = hc.DelegationRegistry(self.queue, capacity=10**6, ledger=ledger)
        self.boxes: list[tuple[Box, hc.Mailbox]] = []
        self.leases: list[tuple[Event, hc.Delivery]] = []
        self.runs: dict[int, tuple[hc.DelegationHandle, threading.Event]] = {}

    def teardown(self) -> None:
        for go in self.last_steps:
            go.set()
        self.leases.clear()
        self.boxes.clear()
        if self.folder is not None:
            # Nobody is to write to a file that is gone.
            for handle in [*self.gone, *(handle for handle, _ in self.runs.values())]:
                handle.result(HUNG)
            assert self.registry.ledger.flush(HUNG)
            self.folder.cleanup()

    # The steps.

    @rule(key=OWNERS)
    def dispatch(self, key: str) -> None:
        go = threading.Event()
        number = next(self.numbers)

        def runner() -> dict[str, Any]:
            go.wait()
            return {"summary": str(number)}

        handle = self.registry.dispatch(goal=str(number), session_key=key, runner=runner)
        self.last_steps.append(go)
        self.runs[number] = handle, go
        self.model.dispatch(Event(number, key, handle.id))

    @precondition(lambda self: self.at(RUNNING))
    @rule(which=WHICH)
    def end(self, which: int) -> None:
        event = self.pick(which, RUNNING)
        handle, go = self.runs.pop(event.number)
        go.set()
        assert handle.result(HUNG)["summary"] == str(event.number)
        self.model.end(event, self.listed())

    @rule(key=OWNERS)
    def dispatch_and_end(self, key: str) -> None:
        self.dispatch(key)
        self.end(-1)

    @rule(key=OWNERS)
    def put_another(self, key: str) -> None:
        event = Event(next(self.numbers), key)
        event.shown = {"type": "completion", "session_key": key, "goal": str(event.number)}
        if self.model.is_shutdown:
            self.raises(hc.ShutDown, lambda: self.queue.put(event.shown))
        else:
            self.queue.put(event.shown)
            self.model.put(event)

    @rule(key=OWNERS)
    def get_of_key(self, key: str) -> None:
        if not key:
            self.took(lambda: self.queue.get_nowait(unaddressed=True), Box(("",), None))
        else:
            self.took(lambda: self.queue.get_nowait(session_key=key), Box((key,), None))

    @rule()
    def get(self) -> None:
        self.took(self.queue.get_nowait, Box(None, None))

    @precondition(lambda self: self.taken())
    @rule(which=WHICH, to_front=st.booleans())
    def put_again(self, which: int, to_front: bool) -> None:
        event = self.choose(which, self.taken())
        if to_front:
            self.queue.put_back(event.shown)
        elif self.model.is_shutdown:
            return self.raises(hc.ShutDown, lambda: self.queue.put(event.shown))
        else:
            self.queue.put(event.shown)
        return self.model.put_again(event, to_front=to_front)

    @precondition(lambda self: self.model.unfinished > len(self.at(WAITING, LEASED, DELAYED)))
    @rule()
    def task_done(self) -> None:
        self.queue.task_done()
        self.model.done()

    @precondition(lambda self: len(self.boxes) < 4)
    @rule(
        keys=st.sampled_from((None, ("a",), ("b",), ("a", "b"))),
        max_attempts=st.sampled_from((None, 1, 2)),
    )
    def open(self, keys: tuple[str, ...] | None, max_attempts: int | None) -> None:
        box = self.queue.mailbox(session_key=keys, max_attempts=max_attempts)
        self.boxes.append((Box(keys, max_attempts), box))
        self.adopted(keys or ())

    @precondition(lambda self: self.boxes)
    @rule(which=WHICH)
    def close(self, which: int) -> None:
        model, box = self.choose(which, self.boxes)
        box.close()
        model.is_closed = True
        self.raises(hc.ShutDown, box.get_nowait)
        self.boxes.remove((model, box))

    @precondition(lambda self: self.boxes)
    @rule(which=WHICH)
    def lease(self, which: int) -> None:
        model, box = self.choose(which, self.boxes)
        self.leased(model, box.get_nowait)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH)
    def ack(self, which: int) -> None:
        event, delivery = self.leases.pop(which % len(self.leases))
        assert delivery.ack()
        self.model.ack(event)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH)
    def nack(self, which: int) -> None:
        event, delivery = self.leases.pop(which % len(self.leases))
        # At once: the model has no clock.
        assert delivery.nack(0)
        event.failures += 1
        self.model.come_back(event, was_tried=True)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, is_dropped=st.booleans())
    def defer(self, which: int, is_dropped: bool) -> None:
        event, delivery = self.leases.pop(which % len(self.leases))
        # One that is dropped pauses from its second failure on.
        is_dropped = is_dropped and not event.failures
        if is_dropped:
            event.failures += 1
            self.model.unsettled += 1
        assert is_dropped or delivery.defer()
        del delivery
        self.model.come_back(event, was_tried=False)

    @precondition(lambda self: self.leases)
    @rule(which=WHICH, was_tried=st.booleans())
    def delay(self, which: int, was_tried: bool) -> None:
        event, delivery = self.leases.pop(which % len(self.leases))
        assert delivery.nack(LATER) if was_tried else delivery.defer(LATER)
        assert not delivery.ack()
        event.failures += was_tried
        self.model.delay(event, was_tried=was_tried)

    @precondition(lambda self: self.alone())
    @rule(is_delay=st.booleans())
    def lease_that_ends(self, is_delay: bool) -> None:
        """A lease that ends by itself, or a pause that does: the next in line waits for it."""
        event = self.alone()[0]
        key = {"session_key": event.key} if event.key else {"unaddressed": {kind(event)}}
        with self.queue.mailbox(**key, lease=None if is_delay else SOON) as box:
            self.adopted((event.key,))
            first = box.get_nowait()
            self.model.lease(event, Box((event.key,), None))
            if is_delay:
                assert first.nack(SOON)
            again = box.get(timeout=HUNG)
            self.model.come_back(event, was_tried=True)
            if not is_delay:
                assert not first.ack()
            self.model.lease(event, Box((event.key,), None))
            assert (again.event["goal"], again.attempt) == (str(event.number), event.attempts)
            # Whether its own short lease is over by now or not: that was an attempt.
            again.nack(0)
            event.failures += 2
            self.until(lambda: box.pending() == 1)
            self.model.come_back(event, was_tried=True)

    @rule(key=st.sampled_from(KEYS))
    def new_epoch(self, key: str) -> None:
        self.queue.new_epoch(key)
        self.model.new_epoch(key)

    @precondition(lambda self: self.model.delegations)
    @rule(which=WHICH)
    def redeliver(self, which: int) -> None:
        event = self.choose(which, self.model.delegations)
        said = self.registry.redeliver(event.id)
        self.expect(said, self.may_redeliver(event))
        if said:
            self.model.redeliver(event)
            self.until_all_wait()

    @precondition(lambda self: self.model.delegations)
    @rule(which=WHICH)
    def drop(self, which: int) -> None:
        event = self.choose(which, self.model.delegations)
        if event.stage == DROPPED and not event.is_kept:
            # What an immediate shutdown left and nobody keeps here is the next process's to drop.
            return
        said = self.registry.drop(event.id)
        self.expect(said, self.may_drop(event))
        if said:
            self.model.drop(event)

    def drop_by_hand(self, which: int) -> None:
        event = self.choose(which, self.model.delegations)
        row = self.registry.ledger.get(event.id)
        assert row is not None
        self.registry._drop_asked_for(event.id, row["fence"])
        self.model.drop_by_hand(event)

    @rule(immediate=st.booleans())
    def shutdown(self, immediate: bool) -> None:
        self.queue.shutdown(immediate)
        self.model.shutdown(immediate=immediate)

    @rule(count=st.sampled_from((1, RETENTION, RETENTION + 10)))
    def deliver_many(self, count: int) -> None:
        """More than retention keeps."""
        for _ in range(count):
            handle = self.registry.dispatch(goal="many", session_key="c", runner=dict)
            handle.result(HUNG)
            event = Event(next(self.numbers), "c", handle.id)
            self.model.dispatch(event)
            self.model.end(event, self.listed())
            self.queue.get_nowait(session_key="c")
            self.model.take(event)
            # Nothing is done with these later.
            self.model.events.remove(event)
        for _ in range(count):
            self.queue.task_done()
            self.model.done()

    def restart(self) -> None:
        while self.leases:
            self.defer(0, is_dropped=False)
        self.boxes.clear()
        # As the end of the process does: others have at once what it held.
        held = self.registry.ledger.follow(self.registry).core
        assert held is not None
        assert held.release(HUNG)
        # What ran there never ends: its process is gone, and a late end would be told.
        self.gone += [handle for handle, _ in self.runs.values()]
        self.start()
        self.model.restart()

    # What all must say.

    @invariant()
    def all_say_the_same(self) -> None:
        model, registry = self.model, self.registry
        listed = registry.list()
        assert [(row["delegation_id"], row["state"], row["delivery"]) for row in listed] == [
            (event.id, event.state, DELIVERY[event.stage]) for event in model.kept
        ]
        for row in listed[:3]:
            assert registry.get(row["delegation_id"]) == row
        assert registry.live_work() == model.live()
        for key in KEYS:
            assert registry.live_work(session_key=key) == model.live(key)
        stats = registry.stats()
        assert {name: stats[name] for name in model.stats()} == model.stats()
        self.the_queue_says_it()
        self.the_ledger_says_it()

    def the_queue_says_it(self) -> None:
        model, queue = self.model, self.queue
        waiting = model.at(WAITING)
        assert goals(queue.pending()) == numbers(waiting)
        for key in KEYS:
            own = [event for event in waiting if event.key == key]
            assert goals(queue.pending(key)) == numbers(own)
        # What anybody may have.
        anybodys = [event.exclusive for event in waiting]
        assert anybodys.count(False) <= queue.qsize() <= len(waiting) - anybodys.count(True)
        assert queue.empty() == (queue.qsize() == 0)
        assert goals(queue.parked()) == numbers(model.at(PARKED))
        assert goals(queue.dead_letters()) == numbers(model.at(DEAD))
        assert queue.unfinished_tasks == model.unfinished
        if not model.unfinished:
            queue.join()
        for box, mailbox in self.boxes:
            counted = [box.is_for(event) for event in waiting]
            assert counted.count(True) <= mailbox.pending() <= len(counted) - counted.count(False)

    def the_ledger_says_it(self) -> None:
        model, ledger = self.model, self.registry.ledger
        for event in model.delegations:
            row = ledger.get(event.id)
            if not self.is_file and not event.is_kept:
                assert row is None, "in memory there is no other record than the registry's"
                continue
            assert row is not None
            said = (row["state"], row["delivery"], row["attempts"])
            assert said == model.row_of(event), f"the row of {event}"
        dead = {row["delegation_id"] for row in self.registry.dead_letters()}
        # In a file they are what they were, also after the end of a queue that had them.
        is_dead = [event for event in model.delegations if "dead" in (event.stage, event.row)]
        assert dead == {event.id for event in is_dead}

    # How the steps are done.

    def listed(self) -> set[str]:
        return {record["delegation_id"] for record in self.registry.list()}

    def at(self, *stages: str) -> list[Event]:
        return self.model.at(*stages)

    def pick(self, which: int, *stages: str) -> Event:
        """An event of these stages."""
        return self.choose(which, self.at(*stages))

    @staticmethod
    def choose(which: int, among: list[Any]) -> Any:
        return among[which if which < 0 else which % len(among)]

    def taken(self) -> list[Event]:
        """What was taken, and is in this process: what of it may be put again."""
        delegations = [event for event in self.model.kept if event.stage in SETTLED[:1]]
        return [event for event in (*delegations, *self.others) if event.shown]

    @property
    def others(self) -> list[Event]:
        return [
            event
            for event in self.model.events
            if not event.is_delegation and event.stage in SETTLED[:1]
        ]

    def alone(self) -> list[Event]:
        """What waits for an owner for whom nothing else waits, here or in the file."""
        waiting = self.at(WAITING)
        if self.model.is_shutdown:
            return []
        keys = [event.key for event in (*waiting, *self.model.left())]
        # Of those whose pauses are short.
        alone = [event for event in waiting if keys.count(event.key) == 1]
        return [event for event in alone if event.failures < 3 and not event.drops]

    def adopted(self, keys: tuple[str, ...]) -> None:
        """A mailbox was opened for these keys."""
        if self.is_file:
            self.model.adopt(keys)
            self.until_all_wait()

    def until_all_wait(self) -> None:
        """The ledger's own thread may be the one that puts what comes back."""
        self.until(lambda: len(self.queue.pending()) == len(self.at(WAITING)))

    def took(self, get: Callable[[], dict[str, Any]], box: Box) -> None:
        event, shown = self.first(get, box)
        if event is not None and shown is not None:
            event.shown = shown
            self.model.take(event)

    def leased(self, box: Box, get: Callable[[], hc.Delivery]) -> None:
        event, delivery = self.first(get, box)
        if event is not None and delivery is not None:
            self.model.lease(event, box)
            event.shown = delivery.event
            assert delivery.attempt == event.attempts
            self.leases.append((event, delivery))

    def first(self, get: Callable[[], Any], box: Box) -> tuple[Event | None, Any]:
        """The event that a consumer gets, and what it is given of it."""
        may: list[Event] = []
        for event in self.at(WAITING):
            is_for = box.is_for(event)
            if is_for is not False:
                may.append(event)
            if is_for:
                break
        is_sure = bool(may) and bool(box.is_for(may[-1]))
        try:
            got = get()
        except Empty:
            assert not is_sure
            assert not self.model.is_shutdown
        except hc.ShutDown:
            assert not is_sure
            assert self.model.is_shutdown
        else:
            goal = (got.event if isinstance(got, hc.Delivery) else got)["goal"]
            event = next((event for event in may if str(event.number) == goal), None)
            assert event is not None, f"{goal} is not the first of {may}"
            self.known(may[: may.index(event)], True)
            self.known([event], False if box.keys is None else event.exclusive)
            return event, got
        self.known(may, True)
        return None, None

    @staticmethod
    def known(events: list[Event], exclusive: bool | None) -> None:
        for event in events:
            event.exclusive = exclusive

    def may_redeliver(self, event: Event) -> bool | None:
        """Whether it can be redelivered; ``None`` where it may be so or so."""
        if not self.is_file and not event.is_kept:
            return False
        if event.stage == DROPPED and event.row is not None:
            return None
        return event.stage in (DEAD, PARKED, *SETTLED)

    def may_drop(self, event: Event) -> bool | None:
        if event.stage == DELAYED or (event.stage == DROPPED and event.row is not None):
            return None
        if event in self.model.left():
            return True
        return event.stage in (WAITING, DEAD, PARKED)

    @staticmethod
    def expect(said: bool, expected: bool | None) -> None:
        assert expected is None or said == expected

    @staticmethod
    def raises(kind: type[Exception], call: Callable[[], object]) -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    @staticmethod
    def until(is_so: Callable[[], bool]) -> None:
        """Wait for what another thread does."""
        end = time.monotonic() + HUNG
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.0005)


class OneStateInAFile(OneState):
    """The same with a ledger in a file, with restarts, and with drops that others ask for."""

    is_file = True
    restart = rule()(OneState.restart)
    drop_by_hand = precondition(lambda self: self.model.delegations)(
        rule(which=WHICH)(OneState.drop_by_hand)
    )


def kind(event: Event) -> str:
    return "async_delegation" if event.is_delegation else "completion"


def goals(events: list[dict[str, Any]]) -> list[str]:
    return [event["goal"] for event in events]


def numbers(events: list[Event]) -> list[str]:
    return [str(event.number) for event in events]


_LONG = os.environ.get("HERMES_CORE_EXAMPLES") == "long"
_SETTINGS = settings(
    max_examples=3000 if _LONG else 100,
    stateful_step_count=60 if _LONG else 30,
    deadline=None,
    print_blob=True,
)

TestInMemory = OneState.TestCase
TestInMemory.settings = _SETTINGS
TestInAFile = OneStateInAFile.TestCase
TestInAFile.settings = _SETTINGS
