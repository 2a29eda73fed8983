"""The CLI: its input queue is exchanged for ours, and its session gets its results.

The gateway makes its queue in `HermesCLI.run`, a moment before its loop starts, and reads it from
the instance each time. A descriptor on the class sees every read.
"""

from __future__ import annotations

import functools
import logging
import weakref
from queue import Queue
from typing import TYPE_CHECKING, Any

from hermes_core.delegation.runners import is_coroutine_function
from hermes_core.gateway import consumers, home_ledgers
from hermes_core.gateway.cli.input_queue import InputQueue
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("hermes_core.gateway")

ATTRIBUTE = "_pending_input"


def dispatch_for(
    ours: Callable[..., dict[str, Any]], propagate: Callable[[Any], Any] | None
) -> Callable[..., dict[str, Any]]:
    """Make the stand-in for `dispatch_async_delegation`: it also names the CLI's session.

    In a turn the session is the key. What runs beside turns, `/background`, say, has no key; its
    result comes to the CLI all the same, and after a restart to the session that was there then.
    `propagate` is by what the gateway has a runner ask for approvals as the turn does, where it
    does so: its `propagate_context_to_thread`.
    """

    @functools.wraps(ours)
    def dispatch_async_delegation(**arguments: Any) -> dict[str, Any]:
        if not (arguments.get("session_key") or arguments.get("parent_session_id")):
            arguments["parent_session_id"] = getattr(consumers.cli(), "session_id", None)
        runner = arguments.get("runner")
        if propagate is not None and callable(runner) and not is_coroutine_function(runner):
            arguments["runner"] = propagate(runner)
        return ours(**arguments)

    return dispatch_async_delegation


def restore(cli: Any, session_id: str) -> home_ledgers.Want | None:
    """Have what an earlier process left for this session of a CLI come."""
    try:
        keys = [session_id, *home_ledgers.earlier_keys(cli._session_db, session_id)]
        return home_ledgers.restore(
            home_ledgers.current_home(),
            session_keys=keys,
            owns=lambda event: (
                not event.get("session_key") and event.get("parent_session_id") in keys
            ),
        )
    except Exception:
        # It must not end the CLI's loop.
        logger.exception("what session %s had before cannot be given back", session_id)
        return None


class InputSwap:
    """The exchange of every CLI's input queue, and back.

    Args:
        owner: the gateway's class `HermesCLI`.
        label: what the exchange is called in reports.
        make: makes an input queue in place of a CLI's plain one.
    """

    def __init__(
        self, owner: type, label: str, make: Callable[[Queue[Any], Any], InputQueue]
    ) -> None:
        self.label = label
        self._owner = owner
        self._attribute = _Attribute(make)

    def do(self) -> None:
        """Have each CLI read an input queue of ours, those that run by now included."""
        setattr(self._owner, ATTRIBUTE, self._attribute)

    def undo(self) -> bool:
        """Give each CLI its plain queue back, unless something else has replaced ours since."""
        if vars(self._owner).get(ATTRIBUTE) is self._attribute:
            delattr(self._owner, ATTRIBUTE)
        self._attribute.retire()
        return ATTRIBUTE not in vars(self._owner)


class _Attribute:
    """Stands for an attribute that is kept in the instance, as it was without it."""

    def __init__(self, make: Callable[[Queue[Any], Any], InputQueue]) -> None:
        self._make = make
        self._lock = forked.lock(self)
        self._served: weakref.WeakSet[Any] = weakref.WeakSet()
        self._retired = False

    def __get__(self, cli: Any, owner: type | None = None) -> Any:
        if cli is None:
            return self
        try:
            found = vars(cli)[ATTRIBUTE]
        except KeyError:
            raise AttributeError(f"{owner} object has no attribute {ATTRIBUTE!r}") from None
        return self._serve(cli) if _is_plain(found) else found

    def __set__(self, cli: Any, value: Any) -> None:
        vars(cli)[ATTRIBUTE] = value

    def __delete__(self, cli: Any) -> None:
        del vars(cli)[ATTRIBUTE]

    def retire(self) -> None:
        """Give every CLI its own queue back."""
        with self._lock:
            self._retired = True
            for cli in self._served:
                if isinstance(inputs := vars(cli).get(ATTRIBUTE), InputQueue):
                    vars(cli)[ATTRIBUTE] = inputs.retire()
            self._served.clear()

    def _serve(self, cli: Any) -> Any:
        with self._lock:
            found = vars(cli)[ATTRIBUTE]
            if _is_plain(found) and not self._retired:
                found = vars(cli)[ATTRIBUTE] = self._make(found, cli)
                self._served.add(cli)
            return found


def _is_plain(found: Any) -> bool:
    """Whether this is the queue that the gateway makes, and nothing that a plugin put there."""
    return type(found) is Queue and found.maxsize <= 0 and "_put" not in vars(found)
