"""One delegation as the registry keeps it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from operator import itemgetter
from time import monotonic, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import weakref
    from typing import Any, Protocol

    from hermes_core import _core
    from hermes_core.ledger.ledger import Ledger
    from hermes_core.runtime.event_loop import Reader

    class Run(Protocol):
        """A coroutine that runs on an event loop."""

        def is_here(self) -> bool:
            """Whether that loop runs in the calling thread."""

        def cancel(self, reason: str) -> bool:
            """Ask for its cancellation, from any thread; whether it can be asked."""


#: What does the work: takes nothing, returns the result dict; may be a coroutine function.
Runner = Callable[[], "dict[str, Any] | Awaitable[dict[str, Any] | None] | None"]


#: The fields that say whose a delegation is.
_OWNER = ("session_key", "origin_ui_session_id", "parent_session_id")
_owner_fields = itemgetter(*_OWNER)


class Delegation:
    """One delegation: its task, what runs it, and how it ended.

    Attributes:
        record: the task and the owner, with the gateway's keys.
        work: the runner and the context that it runs in, until it has ended; ``None`` for one that
            another process ran.
        began: when it was dispatched, on the steady clock of this process.
        interrupt_fn: asks the runner to stop.
        callables: what else that can be called it was dispatched with, until it has ended.
        run: where its coroutine runs, if it has one.
        waits: whether it waits for capacity, or may.
        loop: a weak reference to what reads for the event loop that its coroutine is to run on, if
            it may wait.
        starting: what ends its dispatch, while that is being written and nobody waits for it.
        known: the one that its owner dispatched before with the same key, where that was found out
            after somebody was given this one.
        ledger: where it is written down.
        key: under which of its owner's keys (``idempotency_key``).
        redact: makes of its texts what may be stored and shown.
        state: ``"running"``, also while it waits, or the state it ended in.
        result: what the runner returned.
        event: its event in full, where no ledger keeps it.
    """

    __slots__ = (
        "began",
        "callables",
        "event",
        "interrupt_fn",
        "key",
        "known",
        "ledger",
        "loop",
        "record",
        "redact",
        "result",
        "run",
        "starting",
        "state",
        "waits",
        "work",
    )

    def __init__(
        self, record: dict[str, Any], runner: Runner | None = None, interrupt_fn: object = None
    ) -> None:
        self.record = record
        self.began = monotonic()
        self.work: tuple[Runner, Context] | None = (
            None if runner is None else (runner, copy_context())
        )
        self.interrupt_fn = interrupt_fn
        self.callables: dict[str, Any] | None = None
        self.run: Run | None = None
        self.waits = False
        self.loop: weakref.ref[Reader] | None = None
        self.starting: _core.Dispatching | None = None
        self.known: Delegation | None = None
        self.ledger: Ledger | None = None
        self.key: str | None = None
        self.redact: Callable[[str], str] | None = None
        self.state = "running"
        self.result: dict[str, Any] | None = None
        self.event: dict[str, Any] | None = None


def new_record(
    goal: object,
    context: object,
    toolsets: Iterable[str] | None,
    role: object,
    model: object,
    session_key: object,
    origin_ui_session_id: object = "",
    parent_session_id: object = None,
) -> dict[str, Any]:
    """A record in the gateway's shape (0.19.0: ``dispatch_async_delegation``)."""
    return {
        "delegation_id": "",
        "goal": goal,
        "context": context,
        "toolsets": list(toolsets) if toolsets else None,
        "role": role,
        "model": model,
        "session_key": session_key,
        "origin_ui_session_id": origin_ui_session_id,
        "parent_session_id": parent_session_id,
        "status": "running",
        "dispatched_at": time(),
        "completed_at": None,
    }


def owner_of(record: dict[str, Any]) -> tuple[str, str, str]:
    """The owner's address in a record; ``None`` stands for an empty field.

    Raises:
        TypeError: a field is neither a str nor ``None``.
    """
    first, second, third = _owner_fields(record)
    first = "" if first is None else first
    second = "" if second is None else second
    third = "" if third is None else third
    if not type(first) is type(second) is type(third) is str:
        for key, value in zip(_OWNER, (first, second, third), strict=True):
            if not isinstance(value, str):
                raise TypeError(f"{key} must be a str, not {type(value).__name__}")
    return first, second, third


def listed(delegation: Delegation, state: str, delivery: str | None) -> dict[str, Any]:
    """A record as ``DelegationRegistry.list`` shows it."""
    listed = dict(delegation.record)
    if state in ("queued", "running"):
        # The record is completed just before the transition that makes it true.
        listed["status"], listed["completed_at"] = state, None
    listed["state"], listed["delivery"] = state, delivery
    return listed
