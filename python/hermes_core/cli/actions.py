"""`hermes-core redeliver`, `drop` and `cancel`: actions on one delegation."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from hermes_core import Ledger
from hermes_core.cli import rows, terminal
from hermes_core.cli.open import opened, path_of


class Action(NamedTuple):
    """An action: the ledger's method, what follows, what it takes; and what follows while another
    process is to do it."""

    method: str
    done: str
    needs: str
    asked: str = ""


ACTIONS = {
    "redeliver": Action(
        "redeliver",
        "waits again: its session gets it when the gateway looks next, at its start if not before",
        "only an event that was delivered, dropped, parked or had all its attempts can wait again",
    ),
    "drop": Action(
        "drop",
        "is given up; redeliver brings it back as long as the ledger keeps it",
        "only an event that nobody has delivered can be dropped; what runs can be cancelled",
        "is to be given up: its process does so when it renews its lease, unless a consumer has it "
        "by then and delivers it",
    ),
    "cancel": Action(
        "cancel",
        "is asked to stop: its process hears of it when it renews its lease",
        "only a delegation that runs in a living process can be cancelled",
    ),
}


def run(arguments: Namespace) -> int:
    """Do it, or say why it cannot be done."""
    path = path_of(arguments)
    action = ACTIONS[arguments.command]
    with opened(path) as ledger:
        done: bool = getattr(ledger, action.method)(arguments.id)
        reason = "" if done else _why_not(ledger, arguments.id, action)
        is_asked = done and bool(action.asked) and _waits(ledger, arguments.id)
    if arguments.json:
        answer: dict[str, Any] = {"ledger": str(path), "delegation_id": arguments.id, "done": done}
        if is_asked:
            answer["asked"] = True
        if reason:
            answer["error"] = reason
        terminal.say_json(answer)
    elif done:
        follows = action.asked if is_asked else action.done
        terminal.say(f"{terminal.safe(arguments.id)} {follows}")
    else:
        terminal.complain(reason)
    return 0 if done else 1


def _waits(ledger: Ledger, delegation_id: str) -> bool:
    row = ledger.get(delegation_id)
    return row is not None and row["delivery"] == "pending"


def _why_not(ledger: Ledger, delegation_id: str, action: Action) -> str:
    row = ledger.get(delegation_id)
    if row is None:
        return f"no delegation {delegation_id} in {ledger.path}"
    return (
        f"{delegation_id} is {row['state']}, its event {rows.delivery(row)}, "
        f"held by {rows.holder(row)}: {action.needs}"
    )
