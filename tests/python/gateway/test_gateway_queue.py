"""The shared queue asks what need be asked, and no more: its class says what that is."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from adapter_support import WAIT, Host, rest, take, until

from hermes_core import CompletionQueue, gateway
from hermes_core.gateway import host_loops, queue_swap
from hermes_core.gateway.queue_swap import GatewayQueue, LeftQueue, WatchedQueue


@pytest.fixture
def alone(host: Host) -> Iterator[Host]:
    """The gateway with the core in place, and none of its front ends: what is looked for is there
    only if the test adds it."""
    gateway.install()
    host_loops.clear()
    queue_swap.adapt()
    yield host
    host_loops.clear()


def at_large() -> tuple[host_loops.Loop, list[Any]]:
    """Have a loop watched for that somebody may run: whoever holds what is in the list."""

    def loop() -> None:
        pass

    def take_over(frame: FrameType) -> None:
        pass

    loop.__code__ = loop.__code__.replace()  # one of its own
    holders = [loop, loop]
    del loop
    found = host_loops.of(holders[0])
    queue_swap.watch(found, take_over)
    return found, holders


def use(events: Any) -> None:
    """Use a queue until it has looked whether it need be watched."""
    for _ in range(queue_swap.USES_PER_LOOK):
        events.empty()


def test_nothing_is_asked_where_no_loop_is_at_large(alone: Host) -> None:
    assert type(alone.queue) is GatewayQueue
    own = {name for name in vars(GatewayQueue) if not name.startswith("__")}
    assert own == {"queue"}, "a snapshot for whoever looks; nothing that takes or puts"


def test_the_queue_is_the_same_object_in_every_class(host: Host) -> None:
    """Delegations hold it."""
    ours = host.delegations.completion_queue
    gateway.install()
    assert host.queue is ours
    assert isinstance(ours, CompletionQueue)
    gateway.uninstall()
    assert type(ours) is LeftQueue
    assert isinstance(ours, CompletionQueue)
    gateway.install()
    assert host.queue is ours
    assert isinstance(ours, GatewayQueue)
    assert type(ours) is not LeftQueue


def test_it_is_watched_until_a_use_finds_nobody_at_large(alone: Host) -> None:
    loop, holders = at_large()
    events = alone.queue
    for _ in range(3):
        use(events)
        assert type(events) is WatchedQueue
    del holders[0]  # the other one is the swap's, that puts it back
    use(events)
    assert type(events) is GatewayQueue
    assert host_loops.is_known(loop)


def test_a_loop_added_later_is_watched_for(alone: Host) -> None:
    first, holders = at_large()
    del holders[0]
    use(alone.queue)
    assert type(alone.queue) is GatewayQueue
    _second, _others = at_large()
    assert type(alone.queue) is WatchedQueue
    assert host_loops.is_known(first)


def test_a_watched_queue_takes_as_the_others_do(alone: Host) -> None:
    _loop, _holders = at_large()
    events = alone.queue
    events.put(1)
    assert events.get() == 1
    events.put(2)
    assert events.get(True) == 2
    events.put(3)
    assert events.get(False) == 3
    events.put(4)
    assert events.get(timeout=WAIT) == 4
    events.put({"type": "completion", "session_key": "a"})
    events.put({"type": "completion", "session_key": "b"})
    assert events.get(session_key="b")["session_key"] == "b"
    assert events.get(types=["completion"], session_key="a", timeout=WAIT)["session_key"] == "a"
    for arguments in ((False,), (True, 0.0), (False, None)):
        with pytest.raises(queue.Empty):
            events.get(*arguments)
    with pytest.raises(queue.Empty):
        events.get(timeout=0)
    with pytest.raises(ValueError, match="timeout"):
        events.get(timeout=-1)
    with pytest.raises(TypeError):
        events.get(wanted=1)
    assert type(events) is WatchedQueue


def test_a_put_bound_before_the_uninstall_is_swept(host: Host) -> None:
    """It is the native one, which asks nothing."""
    gateway.install()
    ours = host.queue
    put, put_nowait, put_back = ours.put, ours.put_nowait, ours.put_back
    gateway.uninstall()
    for n, bound in enumerate((put, put_nowait, put_back)):
        bound({"n": n})
        until(lambda: not ours.qsize(), "it is swept")
    assert rest(host.queue) == [{"n": n} for n in range(3)]


def test_what_a_consumer_gives_back_after_an_uninstall_is_swept(host: Host) -> None:
    gateway.install()
    ours = host.queue
    ours.put({"n": 1})
    with ours.mailbox() as box:
        delivery = box.get()
        gateway.uninstall()
        assert host.queue.empty()
        delivery.defer()
    assert host.queue.get(timeout=WAIT) == {"n": 1}


def test_a_sweep_that_comes_late_leaves_a_new_install_alone(host: Host) -> None:
    """It looked after an uninstall, and gets the mutex after the next install."""
    gateway.install()
    ours = host.queue
    gateway.uninstall()
    late = queue_swap._swap
    assert late is not None
    gateway.install()
    ours.put({"n": 1})
    late.sweep()
    assert take(host.queue, 1) == [{"n": 1}]


def test_no_thread_sweeps_while_ours_is_in_place(host: Host) -> None:
    def sweepers() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "hermes-core-sweeper"]

    for _ in range(5):
        gateway.install()
        until(lambda: not sweepers(), "it has ended")
        gateway.uninstall()
        assert len(sweepers()) == 1


def test_a_process_without_a_thread_to_spare_sweeps_what_is_put(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.install()
    ours = host.queue

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        gateway.uninstall()
    assert "no thread to sweep" in caplog.text
    ours.put({"n": 1})
    ours.put_nowait({"n": 2})
    assert rest(host.queue) == [{"n": 1}, {"n": 2}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_sweeps_too(host: Host) -> None:
    gateway.install()
    ours = host.queue
    put = ours.put
    gateway.uninstall()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            put({"n": 1})
            status = 0 if host.queue.get(timeout=WAIT) == {"n": 1} else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def exactly_once(
    host: Host, put: Callable[[int, Any], None], disturb: Callable[[], None], times: int
) -> None:
    """Have 4 producers put 1,500 events each through `put`, and one consumer take them, while the
    queue is disturbed that often or more."""
    registry = host.processes.process_registry
    producers, each = 4, 1500
    done = threading.Event()
    got: list[Any] = []

    def produce(number: int) -> None:
        for n in range(each):
            put(n, {"type": "completion", "n": (number, n)})

    def consume() -> None:
        while len(got) < producers * each and not done.is_set():
            try:
                got.append(registry.completion_queue.get(timeout=0.02)["n"])
            except queue.Empty:
                continue

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(producers)]
    consumer = threading.Thread(target=consume)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in (consumer, *threads):
            thread.start()
        while any(thread.is_alive() for thread in threads) or times > 0:
            disturb()
            times -= 1
        consumer.join(WAIT)
    finally:
        done.set()
        sys.setswitchinterval(interval)
    consumer.join()
    counts = Counter(got)
    assert len(counts) == producers * each
    assert set(counts.values()) == {1}
    assert rest(host.queue) == []
    assert host.delegations.completion_queue.qsize() == 0


def test_stragglers_lose_and_double_nothing(host: Host) -> None:
    """Every other put was bound before the first uninstall."""
    gateway.install()
    ours = host.queue
    bound = ours.put

    def put(n: int, event: Any) -> None:
        if n % 2:
            bound(event)
        else:
            ours.put(event)

    def come_and_go() -> None:
        gateway.uninstall()
        gateway.install()

    exactly_once(host, put, come_and_go, times=30)


def test_a_change_of_class_under_load_loses_and_doubles_nothing(alone: Host) -> None:
    registry = alone.processes.process_registry
    seen: set[type] = set()

    def change() -> None:
        _loop, holders = at_large()
        seen.add(type(registry.completion_queue))
        del holders[0]
        queue_swap.adapt()
        seen.add(type(registry.completion_queue))
        host_loops.clear()

    def put(n: int, event: Any) -> None:
        if n % 2:
            registry.completion_queue.put(event)
        else:
            registry.completion_queue.put_nowait(event)

    exactly_once(alone, put, change, times=300)
    assert seen == {GatewayQueue, WatchedQueue}
