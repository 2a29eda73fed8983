"""What the cases of the surface share: the objects that they pass, and where they are listed."""

from __future__ import annotations

import queue as stdlib_queue
from collections.abc import Callable
from typing import Any

import hermes_core as hc
from hermes_core import _core


class Thing:
    """Something of no built-in type, hashed by identity."""


class Tracked:
    """The objects that the cases pass: made at run time, so none is interned or immortal."""

    def __init__(self) -> None:
        def text(*words: str) -> str:
            return " ".join(words)

        self.key, self.kind = text("session", "key"), text("watch", "match")
        self.wide, self.lone = text("k\u20ac", "wide"), text("\udc80", "surrogate")
        self.id, self.empty_id = text("deleg", "1"), text("deleg", "2")
        self.ui, self.parent = text("ui", "session"), text("parent", "session")
        self.ended = text("comp", "leted").replace(" ", "")
        self.thing, self.other = Thing(), Thing()
        self.event = {"type": self.kind, "session_key": self.key, "thing": self.thing}
        self.nobodys = {"type": self.kind}
        self.wide_event = {"type": self.wide, "session_key": self.lone, "delegation_id": self.id}
        self.end = {
            "type": "".join(["async_", "delegation"]),
            "delegation_id": self.id,
            "session_key": self.key,
            "summary": text("done", "x" * 3000, "\u2014"),
            "goal": self.thing,
            "results": [{"summary": self.wide, "error": self.thing}],
        }
        self.kinds = [self.kind, self.wide]
        self.bad_kinds = [self.kind, self.thing]
        self.kind_set = frozenset(self.kinds)
        self.owner = (self.key, self.ui, self.parent)
        self.bad_owner = (self.key, self.ui, self.thing)
        self.soon, self.bad_timeout = float("1e-9"), float("-1.5")
        self.number = int("1000000007")
        self.hand: list[Any] = []
        self.runner: Callable[[], Any] = lambda: {"summary": self.thing}
        self.raising: Callable[[], Any] = lambda: self.thing.nothing  # type: ignore[attr-defined]
        self.interrupt_fn: Callable[[], Any] = lambda: None
        self.queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.full: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
        self.full.put(0)
        self.shut: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.shut.shutdown()
        self.registry = hc.DelegationRegistry(self.queue, capacity=4)
        self.none = hc.DelegationRegistry(self.queue, capacity=0)
        self.core: _core.Registry[Any] = _core.Registry(self.queue, 2)
        self.handoff: _core.Handoff[Any] = _core.Handoff()
        self.waker = _core.LoopWaker()

    def objects(self) -> dict[str, object]:
        """Everything whose references are counted: these objects, and what all calls share."""
        shared = [None, True, False, hc.ShutDown, stdlib_queue.Empty, stdlib_queue.Full]
        shared += [TypeError, ValueError, hc.CompletionQueue, _core.CompletionQueue, dict, str]
        shared += [_core.Registry, _core.Handoff, _core.Printed, "type", "session_key", ""]
        shared += [_core.LoopWaker, _core.Waiter, _core.Mailbox, _core.Collector, _core.Room]
        shared += [hc.Mailbox, hc.Delivery, hc.Batch]
        named = {name: value for name, value in vars(self).items() if name != "end"}
        named |= {f"end[{name}]": value for name, value in self.end.items()}
        return named | {"end": self.end} | {repr(one): one for one in shared}


Case = Callable[[Tracked], object]
CASES: dict[str, list[Case]] = {}


def case(*names: str) -> Callable[[Case], Case]:
    """Make the function below a case of what ``names`` name."""

    def register(function: Case) -> Case:
        for name in names:
            CASES.setdefault(name, []).append(function)
        return function

    return register


def refused(
    error: type[BaseException] | tuple[type[BaseException], ...],
    call: Callable[..., object],
    *args: Any,
    **more: Any,
) -> None:
    """Call what must raise just that."""
    try:
        call(*args, **more)
    except error:
        return
    raise AssertionError(f"{call} did not raise {error}")
