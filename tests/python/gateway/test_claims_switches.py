"""The core comes and goes under results in every stage; each is delivered once (F8, F11, F50)."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_support import Child, Host, rest, take, until
from claims_support import (
    delivery,
    durable,
    end,
    in_home,
    names,
    own_home,
    row,
    run,
    start,
    state,
)

from hermes_core import gateway
from hermes_core.gateway import home_ledgers, queue_swap

GATEWAY = "0.19.0"

Event = dict[str, Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from own_home(tmp_path, monkeypatch)


def deliver(host: Host, event: Event) -> None:
    """Do what a consumer does."""
    token = host.registry.claim_event_delivery(event, "a consumer")
    assert token
    host.registry.complete_event_delivery(event, token)


def restored(host: Host, *keys: str) -> list[str]:
    """Leave a result for each key as a process does that ends; bring them as its start does."""
    found = [run(host, f"left for {key}", key) for key in keys]
    rest(host.queue)
    host.registry._records.clear()
    assert host.registry.restore_undelivered_completions(host.queue) == len(keys)
    return found


# On.


def test_what_waits_at_an_install_is_delivered_by_the_gateways_row(host: Host) -> None:
    name = run(host)
    gateway.install()
    event = host.queue.get_nowait()
    token = host.registry.claim_event_delivery(event, "a")
    assert host.registry.claim_event_delivery(event, "b") is None
    assert row(host, name)["delivery_claim"] == token  # type: ignore[index]
    assert durable(host, name)["delivery_attempts"] == 1
    host.registry.release_event_delivery(event, token)
    assert row(host, name)["delivery_claim"] is None  # type: ignore[index]
    deliver(host, event)
    assert state(host, name) == "delivered"
    assert delivery(name) is None


def test_what_runs_at_an_install_ends_in_the_gateways_row(host: Host) -> None:
    child = Child()
    name = start(host, child)
    gateway.install()
    end(host, name, child)
    deliver(host, host.queue.get_nowait())
    assert state(host, name) == "delivered"
    assert rest(host.queue) == []


def test_what_was_claimed_before_an_install_is_completed_or_released_after_it(host: Host) -> None:
    done, failed = run(host, "done"), run(host, "failed")
    events = take(host.queue, 2)
    tokens = [host.registry.claim_event_delivery(event, "a") for event in events]
    gateway.install()
    host.registry.complete_event_delivery(events[0], tokens[0])
    assert state(host, done) == "delivered"
    host.registry.release_event_delivery(events[1], tokens[1])
    assert host.registry.restore_undelivered_completions(host.queue) == 1
    deliver(host, host.queue.get_nowait())
    assert state(host, failed) == "delivered"


def test_f50_what_was_restored_is_only_for_who_proves_to_own_it(host: Host) -> None:
    mine, others = restored(host, "mine", "others")
    report = gateway.install()
    assert report.moved_events == 2
    assert host.queue.qsize() == 0
    processes = host.processes.process_registry
    assert processes.drain_notifications() == []
    assert processes.drain_notifications(session_key="nobody's") == []
    drained = processes.drain_notifications(
        session_key="mine", owns_event=lambda event: event["session_key"] == "mine"
    )
    assert names(event for event, _ in drained) == [mine]
    deliver(host, drained[0][0])
    assert (state(host, mine), state(host, others)) == ("delivered", "pending")
    assert processes.drain_notifications(session_key="mine") == []
    gateway.uninstall()
    assert names(host.queue.queue) == [others]
    assert host.queue.get_nowait()["restored"] is True


def test_what_was_restored_and_left_lying_comes_again_with_its_owner(host: Host) -> None:
    """A loop that took another's drops it; the row says that it is undelivered."""
    (name,) = restored(host, "mine")
    gateway.install()
    swap: Any = queue_swap._swap
    home, owner = home_ledgers.process_home(), threading.Event()
    swap.leases.restored.offer(owner, home, ["mine"])
    swap.leases.restored.offer(owner, home, ["mine"])
    assert names(host.queue.queue) == [name]
    assert host.processes.process_registry.completion_queue.get_nowait()  # and dropped
    swap.leases.restored.offer(owner, home, ["mine"])
    assert names(host.queue.queue) == [name]
    deliver(host, host.queue.get_nowait())
    swap.leases.restored.offer(owner, home, ["mine"])
    assert rest(host.queue) == []


def test_f11_a_row_in_another_home_is_claimed_there(host: Host, home: Path) -> None:
    other = home / "profile"
    children = [Child("before"), Child("after")]
    found = [in_home(other, start, host, child) for child in children]
    end(host, found[0], children[0])
    gateway.install()
    end(host, found[1], children[1])
    for name in found:
        assert in_home(other, state, host, name) == "pending"
        assert state(host, name) is None
    # Taken and put back in the context of the process, as its loops do.
    event = host.queue.get_nowait()
    host.queue.put(event)
    for event in take(host.queue, 2):
        if event["delegation_id"] == found[1]:
            deliver(host, event)
    assert in_home(other, state, host, found[1]) == "delivered"


# Off.


def test_what_waits_at_an_uninstall_gets_a_row_of_the_gateways(host: Host) -> None:
    gateway.install()
    found = [run(host, "one"), run(host, "two", key="b")]
    running = row(host, found[0])
    assert running is None
    report = gateway.uninstall()
    assert report.moved_events == 2
    assert names(host.queue.queue) == found
    written = row(host, found[1])
    assert written is not None
    assert written["origin_session"] == "b"
    assert written["state"] == "completed"
    told = durable(host, found[1])
    assert told["result"]["summary"] == "two"
    assert (told["delivery_state"], told["delivery_attempts"]) == ("pending", 0)
    for event in take(host.queue, 2):
        deliver(host, event)
    assert [state(host, name) for name in found] == ["delivered"] * 2
    assert [delivery(name) for name in found] == ["delivered"] * 2


def test_what_runs_at_an_uninstall_gets_its_row_as_it_ends(host: Host) -> None:
    gateway.install()
    child = Child()
    name = start(host, child)
    gateway.uninstall()
    assert state(host, name) is None
    end(host, name, child)
    assert state(host, name) == "pending"
    event = host.queue.get_nowait()
    deliver(host, event)
    assert state(host, name) == "delivered"
    assert rest(host.queue) == []


def test_what_was_claimed_before_an_uninstall_is_completed_or_released_after_it(host: Host) -> None:
    gateway.install()
    done, failed = run(host, "done"), run(host, "failed")
    events = take(host.queue, 2)
    tokens = [host.registry.claim_event_delivery(event, "a") for event in events]
    gateway.uninstall()
    assert host.queue.qsize() == 0
    assert host.registry.claim_event_delivery(events[0], "b") is None
    host.registry.complete_event_delivery(events[0], tokens[0])
    host.registry.release_event_delivery(events[1], tokens[1])
    assert (state(host, done), state(host, failed)) == ("delivered", "pending")
    host.queue.put(events[1])
    deliver(host, host.queue.get_nowait())
    assert state(host, failed) == "delivered"


def test_what_was_taken_at_an_uninstall_is_its_consumers_or_the_next_ones(host: Host) -> None:
    gateway.install()
    name = run(host)
    event = host.queue.get_nowait()
    gateway.uninstall()
    assert names(host.queue.queue) == [name]
    deliver(host, dict(event))
    assert host.registry.claim_event_delivery(host.queue.get_nowait(), "b") is None
    assert state(host, name) == "delivered"


def test_f8_many_that_wait_all_get_a_row(host: Host) -> None:
    gateway.install()
    found = [run(host, str(number)) for number in range(60)]
    gateway.uninstall()
    assert names(host.queue.queue) == found
    assert [state(host, name) for name in found] == ["pending"] * 60


def test_what_cannot_be_written_goes_to_the_gateways_queue(
    host: Host, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.install()
    name = run(host)
    (home / "state.db").mkdir()  # no file that could be written
    gateway.uninstall()
    assert names(host.queue.queue) == [name]
    assert f"not in the gateway's own ledger: {name}" in caplog.text


def test_it_is_written_in_the_home_of_its_delegation(host: Host, home: Path) -> None:
    other = home / "profile"
    gateway.install()
    child = Child()
    name = in_home(other, start, host, child)
    end(host, name, child)
    gateway.uninstall()
    assert state(host, name) is None
    assert in_home(other, state, host, name) == "pending"


# Off and on again.


def test_what_was_handed_back_stays_the_gateways(host: Host) -> None:
    gateway.install()
    waiting, claimed = run(host, "waiting"), run(host, "claimed")
    events = take(host.queue, 2)
    host.queue.put(events[0])
    token = host.registry.claim_event_delivery(events[1], "a")
    gateway.uninstall()
    gateway.install()
    assert names(host.queue.queue) == [waiting]
    assert [delivery(name) for name in (waiting, claimed)] == ["delivered"] * 2  # to the gateway
    listed = host.registry.list_async_delegations()
    assert {record["delegation_id"] for record in listed} == {waiting, claimed}
    event = host.queue.get_nowait()
    host.queue.put(dict(event))
    deliver(host, host.queue.get_nowait())
    host.queue.put(events[1])  # by whoever has a copy
    assert host.registry.claim_event_delivery(host.queue.get_nowait(), "b") is None
    host.registry.complete_event_delivery(events[1], token)
    assert [state(host, name) for name in (waiting, claimed)] == ["delivered"] * 2
    gateway.uninstall()
    assert host.registry.restore_undelivered_completions(queue.Queue()) == 0
    assert rest(host.queue) == []


def test_what_has_a_row_by_now_is_not_written_again(host: Host) -> None:
    """As whoever sweeps after an uninstall may meet the next install."""
    gateway.install()
    name = run(host)
    swap = queue_swap._swap
    assert swap is not None
    assert swap.leases is not None
    swap.leases.write()
    deliver(host, host.queue.get_nowait())
    assert state(host, name) == "delivered"
    gateway.uninstall()
    assert state(host, name) == "delivered"
    assert [host.registry.claim_event_delivery(event, "b") for event in rest(host.queue)] == []
    assert delivery(name) == "delivered"


def test_consumers_at_work_get_each_result_once_whatever_is_switched(host: Host) -> None:
    """Two consumers claim and complete, one delegates, and one switches on and off."""
    done: list[str] = []
    stop = threading.Event()
    started: list[str] = []

    def consume(number: int) -> None:
        while not stop.is_set():
            try:
                event = host.processes.process_registry.completion_queue.get(timeout=0.05)
            except queue.Empty:
                continue
            if number == 0 and len(done) % 3 == 0:
                host.processes.process_registry.completion_queue.put(dict(event))
                stop.wait(0.001)
                continue
            token = host.registry.claim_event_delivery(event, str(number))
            if token is None:
                continue
            if len(done) % 5 == 4:
                stop.wait(0.005)  # a switch comes between
            done.append(event["delegation_id"])
            host.registry.complete_event_delivery(event, token)

    def delegate() -> None:
        for number in range(40):
            child = Child(str(number))
            child.go.set()
            started.append(start(host, child))

    threads = [threading.Thread(target=consume, args=(number,)) for number in range(2)]
    threads.append(threading.Thread(target=delegate))
    for thread in threads:
        thread.start()
    for _ in range(6):
        gateway.install()
        stop.wait(0.1)
        gateway.uninstall()
        stop.wait(0.05)
    threads[2].join()
    until(lambda: len(set(done)) == 40, "each is delivered")
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(started)
    left: queue.Queue[Event] = queue.Queue()
    assert host.registry.restore_undelivered_completions(left) == 0, names(left.queue)
    gateway.install()
    assert host.registry.restore_undelivered_completions(left) == 0, names(left.queue)


def test_nothing_of_the_gateways_ledger_is_opened_but_by_its_functions() -> None:
    import hermes_core.gateway as package

    folder = Path(str(package.__file__)).parent
    for file in folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "import sqlite3" not in text, file
    assert "hermes_core" in sys.modules
