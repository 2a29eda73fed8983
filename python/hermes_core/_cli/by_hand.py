"""`hermes-core redeliver`, `drop` and `cancel`: what is done to one delegation by hand."""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from hermes_core import Ledger
from hermes_core._cli import opening, rows, terminal


class Deed(NamedTuple):
    """Something done by hand: the ledger's method, what follows, and what it takes."""

    method: str
    done: str
    needs: str


DEEDS = {
    "redeliver": Deed(
        "redeliver",
        "waits again: its session gets it when the gateway looks next, at its start if not before",
        "only an event that was delivered, dropped, parked or had all its attempts can wait again",
    ),
    "drop": Deed(
        "drop",
        "is given up; redeliver brings it back as long as the ledger keeps it",
        "only an event that nobody has delivered, and no process holds, can be dropped",
    ),
    "cancel": Deed(
        "cancel",
        "is asked to stop: its process hears of it when it renews its lease",
        "only a delegation that runs in a living process can be cancelled",
    ),
}


def run(arguments: Namespace) -> int:
    """Do it, or say why it cannot be done."""
    path = opening.path_of(arguments)
    deed = DEEDS[arguments.command]
    with opening.opened(path) as ledger:
        done: bool = getattr(ledger, deed.method)(arguments.id)
        reason = "" if done else _why_not(ledger, arguments.id, deed)
    if arguments.json:
        answer: dict[str, Any] = {"ledger": str(path), "delegation_id": arguments.id, "done": done}
        if reason:
            answer["error"] = reason
        terminal.say_json(answer)
    elif done:
        terminal.say(f"{terminal.safe(arguments.id)} {deed.done}")
    else:
        terminal.complain(reason)
    return 0 if done else 1


def _why_not(ledger: Ledger, delegation_id: str, deed: Deed) -> str:
    row = ledger.get(delegation_id)
    if row is None:
        return f"no delegation {delegation_id} in {ledger.path}"
    return (
        f"{delegation_id} is {row['state']}, its event {rows.delivery(row)}, "
        f"held by {rows.holder(row)}: {deed.needs}"
    )
