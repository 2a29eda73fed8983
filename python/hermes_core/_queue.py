"""The Python face of the completion queue."""

from __future__ import annotations

from . import _core
from ._generic import Generic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, TypeVar

    T = TypeVar("T")
else:
    T = None

__all__ = ["CompletionQueue"]


class CompletionQueue(_core.CompletionQueue, Generic[T]):
    """A drop-in for ``queue.Queue`` that also knows whose each event is.

    Methods, arguments and exceptions are those of CPython's ``Lib/queue.py`` (3.13, with
    ``shutdown`` on every Python). Left out are the hooks ``_put``, ``_get``, ``_qsize`` and the
    internals ``mutex``, ``not_empty``, ``not_full``, ``queue``.

    A put of a dict reads its ``"type"`` (absent: ``"completion"``) and ``"session_key"``; ``get``
    and ``get_nowait`` take by them: ``get(types={"async_delegation"}, session_key=key)`` removes
    the first such event in O(1) and moves no other. An event without a session key is taken by
    unfiltered consumers only, and by ``get(unaddressed=True)``, which takes nothing else.
    ``put_back(event)`` undoes a ``get``: the event is the first again.

    After ``os.fork`` the child's queue is empty and works: an inherited event would be delivered
    twice. Here it departs from ``queue.Queue``, on purpose.

    Args:
        maxsize: the bound, in events; zero or less for none.
    """

    __slots__ = ()

    # As in queue.Queue all arguments belong to __init__, so that a subclass may have its own.
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize

    def shutdown(self, immediate: bool = False) -> None:
        """End the queue: ``put`` raises ``ShutDown`` from now on, ``get`` once nothing waits.

        Args:
            immediate: remove the waiting events too, and count them as done.
        """
        # The removed events are dropped by this frame, not by the native one.
        self._shutdown(bool(immediate))

    def __del__(self) -> None:
        # What still waits is dropped by this frame, not by the native one.
        self._drain()
