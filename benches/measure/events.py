"""The events that are measured, with every key that the gateway's events have."""

from __future__ import annotations

from typing import Any

KEY = "agent:main:telegram:dm:7"

#: The event of a delegation that has completed, as hermes-agent 0.17.0 makes it.
EVENT: dict[str, Any] = {
    "type": "async_delegation",
    "delegation_id": "deleg_00112233445566aa",
    "session_key": KEY,
    "goal": "Read the logs and say why it restarted",
    "context": "They are in /var/log; the service is called gateway.",
    "toolsets": ["terminal", "file"],
    "role": "leaf",
    "model": "model-1",
    "status": "completed",
    "summary": "Nothing wrong in the logs.",
    "error": None,
    "api_calls": 3,
    "duration_seconds": 12.5,
    "dispatched_at": 1_700_000_000.0,
    "completed_at": 1_700_000_060.0,
    "exit_reason": None,
}

_PROSE = "The service was restarted twice, both times for lack of memory, at night.\n"
#: With the signs that a marker or a reference may begin with.
_MARKDOWN = "- **host-7**: see [the log](https://example.org/7), or ask ops@example.org.\n"

#: Summaries of a subagent, by what they are.
SUMMARIES = {
    "short": EVENT["summary"],
    "5 KB": _PROSE * 70,
    "5 KB of Markdown": _MARKDOWN * 70,
    "1 MB": _PROSE * 14_000,
    "1 MB of Markdown": _MARKDOWN * 14_000,
}


def numbered(number: int, sessions: int | None) -> dict[str, Any]:
    """An event of its own, of one of so many sessions; of a session of its own without."""
    session = number if sessions is None else number % sessions
    return {
        **EVENT,
        "delegation_id": f"deleg_{number:016x}",
        "session_key": f"agent:main:telegram:dm:1{session}",
    }


def record() -> dict[str, Any]:
    """What a dispatch stores."""
    ended = ("type", "summary", "error", "api_calls", "duration_seconds", "exit_reason")
    task = {key: value for key, value in EVENT.items() if key not in ended}
    return {**task, "status": "running", "completed_at": None}


def traced(tasks: int, steps: int) -> dict[str, Any]:
    """The result of a batch whose subagents tell each step."""
    trace = [
        {
            "step": number,
            "tool": "terminal",
            "input": f"grep -n error /var/log/host-{number}.log",
            "output": _PROSE * 2,
            "seconds": number / 7,
            "ok": number % 3 == 0,
        }
        for number in range(steps)
    ]
    results = [{**result, "tool_trace": trace} for result in batch(tasks)["results"]]
    return {"results": results, "total_duration_seconds": 60.5}


def batch(tasks: int) -> dict[str, Any]:
    """The event of a batch, as hermes-agent 0.19.0 makes it."""
    goals = [f"Read the logs of host {number}" for number in range(tasks)]
    results = [
        {
            "task_index": number,
            "status": "completed",
            "summary": _PROSE * 14,
            "api_calls": 3,
            "duration_seconds": 12.5,
        }
        for number in range(tasks)
    ]
    return {
        **EVENT,
        "goal": f"{tasks} parallel subagents",
        "goals": goals,
        "is_batch": True,
        "results": results,
        "total_duration_seconds": 60.5,
    }
