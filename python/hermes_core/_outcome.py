"""From what a runner did to the completion event that says so.

Whatever a runner returns or raises becomes one event; nothing here raises. The keys are the
gateway's (0.19.0, ``tools/async_delegation.py``: ``_push_completion_event``, ``_finalize_batch``).
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ._job import Job

#: The words a runner uses for success (0.19.0: ``dispatch_async_delegation_batch``).
_SUCCESS = ("completed", "success")

#: What a record says of the task, and what the row of a lost one says.
_TASK = ("goal", "goals", "context", "toolsets", "role", "model")
_ROW = (
    "delegation_id",
    "session_key",
    "origin_ui_session_id",
    "parent_session_id",
    "dispatched_at",
)

#: What is known of a lost one.
_LOST = (
    "its process ended before it did; what it had done by then may have taken effect, and nothing "
    "more is known of it"
)


def describe(exc: BaseException) -> str:
    """``TypeName: message``; an exception that cannot be printed is named."""
    # Past any __name__ that a metaclass may pretend.
    name: str = type.__dict__["__name__"].__get__(type(exc))
    try:
        return f"{name}: {exc}"
    except BaseException:
        return f"{name}: <its message cannot be printed>"


def status_word(status: object) -> str:
    """A runner's status, for the state it means; one that is no str means an error."""
    return str.__str__(status) if issubclass(type(status), str) else "error"


def returned(job: Job, result: object) -> tuple[dict[str, Any], BaseException | None]:
    """The event of a job whose runner returned; with an exception if that was no result."""
    try:
        if result is None:
            result = {}
        if not isinstance(result, dict):
            raise TypeError(f"the runner returned {type(result).__name__}, not a dict")
        event = _event(job, result)
    except BaseException as exc:
        return failed(job, exc)
    job.result = result
    return event, None


def failed(job: Job, exc: BaseException) -> tuple[dict[str, Any], BaseException]:
    """The event of a job that an exception ended, with the exception."""
    return _without_result(job, "error", describe(exc)), exc


def cancelled(job: Job) -> dict[str, Any]:
    """The event of a job whose task was cancelled."""
    return _without_result(job, "interrupted", "its task was cancelled", exit_reason="interrupted")


def lost(record: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The event of a delegation whose process ended before it did.

    Args:
        record: its task, as a ledger kept it.
        row: its row, for whose it is and when it was found lost.
    """
    from ._job import Job

    kept = {**dict.fromkeys(_TASK), **record, **{field: row[field] for field in _ROW}}
    event = _without_result(Job(kept, None, None), "lost", _LOST)
    event["completed_at"] = row["completed_at"] or event["completed_at"]
    # How long it ran is not known.
    del event["total_duration_seconds" if "is_batch" in kept else "duration_seconds"]
    if "is_batch" in kept and isinstance(kept["goals"], list):
        # An outcome for each: a notice names the goals of those that have one.
        event["results"] = [
            {"task_index": number, "status": "lost", "error": _LOST}
            for number, _ in enumerate(kept["goals"])
        ]
    return event


def unreadable(record: dict[str, Any], row: dict[str, Any], text: str) -> dict[str, Any]:
    """The event of a delegation whose result was damaged on disk; ``text`` is what is left."""
    error = f"it ended as {row['state']!r}, but its result was damaged on disk"
    event = {**lost(record, row), "status": "error", "error": error}
    if "is_batch" in event:
        event["results"] = [{"status": "error", "summary": text, "error": error}]
    else:
        event["summary"] = text
    return event


def _without_result(job: Job, status: str, error: str, **more: str) -> dict[str, Any]:
    seconds = round(time.time() - job.record["dispatched_at"], 2)
    result: dict[str, Any] = {"status": status, "error": error, **more}
    if "is_batch" in job.record:
        result |= {"results": [], "total_duration_seconds": seconds}
    else:
        result |= {"summary": None, "api_calls": 0, "duration_seconds": seconds}
    job.result = result
    event = _event(job, result)
    event["status"] = status
    return event


def _event(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    return _batch_event(job, result) if "is_batch" in job.record else _single_event(job, result)


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
