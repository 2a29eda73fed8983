"""What waits when the core leaves a gateway with claims becomes the gateway's own.

Its claims are of rows, so each result gets one, by the gateway's own writers, before it goes to the
gateway's queue; it is the gateway's from then on, also after the next install. A consumer that has
claimed one completes it there: the row has the same claim.

While this goes on consumers complete and release. So it is said first that a result is being handed
back; from then on what they do is done to its row, too, and once the row is there it is looked
again what they had done by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import home_ledgers

if TYPE_CHECKING:
    from hermes_core import DelegationRegistry, Delivery
    from hermes_core.delegation.delegation import Delegation
    from hermes_core.gateway.claims import Claims
    from hermes_core.gateway.host_rows import HostRows

    Event = dict[str, Any]


class HandBack:
    """The way of our results to the gateway's rows and queue."""

    def __init__(self, registry: DelegationRegistry, claims: Claims, rows: HostRows) -> None:
        self._registry = registry
        self._claims = claims
        self._rows = rows

    def write(self) -> None:
        """Give each result that is undelivered a row of the gateway's, if it has none yet."""
        begun: dict[str, tuple[Path, Delegation]] = {}
        for delegation, _, delivery in self._registry._core.rows():
            name = delegation.record["delegation_id"]
            if delivery != "pending":
                continue
            home = _home_for(delegation)
            if self._rows.begin(name, home):
                begun[name] = home, delegation
            elif self._rows.has(name):
                self._note_claim(name)
        try:
            events = {name: self._registry.event(name) for name in begun}
            left = self._rows.write(
                (home, one.record, event)
                for name, (home, one) in begun.items()
                if (event := events[name]) is not None
            )
            for name in begun:
                if name not in left:
                    self._follow_up(name)
        finally:
            for name, (home, _) in begun.items():
                self._rows.note(name, home)

    def leaving(self) -> Iterator[Delivery]:
        """Yield what goes to the gateway's queue, each to be acknowledged once it is there.

        What has ended since `write` stays: it has no row yet.
        """
        return self._claims.leaving(self._rows.has)

    def also(self, name: str, function: str, *arguments: Any) -> None:
        """Do to the row what was done to one of our results, if it is being handed back.

        It was done, whether or not the row can be written.
        """
        if (home := self._rows.row_home(name)) is not None:
            self._rows.attempt(home, function, name, *arguments)

    def forget(self, name: str) -> bool:
        """Forget one of ours that was handed back: it is the gateway's; whether there was one."""
        return self._rows.has(name) and self._registry._core.forget(name) is not None

    def _follow_up(self, name: str) -> None:
        """Have the row say what consumers did while it was written."""
        self._note_claim(name)
        known = self._registry._core.get(name)
        if known is not None and known[2] != "pending":
            self.also(name, "mark_completion_delivered")

    def _note_claim(self, name: str) -> None:
        """Have the row say that a consumer has claimed the result."""
        token = self._claims.token_of(name)
        if token is not None:
            self.also(name, "claim_completion_delivery", token)
            if self._claims.token_of(name) != token:
                self.also(name, "release_completion_delivery", token)


def _home_for(delegation: Delegation) -> Path:
    """The home that a delegation belongs to."""
    ledger = delegation.ledger
    if ledger is None or ledger.path is None:
        return home_ledgers.process_home()
    return Path(ledger.path).parent
