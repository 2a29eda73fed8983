"""What a forked child makes anew: locks first, for a thread that had one is not in the child."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: By owner, as long as it lives: what is called with it in a child.
_renewals: weakref.WeakKeyDictionary[Any, list[Callable[[Any], object]]] = (
    weakref.WeakKeyDictionary()
)


def in_child(owner: Any, renew: Callable[[Any], object]) -> None:
    """Have ``renew(owner)`` called in each child that is forked, before anything else runs there.

    As long as the owner lives: a module, or an object with weak references that is equal to itself
    alone. ``renew`` must wait for nothing.
    """
    _renewals.setdefault(owner, []).append(renew)


def lock(owner: Any, name: str = "_lock", make: Callable[[], Any] = threading.Lock) -> Any:
    """Make the lock that is to be an owner's attribute ``name``; a child has another, free, there.

    Returns the lock, for the owner to keep.
    """
    in_child(owner, lambda owner: setattr(owner, name, make()))
    return make()


def _renew() -> None:
    for owner, renewals in tuple(_renewals.items()):
        for renew in renewals:
            renew(owner)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
