"""From the hand-over of a result to the turn that begins with it.

The messaging gateway takes a message at once and begins the turn in a task of its own. In between
it may be stopped, or refuse the turn, so the result is acknowledged when the agent's turn has
begun, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hermes_core import Delivery

_handover: ContextVar[Handover | None] = ContextVar("hermes_core_handover", default=None)
_turn: ContextVar[tuple[Any, str] | None] = ContextVar("hermes_core_turn", default=None)
_handovers: set[Handover] = set()
_by_turn: dict[asyncio.Task[Any], Handover] = {}


class Handover:
    """One result on its way into a turn, until its delivery is settled."""

    __slots__ = ("_delivery", "_failed", "_tell", "_turn", "_unseen", "settled")

    def __init__(
        self, delivery: Delivery, failed: Callable[[], None], tell: Callable[[], None]
    ) -> None:
        self._delivery = delivery
        self._failed = failed
        self._tell = tell
        self._turn: asyncio.Task[Any] | None = None
        self._unseen = False
        _handovers.add(self)
        self.settled = False
        """Whether its turn has begun, or will not."""

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """Have the turn that is begun in here be known as this result's."""
        token = _handover.set(self)
        tried = True
        try:
            yield
        except asyncio.CancelledError:
            tried = False
            raise
        finally:
            _handover.reset(token)
            if self._turn is None:
                self._give_back(tried=tried)

    def accepted(self, turn: asyncio.Task[Any]) -> None:
        """Note the task that will run the turn; only the first is this result's."""
        if self._turn is None and not self.settled:
            self._turn = turn
            _by_turn[turn] = self
            turn.add_done_callback(self._ended)

    async def begins(self) -> None:
        """The agent's turn begins, once that is written down."""
        if self._settle():
            try:
                await self._delivery.aack()
            finally:
                self._tell()

    def begun(self) -> None:
        """The agent's turn has begun; it is written down behind."""
        if self._settle():
            self._delivery.ack()
            self._tell()

    def let_go(self) -> None:
        """Nobody tells of beginning turns any more: go by how the task ends."""
        self._unseen = True

    def _ended(self, turn: asyncio.Task[Any]) -> None:
        del _by_turn[turn]
        if self._unseen and not turn.cancelled():
            self.begun()
        else:
            self._give_back(tried=not turn.cancelled())

    def _settle(self) -> bool:
        """Say whether this is the first settlement."""
        first = not self.settled
        self.settled = True
        _handovers.discard(self)
        return first

    def _give_back(self, *, tried: bool) -> None:
        if not self._settle():
            return
        # What waits behind it goes back, too: the mailbox gives all of it anew, in order.
        self._failed()
        if tried:
            # At once: the courier pauses itself, with all that waits for the chat, in order.
            self._delivery.nack(0)
        else:
            self._delivery.defer()
        self._tell()


def let_go() -> None:
    """Have all that are under way now go by how their own task ends."""
    for handover in list(_handovers):
        handover.let_go()


def this_turn() -> tuple[Any, str] | None:
    """Return the `GatewayRunner` and the session key of the turn that runs in this context."""
    return _turn.get()


def start_for(original: Callable[..., bool]) -> Callable[..., bool]:
    """Make the stand-in for `BasePlatformAdapter._start_session_processing`."""

    def _start_session_processing(
        self: Any, event: Any, session_key: str, *, interrupt_event: Any = None
    ) -> bool:
        """Begin a turn as the gateway does; note the task where the turn is a result's."""
        started = original(self, event, session_key, interrupt_event=interrupt_event)
        handover = _handover.get()
        if started and handover is not None:
            handover.accepted(self._session_tasks[session_key])
        return started

    return _start_session_processing


def agent_turn_for(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make the stand-in for `GatewayRunner._handle_message_with_agent`."""

    async def _handle_message_with_agent(
        self: Any, event: Any, source: Any, _quick_key: str, run_generation: int
    ) -> Any:
        """Run the turn as the gateway does; whose it is can be asked meanwhile."""
        task = asyncio.current_task()
        if task is not None and (handover := _by_turn.get(task)) is not None:
            await handover.begins()
        token = _turn.set((self, _quick_key))
        try:
            return await original(self, event, source, _quick_key, run_generation)
        finally:
            _turn.reset(token)

    return _handle_message_with_agent
