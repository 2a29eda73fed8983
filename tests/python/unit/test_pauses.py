"""What becomes of an event whose consumer fails: pauses that grow, then a dead letter (F44)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from queue import Empty
from typing import TYPE_CHECKING, Any

import pytest

import hermes_core as hc
from hermes_core.runtime import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUNG = 60.0

Queue = hc.CompletionQueue[Any]


def event(number: int = 0) -> dict[str, Any]:
    return {"type": "completion", "session_key": "a", "number": number}


def nacks(box: hc.Mailbox) -> None:
    box.get_nowait().nack()


def raises(box: hc.Mailbox) -> None:
    with pytest.raises(ValueError, match="on purpose"), box.get_nowait():
        raise ValueError("on purpose")


def raises_in_a_batch(box: hc.Mailbox) -> None:
    with pytest.raises(ValueError, match="on purpose"), box.take_all(timeout=0):
        raise ValueError("on purpose")


def drops(box: hc.Mailbox) -> None:
    box.get_nowait()


def breaks_off(box: hc.Mailbox) -> None:
    async def main() -> None:
        async for _ in box:
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        asyncio.run(main())
    gc.collect()


@pytest.mark.parametrize("fail", [nacks, raises, raises_in_a_batch, drops, breaks_off])
def test_the_second_failure_is_followed_by_a_pause(fail: Callable[[hc.Mailbox], None]) -> None:
    """The first is followed by another attempt at once. Others are not kept waiting."""
    queue = Queue()
    with queue.mailbox(session_key="a") as box:
        queue.put(event(1))
        fail(box)
        fail(box)
        with pytest.raises(Empty):
            box.get_nowait()
        queue.put(event(2))
        with box.get_nowait() as other:
            assert other.event["number"] == 2
        again = box.get(timeout=HUNG)
        assert again.event["number"] == 1
        again.ack()


def test_a_consumer_that_always_raises_gets_twenty_attempts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Then the event is a dead letter, listed, and said once."""
    queue = Queue()
    queue.put(event(1))
    with queue.mailbox(session_key="a") as box, caplog.at_level(logging.WARNING):
        for attempt in range(1, 21):
            with box.get(timeout=HUNG) as delivery:
                assert delivery.attempt == attempt
                # The pauses are another test's.
                delivery.nack(0)
        with pytest.raises(Empty):
            box.get_nowait()
    assert [one["number"] for one in queue.dead_letters()] == [1]
    said = [one for one in caplog.records if "dead letter" in one.message]
    assert len(said) == 1


def test_without_an_end_an_event_is_tried_for_good() -> None:
    queue = Queue()
    queue.put(event(1))
    with queue.mailbox(session_key="a", max_attempts=None) as box:
        for _ in range(100):
            box.get_nowait().nack(0)
        assert box.get_nowait().attempt == 101
    assert queue.dead_letters() == []


def test_a_deferral_is_no_failure() -> None:
    queue = Queue()
    queue.put(event(1))
    with queue.mailbox(session_key="a") as box:
        for _ in range(100):
            box.get_nowait().defer()
        assert box.get_nowait().attempt == 1


def test_what_is_dropped_unsettled_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # What other tests left to say.
    log.pass_on()
    caplog.clear()
    registry = hc.DelegationRegistry()
    queue = registry.queue
    with queue.mailbox(session_key="a") as box, caplog.at_level(logging.WARNING), heard() as said:
        for number in range(3):
            queue.put(event(number))
            box.get_nowait()
            box.get_nowait().ack()
        registry.dispatch(goal="g", runner=dict, session_key="b").result(HUNG)
        assert registry.stats()["unsettled"] == 3
        # An end passes on what the core has to say, after it has woken whoever waited for it.
        assert said.wait(HUNG)
        log.pass_on()
    assert sum("dropped unsettled" in one.message for one in caplog.records) == 1


@contextlib.contextmanager
def heard() -> Iterator[threading.Event]:
    """Says when something was logged that is about deliveries; behind those that keep it."""
    said = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "dropped unsettled" in record.getMessage():
                said.set()

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_delivery_whose_lease_had_ended_is_not_counted() -> None:
    registry = hc.DelegationRegistry()
    queue = registry.queue
    queue.put(event(1))
    with queue.mailbox(session_key="a", lease=1e-6) as box:
        late = box.get_nowait()
        with queue.mailbox(session_key="a") as other:
            other.get(timeout=HUNG).ack()
        del late
    assert registry.stats()["unsettled"] == 0
