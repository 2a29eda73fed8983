"""What the model is told of a delegation that waits for capacity.

The gateway tells it that a subagent is running as soon as one was accepted. Of one that waits that
is not so yet.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable

from hermes_core import async_delegation

logger = logging.getLogger("hermes_core.gateway")

NOTE = (
    "Accepted, but NOT running yet: as many background delegations run as may, and this one is "
    "number {position} in line. It starts by itself when there is room, and its full result "
    "re-enters the conversation as a new message when it has ended. Do not wait or poll, and do "
    "not delegate it again."
)


def delegate_for(original: Callable[..., str]) -> Callable[..., str]:
    """Make the stand-in for `delegate_task`: the gateway's own, with a note that is true."""

    @functools.wraps(original)
    def delegate_task(*given: object, **how: object) -> str:
        answer = original(*given, **how)
        try:
            return _said(answer)
        except Exception:
            logger.exception("whether a delegation waits for capacity cannot be said")
            return answer

    return delegate_task


def _said(answer: str) -> str:
    if not isinstance(answer, str) or '"dispatched"' not in answer:
        return answer
    said = json.loads(answer)
    delegation_id = said.get("delegation_id")
    if said.get("status") != "dispatched" or not isinstance(delegation_id, str):
        return answer
    position = async_delegation._registry._core.position(delegation_id)
    if position is None:
        return answer
    return json.dumps({**said, "note": NOTE.format(position=position)}, ensure_ascii=False)
