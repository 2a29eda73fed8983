"""What the unit tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import hermes_core as hc
from hermes_core import async_delegation


@pytest.fixture
def core() -> Iterator[Any]:
    """``hermes_core.async_delegation``, empty before and after."""

    def empty() -> None:
        async_delegation._reset_for_tests()
        while not async_delegation.completion_queue.empty():
            async_delegation.completion_queue.get_nowait()

    empty()
    yield async_delegation
    empty()


@pytest.fixture
def dispatch(core: Any) -> Callable[..., dict[str, Any]]:
    """``dispatch_async_delegation`` with a task filled in."""

    def call(runner: Any = dict, **more: Any) -> dict[str, Any]:
        task = {
            "goal": "Read the logs",
            "context": "They are in /var/log",
            "toolsets": ["terminal"],
            "role": "leaf",
            "model": "model-1",
            "session_key": "agent:main:telegram:dm:7",
        }
        answer: dict[str, Any] = core.dispatch_async_delegation(
            **{**task, "runner": runner, **more}
        )
        return answer

    return call


@pytest.fixture
def registry() -> hc.DelegationRegistry:
    """A registry of its own, with a queue of its own."""
    return hc.DelegationRegistry(capacity=3)
