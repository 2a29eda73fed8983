"""One queue stands in for another while any number of threads put and take.

The gateway's queue stays reachable for a producer that read the attribute before the swap; ours
stays reachable after the swap back. Two rules make both harmless:

* While ours is in place, the gateway's queue keeps nothing: `queue.Queue.put` stores through
  `self._put` under the queue's mutex, and an instance attribute of that name sends the item to
  ours. A producer that is inside `put` already waits for that same mutex.
* While ours is not in place, ours keeps nothing: a thread waits for what still comes into it and
  moves everything on. It is started before the swap back looks for the last time.

Moves happen under the mutex of the gateway's queue, first in first out.

Ours asks nothing on the way. What has to be asked it is asked by its class, which changes in place,
for its identity is what delegations hold; docs/decisions/gateway-queue.md says when.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import queue
import sys
import threading
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from hermes_core import CompletionQueue, ShutDown, _core
from hermes_core.gateway import host_loops
from hermes_core.gateway.counters import count
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from hermes_core import Delivery
    from hermes_core.gateway.host_loops import Loop, TakeOver

logger = logging.getLogger("hermes_core.gateway")

_get, _empty = CompletionQueue.get, CompletionQueue.empty
_put, _put_nowait = CompletionQueue.put, CompletionQueue.put_nowait
_loops_by_code, _caller = host_loops.by_code, sys._getframe


class GatewayQueue(CompletionQueue[Any]):
    """The shared queue in a gateway, once no loop is at large that must not take for itself."""

    __slots__ = ()

    @property
    def queue(self) -> deque[Any]:
        """What waits, in order: a snapshot, where a plain queue shows what it holds."""
        return deque(self.pending())


class WatchedQueue(GatewayQueue):
    """The same while such a loop may be at large: it is met where it takes."""

    __slots__ = ()

    def get(self, block: bool = True, timeout: float | None = None, **wanted: Any) -> Any:
        """Take an event; a loop of the gateway that others stand in for waits here for its end."""
        if next(_is_time_to_look):
            adapt(blocking=False)
        if id(_caller(1).f_code) in _loops_by_code:
            host_loops.meet(_caller(1))
        if block is True and not wanted:
            return _get(self) if timeout is None else _get(self, timeout=timeout)
        return _get(self, block, timeout, **wanted)

    def empty(self) -> bool:
        """Say whether nothing waits; a loop of the gateway that others stand in for ends here."""
        if next(_is_time_to_look):
            adapt(blocking=False)
        if id(_caller(1).f_code) in _loops_by_code:
            host_loops.meet(_caller(1))
        return _empty(self)


class LeasingQueue(GatewayQueue):
    """The same where consumers claim what they have taken: of ours they take a lease."""

    __slots__ = ()

    def get(self, block: bool = True, timeout: float | None = None, **wanted: Any) -> Any:
        """Take an event; one of ours waits again unless its consumer completes it."""
        if wanted or _swap is None or (leases := _swap.leases) is None:
            return _get(self, block, timeout, **wanted)
        return leases.take(_caller(1), block, timeout)

    def get_nowait(self, **wanted: Any) -> Any:
        """As `get(block=False)`."""
        if wanted or _swap is None or (leases := _swap.leases) is None:
            return _get(self, False, **wanted)
        return leases.take(_caller(1), False, None)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an event; a copy of one of ours gives that one back."""
        if _swap is None or (leases := _swap.leases) is None or not leases.put(item):
            _put(self, item, block, timeout)

    def put_nowait(self, item: Any) -> None:
        """As `put`."""
        self.put(item)

    def task_done(self) -> None:
        """An event is done with once it was taken, or one of ours once it is completed."""


class LeftQueue(GatewayQueue):
    """The same after an uninstall: what is put into it is the gateway's own queue's at once."""

    __slots__ = ()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an event; it goes on to the gateway's own queue."""
        _put(self, item, block, timeout)
        sweep()

    def put_nowait(self, item: Any) -> None:
        """Put an event without waiting; it goes on to the gateway's queue."""
        _put_nowait(self, item)
        sweep()


#: A watched queue is used this often from one look whether it need be watched still to the next.
USES_PER_LOOK = 32

_is_time_to_look = itertools.cycle([True] + [False] * (USES_PER_LOOK - 1))

_swap: QueueSwap | None = None
"""The swap that stragglers of the shared queue go through: the latest one."""


class Leases(Protocol):
    """Who has which event, where consumers claim what they have taken."""

    def take(self, caller: FrameType, block: bool, timeout: float | None) -> Any:
        """Take an event for the consumer whose frame this is."""

    def put(self, item: Any) -> bool:
        """Give an event back; False for one that is to be put."""

    def begin(self) -> None:
        """Look at what was kept aside."""

    def stop(self) -> None:
        """Give nothing out any more."""

    def keep(self, event: Any) -> bool:
        """Keep an event aside that moves in; False if it is to wait. Called under the mutex."""

    def write(self) -> None:
        """Have everything written down that is to move back."""

    def leaving(self) -> Iterator[Delivery]:
        """Yield what is to move back, each to be acknowledged once it is there."""

    def leave(self) -> Iterator[Any]:
        """End; yield what was kept aside."""


class QueueSwap:
    """The exchange of `registry.completion_queue` for `ours`, and back.

    Where consumers claim what they have taken, `leases` says who has what.
    """

    __slots__ = ("_active", "_host", "_ours", "_registry", "leases")

    def __init__(
        self, registry: Any, ours: CompletionQueue[Any], leases: Leases | None = None
    ) -> None:
        self._registry = registry
        self._host: queue.Queue[Any] = registry.completion_queue
        self._ours = ours
        self._active = False
        self.leases = leases

    def install(self) -> int:
        """Put ours in place, with all that waits in the gateway's queue; return how many."""
        global _swap
        host, ours = self._host, self._ours
        _stop_listening()
        with host.mutex:
            moved = self._move_in()
            host._put = self._forward  # type: ignore[method-assign]
            self._active = True
            _swap = self
            adapt()
            self._registry.completion_queue = ours
        if self.leases is not None:
            self.leases.begin()
        return moved

    def uninstall(self) -> int:
        """Put the gateway's queue back, with all that waits in ours; return how many."""
        host, leases = self._host, self.leases
        if leases is not None:
            leases.stop()
            leases.write()
        with host.mutex:
            # Something else may have been put there since; that one is not ours to remove.
            if self._registry.completion_queue is self._ours:
                self._registry.completion_queue = host
            self._active = False
            vars(host).pop("_put", None)
            moved = self._move_back()
        adapt()
        if leases is not None:
            for event in leases.leave():
                host.put(event)
                moved += 1
            self.sweep()
        _listen()
        return moved

    def is_replaced(self) -> bool:
        """Say whether something else stands where ours was put."""
        return self._active and self._registry.completion_queue is not self._ours

    def sweep(self) -> None:
        """After an uninstall, move what a straggler put into ours to the gateway's queue."""
        if self._active:
            return
        if self.leases is not None:
            # Before the mutex: the gateway puts while it holds its own lock of the rows.
            self.leases.write()
        with self._host.mutex:
            # Another may have put ours in place again while this one waited for the mutex.
            if not self._active and _swap is self:
                count("events that followed an uninstall", self._move_back())

    def needed(self) -> type[GatewayQueue]:
        """Return the class that asks what need be asked now, and no more."""
        if not self._active:
            return LeftQueue
        if self.leases is not None:
            return LeasingQueue
        return WatchedQueue if host_loops.any_at_large() else GatewayQueue

    def adapt(self) -> None:
        """Change the class of ours to the needed one."""
        if type(self._ours) is not (needed := self.needed()):
            self._ours.__class__ = needed

    def listen(self) -> _core.Mailbox:
        """Open a mailbox for all that comes into ours."""
        return _core.Mailbox(self._ours, None, None, None, False, None, None)

    def _forward(self, item: Any) -> None:
        """Stand in for the gateway's `_put`; the caller holds its mutex and counts a task."""
        # Not self._ours.put: a sweep would wait for the mutex that the caller holds.
        CompletionQueue.put(self._ours, item)
        self._host.unfinished_tasks -= 1

    def _move_in(self) -> int:
        host, ours = self._host, self._ours
        moved = 0
        try:
            while host.queue:
                if self.leases is None or not self.leases.keep(host.queue[0]):
                    CompletionQueue.put(ours, host.queue[0])
                host.queue.popleft()
                moved += 1
        except BaseException:
            taken: deque[Any] = deque()
            _take_all(ours, taken)
            host.queue.extendleft(reversed(taken))
            raise
        host.unfinished_tasks = max(0, host.unfinished_tasks - moved)
        if not host.unfinished_tasks:
            host.all_tasks_done.notify_all()
        return moved

    def _move_back(self) -> int:
        host = self._host
        before = len(host.queue)
        try:
            if self.leases is None:
                _take_all(self._ours, host.queue)
            else:
                for delivery in self.leases.leaving():
                    host.queue.append(delivery.event)
                    delivery.ack()
        finally:
            moved = len(host.queue) - before
            host.unfinished_tasks += moved
            host.not_empty.notify(moved)
        return moved


def watch(loop: Loop, take_over: TakeOver) -> None:
    """Have a loop of the gateway taken over where it takes from the shared queue."""
    host_loops.add(loop, take_over)
    adapt()


def lease_for_good(ours: CompletionQueue[Any], leases: Leases) -> None:
    """Have each take of ours be a lease, in a gateway that has no other queue."""
    global _swap
    alone = QueueSwap(SimpleNamespace(completion_queue=ours), ours, leases)
    alone._active = True
    _swap = alone
    adapt()


def is_replaced() -> bool:
    """Say whether something else stands where the shared queue was put, for the gateway to use."""
    return _swap is not None and _swap.is_replaced()


def on_assignment(told: Callable[[], None]) -> Callable[[Any, str, Any], None]:
    """Make a `__setattr__` for the class of the gateway's registry: it tells of another queue."""

    def __setattr__(self: Any, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name == "completion_queue":
            told()

    return __setattr__


_adapting = forked.lock(sys.modules[__name__], "_adapting", threading.RLock)


def adapt(*, blocking: bool = True) -> None:
    """Have the shared queue ask what need be asked now, and no more.

    With `blocking` false only if nobody does so just now.
    """
    if _adapting.acquire(blocking):
        try:
            if _swap is not None:
                _swap.adapt()
        finally:
            _adapting.release()


def sweep() -> None:
    """After an uninstall, move what a straggler put into the shared queue to the gateway's."""
    if _swap is not None:
        _swap.sweep()


_arrivals: _core.Mailbox | None = None
"""While ours is left: where the sweeper waits for what still comes into it."""


def _listen() -> None:
    """Have whatever comes into the shared queue from now on swept: by a put that was bound before
    the uninstall, say, or from a consumer that gives back."""
    global _arrivals
    if _swap is not None and _arrivals is None:
        _arrivals = _swap.listen()
        _start_sweeper()


def _stop_listening() -> None:
    global _arrivals
    if _arrivals is not None:
        _arrivals.close()
        _arrivals = None


def _start_sweeper() -> None:
    if _arrivals is None:
        return
    name = "hermes-core-sweeper"
    try:
        threading.Thread(target=_sweep_on, args=(_arrivals,), name=name, daemon=True).start()
    except RuntimeError:
        # No more threads, or the interpreter ends. What is put the usual way is swept all the same.
        logger.warning("no thread to sweep the shared queue could be started", exc_info=True)


def _sweep_on(arrivals: _core.Mailbox) -> None:
    with contextlib.suppress(ShutDown):
        while True:
            arrivals.wait()
            sweep()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_sweeper)


def unsuitable(registry: Any) -> str | None:
    """Say why the queue of this registry cannot be swapped, or return None when it can."""
    host = registry.completion_queue
    if type(host) is not queue.Queue:
        return f"is a {type(host).__name__}, not the plain queue.Queue of the gateway"
    if host.maxsize > 0:
        return f"is bounded to {host.maxsize} events"
    if "_put" in vars(host):
        return "has its _put replaced by something else"
    return None


def _take_all(ours: CompletionQueue[Any], into: deque[Any]) -> None:
    """Move every event over, each straight into its new place: whatever is raised loses none."""
    before = len(into)
    take = functools.partial(CompletionQueue.get_nowait, ours)
    try:
        # One native loop, so that Ctrl-C finds no event between the two.
        into.extend(iter(take, object()))
    except queue.Empty:
        pass
    finally:
        # A consumer may have called done here what it took from the gateway's queue before; then
        # there are fewer left to call than events.
        with contextlib.suppress(ValueError):
            for _ in range(len(into) - before):
                CompletionQueue.task_done(ours)
