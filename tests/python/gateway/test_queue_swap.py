"""The queue changes under traffic: every event once, in order, in either direction (F1, F4)."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch, rest, take, until

from hermes_core import gateway
from hermes_core.gateway import queue_swap


def numbered(count: int, kind: str = "completion") -> list[dict[str, Any]]:
    return [{"type": kind, "session_id": str(n), "n": n} for n in range(count)]


def test_queued_events_move_across_in_order_and_back(host: Host) -> None:
    old = host.queue
    events = [*numbered(5), {"type": "async_delegation"}, {"no": "type"}, "not a dict", None, 7]
    for event in events:
        old.put(event)
    report = gateway.install()
    assert report.moved_events == len(events)
    assert old.qsize() == 0
    assert host.queue.qsize() == len(events)
    back = gateway.uninstall()
    assert back.moved_events == len(events)
    assert host.queue is old
    assert list(old.queue) == events
    assert all(was is now for was, now in zip(events, old.queue, strict=True))
    gateway.install()
    assert rest(host.queue) == events


def test_events_of_ours_move_back_behind_those_taken_over(host: Host) -> None:
    events = numbered(4)
    host.queue.put(events[0])
    gateway.install()
    host.queue.put(events[1])
    host.queue.put(events[2])
    gateway.uninstall()
    host.queue.put(events[3])
    assert list(host.queue.queue) == events


def test_unfinished_tasks_follow_the_events(host: Host) -> None:
    old = host.queue
    for event in numbered(3):
        old.put(event)
    old.get()
    gateway.install()
    assert old.unfinished_tasks == 1  # the one that was taken before
    old.put({"n": 3})
    assert old.unfinished_tasks == 1
    old.task_done()
    joined = threading.Thread(target=old.join, daemon=True)
    joined.start()
    joined.join(WAIT)
    assert not joined.is_alive()
    gateway.uninstall()
    assert old.unfinished_tasks == 3
    for _ in range(3):
        old.get_nowait()
        old.task_done()
    assert old.unfinished_tasks == 0
    host.delegations.completion_queue.join()


def test_more_done_than_ours_counted_loses_no_event(host: Host) -> None:
    """A correct consumer: what it took before the install it calls done after it."""
    old = host.queue
    old.put({"n": 0})
    host.queue.get()
    gateway.install()
    host.queue.put({"n": 1})
    host.queue.task_done()
    host.queue.put({"n": 2})
    assert gateway.uninstall().moved_events == 2
    assert gateway.status().installed is False
    assert list(old.queue) == [{"n": 1}, {"n": 2}]
    assert host.delegations.completion_queue.qsize() == 0


def test_more_done_than_ours_counted_loses_no_straggler(host: Host) -> None:
    gateway.install()
    ours = host.queue
    gateway.uninstall()
    swap = queue_swap._swap
    assert swap is not None
    for n in (1, 2):
        queue_swap.CompletionQueue.put(ours, {"n": n})
    ours.task_done()
    swap.sweep()
    assert rest(host.queue) == [{"n": 1}, {"n": 2}]


def test_a_move_back_that_is_broken_off_loses_no_event(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.install()
    for event in numbered(5):
        host.queue.put(event)
    get = queue_swap.CompletionQueue.get_nowait

    def broken(self: Any) -> Any:
        if self.qsize() == 2:
            raise MemoryError
        return get(self)

    with monkeypatch.context() as patch:
        patch.setattr(queue_swap.CompletionQueue, "get_nowait", broken)
        with pytest.raises(MemoryError):
            gateway.uninstall()
    gateway.uninstall()
    queue_swap.sweep()
    assert list(host.queue.queue) == numbered(5)
    assert host.queue.unfinished_tasks == 5


def test_a_producer_of_the_old_queue_lands_in_ours(host: Host) -> None:
    old = host.queue
    put = old.put
    gateway.install()
    put({"n": 1})
    old.put_nowait({"n": 2})
    assert old.qsize() == 0
    assert take(host.queue, 2) == [{"n": 1}, {"n": 2}]


def test_a_producer_inside_put_during_the_swap_lands_in_ours(host: Host) -> None:
    """It holds the old queue and waits for its mutex while install() waits behind or before it."""
    old = host.queue
    install = threading.Thread(target=gateway.install)
    producer = threading.Thread(target=old.put, args=({"n": 1},))
    with old.mutex:
        install.start()
        producer.start()
        until(lambda: gateway is not None and producer.is_alive(), "the producer waits")
    install.join(WAIT)
    producer.join(WAIT)
    assert old.qsize() == 0
    assert take(host.queue, 1) == [{"n": 1}]


def test_a_straggler_of_ours_reaches_the_gateway_after_uninstall(host: Host) -> None:
    gateway.install()
    ours = host.queue
    put, put_nowait = ours.put, ours.put_nowait
    gateway.uninstall()
    before = gateway.status().counters.get("events that followed an uninstall", 0)
    put({"n": 1})
    put_nowait({"n": 2})
    ours.put({"n": 3})
    assert ours.qsize() == 0
    assert [event["n"] for event in rest(host.queue)] == [1, 2, 3]
    assert gateway.status().counters["events that followed an uninstall"] == before + 3


def test_a_straggler_does_not_pull_events_out_of_a_new_install(host: Host) -> None:
    """It put into ours while ours was out, and looks only after ours is back."""
    gateway.install()
    ours = host.queue
    gateway.uninstall()
    swap = queue_swap._swap
    assert swap is not None
    with swap._host.mutex:
        straggler = threading.Thread(target=ours.put, args=({"n": 1},))
        straggler.start()
        until(lambda: ours.qsize() == 1, "the event is in ours")
        installer = threading.Thread(target=gateway.install)
        installer.start()
    straggler.join(WAIT)
    installer.join(WAIT)
    assert host.queue is ours
    assert take(host.queue, 1) == [{"n": 1}]


def test_a_consumer_waiting_in_the_old_queue_wakes_after_uninstall(host: Host) -> None:
    old = host.queue
    taken: list[Any] = []
    consumer = threading.Thread(target=lambda: taken.append(old.get(timeout=WAIT)))
    consumer.start()
    gateway.install()
    host.queue.put({"n": 1})
    assert taken == []
    gateway.uninstall()
    consumer.join(WAIT)
    assert taken == [{"n": 1}]


def test_something_put_in_place_of_ours_stays(host: Host) -> None:
    old = host.queue
    gateway.install()
    host.queue.put({"n": 1})
    third: queue.Queue[Any] = queue.Queue()
    host.processes.process_registry.completion_queue = third
    gateway.uninstall()
    assert host.queue is third
    assert list(old.queue) == [{"n": 1}]
    host.processes.process_registry.completion_queue = old


def test_a_queue_that_refuses_an_event_loses_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = numbered(5)
    for event in events:
        host.queue.put(event)
    put = queue_swap.CompletionQueue.put

    def refuse(self: Any, item: Any, *args: Any) -> None:
        if item["n"] == 3:
            raise MemoryError
        put(self, item, *args)

    with monkeypatch.context() as patch:
        patch.setattr(queue_swap.CompletionQueue, "put", refuse)
        with pytest.raises(MemoryError):
            gateway.install()
    assert list(host.queue.queue) == events
    assert gateway.status().installed is False


def test_a_child_that_ends_after_uninstall_is_heard(host: Host) -> None:
    """F1: its worker holds ours; the gateway reads its own queue by then."""
    gateway.install()
    child = Child()
    dispatch(host.registry.dispatch_async_delegation, child, key="agent:main:cli:dm:1")
    gateway.uninstall()
    child.go.set()
    event = host.queue.get(timeout=WAIT)
    assert event["type"] == "async_delegation"
    assert event["session_key"] == "agent:main:cli:dm:1"
    assert event["summary"] == "done"


def test_undelivered_results_survive_any_number_of_swaps(host: Host) -> None:
    """F8: 60 end, none is taken; 60 are there."""
    gateway.install()
    for n in range(60):
        child = Child(str(n))
        child.go.set()
        dispatch(host.registry.dispatch_async_delegation, child, cap=100)
    until(lambda: host.queue.qsize() == 60, "60 events")
    for _ in range(3):
        gateway.uninstall()
        assert host.queue.qsize() == 60
        gateway.install()
    assert len(host.registry.list_async_delegations()) == 50
    assert sorted(int(event["summary"]) for event in rest(host.queue)) == list(range(60))


@pytest.mark.parametrize("consume_directly", [True, False])
def test_every_event_exactly_once_under_traffic(host: Host, consume_directly: bool) -> None:
    """F4: 8 producers put 10,000 events through both doors while the core comes and goes."""
    registry = host.processes.process_registry
    producers, each = 8, 1250
    done = threading.Event()

    def produce(number: int) -> None:
        for n in range(each):
            event = {"type": "completion", "session_id": f"{number}", "n": (number, n)}
            if n % 2:
                registry.completion_queue.put(event)
            else:
                registry.completion_queue.put_nowait(event)

    got: list[Any] = []

    def consume() -> None:
        while len(got) < producers * each and not done.is_set():
            try:
                if consume_directly:
                    got.append(registry.completion_queue.get(timeout=0.02)["n"])
                else:
                    got.extend(event["n"] for event, _ in registry.drain_notifications())
            except queue.Empty:
                continue

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(producers)]
    consumer = threading.Thread(target=consume)
    consumer.start()
    for thread in threads:
        thread.start()
    swaps = 0
    while any(thread.is_alive() for thread in threads) or swaps < 20:
        gateway.install()
        gateway.uninstall()
        swaps += 1
    for thread in threads:
        thread.join(WAIT)
    consumer.join(60)
    done.set()
    consumer.join(WAIT)
    counts = Counter(got)
    assert len(counts) == producers * each
    assert set(counts.values()) == {1}
    assert rest(host.queue) == []
    assert host.delegations.completion_queue.qsize() == 0
