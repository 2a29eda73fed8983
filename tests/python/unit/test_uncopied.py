"""F40: what stands for something that the process holds is not copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc


def make(name: str, folder: Path) -> Any:
    """One of each that has no copies."""
    registry = hc.DelegationRegistry(ledger=folder / "l.db")
    box = registry.queue.mailbox(session_key="a")
    handle = registry.dispatch(goal="g", runner=dict, session_key="a")
    if name == "delivery":
        return box.get(timeout=30)
    return {
        "registry": registry,
        "queue": registry.queue,
        "mailbox": box,
        "ledger": registry.ledger,
        "ledger in memory": hc.Ledger(),
        "handle": handle,
    }[name]


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize(
    "name", ["registry", "queue", "mailbox", "ledger", "ledger in memory", "handle", "delivery"]
)
def test_f40_copies_are_refused_with_what_to_do(
    tmp_path: Path, name: str, way: Callable[[Any], Any]
) -> None:
    one = make(name, tmp_path)
    with pytest.raises(TypeError, match=f"a {type(one).__name__} cannot be copied or pickled: "):
        way(one)
    if way is not copy.copy:
        with pytest.raises(TypeError, match="cannot be copied or pickled: "):
            way([one])


def test_what_refuses_copies_goes_on() -> None:
    queue = hc.CompletionQueue[int]()
    with pytest.raises(TypeError, match="pass it on"):
        copy.copy(queue)
    queue.put(1)
    assert queue.get_nowait() == 1
