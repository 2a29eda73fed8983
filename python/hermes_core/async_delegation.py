"""The gateway's background delegation functions, on the native core.

Names, keyword arguments, return dicts and record keys are those of hermes-agent's
``tools/async_delegation.py`` (0.17.0, 0.18.2 and 0.19.0 together). The gateway calls these in place
of its own, through ``hermes_core.gateway`` or by importing them. What a later gateway dispatches
with besides is kept: values on the record and the event, what can be called as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from hermes_core._core import LedgerError
from hermes_core.delegation.delegation import Delegation, Runner, new_record
from hermes_core.delegation.registry import RETENTION, AtCapacity, DelegationRegistry
from hermes_core.ledger.ledger import Ledger
from hermes_core.queue.completion_queue import CompletionQueue

__all__ = [
    "active_count",
    "completion_queue",
    "dispatch_async_delegation",
    "dispatch_async_delegation_batch",
    "interrupt_all",
    "interrupt_for_session",
    "list_async_delegations",
]

_DEFAULT_MAX_ASYNC_CHILDREN = 3
_MAX_RETAINED_COMPLETED = RETENTION
#: What the registry writes into a record by itself; the rest a dispatch was given.
_OWN_FIELDS = ("delegation_id", "status", "dispatched_at", "completed_at", "is_batch")


class SharedQueue(CompletionQueue[Any]):
    """The class of ``completion_queue``; one without slots, which another may replace."""

    __slots__ = ()


class Elsewhere(Protocol):
    """Delegations that another registry still runs, under the same cap."""

    def running(self) -> int:
        """How many run there."""

    def starting(self, delegation: Delegation) -> AbstractContextManager[int | None]:
        """Count a delegation there from now on, and until it is started here; how many run there.

        ``None`` if that registry is no longer the other one: ask again which is.
        """

    def records(self) -> list[dict[str, Any]]:
        """Their records, as ``list_async_delegations`` shows them."""

    def interrupt(self, reason: str) -> int:
        """Ask all to stop; how many were asked."""


class Successor(Protocol):
    """The registry that took over from this one, and what it knows of both."""

    def active_count(self) -> int:
        """As the function below; so are the others."""

    def dispatch(self, is_batch: bool, **arguments: Any) -> dict[str, Any] | None:
        """Dispatch there, one or a batch; ``None`` where there are no batches."""

    def list_async_delegations(self) -> list[dict[str, Any]]: ...

    def interrupt_all(self, reason: str) -> int: ...


#: The process's one queue of completion events.
completion_queue: SharedQueue = SharedQueue()

_registry = DelegationRegistry(completion_queue)
_elsewhere: Elsewhere | None = None
#: Set once this registry has been put out of a gateway. Whoever still has one of the functions
#: below, from an import or in a wrapper, must not start what the gateway neither counts nor stops.
_successor: Successor | None = None
#: Says why a dispatch from a session must be refused, if it must; set by the gateway's adapter.
_refusal: Callable[[str], str | None] | None = None
#: Says how many delegations may wait for capacity; set by the gateway's adapter. Else none does.
_max_queued: Callable[[], int] | None = None
#: Says how many places of so many a batch of so many children takes; set by the gateway's adapter.
_permits: Callable[[int, int], int] | None = None
_on_end: Callable[[str, str, float], None] | None = None
#: Says where a delegation is written down, by its record; set by the gateway's adapter.
_ledger_for: Callable[[dict[str, Any]], Ledger | None] | None = None


def _ended(record: dict[str, Any]) -> None:
    if _on_end is not None:
        _on_end(record["delegation_id"], record["status"], record["completed_at"])


_registry.on_end = _ended


def active_count() -> int:
    """How many background delegations run."""
    if _successor is not None:
        return _successor.active_count()
    count = _registry.active_count()
    return count if _elsewhere is None else count + _elsewhere.running()


def dispatch_async_delegation(
    *,
    goal: str,
    context: str | None,
    toolsets: list[str] | None,
    role: str,
    model: str | None,
    session_key: str,
    parent_session_id: str | None = None,
    runner: Runner,
    origin_ui_session_id: str = "",
    interrupt_fn: Callable[[], object] | None = None,
    max_async_children: int = _DEFAULT_MAX_ASYNC_CHILDREN,
    delegation_id: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Start ``runner`` on a worker thread and return at once.

    Args:
        goal, context, toolsets, role, model: the task, which is in the completion event, too.
        session_key, origin_ui_session_id, parent_session_id: who asked; an empty session key is
            the single-session CLI.
        runner: builds and runs the subagent; takes nothing, returns its result dict.
        interrupt_fn: asks the subagent to stop.
        max_async_children: how many may run at once, those of other sessions included.
        delegation_id: an id to use; made if left out. One in use is rejected.
        further: is kept on the record and on the event; what can be called, or is named ``…_fn``,
            is neither listed nor stored.

    Returns:
        ``{"status": "dispatched", "delegation_id": …}``, or ``{"status": "rejected", "error": …}``
        with a text for the model; at capacity also ``"reason": "capacity"``, ``"limit"`` and
        ``"running"``.

    Raises:
        TypeError: the runner is not callable, or an address field is not a str.
    """
    record = new_record(
        goal,
        context,
        toolsets,
        role,
        model,
        session_key,
        origin_ui_session_id,
        parent_session_id,
    )
    delegation = _delegation(record, runner, interrupt_fn, further)
    instead = "run this one with background=false"
    return _dispatch(delegation, max_async_children, instead, delegation_id)


def dispatch_async_delegation_batch(
    *,
    goals: list[str],
    context: str | None,
    toolsets: list[str] | None,
    role: str,
    model: str | None,
    session_key: str,
    parent_session_id: str | None = None,
    runner: Runner,
    origin_ui_session_id: str = "",
    interrupt_fn: Callable[[], object] | None = None,
    max_async_children: int = _DEFAULT_MAX_ASYNC_CHILDREN,
    delegation_id: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Start a whole fan-out as one background delegation, with one permit and one event.

    As ``dispatch_async_delegation``, with these differences.

    Args:
        goals: one goal per subagent.
        runner: runs them all; returns ``{"results": [one dict per subagent],
            "total_duration_seconds": …}``.
    """
    goals = list(goals)
    if len(goals) == 1:
        goal = goals[0]
    else:
        goal = f"{len(goals)} parallel subagents: " + "; ".join(str(goal)[:40] for goal in goals)
    record = new_record(
        goal,
        context,
        toolsets,
        role,
        model,
        session_key,
        origin_ui_session_id,
        parent_session_id,
    )
    # The gateway has the goals behind the goal.
    record = {"delegation_id": "", "goal": goal, "goals": goals, **record, "is_batch": True}
    delegation = _delegation(record, runner, interrupt_fn, further)
    return _dispatch(delegation, max_async_children, "send fewer at once", delegation_id)


def _delegation(
    record: dict[str, Any], runner: Runner, interrupt_fn: object, further: dict[str, Any]
) -> Delegation:
    """A delegation with what its dispatch was given besides; the record's own keys stay."""
    callables = {}
    for name, value in further.items():
        if callable(value) or name.endswith("_fn"):
            callables[name] = value
        elif name not in _OWN_FIELDS:
            record.setdefault(name, value)
    delegation = Delegation(record, runner, interrupt_fn)
    delegation.callables = callables or None
    return delegation


def _dispatch(
    delegation: Delegation, limit: int, instead: str, delegation_id: str | None
) -> dict[str, Any]:
    record = delegation.record
    refusal = _refusal
    if refusal is not None and (error := refusal(record["session_key"])) is not None:
        return {"status": "rejected", "error": error, "reason": "no_consumer"}
    while True:
        successor, elsewhere = _successor, _elsewhere
        if successor is not None:
            given = {key: value for key, value in record.items() if key not in _OWN_FIELDS}
            answer = successor.dispatch(
                "is_batch" in record,
                **given,
                **(delegation.callables or {}),
                runner=delegation.work and delegation.work[0],
                interrupt_fn=delegation.interrupt_fn,
                max_async_children=limit,
                delegation_id=delegation_id,
            )
            if answer is not None:
                return answer
        if elsewhere is None:
            return _start(delegation, limit, 0, instead, delegation_id)
        with elsewhere.starting(delegation) as running:
            if running is not None:
                return _start(delegation, limit, running, instead, delegation_id)


def _start(
    delegation: Delegation, limit: int, elsewhere: int, instead: str, delegation_id: str | None
) -> dict[str, Any]:
    if _ledger_for is not None:
        delegation.ledger = _ledger_for(delegation.record)
    try:
        goals = delegation.record.get("goals") if "is_batch" in delegation.record else None
        _registry.start(
            delegation,
            capacity=limit,
            elsewhere=elsewhere,
            delegation_id=delegation_id,
            max_queued=_max_queued() if _max_queued is not None else None,
            permits=1 if _permits is None or not goals else _permits(len(goals), limit),
        )
    except AtCapacity as refused:
        waiting = f", {refused.queued} waiting" if refused.queued else ""
        return {
            "status": "rejected",
            "error": (
                f"Async delegation capacity reached ({refused.running} running, {refused.limit} "
                f"allowed{waiting}). Wait until one ends: its result comes back as a new message. "
                f"Or {instead}, or raise delegation.max_async_children in config.yaml."
            ),
            "reason": "capacity",
            "limit": refused.limit,
            "running": refused.running,
        }
    except LedgerError as exc:
        return {
            "status": "rejected",
            "error": (
                f"Background delegation is not possible now, for it could not be written down: "
                f"{exc}. Delegate with background=false, and tell the user."
            ),
            "reason": "ledger",
        }
    except (OSError, RuntimeError, ValueError) as exc:
        return {
            "status": "rejected",
            "error": f"Failed to schedule async delegation: {exc}",
            "reason": "not_started",
        }
    return {"status": "dispatched", "delegation_id": delegation.record["delegation_id"]}


def list_async_delegations() -> list[dict[str, Any]]:
    """The delegations that run or wait for capacity, and the 50 that ended last, in the order of
    dispatch.

    New dicts with the gateway's record keys. ``DelegationRegistry.list`` also shows every other
    delegation whose event nobody has taken.
    """
    if _successor is not None:
        return _successor.list_async_delegations()
    records = _own_records()
    return records if _elsewhere is None else _elsewhere.records() + records


def _own_records() -> list[dict[str, Any]]:
    """The part of ``list_async_delegations`` that runs here; takes no lock but the core's own."""
    records = _registry.list()
    ended = [record for record in records if record["state"] not in ("queued", "running")]
    if len(ended) > _MAX_RETAINED_COMPLETED:
        ended.sort(key=lambda record: float(record["completed_at"]))
        too_old = {id(record) for record in ended[: len(ended) - _MAX_RETAINED_COMPLETED]}
        records = [record for record in records if id(record) not in too_old]
    for record in records:
        del record["state"], record["delivery"]
    return records


def interrupt_all(reason: str = "shutdown") -> int:
    """Ask every running delegation to stop; how many were asked.

    Each still ends with its own completion event. Returns within two seconds, whatever the
    ``interrupt_fn`` callbacks do.
    """
    if _successor is not None:
        return _successor.interrupt_all(reason)
    count = _registry.interrupt_all(reason)
    return count if _elsewhere is None else count + _elsewhere.interrupt(reason)


def interrupt_for_session(
    session_key: str = "",
    origin_ui_session_id: str = "",
    parent_session_id: str = "",
    reason: str = "session_end",
) -> int:
    """Ask the running delegations of one session to stop; how many were asked.

    A delegation is the session's if any given field matches; with none given, none is. (Use
    ``DelegationRegistry.cancel`` for owners that must match in every field.)
    """
    owner = (session_key, origin_ui_session_id, parent_session_id)
    return _registry.interrupt(_registry._core.running_of(owner, False), reason)


def _live_records(starting: Iterable[Delegation] = ()) -> list[dict[str, Any]]:
    """The running records with what can be called of them, as the gateway's own registry has them.

    Args:
        starting: those that may not run yet, and count as if they did.
    """
    running = _registry._core.running_all()
    known = {id(one) for one in running}
    running += [
        one for one in starting if id(one) not in known and one.record["status"] == "running"
    ]
    return [
        {
            **one.record,
            **(one.callables or {}),
            "status": "running",
            "interrupt_fn": partial(_interrupt_one, one) if one.waits else one.interrupt_fn,
        }
        for one in running
    ]


def _interrupt_one(delegation: Delegation) -> None:
    """Ask one to stop that waits for capacity, or did a moment ago."""
    _registry.interrupt([delegation], "interrupted")


def _reset_for_tests() -> None:
    """Forget every delegation, and have idle workers end; for tests."""
    _registry.clear()
    _registry._workers.retire()
