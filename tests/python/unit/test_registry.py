"""``DelegationRegistry`` and ``DelegationHandle``, for hosts that are not the gateway."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import hermes_core as hc
from hermes_core import _core


def test_dispatch_and_result(registry: hc.DelegationRegistry) -> None:
    handle = registry.dispatch(goal="Add", runner=lambda: {"summary": "4"}, session_key="k")
    assert handle.result(timeout=30) == {"summary": "4"}
    assert handle.state == "completed"
    assert registry.queue.get(session_key="k")["summary"] == "4"
    record = registry.get(handle.id)
    assert record is not None
    assert (record["goal"], record["state"], record["delivery"]) == (
        "Add",
        "completed",
        "delivered",
    )
    assert repr(handle) == f"<DelegationHandle {handle.id} completed>"
    assert registry.get("deleg_unknown") is None


def test_a_refusal_names_the_numbers(registry: hc.DelegationRegistry) -> None:
    go = threading.Event()
    registry.capacity = 1
    handle = registry.dispatch(goal="a", runner=lambda: {"ok": go.wait(30)})
    with pytest.raises(hc.AtCapacity, match="1 delegations run and 1 may") as refused:
        registry.dispatch(goal="b", runner=dict)
    assert (refused.value.limit, refused.value.running) == (1, 1)
    with pytest.raises(TimeoutError, match="still runs"):
        handle.result(timeout=0.001)
    go.set()
    handle.result(30)
    assert registry.stats() == {
        "queued": 0,
        "running": 0,
        "finalizing": 0,
        "undelivered": 1,
        "dead": 0,
        "parked": 0,
        "retained": 0,
        "dispatched": 1,
        "refused": 1,
        "discarded": 0,
        "unsettled": 0,
        "ledger": registry.ledger.health(),
    }


def test_an_end_after_the_end_is_discarded_and_counted(registry: hc.DelegationRegistry) -> None:
    """F19: what a cleared registry's runner returns is not published."""
    go = threading.Event()
    registry.dispatch(goal="a", runner=lambda: {"ok": go.wait(30)})
    registry.clear()
    assert registry.active_count() == 0
    last = registry.dispatch(goal="b", runner=lambda: {"summary": "b"})
    last.result(30)
    go.set()
    registry.queue.get(timeout=30)
    # The late runner's worker is free once it can run this.
    registry.capacity = 1
    for _ in range(3):
        registry.dispatch(goal="c", runner=dict).result(30)
        registry.queue.get(timeout=30)
    assert registry.queue.empty()
    while registry.stats()["discarded"] != 1:
        registry.dispatch(goal="c", runner=dict).result(30)
        registry.queue.get(timeout=30)


def test_an_event_is_published_whatever_the_queue_says() -> None:
    """F9: a full or ended queue loses no end."""
    full: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
    full.put({"type": "completion"})
    registry = hc.DelegationRegistry(full)
    registry.dispatch(goal="a", runner=dict).result(30)
    full.shutdown()
    handle = registry.dispatch(goal="b", runner=dict)
    handle.result(30)
    events = [full.get_nowait() for _ in range(3)]
    assert events[-1]["delegation_id"] == handle.id


def test_two_registries_may_share_a_queue() -> None:
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    first, second = hc.DelegationRegistry(queue), hc.DelegationRegistry(queue)
    one = first.dispatch(goal="a", runner=dict)
    two = second.dispatch(goal="b", runner=dict)
    taken = {queue.get(timeout=30)["delegation_id"] for _ in range(2)}
    assert taken == {one.id, two.id}
    for registry, handle in ((first, one), (second, two)):
        record = registry.get(handle.id)
        assert record is not None
        assert record["delivery"] == "delivered"


def test_a_finished_runner_keeps_nothing_alive(registry: hc.DelegationRegistry) -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)

    def runner(big: Any = big) -> dict[str, Any]:
        return {"summary": str(type(big))}

    handle = registry.dispatch(goal="a", runner=runner, interrupt_fn=lambda big=big: None)
    handle.result(30)
    registry.queue.get(timeout=30)
    del big, runner
    # The worker's own frame lets go right after the end; the next job tells that it has.
    registry.dispatch(goal="b", runner=dict).result(30)
    while gone() is not None:
        gc.collect()


def test_an_abandoned_registry_is_collected() -> None:
    registry = hc.DelegationRegistry()
    registry.dispatch(goal="a", runner=dict, context=registry).result(30)  # type: ignore[arg-type]
    gone = weakref.ref(registry.queue)
    del registry
    while gone() is not None:
        gc.collect()


@pytest.fixture
def logged() -> Iterator[hc.CompletionQueue[logging.LogRecord]]:
    """What the core logs, from whichever thread."""
    records: hc.CompletionQueue[logging.LogRecord] = hc.CompletionQueue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.put(record)

    logger, handler = logging.getLogger("hermes_core"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield records
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_core_events_reach_logging(
    registry: hc.DelegationRegistry, logged: hc.CompletionQueue[logging.LogRecord]
) -> None:
    # The level is noticed by the first call after the change.
    registry.dispatch(goal="a", runner=dict).result(30)
    handle = registry.dispatch(goal="b", runner=dict, session_key="room 7")
    expected = {
        (logging.INFO, f"delegation dispatched id={handle.id} session_key=room 7"),
        (logging.DEBUG, f"delegation ended id={handle.id} state=completed"),
    }
    while expected:
        record = logged.get(timeout=30)
        assert record.name == "hermes_core.registry"
        expected.discard((record.levelno, record.getMessage()))


def test_a_raising_runner_is_logged_with_its_traceback(
    registry: hc.DelegationRegistry, logged: hc.CompletionQueue[logging.LogRecord]
) -> None:
    registry.dispatch(goal="a", runner=lambda: {"x": 1 // 0}).result(30)
    record = logged.get(timeout=30)
    while record.levelno != logging.ERROR:
        record = logged.get(timeout=30)
    assert "its runner raised" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_a_level_that_is_off_keeps_nothing(registry: hc.DelegationRegistry) -> None:
    logging.getLogger("hermes_core").setLevel(logging.WARNING)
    try:
        for _ in range(3):
            registry.dispatch(goal="a", runner=dict).result(30)
        _core.take_log()
        assert registry._core.finish("deleg_unknown", None, "completed", {}, "", 0.0) is None
        [(level, name, message)] = _core.take_log() or []
        assert (level, name) == (logging.WARNING, "hermes_core.registry")
        assert message == "late end discarded id=deleg_unknown state=completed"
        registry.dispatch(goal="a", runner=dict).result(30)
        assert _core.take_log() is None
    finally:
        logging.getLogger("hermes_core").setLevel(logging.NOTSET)


def test_each_change_of_a_level_is_noticed_by_the_next_call(
    registry: hc.DelegationRegistry, logged: hc.CompletionQueue[logging.LogRecord]
) -> None:
    """The levels are not asked for at every call, but after every change."""
    logger = logging.getLogger("hermes_core.registry")
    silent: list[str] = []

    def dispatched() -> str:
        # The first call notices; a worker that looked just before may need the second.
        for _ in range(2):
            registry.dispatch(goal="a", runner=dict).result(30)
        handle = registry.dispatch(goal="b", runner=dict)
        handle.result(30)
        return handle.id

    def assert_logged(delegation_id: str) -> None:
        message = ""
        while f"dispatched id={delegation_id}" not in message:
            message = logged.get(timeout=30).getMessage()
            assert not any(f"dispatched id={one}" in message for one in silent)

    try:
        for _ in range(20):
            logger.setLevel(logging.INFO)
            assert_logged(dispatched())
            logging.disable(logging.INFO)
            silent.append(dispatched())
            logging.disable(logging.NOTSET)
            assert_logged(dispatched())
            logger.setLevel(logging.ERROR)
            silent.append(dispatched())
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(logging.NOTSET)
