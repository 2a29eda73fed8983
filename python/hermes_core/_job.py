"""One delegation as the registry holds it."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Awaitable, Callable, Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._coroutines import Run
    from ._ledger import Ledger

#: What does the work: takes nothing, returns the result dict; may be a coroutine function.
Runner = Callable[[], "dict[str, Any] | Awaitable[dict[str, Any] | None] | None"]


class Job:
    """One delegation as the registry holds it: the record, and what to run."""

    __slots__ = (
        "context",
        "ending",
        "event",
        "interrupt_fn",
        "key",
        "ledger",
        "record",
        "redact",
        "result",
        "run",
        "runner",
        "state",
    )

    def __init__(self, record: dict[str, Any], runner: Runner | None, interrupt_fn: object) -> None:
        self.record = record
        self.runner = runner
        self.interrupt_fn = interrupt_fn
        self.context: contextvars.Context | None = contextvars.copy_context()
        self.result: dict[str, Any] | None = None
        #: Where its coroutine runs, if it has one.
        self.run: Run | None = None
        self.state = "running"
        #: Where it is written down, and under which of its owner's keys.
        self.ledger: Ledger | None = None
        self.key: str | None = None
        #: Makes of its texts what may be stored and shown.
        self.redact: Callable[[str], str] | None = None
        #: Its event before a worker tells it, and afterwards, in full, where no ledger keeps it.
        self.ending: dict[str, Any] | None = None
        self.event: dict[str, Any] | None = None


def new_record(
    *,
    goal: object,
    context: object,
    toolsets: Iterable[str] | None,
    role: object,
    model: object,
    session_key: object,
    origin_ui_session_id: object = "",
    parent_session_id: object = None,
    **more: object,
) -> dict[str, Any]:
    """A record in the gateway's shape (0.19.0: ``dispatch_async_delegation``)."""
    return {
        "delegation_id": "",
        "goal": goal,
        **more,
        "context": context,
        "toolsets": list(toolsets) if toolsets else None,
        "role": role,
        "model": model,
        "session_key": session_key,
        "origin_ui_session_id": origin_ui_session_id,
        "parent_session_id": parent_session_id,
        "status": "running",
        "dispatched_at": time.time(),
        "completed_at": None,
    }


def address(record: dict[str, Any]) -> tuple[str, str, str]:
    """The owner's address in a record; ``None`` stands for an empty field.

    Raises:
        TypeError: a field is neither a str nor ``None``.
    """
    fields = []
    for key in ("session_key", "origin_ui_session_id", "parent_session_id"):
        value = record[key]
        if value is None:
            value = ""
        if not isinstance(value, str):
            raise TypeError(f"{key} must be a str, not {type(value).__name__}")
        fields.append(value)
    first, second, third = fields
    return first, second, third


def shown(job: Job, state: str, delivery: str | None) -> dict[str, Any]:
    shown = dict(job.record)
    if state == "running":
        # The record is completed just before the transition that makes it true.
        shown["status"], shown["completed_at"] = "running", None
    shown["state"], shown["delivery"] = state, delivery
    return shown
