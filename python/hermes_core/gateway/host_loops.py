"""The gateway's loops that must not take for themselves, and whether one may still be at work.

A loop that began before an install cannot be found from outside: it is a thread, or a coroutine
that nobody keeps. It is met where it takes: its frame calls `get` or `empty` of the shared queue,
and there ours goes on in its stead.

That none is at large any more is known by counting. Whoever can run the function holds a reference
to it: a frame or a suspended coroutine that is in it, a thread that has yet to start, a name that
was imported. Once all references are accounted for, nobody can begin or resume it, and as it has
left its module, nobody can get hold of it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from hermes_core.runtime import forked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, FunctionType

    TakeOver = Callable[[FrameType], None]

#: The references that are ours: the record of the loop, the swap, and the argument of the count.
_OURS = 3

#: Later Pythons lend references without counting them; there nothing is known.
_ALL_ARE_COUNTED = sys.version_info < (3, 14)


class Loop:
    """A loop of the gateway's, and who goes on for it while the core is in place.

    There is one of these for a function, also over several stays of the core: see `of`.
    """

    __slots__ = ("__weakref__", "_lock", "_served", "code", "original", "take_over")

    def __init__(self, original: Any) -> None:
        self.original: FunctionType = original
        self.code: CodeType = original.__code__
        self.take_over: TakeOver = _let_go_on
        self._lock = forked.lock(self)
        # By frame that is served: how many references it surely holds. Replaced, never changed.
        self._served: dict[FrameType, int] = {}

    @contextlib.contextmanager
    def serving(self, frame: FrameType) -> Iterator[None]:
        """Know of a frame of the loop that does not go on as long as this lasts."""
        held = _held_below(frame, self.original)
        with self._lock:
            self._served = {**self._served, frame: held}
        try:
            yield
        finally:
            with self._lock:
                self._served = {f: n for f, n in self._served.items() if f is not frame}

    def may_be_at_large(self) -> bool:
        """Say whether anybody may run it who is not known; if in doubt, yes."""
        served = self._served
        references = sys.getrefcount(self.original)
        # None came or went while they were counted, or the two numbers do not belong together.
        known = _OURS + sum(served.values())
        return not _ALL_ARE_COUNTED or references > known or served is not self._served


by_code: dict[int, Loop] = {}
"""The loops that are taken over wherever they are met, by the id of their code, which they keep.

Not by the code itself: its hash is that of all its instructions."""


_records: weakref.WeakValueDictionary[int, Loop] = weakref.WeakValueDictionary()


def of(original: Any) -> Loop:
    """Return the record of a loop; the caller gives its own reference to the function up."""
    loop = _records.get(id(original.__code__))
    if loop is None or loop.original is not original:
        loop = _records[id(original.__code__)] = Loop(original)
    return loop


def add(loop: Loop, take_over: TakeOver) -> None:
    """Have a loop taken over wherever it is met.

    `take_over` is called with the frame that is about to take. It raises what ends the loop, or
    returns to let it go on.
    """
    loop.take_over = take_over
    by_code[id(loop.code)] = loop


def clear() -> None:
    """Leave all loops alone."""
    for loop in tuple(by_code.values()):
        loop.take_over = _let_go_on  # what it was refers to the record, in a circle
    by_code.clear()


def _let_go_on(frame: FrameType) -> None:
    """Leave a loop alone that was met just as all were left alone."""


def is_known(loop: Loop) -> bool:
    """Say whether a loop is taken over still."""
    return by_code.get(id(loop.code)) is loop


def meet(frame: FrameType) -> None:
    """Take the loop over whose frame this is."""
    if (loop := by_code.get(id(frame.f_code))) is not None:
        loop.take_over(frame)


def any_at_large() -> bool:
    """Say whether any loop may be at work that was not met."""
    return any(loop.may_be_at_large() for loop in tuple(by_code.values()))


def _held_below(frame: FrameType, function: Any) -> int:
    """Count the references to a function that its frame and a thread's own `run` surely hold."""
    held, caller = _held_by_a_thread()
    below, thread = frame.f_back, threading.current_thread()
    is_plain = below is not None and below.f_code is caller
    return held if is_plain and getattr(thread, "_target", None) is function else 1


@functools.cache
def _held_by_a_thread() -> tuple[int, CodeType | None]:
    """Count the references that a thread holds to the function that it runs; differs by Python."""
    found: list[tuple[int, CodeType | None]] = []

    def loop() -> None:
        below = sys._getframe().f_back
        found.append((sys.getrefcount(loop), below.f_code if below is not None else None))

    before = sys.getrefcount(loop)
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    thread.join()
    held, caller = found[0]
    return held - before, caller
