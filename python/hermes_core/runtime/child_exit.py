"""The end of a process that ``multiprocessing`` started, which calls no ``atexit`` handler.

Nothing of ``multiprocessing`` is imported: where it has not been, no process was started by it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

#: Called at the end of such a process, after the finalizers of those who use this.
calls: list[Callable[[], object]] = []

#: The processes in which it was seen to: a forked child is another.
_children: set[int] = set()
_parents: set[int] = set()


class _Anchor:
    """What ``multiprocessing`` keeps its after-fork call for."""


_ANCHOR = _Anchor()


def arrange() -> None:
    """See to it that the end of this process is heard of, if ``multiprocessing`` started it, and of
    those that it starts from here."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is None or process is None:
        return
    here = os.getpid()
    if here not in _parents:
        _parents.add(here)
        # A process that was started forgets all finalizers, then makes these calls.
        util.register_after_fork(_ANCHOR, _begin_child)
    if here not in _children and process.parent_process() is not None:
        _begin_child()


def _begin_child(_: object = None) -> None:
    _children.add(os.getpid())
    # Last of all: what else ends may still use a ledger.
    sys.modules["multiprocessing.util"].Finalize(None, _end, exitpriority=-1000)


def _end() -> None:
    for call in calls:
        call()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=arrange)
