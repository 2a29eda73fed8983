"""From what a runner did to the completion event that says so.

Whatever a runner returns or raises becomes one event; nothing here raises. The keys are the
gateway's (0.19.0, ``tools/async_delegation.py``: ``_push_completion_event``, ``_finalize_batch``).
"""

from __future__ import annotations

from time import monotonic, time

from hermes_core.ledger.record import with_further

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hermes_core.delegation.delegation import Delegation

    #: The event of an end, and the result that ``DelegationHandle.result`` returns.
    Ended = tuple[dict[str, Any], dict[str, Any]]

#: The words a runner uses for success (0.19.0: ``dispatch_async_delegation_batch``).
_SUCCESS = ("completed", "success")


#: Stands for a field that a result does not have.
_UNKNOWN = object()


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


def returned(delegation: Delegation, result: object) -> tuple[Ended, BaseException | None]:
    """The end of a delegation whose runner returned; with an exception if that was no result."""
    try:
        if result is None:
            result = {}
        if not isinstance(result, dict):
            raise TypeError(f"the runner returned {type(result).__name__}, not a dict")
        return (_event(delegation, result), result), None
    except BaseException as exc:
        return failed(delegation, exc), exc


def failed(delegation: Delegation, exc: BaseException) -> Ended:
    """The end of a delegation that an exception ended."""
    return _without_result(delegation, "error", describe(exc))


def cancelled(delegation: Delegation) -> Ended:
    """The end of a delegation whose task was cancelled."""
    return _without_result(
        delegation, "interrupted", "its task was cancelled", exit_reason="interrupted"
    )


def never_began(delegation: Delegation, error: str) -> Ended:
    """The end of a delegation that waited for capacity, and was not begun."""
    return _without_result(
        delegation, "interrupted", f"it never began: {error}", 0.0, exit_reason="interrupted"
    )


def without_result(event: dict[str, Any]) -> dict[str, Any]:
    """What is written down of an end where there is no memory for its result."""
    texts = {"goal", "context", "goals", "toolsets", "model", "summary", "error", "results"}
    short: dict[str, Any] = {
        key: value
        for key, value in event.items()
        if key not in texts and (type(value) is not str or len(value) < 1000)
    }
    if "results" in event:
        short["results"] = []
    error = "there was no memory for its result"
    return short | {"goal": "", "summary": None, "error": error}


def _without_result(
    delegation: Delegation, status: str, error: str, seconds: float | None = None, **more: str
) -> Ended:
    if seconds is None:
        seconds = _seconds(delegation)
    result: dict[str, Any] = {"status": status, "error": error, **more}
    if "is_batch" in delegation.record:
        result |= {"results": [], "total_duration_seconds": seconds}
    else:
        result |= {"summary": None, "api_calls": 0, "duration_seconds": seconds}
    event = _event(delegation, result)
    event["status"] = status
    return event, result


def _event(delegation: Delegation, result: dict[str, Any]) -> dict[str, Any]:
    record = delegation.record
    if "is_batch" in record:
        return with_further(_batch_event(record, result), record)
    # The dict type's own get: a subclass's would be the runner's code.
    get = dict.get
    seconds = get(result, "duration_seconds", _UNKNOWN)
    if seconds is _UNKNOWN:
        seconds = _seconds(delegation)
    event = {
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
        "duration_seconds": seconds,
        "dispatched_at": record["dispatched_at"],
        "completed_at": time(),
        "exit_reason": get(result, "exit_reason"),
    }
    return with_further(event, record)


def _seconds(delegation: Delegation) -> float:
    """How long it took, to two places: by the steady clock, as the wall clock may have been set."""
    # A fifth of what ``round(seconds, 2)`` takes.
    return round((monotonic() - delegation.began) * 100) / 100


def _batch_event(record: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    get = dict.get
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
        "completed_at": time(),
    }
