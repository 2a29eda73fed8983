"""What can be set of the core in a gateway: caps, attempts, leases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import hermes_core as hc
from hermes_core import async_delegation, gateway
from hermes_core.gateway import settings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "MAX_ATTEMPTS",
        "DELIVERY_SECONDS",
        "MAX_SUMMARY",
        "MAX_TOTAL",
        "MAX_QUEUED",
        "PERMITS",
    ):
        monkeypatch.delenv(f"HERMES_CORE_{name}", raising=False)
    monkeypatch.setenv("HERMES_CORE_DURABILITY", "memory")
    yield
    gateway.uninstall()


def test_all_are_switched_on() -> None:
    """F44: a result is tried a finite number of times, and comes back from whoever forgets it."""
    assert settings.terms() == {"lease": 3600.0, "max_attempts": 20}
    assert settings.bounds() == (32_000, 96_000)


def test_what_becomes_of_a_delegation_at_capacity(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.max_queued() == 64
    assert settings.permits(5, 3) == 1
    assert settings.at_capacity() == "up to 64 wait; a batch takes a place"
    monkeypatch.setenv("HERMES_CORE_MAX_QUEUED", "0")
    monkeypatch.setenv("HERMES_CORE_PERMITS", "child")
    assert [settings.permits(children, 3) for children in (1, 2, 5)] == [1, 2, 3]
    assert settings.at_capacity() == "none waits; a child takes a place"
    assert not caplog.text
    monkeypatch.setenv("HERMES_CORE_MAX_QUEUED", "some")
    monkeypatch.setenv("HERMES_CORE_PERMITS", "all")
    assert settings.at_capacity() == "up to 64 wait; a batch takes a place"
    assert "HERMES_CORE_MAX_QUEUED" in caplog.text
    assert "HERMES_CORE_PERMITS" in caplog.text


def test_all_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_CORE_MAX_ATTEMPTS", "3")
    monkeypatch.setenv("HERMES_CORE_DELIVERY_SECONDS", "0.5")
    monkeypatch.setenv("HERMES_CORE_MAX_SUMMARY", " NONE ")
    monkeypatch.setenv("HERMES_CORE_MAX_TOTAL", "7")
    assert settings.terms() == {"lease": 0.5, "max_attempts": 3}
    assert settings.bounds() == (None, 7)
    monkeypatch.setenv("HERMES_CORE_MAX_ATTEMPTS", "none")
    assert settings.terms()["max_attempts"] is None


@pytest.mark.parametrize("value", ["many", "0", "-1", "1e9", "9999999999", "nan"])
@pytest.mark.parametrize("name", ["MAX_ATTEMPTS", "MAX_SUMMARY", "MAX_TOTAL"])
def test_what_is_no_number_is_said_and_the_default_stands(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(f"HERMES_CORE_{name}", value)
    assert settings.terms()["max_attempts"] == 20
    assert settings.bounds() == (32_000, 96_000)
    assert f"HERMES_CORE_{name}" in caplog.text


def test_a_summary_is_cut_in_the_conversation_and_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As long as the core is installed; a registry of one's own has what it is given."""
    monkeypatch.setenv("HERMES_CORE_MAX_SUMMARY", "1000")
    gateway.install()
    task: dict[str, Any] = {
        "goal": "g",
        "context": None,
        "toolsets": None,
        "role": "leaf",
        "model": "m",
    }
    answer = async_delegation.dispatch_async_delegation(
        **task, session_key="k", runner=lambda: {"summary": "word " * 1000}
    )
    event = async_delegation.completion_queue.get(timeout=60)
    assert "4,000 of 5,000 characters are cut here" in event["summary"]
    kept = async_delegation._registry.event(answer["delegation_id"])
    assert kept is not None
    assert kept["summary"] == "word " * 1000
    gateway.uninstall()
    assert async_delegation._registry.max_summary is None


def test_a_consumer_that_fails_for_good_leaves_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F44: on the terms of a front end's mailbox."""
    monkeypatch.setenv("HERMES_CORE_MAX_ATTEMPTS", "2")
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    queue.put({"type": "async_delegation", "session_key": "k"})
    with queue.mailbox(session_key="k", **settings.terms()) as box:
        for _ in range(2):
            box.get(timeout=60).nack()
    assert len(queue.dead_letters()) == 1
