"""Which runners are coroutine functions, without ``inspect`` and without calling them."""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import TypeGuard

#: ``inspect.CO_COROUTINE``
_CO_COROUTINE = 0x80
#: The attribute that ``inspect.markcoroutinefunction`` (3.12) sets.
_MARK = "_is_coroutine_mark"


def is_coroutine_function(runner: object) -> bool:
    """As ``inspect.iscoroutinefunction``, and for objects whose class has an ``async __call__``."""
    while True:
        kind = type(runner)
        if isinstance(runner, FunctionType):
            return bool(runner.__code__.co_flags & _CO_COROUTINE) or _MARK in runner.__dict__
        if kind is type or kind is BuiltinFunctionType:
            return False
        if isinstance(runner, partial):
            runner = runner.func
        elif isinstance(runner, MethodType):
            runner = runner.__func__
        else:
            called = (vars(base)["__call__"] for base in kind.__mro__ if "__call__" in vars(base))
            runner = next(called, None)
            if not isinstance(runner, FunctionType):
                return False


def is_awaitable(result: object) -> TypeGuard[Awaitable[object]]:
    """Whether ``await`` takes it: what a coroutine function returns, and its like."""
    return hasattr(type(result), "__await__")
