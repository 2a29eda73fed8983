"""The gateway's delivery functions, for our results and for those of the gateway's own ledger.

A delegation is the gateway's where a row of the gateway's is known to have it, or where nobody here
knows it: then the gateway's own function answers, in the home of the row. All others are ours.
Names, arguments and return values are the gateway's (0.19.0), but for one thing: what is released
counts no attempt.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

from hermes_core.delegation import restore
from hermes_core.gateway import home_ledgers
from hermes_core.gateway.host_rows import result_of
from hermes_core.text import json, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_core import DelegationRegistry
    from hermes_core.delegation.delegation import Delegation
    from hermes_core.gateway.claims import Claims
    from hermes_core.gateway.hand_back import HandBack
    from hermes_core.gateway.host_rows import HostRows
    from hermes_core.gateway.restored import Restored

    Event = dict[str, Any]

_TYPE = "async_delegation"


class Deliveries:
    """Who has which result, in a gateway with claims."""

    def __init__(
        self,
        registry: DelegationRegistry,
        claims: Claims,
        rows: HostRows,
        restored: Restored,
        hand_back: HandBack,
    ) -> None:
        self._registry = registry
        self._claims = claims
        self._rows = rows
        self._restored = restored
        self._hand_back = hand_back

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return what stands in for the functions of `tools.async_delegation`, by name."""
        return {
            function.__name__: function
            for function in (
                self.claim_event_delivery,
                self.complete_event_delivery,
                self.release_event_delivery,
                self.claim_completion_delivery,
                self.complete_completion_delivery,
                self.release_completion_delivery,
                self.mark_completion_delivered,
                self.get_durable_delegation,
                self.restore_undelivered_completions,
            )
        }

    # -- the gateway's functions --------------------------------------------------------------

    def claim_event_delivery(self, evt: Event, consumer: str) -> str | None:
        """Claim an event: a token, `""` where none is needed, `None` where another has it."""
        if not (name := _name_of(evt)):
            return ""
        token = f"{consumer}:{os.getpid()}:{uuid.uuid4().hex}"
        return token if self.claim_completion_delivery(name, token) else None

    def complete_event_delivery(self, evt: Event, claim_id: str) -> None:
        """Acknowledge a claimed event."""
        if claim_id and evt.get("type") == _TYPE:
            self.complete_completion_delivery(str(evt.get("delegation_id") or ""), claim_id)

    def release_event_delivery(self, evt: Event, claim_id: str) -> None:
        """Have a claimed event wait again."""
        if claim_id and evt.get("type") == _TYPE:
            self.release_completion_delivery(str(evt.get("delegation_id") or ""), claim_id)

    def claim_completion_delivery(self, delegation_id: str, claim_id: str) -> bool:
        """Claim a result; True for what nobody knows."""
        if self._is_hosts(delegation_id):
            return self._rows.claim(delegation_id, claim_id)
        claimed = self._claims.claim(delegation_id, claim_id)
        if claimed:
            self._hand_back.also(delegation_id, "claim_completion_delivery", claim_id)
        return claimed

    def complete_completion_delivery(self, delegation_id: str, claim_id: str) -> bool:
        """Acknowledge a claimed result; False if this claim is not the last one."""
        if self._is_hosts(delegation_id):
            completed = self._rows.end_claim(
                "complete_completion_delivery", delegation_id, claim_id
            )
            if completed:
                self._settle(delegation_id)
            return completed
        completed = self._claims.complete(delegation_id, claim_id)
        if completed:
            self._hand_back.also(delegation_id, "mark_completion_delivered")
        return completed

    def release_completion_delivery(self, delegation_id: str, claim_id: str) -> bool:
        """Have a claimed result wait again; False if this claim is not the last one."""
        if self._is_hosts(delegation_id):
            if isinstance(delegation_id, str):
                self._claims.release(delegation_id, claim_id)
            return self._rows.end_claim("release_completion_delivery", delegation_id, claim_id)
        released = self._claims.release(delegation_id, claim_id)
        if released:
            self._hand_back.also(delegation_id, "release_completion_delivery", claim_id)
        return released

    def mark_completion_delivered(self, delegation_id: str) -> bool:
        """Acknowledge a result, whoever has it; False if it was."""
        if self._is_hosts(delegation_id):
            marked = bool(self._rows.call("mark_completion_delivered", delegation_id))
            if marked:
                self._settle(delegation_id)
            return marked
        marked = self._claims.mark_delivered(delegation_id)
        if marked:
            self._hand_back.also(delegation_id, "mark_completion_delivered")
        return marked

    def get_durable_delegation(self, delegation_id: str) -> Event | None:
        """Say how things stand for a delegation; `None` for one that nobody knows."""
        if isinstance(delegation_id, str) and not self._rows.has(delegation_id):
            if (known := self._registry._core.get(delegation_id)) is not None:
                return self._durable(known[0], known[2])
            if (found := home_ledgers.find(delegation_id)) is not None:
                ledger, row = found
                delegation = restore.delegation_of(row, ledger)
                return self._durable(delegation, row["delivery"])
        answer: Event | None = self._rows.call("get_durable_delegation", delegation_id)
        return answer

    def restore_undelivered_completions(self, target_queue: Any) -> int:
        """Have what is undelivered in the present home wait in a queue; return how much came.

        What waits there, or is a consumer's claim, does not come again.
        """
        return self._restored.bring_all(target_queue)

    def _settle(self, name: Any) -> None:
        """Acknowledge a result here, too, that was delivered by the row it was handed back to."""
        if isinstance(name, str) and self._claims.knows(name):
            self._claims.mark_delivered(name)

    def _is_hosts(self, name: Any) -> bool:
        """Whether the gateway's own functions answer for a delegation."""
        if not isinstance(name, str) or self._rows.has(name):
            return True
        if self._claims.knows(name):
            return False
        # Whoever calls this after an uninstall, in a wrapper, say, means the gateway's.
        return self._claims.is_stopped or not home_ledgers.take_over(name)

    def _durable(self, delegation: Delegation, delivery: str | None) -> Event:
        """What the gateway says of a delegation by its row, of one of ours."""
        record, ledger = delegation.record, delegation.ledger
        row = None if ledger is None else ledger.stored(record["delegation_id"])
        has_ended = delivery is not None
        return {
            "delegation_id": record["delegation_id"],
            "origin_session": record["session_key"] or "",
            "state": record["status"] if has_ended else "running",
            "dispatched_at": record["dispatched_at"],
            "completed_at": record["completed_at"] if has_ended else None,
            "result": self._result(delegation) if has_ended else None,
            "delivery_state": _DELIVERY_STATES.get(delivery, "dropped"),
            "delivery_attempts": 0 if row is None else row["attempts"],
        }

    def _result(self, delegation: Delegation) -> Event | None:
        """What the runner returned; of an earlier process as far as the event tells."""
        result = delegation.result
        if result is None or result.get("type") == _TYPE:
            event = result or self._registry.event(delegation.record["delegation_id"])
            return None if event is None else result_of(event)
        if delegation.redact is not None:
            result = redact.fields(result, delegation.redact)
        plain: Event = json.loads(json.dumps(result))
        return plain


#: Where the gateway's rows know a delivery by another word, or by none.
_DELIVERY_STATES = {None: "pending", "pending": "pending", "delivered": "delivered"}


def _name_of(event: Event) -> str:
    """The delegation whose event this is; an empty one for any other event."""
    return str(event.get("delegation_id") or "") if event.get("type") == _TYPE else ""
