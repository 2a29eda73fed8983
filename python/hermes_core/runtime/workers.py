"""Worker threads: Python threads that run jobs, started when needed and gone when idle.

The loop is Python and calls one native leaf, ``Handoff.take``, which waits detached. So an
interpreter that ends finds no native frame beneath running Python code.
"""

from __future__ import annotations

import _thread
import atexit
import itertools
import sys
import threading
from collections.abc import Callable
from types import BuiltinFunctionType

from hermes_core import _core
from hermes_core.runtime.generic import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    J = TypeVar("J")
else:
    J = None

#: Seconds after which an idle worker ends.
IDLE_SECONDS = 10.0


class WorkerPool(Generic[J]):
    """Daemon threads that run jobs; never more than the jobs at hand need.

    A worker that takes a job and leaves others waiting starts the next worker, so whoever submits
    a burst starts one thread.

    Args:
        name: what the threads' names begin with.
        run: called on a worker with each job. It must not raise.
        orphaned: called with each job that waited for a thread which could not be started, other
            than the one whose ``submit`` raises. Without it such jobs wait for the workers there
            are.
        idle_seconds: how long an idle worker waits for a job before it ends.
    """

    __slots__ = ("_handoff", "_idle_seconds", "_name", "_numbers", "_orphaned", "_run")

    def __init__(
        self,
        name: str,
        run: Callable[[J], None],
        orphaned: Callable[[J, BaseException], None] | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._name = name
        self._run = run
        self._orphaned = orphaned
        self._idle_seconds = idle_seconds
        self._numbers = itertools.count()
        self._handoff: _core.Handoff[J] = _core.Handoff()

    def submit(self, job: J) -> None:
        """Have a worker run ``job``, starting one if none is free or on its way.

        Raises what kept a thread from starting, say RuntimeError, or KeyboardInterrupt. A worker
        may have the job all the same.
        """
        number = next(self._numbers)
        try:
            if self._handoff.submit(job, number):
                self._start(number)
        except BaseException as exc:
            self._give_up(number, exc, job)
            raise

    def submit_to_any(self, job: J) -> None:
        """Have a worker run ``job``; if none can be started, whichever is free first."""
        number = next(self._numbers)
        if self._handoff.submit(job, number):
            self._start_if_possible(number)

    def retire(self) -> None:
        """Have the workers that are idle now end."""
        self._handoff.retire()

    def reserve(self, count: int) -> None:
        """Start a worker unless ``count`` are free."""
        number = next(self._numbers)
        if self._handoff.reserve(count, number):
            self._start_if_possible(number)

    def _start_if_possible(self, number: int) -> None:
        try:
            self._start(number)
        except BaseException as exc:
            # What waits stays for the workers there are.
            self._handoff.forget(number)
            if not isinstance(exc, Exception):
                raise

    def _start_another(self, number: int) -> None:
        """Start a worker for the jobs that wait behind a worker's own."""
        try:
            self._start(number)
        except Exception as exc:
            self._give_up(number, exc)

    def _give_up(self, number: int, exc: BaseException, own: J | None = None) -> None:
        if self._orphaned is None:
            self._handoff.forget(number)
            return
        for orphan in self._handoff.not_started(number, own):
            self._orphaned(orphan, exc)

    def _start(self, number: int) -> None:
        start_thread(f"{self._name}_{number}", _work, _Coming((self, number)))


def start_thread(name: str, run: Callable[..., None], *args: object) -> None:
    """Start a daemon thread that calls ``run(*args)``; raises what keeps it from starting."""
    if "gevent.monkey" in sys.modules and type(_thread.start_new_thread) is not BuiltinFunctionType:
        raise RuntimeError(
            "gevent has replaced the threads of this process, and hermes_core needs real ones: "
            "use monkey.patch_all(thread=False)"
        )
    if _closed:
        # On 3.11 a thread started at this point may end before its starter sees it run.
        raise RuntimeError("the interpreter shuts down: no thread is started any more")
    threading.Thread(target=run, args=args, name=name, daemon=True).start()


class _Coming(tuple["WorkerPool[Any]", int]):
    """A worker that was asked for. If its thread ends before it looked for a job, as what another
    thread throws into it may have it, the jobs that count on it get another."""

    __slots__ = ()

    def __del__(self) -> None:
        pool, number = self
        if pool._handoff.is_awaited(number):
            pool._start_another(number)


_closed = False

#: Called when the interpreter exits, after the handlers of those who use this.
at_exit: list[Callable[[], object]] = []


@atexit.register
def _close() -> None:
    # Registered at import, so it runs after the handlers of those who use this.
    global _closed
    _closed = True
    for call in at_exit:
        call()


def _work(coming: _Coming) -> None:
    pool, number = coming
    handoff, run, idle_seconds = pool._handoff, pool._run, pool._idle_seconds
    successor = next(pool._numbers)
    # What another thread throws into this one (PyThreadState_SetAsyncExc) may come anywhere, also
    # between two turns of a loop; a job in hand is then run again, and knows that it was begun.
    hand: list[Any] = []
    while True:
        try:
            needs_worker: bool | None = handoff.is_awaited(successor)
            while True:
                if not hand:
                    needs_worker = handoff.take(idle_seconds, hand, number, successor)
                    if needs_worker is None:
                        return
                if needs_worker:
                    pool._start_another(successor)
                    successor = next(pool._numbers)
                    needs_worker = False
                run(hand[0])
                # A waiting worker keeps nothing alive.
                hand.clear()
        except BaseException:
            continue
