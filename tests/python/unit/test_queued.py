"""Waiting for capacity: ``dispatch(on_capacity="queue")`` and ``permits``."""

from __future__ import annotations

import asyncio
import contextvars
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc


class Gate:
    """Runners that wait to be let go, and note that they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self._go: dict[str, threading.Event] = {}
        self._begun: dict[str, threading.Event] = {}

    def runner(self, name: str) -> Callable[[], dict[str, Any]]:
        go, begun = threading.Event(), threading.Event()
        self._go[name], self._begun[name] = go, begun

        def run() -> dict[str, Any]:
            self.began.append(name)
            begun.set()
            assert go.wait(30)
            return {"summary": name}

        return run

    def wait_for(self, name: str) -> None:
        assert self._begun[name].wait(30)

    def let_go(self, name: str) -> None:
        self._go[name].set()

    def let_all_go(self) -> None:
        for go in self._go.values():
            go.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.let_all_go()


@pytest.fixture(params=["memory", "file"])
def one_place(request: pytest.FixtureRequest, tmp_path: Path) -> hc.DelegationRegistry:
    """A registry where one may run, with and without a ledger in a file."""
    ledger = "memory" if request.param == "memory" else str(tmp_path / "delegations.db")
    return hc.DelegationRegistry(capacity=1, ledger=ledger)


def dispatch(
    registry: hc.DelegationRegistry, gate: Gate, name: str, key: str = "a", **more: Any
) -> hc.DelegationHandle:
    more.setdefault("on_capacity", "queue")
    return registry.dispatch(goal=name, runner=gate.runner(name), session_key=key, **more)


def test_f6_what_does_not_fit_waits_and_runs_when_there_is_room(
    one_place: hc.DelegationRegistry, gate: Gate
) -> None:
    """F6, F51: saturated, nothing is refused and nothing runs beside the capacity."""
    registry = one_place
    handles = [dispatch(registry, gate, name) for name in "abc"]
    gate.wait_for("a")
    assert [handle.state for handle in handles] == ["running", "queued", "queued"]
    assert [handle.position for handle in handles] == [None, 1, 2]
    assert repr(handles[1]) == f"<DelegationHandle {handles[1].id} queued>"
    shown = [(r["status"], r["state"], r.get("position")) for r in registry.list()]
    assert shown == [
        ("running", "running", None),
        ("queued", "queued", 1),
        ("queued", "queued", 2),
    ]
    assert registry.live_work() == {"queued": 2, "running": 1, "finalizing": 0, "undelivered": 0}
    assert (registry.stats()["queued"], registry.active_count()) == (2, 1)
    with pytest.raises(TimeoutError, match="still waits for capacity"):
        handles[2].result(timeout=0.001)
    for name in "abc":
        gate.wait_for(name)
        gate.let_go(name)
    assert [handle.result(30) for handle in handles] == [{"summary": name} for name in "abc"]
    assert gate.began == ["a", "b", "c"]
    assert [registry.queue.get(timeout=30)["goal"] for _ in "abc"] == ["a", "b", "c"]
    assert registry.live_work() == {"queued": 0, "running": 0, "finalizing": 0, "undelivered": 0}


def test_one_at_a_time_however_many_wait(one_place: hc.DelegationRegistry) -> None:
    """F6, F7: the capacity holds while places are handed on."""
    lock, inside, most = threading.Lock(), 0, 0

    def run() -> dict[str, Any]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        return {}

    handles = [
        one_place.dispatch(goal="x", runner=run, session_key=str(n % 3), on_capacity="queue")
        for n in range(40)
    ]
    assert [handle.result(30) for handle in handles] == [{}] * 40
    assert (most, one_place.stats()["queued"], one_place.active_count()) == (1, 0, 0)


def test_owners_take_turns(one_place: hc.DelegationRegistry, gate: Gate) -> None:
    """A session that asks for much keeps no other waiting; each one's own order is kept."""
    names = [("x", "busy"), ("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"), ("c1", "c")]
    names += [("b2", "b")]
    handles = {name: dispatch(one_place, gate, name, key) for name, key in names}
    turns = ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert sorted(turns, key=lambda name: handles[name].position or 0) == turns
    gate.let_all_go()
    for handle in handles.values():
        handle.result(30)
    assert gate.began == ["x", *turns]


def test_a_full_line_refuses_and_says_so(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=1, max_queued=2)
    for name in "abc":
        dispatch(registry, gate, name)
    message = "1 delegations run and 1 may, and 2 wait; wait for one to end, or raise the limit"
    with pytest.raises(hc.AtCapacity) as refused:
        dispatch(registry, gate, "d")
    assert str(refused.value) == message
    error = refused.value
    assert (error.limit, error.running, error.queued) == (1, 1, 2)
    assert str(pickle.loads(pickle.dumps(error))) == message
    assert registry.stats()["refused"] == 1


def test_who_does_not_wait_does_not_pass_those_who_do(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=2)
    dispatch(registry, gate, "a")
    wide = dispatch(registry, gate, "wide", permits=2)
    with pytest.raises(hc.AtCapacity, match="1 delegations run and 2 may, and 1 wait"):
        dispatch(registry, gate, "b", on_capacity="reject")
    small = dispatch(registry, gate, "small", "other")
    assert (wide.position, small.position) == (1, 2)
    gate.let_go("a")
    gate.wait_for("wide")
    assert small.state == "queued", "there are no more than two places"
    gate.let_go("wide")
    gate.wait_for("small")


def test_f7_a_batch_takes_a_permit_for_each_child(gate: Gate) -> None:
    """F7: two batches of two, and places for three."""
    registry = hc.DelegationRegistry(capacity=3)
    first = dispatch(registry, gate, "first", permits=2)
    second = dispatch(registry, gate, "second", permits=2)
    assert (first.state, second.state, registry.active_count()) == ("running", "queued", 1)
    with pytest.raises(hc.TooManyPermits) as refused:
        dispatch(registry, gate, "third", permits=4)
    assert (refused.value.permits, refused.value.limit) == (4, 3)
    assert str(pickle.loads(pickle.dumps(refused.value))) == (
        "4 permits are asked for and there are 3; ask for fewer, or raise the limit"
    )
    registry.capacity = 1
    gate.let_go("first")
    # With fewer places than it asked for it runs alone.
    gate.wait_for("second")
    assert registry.active_count() == 1


def test_more_places_are_given_at_once(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=0)
    handles = [dispatch(registry, gate, name) for name in "abc"]
    assert [handle.state for handle in handles] == ["queued"] * 3
    registry.capacity = 2
    gate.wait_for("a")
    gate.wait_for("b")
    assert handles[2].position == 1


def test_cancel_ends_what_waits_at_once(one_place: hc.DelegationRegistry, gate: Gate) -> None:
    """F33: it never runs, and its event says so."""
    registry = one_place
    dispatch(registry, gate, "a")
    stopped: list[str] = []
    waiting = dispatch(registry, gate, "b", interrupt_fn=lambda: stopped.append("b"))
    behind = dispatch(registry, gate, "c")
    assert behind.position == 2
    assert waiting.cancel("not wanted any more")
    assert (waiting.state, waiting.position, behind.position) == ("interrupted", None, 1)
    result = waiting.result(30)
    error = "it never began: not wanted any more"
    assert (result["status"], result["error"]) == ("interrupted", error)
    assert (result["summary"], result["duration_seconds"]) == (None, 0.0)
    event = registry.queue.get(timeout=30)
    assert (event["goal"], event["status"], event["error"]) == ("b", "interrupted", error)
    assert "it never began" in (hc.format_process_notification(event) or "")
    assert not waiting.cancel()
    gate.let_all_go()
    behind.result(30)
    assert (gate.began, stopped) == (["a", "c"], [])
    row = registry.ledger.get(waiting.id)
    assert row is not None
    assert row["state"] == "interrupted"


def test_cancel_by_owner_and_for_all(one_place: hc.DelegationRegistry, gate: Gate) -> None:
    registry = one_place
    running = dispatch(registry, gate, "a")
    waiting = [dispatch(registry, gate, f"{key}{n}", key) for key in "xy" for n in range(2)]
    assert registry.cancel(waiting[0].id, session_key="other") == 0
    assert registry.cancel(session_key="x") == 2
    assert [handle.state for handle in waiting] == ["interrupted"] * 2 + ["queued"] * 2
    # The running one has no way to be asked; none of the others gets its place.
    assert registry.interrupt_all("shutdown") == 2
    assert [handle.result(30)["error"] for handle in waiting[2:]] == [
        "it never began: shutdown"
    ] * 2
    assert running.state == "running"
    assert gate.began == ["a"]


def test_whoever_ends_gives_its_place_to_the_next(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=2)
    held = dispatch(registry, gate, "a")
    other = dispatch(registry, gate, "b")
    waiting = dispatch(registry, gate, "c")
    gate.let_go("a")
    gate.wait_for("c")
    assert (held.result(30), other.state, waiting.state) == ({"summary": "a"}, "running", "running")


def test_what_waits_runs_in_its_own_context_and_once_by_key(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=1)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    dispatch(registry, gate, "a")
    variable.set("mine")
    seen: list[str] = []

    def run() -> None:
        seen.append(variable.get())

    def again() -> hc.DelegationHandle:
        return registry.dispatch(
            goal="b", runner=run, session_key="a", idempotency_key="k", on_capacity="queue"
        )

    first, second = again(), again()
    variable.set("another")
    assert (first.id, first.state) == (second.id, "queued")
    gate.let_go("a")
    first.result(30)
    assert seen == ["mine"]


@pytest.mark.parametrize("on_capacity", ["wait", "", None])
def test_wrong_ways_to_wait(on_capacity: Any) -> None:
    registry = hc.DelegationRegistry()
    with pytest.raises(ValueError, match="on_capacity must be 'reject' or 'queue'"):
        registry.dispatch(goal="x", runner=dict, on_capacity=on_capacity)
    with pytest.raises(ValueError, match="permits must be at least 1"):
        registry.dispatch(goal="x", runner=dict, permits=0)


def test_the_row_of_what_waits_says_that_it_has_not_begun(tmp_path: Path, gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=1, ledger=str(tmp_path / "delegations.db"))
    ledger = registry.ledger
    dispatch(registry, gate, "a")
    waiting = dispatch(registry, gate, "b")

    def row() -> tuple[str, bool]:
        row = ledger.get(waiting.id)
        assert row is not None
        return row["state"], row["has_begun"]

    assert row() == ("queued", False)
    assert [row["state"] for row in ledger.running()] == ["running", "queued"]
    gate.let_go("a")
    gate.wait_for("b")
    assert row() == ("running", True)
    gate.let_go("b")
    waiting.result(30)
    assert row() == ("completed", True)


def test_one_that_waits_can_be_cancelled_through_the_ledger(tmp_path: Path, gate: Gate) -> None:
    path = str(tmp_path / "delegations.db")
    registry = hc.DelegationRegistry(capacity=1, ledger=hc.Ledger(path, lease=0.3))
    dispatch(registry, gate, "a")
    waiting = dispatch(registry, gate, "b")
    assert hc.Ledger(path).cancel(waiting.id)
    assert waiting.result(30)["error"] == "it never began: cancelled by hand"


def test_coroutines_wait_and_run_on_the_loop_where_they_were_dispatched(
    one_place: hc.DelegationRegistry,
) -> None:
    registry = one_place

    async def main() -> None:
        loop, go, began = asyncio.get_running_loop(), asyncio.Event(), []

        def runner(name: str) -> Callable[[], Any]:
            async def run() -> dict[str, Any]:
                assert asyncio.get_running_loop() is loop
                began.append(name)
                await go.wait()
                return {"summary": name}

            return run

        async def start(name: str) -> hc.DelegationHandle:
            return await registry.adispatch(
                goal=name, runner=runner(name), session_key="a", on_capacity="queue"
            )

        first, second, third = [await start(name) for name in "abc"]
        direct = registry.dispatch(
            goal="d", runner=runner("d"), session_key="b", on_capacity="queue"
        )
        assert (second.state, third.state, direct.state) == ("queued",) * 3
        with pytest.raises(RuntimeError, match="runs on the event loop of this thread"):
            second.result(30)
        assert third.cancel()
        assert (await third)["error"] == "it never began: cancelled"
        go.set()
        results = [await handle for handle in (first, second, direct)]
        assert [result["summary"] for result in results] == ["a", "b", "d"]
        assert began in (["a", "b", "d"], ["a", "d", "b"])

    asyncio.run(main())
    assert (registry.active_count(), registry.stats()["queued"]) == (0, 0)


def test_one_that_waits_for_a_loop_that_is_closed_ends(gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=1)
    dispatch(registry, gate, "a")

    async def main() -> hc.DelegationHandle:
        async def run() -> None:
            raise AssertionError

        return await registry.adispatch(goal="b", runner=run, on_capacity="queue")

    waiting = asyncio.run(main())
    gate.let_go("a")
    result = waiting.result(30)
    assert result["error"] == "RuntimeError: its event loop was closed before it began"
    assert registry.active_count() == 0


def test_where_a_loop_runs_a_dispatch_waits_for_no_disk(tmp_path: Path, gate: Gate) -> None:
    registry = hc.DelegationRegistry(capacity=1, ledger=str(tmp_path / "delegations.db"))

    async def main() -> list[hc.DelegationHandle]:
        return [dispatch(registry, gate, name) for name in "abc"]

    handles = asyncio.run(main())
    gate.let_all_go()
    assert [handle.result(30)["summary"] for handle in handles] == ["a", "b", "c"]


def test_clear_forgets_what_waits(one_place: hc.DelegationRegistry, gate: Gate) -> None:
    dispatch(one_place, gate, "a")
    waiting = dispatch(one_place, gate, "b")
    one_place.clear()
    with pytest.raises(LookupError, match="was forgotten before it ended"):
        waiting.result(30)
    gate.let_all_go()
    assert gate.began in (["a"], [])
