"""What a registry does with any ledger: keys, dead letters, live work, caps, redaction."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

import hermes_core as hc

Make = Callable[..., hc.DelegationRegistry]


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a registry, with each kind of ledger."""
    ledger: Any = "memory" if request.param == "memory" else tmp_path / "delegations.db"

    def call(**more: Any) -> hc.DelegationRegistry:
        return hc.DelegationRegistry(ledger=ledger, **more)

    return call


def run(registry: hc.DelegationRegistry, summary: str = "done", **more: Any) -> hc.DelegationHandle:
    """Dispatch, and wait for the end."""
    task = {"goal": "a task", "session_key": "a", "runner": lambda: {"summary": summary}, **more}
    handle = registry.dispatch(**task)
    handle.result(30)
    return handle


def test_a_delegation_runs_to_its_delivery(make: Make) -> None:
    registry = make()
    handle = run(registry)
    assert registry.live_work()["undelivered"] == 1
    with registry.queue.mailbox(session_key="a").get(timeout=30) as delivery:
        assert delivery.event["summary"] == "done"
    (record,) = registry.list()
    assert (record["state"], record["delivery"]) == ("completed", "delivered")
    event = registry.event(handle.id)
    assert event is not None
    assert event["summary"] == "done"
    assert registry.event("deleg_unknown") is None
    stats = registry.stats()["ledger"]
    assert stats["failed"] == 0
    assert stats["state"] == "ok"


def test_f31_live_work_is_what_is_not_done(make: Make) -> None:
    """F31: the truth table; of one owner, or of all."""
    registry = make()
    go = threading.Event()
    registry.dispatch(goal="a", session_key="a", runner=lambda: {"ok": go.wait(30)})
    run(registry, session_key="b")
    nothing = {"queued": 0, "running": 0, "finalizing": 0, "undelivered": 0}
    assert registry.live_work() == {**nothing, "running": 1, "undelivered": 1}
    assert registry.live_work(session_key="a") == {**nothing, "running": 1}
    assert registry.live_work(session_key="b") == {**nothing, "undelivered": 1}
    assert registry.live_work(session_key="c") == nothing
    registry.queue.get(timeout=30)
    go.set()
    registry.queue.get(timeout=30)
    assert registry.live_work() == nothing


def test_f32_the_same_key_of_the_same_owner_runs_once(make: Make) -> None:
    """F32: while it runs, after its end, and after its delivery; another owner's is another."""
    registry = make()
    first = run(registry, "first", idempotency_key="k")
    assert run(registry, "second", idempotency_key="k").id == first.id
    assert registry.queue.get(timeout=30)["summary"] == "first"
    again = run(registry, "third", idempotency_key="k")
    assert (again.id, again.result(30)["summary"]) == (first.id, "first")
    for number in range(60):
        run(registry, idempotency_key=f"k{number}")
        registry.queue.get(timeout=30)
    assert registry.get(first.id) is None, "it is not kept in memory any more"
    later = registry.dispatch(goal="a", session_key="a", runner=dict, idempotency_key="k")
    # The file keeps the key; without one it goes with the record.
    assert (later.id == first.id) is registry.ledger.keeps_texts
    other = run(registry, "other", session_key="b", idempotency_key="k")
    assert other.id != first.id
    assert registry.stats()["dispatched"] == (62 if registry.ledger.keeps_texts else 63)


def test_f10_an_event_is_a_dead_letter_after_its_attempts(make: Make) -> None:
    """F10: a defer is no attempt; redelivered, it begins anew; dropped, it is gone and listed."""
    registry = make()
    handle = run(registry)
    box = registry.queue.mailbox(session_key="a", max_attempts=2)
    for _ in range(100):
        box.get(timeout=30).defer()
    for attempt in (1, 2):
        delivery = box.get(timeout=30)
        assert delivery.attempt == attempt
        delivery.nack()
    with pytest.raises(Empty):
        box.get_nowait()
    (letter,) = registry.queue.dead_letters()
    assert letter["summary"] == "done"
    (record,) = registry.dead_letters()
    assert (record["delegation_id"], record["delivery"]) == (handle.id, "dead")
    assert registry.live_work()["undelivered"] == 0
    assert registry.redeliver(handle.id)
    assert not registry.redeliver(handle.id), "it waits already"
    assert registry.queue.dead_letters() == registry.dead_letters() == []
    delivery = box.get(timeout=30)
    assert (delivery.attempt, delivery.event["summary"]) == (1, "done")
    delivery.nack()
    box.get(timeout=30).nack()
    assert registry.drop(handle.id)
    assert not registry.drop(handle.id)
    assert registry.queue.dead_letters() == registry.dead_letters() == []
    shown = registry.get(handle.id)
    assert shown is not None
    assert shown["delivery"] == "dropped"


def test_what_waits_or_was_delivered_can_be_dropped_or_had_again(make: Make) -> None:
    registry = make()
    first, second = run(registry, "one"), run(registry, "two")
    assert registry.drop(first.id)
    assert registry.queue.get(timeout=30)["summary"] == "two"
    assert not registry.drop(second.id)
    for handle, summary in ((first, "one"), (second, "two")):
        assert registry.redeliver(handle.id)
        assert registry.queue.get(timeout=30)["summary"] == summary
    assert not registry.redeliver("deleg_unknown")
    assert not registry.drop("deleg_unknown")


def test_what_is_parked_can_be_had_again(make: Make) -> None:
    registry = make()
    handle = run(registry)
    registry.queue.new_epoch("a")
    assert len(registry.queue.parked()) == 1
    assert registry.redeliver(handle.id)
    assert registry.queue.parked() == []
    assert registry.queue.get(timeout=30)["summary"] == "done"


def test_f24_summaries_are_cut_for_the_conversation_and_kept_whole(make: Make) -> None:
    """F24."""
    registry = make(max_summary=10)
    handle = run(registry, "x" * 1000)
    event = registry.queue.get(timeout=30)
    assert event["summary"].startswith("x" * 10 + "\n")
    assert handle.id in event["summary"]
    whole = registry.event(handle.id)
    assert whole is not None
    assert whole["summary"] == "x" * 1000
    assert handle.result(30)["summary"] == "x" * 1000


def test_f34_the_hook_sees_every_text_and_a_broken_one_lets_none_through(make: Make) -> None:
    """F34."""

    def broken(text: str) -> str:
        raise ValueError(text)

    for redact in (lambda text: text.replace("CANARY", "-"), broken):
        registry = make(redact=redact)
        handle = run(registry, "CANARY", goal="CANARY", context="CANARY", toolsets=["CANARY"])
        event = registry.queue.get(timeout=30)
        assert "CANARY" not in repr([event, registry.list(), registry.event(handle.id)])
        assert (event["session_key"], event["delegation_id"]) == ("a", handle.id)
        text = hc.format_process_notification(event)
        assert text is not None
        assert "CANARY" not in text


def test_f34_the_hook_at_the_dispatch_is_the_one_at_the_end(make: Make) -> None:
    """F34: a host that takes its hook away does not lay open what is under way."""
    registry = make(redact=lambda text: text.replace("CANARY", "-"))
    go = threading.Event()

    def runner() -> dict[str, Any]:
        go.wait(30)
        return {"summary": "CANARY"}

    handle = registry.dispatch(goal="a task", session_key="a", runner=runner)
    registry.redact = None
    go.set()
    handle.result(30)
    assert registry.queue.get(timeout=30)["summary"] == "-"


def test_values_that_json_cannot_carry_are_delivered_as_they_are(make: Make) -> None:
    registry = make()
    thing = object()
    registry.dispatch(
        goal="a \udcff task", session_key="a", runner=lambda: {"summary": "s", "error": {1, thing}}
    ).result(30)
    event = registry.queue.get(timeout=30)
    assert thing in event["error"]
    assert event["goal"] == "a \udcff task"


@pytest.mark.parametrize(
    "wrong",
    [
        {"durability": "some"},
        {"lease": -1.0},
        {"lease": 0.0},
        {"keep_seconds": -1.0},
    ],
)
def test_a_ledger_says_what_is_wrong_with_its_terms(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        hc.Ledger("delegations.db", **wrong)


@pytest.mark.parametrize("name", ["max_summary", "max_total"])
def test_a_bound_is_no_less_than_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        hc.DelegationRegistry(**{name: -1})


def test_a_mailbox_tries_at_least_once() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        hc.CompletionQueue[Any]().mailbox(session_key="a", max_attempts=0)


def test_a_ledger_without_a_file_shows_what_its_registries_keep() -> None:
    ledger = hc.Ledger()
    registry = hc.DelegationRegistry(ledger=ledger)
    other = hc.DelegationRegistry(ledger=ledger)
    go = threading.Event()
    first = registry.dispatch(goal="a", session_key="a", runner=lambda: {"ok": go.wait(30)})
    second = run(other, "done", session_key="b", idempotency_key="k")
    assert not hc.Ledger().rows()
    assert [row["delegation_id"] for row in ledger.rows()] == [first.id, second.id]
    assert [row["delegation_id"] for row in ledger.rows(1)] == [second.id]
    assert [row["delegation_id"] for row in ledger.running()] == [first.id]
    row = ledger.get(second.id)
    assert row is not None
    assert (row["state"], row["delivery"], row["holder"]) == ("completed", "pending", "us")
    assert (row["session_key"], row["idempotency_key"]) == ("b", "k")
    assert (row["record"]["goal"], row["event"]["summary"]) == (row["event"]["goal"], "done")
    assert ledger.get("deleg_unknown") is None
    assert ledger.elsewhere() == ledger.dead_letters() == []
    assert ledger.cancel(first.id)
    assert not ledger.cancel(second.id)
    assert ledger.drop(second.id)
    dropped = ledger.get(second.id)
    assert dropped is not None
    assert (dropped["delivery"], dropped["holder"]) == ("dropped", "nobody")
    assert ledger.redeliver(second.id)
    assert other.queue.get(timeout=30)["summary"] == "done"
    assert not ledger.redeliver("deleg_unknown")
    assert ledger.health()["state"] == "ok"
    assert ledger.flush()
    go.set()
    registry.queue.get(timeout=30)


def test_a_dead_letter_without_a_file() -> None:
    registry = hc.DelegationRegistry()
    handle = run(registry)
    registry.queue.mailbox(session_key="a", max_attempts=1).get(timeout=30).nack()
    assert [row["delegation_id"] for row in registry.ledger.dead_letters()] == [handle.id]
    assert registry.ledger.redeliver(handle.id)
    assert registry.ledger.dead_letters() == []
    assert registry.queue.get(timeout=30)["delegation_id"] == handle.id


def test_what_retention_let_go_cannot_be_had_again_without_a_file() -> None:
    """It is said to be gone: neither lost nor an empty event comes."""
    registry = hc.DelegationRegistry()
    first = run(registry, "first")
    assert registry.queue.get(timeout=30)["summary"] == "first"
    assert registry.redeliver(first.id)
    assert registry.queue.get(timeout=30)["summary"] == "first"
    for _ in range(60):
        run(registry)
        registry.queue.get(timeout=30)
    assert registry.get(first.id) is None
    assert not registry.redeliver(first.id)
    assert not registry.ledger.redeliver(first.id)
    assert registry.ledger.get(first.id) is None
    assert registry.queue.empty()
    assert registry.live_work()["undelivered"] == 0
