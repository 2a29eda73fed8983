"""Both registries at work: one cap, one list, one stop (F6, F22)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch, take, until

from hermes_core import gateway


@pytest.fixture
def children() -> Iterator[list[Child]]:
    """Children that are let go at the end, whatever the test did."""
    made = [Child(f"child {n}") for n in range(6)]
    yield made
    for child in made:
        child.go.set()


@pytest.fixture(autouse=True)
def refuse() -> Iterator[None]:
    """At capacity a refusal shows that the place is taken; nothing waits for it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HERMES_CORE_MAX_QUEUED", "0")
        yield


def running(host: Host) -> list[str]:
    records = host.registry.list_async_delegations()
    return [record["goal"] for record in records if record["status"] == "running"]


def test_the_cap_counts_the_pythons_after_install(host: Host, children: list[Child]) -> None:
    dispatch(host.registry.dispatch_async_delegation, children[0], cap=2)
    gateway.install()
    assert host.registry.active_count() == 1
    assert dispatch(host.registry.dispatch_async_delegation, children[1], 2)["status"] == (
        "dispatched"
    )
    assert host.registry.active_count() == 2
    assert running(host) == ["goal of child 0", "goal of child 1"]
    refused = dispatch(host.registry.dispatch_async_delegation, children[2], cap=2)
    assert refused["status"] == "rejected"
    assert "capacity" in refused["error"]
    children[0].go.set()
    assert take(host.queue, 1)[0]["summary"] == "child 0"
    assert host.registry.active_count() == 1
    again = dispatch(host.registry.dispatch_async_delegation, children[2], cap=2)
    assert again["status"] == "dispatched"
    children[1].go.set()
    children[2].go.set()
    assert {e["summary"] for e in take(host.queue, 2)} == {"child 1", "child 2"}
    listed = host.registry.list_async_delegations()
    assert sorted(record["goal"] for record in listed) == [f"goal of child {n}" for n in range(3)]


def test_the_cap_counts_ours_after_uninstall(host: Host, children: list[Child]) -> None:
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[0], cap=2)
    gateway.uninstall()
    assert host.registry.active_count() == 1
    assert running(host) == ["goal of child 0"]
    dispatch(host.registry.dispatch_async_delegation, children[1], cap=2)
    assert host.registry.active_count() == 2
    refused = dispatch(host.registry.dispatch_async_delegation, children[2], cap=2)
    assert refused["status"] == "rejected"
    children[0].go.set()
    assert take(host.queue, 1)[0]["summary"] == "child 0"
    assert host.registry.active_count() == 1
    assert dispatch(host.registry.dispatch_async_delegation, children[2], 2)["status"] == (
        "dispatched"
    )


def test_ours_ends_into_the_gateways_list_and_its_table_comes_back(
    host: Host, children: list[Child]
) -> None:
    plain = host.registry._records
    gateway.install()
    child = dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.uninstall()
    gateway.install()
    gateway.uninstall()
    assert host.registry._records is not plain
    children[0].go.set()
    take(host.queue, 1)
    until(lambda: host.registry._records is plain, "the gateway's own table")
    (record,) = host.registry.list_async_delegations()
    assert record["delegation_id"] == child["delegation_id"]
    assert record["status"] == "completed"
    assert record["completed_at"] is not None
    assert host.registry._records[child["delegation_id"]]["interrupt_fn"] is None


def test_reinstall_while_ours_run_counts_each_once(host: Host, children: list[Child]) -> None:
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.uninstall()
    dispatch(host.registry.dispatch_async_delegation, children[1])
    for _ in range(2):
        gateway.install()
        assert host.registry.active_count() == 2
        assert sorted(running(host)) == ["goal of child 0", "goal of child 1"]
        gateway.uninstall()
        assert host.registry.active_count() == 2
        assert sorted(running(host)) == ["goal of child 0", "goal of child 1"]
    gateway.install()
    children[0].go.set()
    children[1].go.set()
    assert {e["summary"] for e in take(host.queue, 2)} == {"child 0", "child 1"}
    assert host.registry.active_count() == 0
    gateway.uninstall()
    gateway.install()
    listed = host.registry.list_async_delegations()
    assert sorted(record["goal"] for record in listed) == ["goal of child 0", "goal of child 1"]


def test_interrupt_all_reaches_both_in_either_direction(host: Host, children: list[Child]) -> None:
    """F22: a stop leaves nobody running, and each still reports."""
    dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[1])
    assert host.registry.interrupt_all("/stop") == 2
    events = take(host.queue, 2)
    assert {e["status"] for e in events} == {"interrupted"}

    dispatch(host.registry.dispatch_async_delegation, children[2])
    gateway.uninstall()
    dispatch(host.registry.dispatch_async_delegation, children[3])
    assert host.registry.interrupt_all("/stop") == 2
    events = take(host.queue, 2)
    assert {e["summary"] for e in events} == {"child 2", "child 3"}
    assert {e["status"] for e in events} == {"interrupted"}


def test_an_interrupt_that_raises_stops_no_other(host: Host, children: list[Child]) -> None:
    def broken() -> None:
        raise RuntimeError("no")

    first = Child("first")
    first.interrupt = broken  # type: ignore[method-assign]
    dispatch(host.registry.dispatch_async_delegation, first)
    dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.install()
    assert host.registry.interrupt_all() == 1
    assert children[0].interrupted.is_set()
    first.go.set()
    assert {e["summary"] for e in take(host.queue, 2)} == {"first", "child 0"}


def test_a_late_caller_of_the_pythons_functions_sees_ours(
    host: Host, children: list[Child]
) -> None:
    """It imported the functions before the install, as `from tools… import …` does."""
    late_dispatch = host.registry.dispatch_async_delegation
    late_count = host.registry.active_count
    late_list = host.registry.list_async_delegations
    late_stop = host.registry.interrupt_all
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[0], cap=2)
    assert late_count() == 1
    assert dispatch(late_dispatch, children[1], cap=2)["status"] == "dispatched"
    assert dispatch(late_dispatch, children[2], cap=2)["status"] == "rejected"
    refused = dispatch(host.registry.dispatch_async_delegation, children[2], cap=2)
    assert refused["status"] == "rejected"
    assert host.registry.active_count() == late_count() == 2
    assert len(late_list()) == len(host.registry.list_async_delegations()) == 2
    assert late_stop() == 2
    assert {e["summary"] for e in take(host.queue, 2)} == {"child 0", "child 1"}


def test_a_late_caller_of_our_dispatch_reaches_the_gateway(
    host: Host, children: list[Child]
) -> None:
    gateway.install()
    late_dispatch = host.registry.dispatch_async_delegation
    dispatch(late_dispatch, children[0])
    gateway.uninstall()
    dispatch(late_dispatch, children[1], cap=5)
    assert host.registry.active_count() == 2
    children[0].go.set()
    children[1].go.set()
    assert {e["summary"] for e in take(host.queue, 2)} == {"child 0", "child 1"}
    until(lambda: host.registry.active_count() == 0, "both ended")


def test_whoever_still_calls_ours_after_an_uninstall_keeps_the_gateways_cap(
    host: Host, children: list[Child]
) -> None:
    gateway.install()
    early = host.registry.dispatch_async_delegation
    early_count = host.registry.active_count
    early_list = host.registry.list_async_delegations
    early_stop = host.registry.interrupt_all
    gateway.uninstall()
    assert dispatch(early, children[0], cap=2)["status"] == "dispatched"
    assert dispatch(host.registry.dispatch_async_delegation, children[1], 2)["status"] == (
        "dispatched"
    )
    assert dispatch(early, children[2], cap=2)["status"] == "rejected"
    assert host.registry.active_count() == early_count() == 2
    assert len(host.registry.list_async_delegations()) == len(early_list()) == 2
    assert early_stop() == 2
    assert {e["summary"] for e in take(host.queue, 2)} == {"child 0", "child 1"}
    gateway.install()
    dispatch(early, children[3])
    assert host.delegations._registry.active_count() == 1


def test_a_wrapper_that_stays_after_an_uninstall_reaches_the_gateway(
    host: Host, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another plugin put it around ours; nobody takes it off."""
    own = host.registry.dispatch_async_delegation
    gateway.install()
    ours = host.registry.dispatch_async_delegation
    with monkeypatch.context() as patch:
        patch.setattr(host.registry, "dispatch_async_delegation", lambda **kw: ours(**kw))
        gateway.uninstall()
        wrapper = host.registry.dispatch_async_delegation
        assert dispatch(wrapper, children[0], cap=1)["status"] == "dispatched"
        assert dispatch(wrapper, children[1], cap=1)["status"] == "rejected"
        assert host.registry.active_count() == 1
        assert host.registry.interrupt_all("/stop") == 1
        assert take(host.queue, 1)[0]["status"] == "interrupted"
    host.registry.dispatch_async_delegation = own


def just_before_ours_starts(
    host: Host, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Do something once, at the moment when ours has been counted and does not run yet."""
    start = host.delegations._registry.start

    def acting(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        act()
        return start(*args, **kwargs)

    monkeypatch.setattr(host.delegations._registry, "start", acting)


def test_an_early_importer_cannot_take_the_place_that_ours_is_taking(
    host: Host, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    early = host.registry.dispatch_async_delegation
    early_count = host.registry.active_count
    gateway.install()
    answers: list[str] = []

    def race() -> None:
        answers.append(dispatch(early, children[0], cap=1)["status"])
        assert early_count() == 1

    just_before_ours_starts(host, monkeypatch, race)
    ours = dispatch(host.registry.dispatch_async_delegation, children[1], cap=1)
    assert [ours["status"], *answers] == ["dispatched", "rejected"]
    assert early_count() == host.registry.active_count() == 1
    # What was refused keeps no place.
    refused = dispatch(host.registry.dispatch_async_delegation, children[2], cap=1)
    assert refused["status"] == "rejected"
    assert early_count() == 1
    children[1].go.set()
    take(host.queue, 1)
    assert early_count() == 0


def test_an_uninstall_while_ours_starts_leaves_it_counted(
    host: Host, children: list[Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = host.registry._records
    gateway.install()
    just_before_ours_starts(host, monkeypatch, gateway.uninstall)
    dispatch(host.registry.dispatch_async_delegation, children[0])
    assert host.registry.active_count() == 1
    assert running(host) == ["goal of child 0"]
    refused = dispatch(host.registry.dispatch_async_delegation, children[1], cap=1)
    assert refused["status"] == "rejected"
    children[0].go.set()
    take(host.queue, 1)
    until(lambda: host.registry._records is plain, "the gateway's own table")


def test_an_uninstall_while_ours_is_counted_sends_it_to_the_gateway(
    host: Host, children: list[Child]
) -> None:
    gateway.install()
    share = host.delegations._elsewhere
    ours = host.registry.dispatch_async_delegation

    class Late:
        def starting(self, job: object) -> Any:
            gateway.uninstall()
            return share.starting(job)

    host.delegations._elsewhere = Late()
    dispatch(ours, children[0])
    assert host.delegations._registry.active_count() == 0
    assert host.registry.active_count() == 1


def test_an_end_that_crosses_a_reinstall_hurts_nobody(host: Host, children: list[Child]) -> None:
    """Its worker has read whom to tell, and tells only after the next install."""
    late_count = host.registry.active_count
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.uninstall()
    told, go_on, through = threading.Event(), threading.Event(), threading.Event()
    tell = host.delegations._on_end

    def slow(*args: object) -> None:
        told.set()
        assert go_on.wait(WAIT)
        tell(*args)
        through.set()

    host.delegations._on_end = slow
    children[0].go.set()
    assert told.wait(WAIT)
    gateway.install()
    go_on.set()
    assert through.wait(WAIT), "the worker waits for a lock that it holds"
    # And the table is still the shared one: an early importer sees what runs here.
    dispatch(host.registry.dispatch_async_delegation, children[1])
    assert host.registry.active_count() == late_count() == 1
    goals = [record["goal"] for record in host.registry.list_async_delegations()]
    assert goals == ["goal of child 0", "goal of child 1"]


def test_two_racing_dispatches_at_cap_one_give_one(installed: Host, children: list[Child]) -> None:
    results: list[str] = []
    gate = threading.Barrier(4)

    def race(child: Child) -> None:
        gate.wait(WAIT)
        results.append(
            dispatch(installed.registry.dispatch_async_delegation, child, cap=1)["status"]
        )

    threads = [threading.Thread(target=race, args=(child,)) for child in children[:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(results) == ["dispatched", "rejected", "rejected", "rejected"]


def test_reset_for_tests_clears_both(host: Host, children: list[Child]) -> None:
    dispatch(host.registry.dispatch_async_delegation, children[0])
    gateway.install()
    dispatch(host.registry.dispatch_async_delegation, children[1])
    host.registry._reset_for_tests()
    assert host.registry.list_async_delegations() == []
    assert host.registry.active_count() == 0


def test_swaps_while_children_start_and_end_lose_nothing(host: Host) -> None:
    """F1, F6: 4 dispatchers, a cap that both registries keep, swaps all the time."""
    cap, each, workers = 3, 40, 4
    lock = threading.Lock()
    now = 0
    most = 0
    dispatched: list[str] = []

    def run() -> dict[str, object]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.001)
        with lock:
            now -= 1
        return {"status": "completed", "summary": "x"}

    def work() -> None:
        ended = 0
        while ended < each:
            result = host.registry.dispatch_async_delegation(
                goal="g",
                context=None,
                toolsets=None,
                role="leaf",
                model=None,
                session_key="",
                runner=run,
                max_async_children=cap,
            )
            if result["status"] == "dispatched":
                ended += 1
                with lock:
                    dispatched.append(result["delegation_id"])
            else:
                threading.Event().wait(0.001)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gateway.install()
        gateway.uninstall()
    events = take(host.queue, workers * each)
    assert sorted(e["delegation_id"] for e in events) == sorted(dispatched)
    assert {e["status"] for e in events} == {"completed"}
    until(lambda: host.registry.active_count() == 0, "all ended")
    assert most <= cap
