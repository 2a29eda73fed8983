"""From what a runner did to the completion event that says so.

Whatever a runner returns or raises becomes one event; nothing here raises. The keys are the
gateway's (0.19.0, ``tools/async_delegation.py``: ``_push_completion_event``, ``_finalize_batch``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .registry import Job

#: The words a runner uses for success (0.19.0: ``dispatch_async_delegation_batch``).
_SUCCESS = ("completed", "success")

#: Runs a job's runner and makes the event; with the exception that ended it, if one did.
Shape = Callable[["Job"], "tuple[dict[str, Any], BaseException | None]"]


def describe(exc: BaseException) -> str:
    """``TypeName: message``; an exception that cannot be printed is named."""
    name = type(exc).__name__
    try:
        return f"{name}: {exc}"
    except BaseException:
        return f"{name}: <its message cannot be printed>"


def single(job: Job) -> tuple[dict[str, Any], BaseException | None]:
    """Run one subagent and make its event."""
    try:
        result = _run(job)
        event = _single_event(job, result)
    except BaseException as exc:
        result = {
            "status": "error",
            "summary": None,
            "error": describe(exc),
            "api_calls": 0,
            "duration_seconds": _seconds_since(job.record["dispatched_at"]),
        }
        job.result = result
        return _single_event(job, result), exc
    job.result = result
    return event, None


def batch(job: Job) -> tuple[dict[str, Any], BaseException | None]:
    """Run a fan-out and make its one event."""
    try:
        result = _run(job)
        event = _batch_event(job, result)
    except BaseException as exc:
        result = {
            "results": [],
            "error": describe(exc),
            "total_duration_seconds": _seconds_since(job.record["dispatched_at"]),
        }
        job.result = result
        event = _batch_event(job, result)
        event["status"] = "error"
        return event, exc
    job.result = result
    return event, None


def _run(job: Job) -> dict[str, Any]:
    context, runner = job.context, job.runner
    assert context is not None
    assert runner is not None
    result: object = context.run(runner)
    if result is None:
        return {}
    if not isinstance(result, dict):
        raise TypeError(f"the runner returned {type(result).__name__}, not a dict")
    return result


def _seconds_since(start: float) -> float:
    return round(time.time() - start, 2)


def _single_event(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    # The dict type's own get: a subclass's would be the runner's code.
    get = dict.get
    record = job.record
    dispatched_at = record["dispatched_at"]
    completed_at = time.time()
    return {
        "type": "async_delegation",
        "delegation_id": record["delegation_id"],
        "session_key": record["session_key"],
        "origin_ui_session_id": record["origin_ui_session_id"],
        "parent_session_id": record["parent_session_id"],
        "goal": record["goal"],
        "context": record["context"],
        "toolsets": record["toolsets"],
        "role": record["role"],
        "model": get(result, "model") or record["model"],
        "status": get(result, "status") or "completed",
        "summary": get(result, "summary"),
        "error": get(result, "error"),
        "api_calls": get(result, "api_calls", 0),
        "duration_seconds": get(result, "duration_seconds", round(completed_at - dispatched_at, 2)),
        "dispatched_at": dispatched_at,
        "completed_at": completed_at,
        "exit_reason": get(result, "exit_reason"),
    }


def _batch_event(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    get = dict.get
    record = job.record
    results = get(result, "results") or []
    failed = bool(results) and not any(
        isinstance(child, dict) and get(child, "status") in _SUCCESS for child in results
    )
    return {
        "type": "async_delegation",
        "delegation_id": record["delegation_id"],
        "session_key": record["session_key"],
        "origin_ui_session_id": record["origin_ui_session_id"],
        "parent_session_id": record["parent_session_id"],
        "goal": record["goal"],
        "goals": record["goals"],
        "context": record["context"],
        "toolsets": record["toolsets"],
        "role": record["role"],
        "model": record["model"],
        "status": "error" if failed else "completed",
        "is_batch": True,
        "results": results,
        "live_transcripts": get(result, "live_transcripts"),
        "error": get(result, "error"),
        "total_duration_seconds": get(result, "total_duration_seconds"),
        "dispatched_at": record["dispatched_at"],
        "completed_at": time.time(),
    }
