"""F12: a turn of a chat begins once it is written that its result was delivered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc
from hermes_core.gateway.messaging import turns


@pytest.mark.parametrize("is_held", [True, False])
def test_f12_a_result_is_delivered_before_the_agent_has_it(tmp_path: Path, is_held: bool) -> None:
    """F12: whoever crashes in the turn does not get it again; a turn that has begun goes on."""
    registry: hc.DelegationRegistry = hc.DelegationRegistry(ledger=tmp_path / "l.db")
    handle = registry.dispatch(goal="a task", session_key="a", runner=dict)
    handle.result(30)
    told: list[str] = []
    box = registry.queue.mailbox(session_key="a")

    async def agent(*_: Any) -> str:
        # What is being written is pending still.
        listed = registry.get(handle.id)
        assert listed is not None
        return str(listed["delivery"])

    async def main() -> str:
        delivery = await box.aget(30)
        if not is_held:
            delivery.nack(3600)
        handover = turns.Handover(delivery, lambda: told.append("failed"), lambda: told.append(""))
        run = turns.agent_turn_for(agent)
        turn = asyncio.ensure_future(run(None, None, None, "a", 1))
        handover.accepted(turn)
        said: str = await turn
        assert handover.settled
        return said

    assert asyncio.run(main()) == ("delivered" if is_held else "pending")
    assert told == [""]
