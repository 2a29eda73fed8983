"""What a gateway with claims needs, put together: for its queue, its functions, its sessions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hermes_core import ShutDown
from hermes_core.gateway import consumers, home_ledgers, host_rows, versions
from hermes_core.gateway.claims import Claims
from hermes_core.gateway.deliveries import Deliveries
from hermes_core.gateway.hand_back import HandBack
from hermes_core.gateway.host_rows import HostRows
from hermes_core.gateway.restored import Restored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from queue import Queue
    from types import FrameType, ModuleType

    from hermes_core import CompletionQueue, DelegationRegistry, Delivery

logger = logging.getLogger("hermes_core.gateway")

#: The gateway's own loops and drains, and ours: they know what is whose.
_KNOWN = frozenset([versions.TUI, versions.CLI, versions.MESSAGING, versions.PROCESSES])
_OURS = "hermes_core."


class Leasing:
    """The leases of the shared queue, see `queue_swap.Leases`, and who may have what."""

    def __init__(
        self,
        host: ModuleType,
        host_queue: Queue[Any],
        queue: CompletionQueue[Any],
        registry: DelegationRegistry,
    ) -> None:
        self.claims = Claims(queue, registry)
        self.rows = HostRows(host)
        self.restored = Restored(queue, self.claims, self.rows)
        self._host_queue = host_queue
        self._hand_back = HandBack(registry, self.claims, self.rows)
        self.deliveries = Deliveries(
            registry, self.claims, self.rows, self.restored, self._hand_back
        )
        #: Whether consumers that are not the gateway's have what was left.
        self.has_others = False
        # What an earlier stay handed back is the gateway's, as all that the gateway began.
        for name in host_rows.known():
            self._hand_back.forget(name)

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return what stands in for the functions of the gateway's registry, by name."""
        return self.deliveries.functions()

    def session_drains(self, session_key: str) -> None:
        """A session of the gateway drains what is its own: what was left for it comes first."""
        self.restored.session_drains(session_key, _earlier_keys)

    # -- the queue ----------------------------------------------------------------------------

    def take(self, caller: FrameType, block: bool, timeout: float | None) -> Any:
        """Take an event for the consumer whose frame this is."""
        if not self.has_others and _is_none_of_the_gateway(caller):
            self.has_others = self.restored.offer_to_all()
        try:
            return self.claims.take(block, timeout)
        except ShutDown:
            if not self.claims.is_stopped:
                raise
        # The core has left meanwhile.
        return self._host_queue.get(block, timeout)

    def put(self, item: Any) -> bool:
        """Give an event back; False for one that is to be put."""
        if (name := self.claims.name_of(item)) is not None and self._hand_back.forget(name):
            return False
        if self.claims.put(item):
            return True
        self.rows.note_put(item)
        return False

    def keep(self, event: Any) -> bool:
        """Keep an event aside that moves in, if it is only for whoever proves to own it."""
        if (name := self.claims.name_of(event)) is not None:
            self._hand_back.forget(name)
        return self.restored.keep(event)

    def begin(self) -> None:
        """Look at what was kept."""
        self.restored.look()

    def stop(self) -> None:
        """Give nothing out any more: who waits at the shared queue goes on at the gateway's."""
        self.claims.stop()

    def write(self) -> None:
        """Give what is to move back its row of the gateway's."""
        self._hand_back.write()

    def leaving(self) -> Iterator[Delivery]:
        """Yield what is to move back, each to be acknowledged once it is there."""
        return self._hand_back.leaving()

    def leave(self) -> Iterator[Any]:
        """Offer nothing any more; yield what was kept aside."""
        return self.restored.leave()


def _is_none_of_the_gateway(frame: FrameType) -> bool:
    names = frame.f_globals
    spec = names.get("__spec__")
    name = names.get("__name__") if spec is None else spec.name
    return not isinstance(name, str) or not (name in _KNOWN or name.startswith(_OURS))


def _earlier_keys(session_key: str) -> list[str]:
    """The keys that a session of the CLI had before its context was compressed."""
    cli = consumers.cli()
    if cli is None or getattr(cli, "session_id", None) != session_key:
        return []
    try:
        return home_ledgers.earlier_keys(getattr(cli, "_session_db", None), session_key)
    except Exception:
        # What is the session's by its own key comes all the same.
        logger.exception("which keys session %s had before cannot be told", session_key)
        return []
