"""`hermes-core ls` and `hermes-core show`: what is in the ledger."""

from __future__ import annotations

import datetime
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from hermes_core.cli import table, terminal
from hermes_core.cli.open import Refused, opened, path_of

Row = dict[str, Any]

COLUMNS = (
    table.Column("ID"),
    table.Column("STATE"),
    table.Column("EVENT"),
    table.Column("STARTED"),
    table.Column("SESSION", is_elastic=True),
    table.Column("GOAL", is_elastic=True),
)

#: What a listing leaves out of a row.
_TEXTS = ("record", "event")

#: What `show` has of a task, and of a result, under their own heads.
_TASK_TEXTS = ("goal", "goals", "context")
_RESULT_TEXTS = ("summary", "error")


def ls(arguments: Namespace) -> int:
    """List delegations, the newest last."""
    path = path_of(arguments)
    limit = None if arguments.all else arguments.limit
    with opened(path) as ledger:
        rows = ledger.rows(None if limit is None else limit + 1)
    has_more = limit is not None and len(rows) > limit
    if has_more:
        del rows[0]
    if arguments.json:
        shown = [brief(row) for row in rows]
        terminal.say_json({"ledger": str(path), "delegations": shown, "more": has_more})
        return 0
    if not rows:
        terminal.say(f"no delegations in {terminal.safe(str(path))}")
        return 0
    for line in table.lines(COLUMNS, [texts(row) for row in rows], terminal.width()):
        terminal.say(line)
    if has_more:
        terminal.say(f"These are the newest {limit}; --all lists every one.")
    return 0


def show(arguments: Namespace) -> int:
    """Show all that is known of one delegation."""
    path = path_of(arguments)
    with opened(path) as ledger:
        row = ledger.get(arguments.id)
    if row is None:
        raise Refused(f"no delegation {arguments.id} in {path}")
    if arguments.json:
        terminal.say_json({"ledger": str(path), **row})
    else:
        for line in _page(row):
            terminal.say(line)
    return 0


def brief(row: Row) -> Row:
    """A row for a listing: without its texts, but for what the task is."""
    shown = {key: value for key, value in row.items() if key not in _TEXTS}
    shown["goal"] = goal(row)
    return shown


def texts(row: Row) -> list[str]:
    """The texts of a row under `COLUMNS`."""
    return [
        row["delegation_id"],
        row["state"],
        delivery(row),
        terminal.ago(row["dispatched_at"]),
        row["session_key"] or "-",
        goal(row),
    ]


def goal(row: Row) -> str:
    """What the task is, in one text."""
    goals = row["record"].get("goals")
    if isinstance(goals, list) and goals:
        return " | ".join(map(str, goals))
    return str(row["record"].get("goal") or "")


def delivery(row: Row) -> str:
    """Where its event stands; that of a lost one is made when its owner takes it over."""
    return row["delivery"] or ("pending" if row["state"] == "lost" else "-")


def holder(row: Row) -> str:
    """Whose a row is now, in words."""
    if row["holder"] == "nobody":
        return "nobody"
    if row["held_until"] is None:
        return "a process"
    return f"a process, for {terminal.span(row['held_until'] - time.time())} unless it renews that"


def _page(row: Row) -> Iterator[str]:
    record, event = row["record"], row["event"] or {}
    toolsets = record.get("toolsets")
    facts = {
        "id": row["delegation_id"],
        "state": row["state"],
        "event": delivery(row),
        "attempts": str(row["attempts"]),
        "held by": holder(row),
        "session": row["session_key"],
        "ui session": row["origin_ui_session_id"],
        "parent": row["parent_session_id"],
        "key": row["idempotency_key"],
        "model": event.get("model") or record.get("model"),
        "role": record.get("role"),
        "toolsets": ", ".join(map(str, toolsets)) if isinstance(toolsets, list) else toolsets,
        "dispatched": _moment(row["dispatched_at"]),
        "ended": _moment(row["completed_at"]),
        "settled": _moment(row["settled_at"]),
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<12}{terminal.safe(str(value))}"
    for name in _TASK_TEXTS:
        yield from _block(name, record.get(name))
    yield from _result(event, "")
    results = event.get("results")
    if isinstance(results, list):
        for number, result in enumerate(results, 1):
            head = f"result {number}"
            if isinstance(result, dict):
                yield from _block(head, result.get("status"))
                yield from _result(result, f"{head}, ")
            else:
                yield from _block(head, result)


def _result(holder: dict[str, Any], before: str) -> Iterator[str]:
    for name in _RESULT_TEXTS:
        yield from _block(before + name, holder.get(name))


def _block(head: str, value: object) -> Iterator[str]:
    """A text under its head, a list item by item."""
    if value is None or value == "":
        return
    yield ""
    yield head
    for item in value if isinstance(value, list) else [value]:
        for line in terminal.lines(str(item)):
            yield f"  {line}".rstrip()


def _moment(moment: float | None) -> str:
    if moment is None:
        return ""
    shown = datetime.datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S")
    return f"{shown} ({terminal.ago(moment)})"
