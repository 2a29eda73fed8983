"""Calling ``interrupt_fn`` callbacks so that none can delay the others or the caller."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty

from hermes_core.queue.completion_queue import CompletionQueue
from hermes_core.runtime.workers import IDLE_SECONDS, WorkerPool

#: Seconds that a caller waits in all for the callbacks it started.
BUDGET_SECONDS = 2.0

#: CPython 3.12 starts no thread once ``atexit`` runs (``Modules/_threadmodule.c``), so there the
#: threads must exist before, and stay.
_NO_THREADS_AT_EXIT = sys.version_info[:2] == (3, 12)

#: Stands for the place of a callback that raised.
_RAISED = -1

_Call = tuple[int, Callable[[], object], CompletionQueue[int]]


def _run(call: _Call) -> None:
    number, interrupt_fn, answers = call
    try:
        interrupt_fn()
    except BaseException as exc:
        answers.put(_RAISED)
        # A log handler may hang or raise anything, and a job that raises is run again.
        with suppress(BaseException):
            import logging

            logger = logging.getLogger("hermes_core.registry")
            logger.debug("an interrupt_fn raised %s", type(exc).__name__)
    else:
        answers.put(number)


_pool: WorkerPool[_Call] = WorkerPool(
    "async-delegate-interrupt",
    _run,
    idle_seconds=1e9 if _NO_THREADS_AT_EXIT else IDLE_SECONDS,
)


def prepare(running: int) -> None:
    """See to it that ``running`` callbacks can be called at interpreter exit."""
    if _NO_THREADS_AT_EXIT:
        _pool.reserve(running)


def call_all(interrupt_fns: Sequence[object], budget: float = BUDGET_SECONDS) -> set[int]:
    """Call each callback on a thread of its own and wait ``budget`` seconds at most, or not at all.

    One that raises, hangs, or is not callable stops no other. Returns the places of those that
    returned in time without raising.
    """
    answers: CompletionQueue[int] = CompletionQueue()
    calls = 0
    for number, interrupt_fn in enumerate(interrupt_fns):
        if callable(interrupt_fn):
            _pool.submit_to_any((number, interrupt_fn, answers))
            calls += 1
    returned: set[int] = set()
    if budget <= 0:
        return returned
    waiting = calls
    deadline = time.monotonic() + budget
    try:
        while waiting:
            returned.add(answers.get(timeout=max(0.0, deadline - time.monotonic())))
            waiting -= 1
    except Empty:
        import logging

        logger = logging.getLogger("hermes_core.registry")
        logger.warning("%d of %d interrupt_fn calls are still running", waiting, calls)
    return returned - {_RAISED}
