"""Reaching the gateway's front ends, which may be imported already, later, or right now.

A front end is never imported from here: it is heavy, and only its launcher knows when it is time.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    Notice = Callable[[ModuleType], None]


def loaded(name: str) -> list[ModuleType]:
    """Return the loaded modules made from the module `name`: itself, and `python -m name`."""
    result = [module] if (module := sys.modules.get(name)) is not None else []
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if main is not None and spec is not None and spec.name == name:
        result.append(main)
    return result


def name_of(module: ModuleType) -> str:
    """Return the name under which a module is imported, also where it runs as `__main__`."""
    return module.__spec__.name if module.__spec__ is not None else module.__name__


def owner_of(module: ModuleType, qualified_name: str) -> tuple[Any, str]:
    """Return the object that holds a function, module or class, and the function's name there."""
    *path, name = qualified_name.split(".")
    owner: Any = module
    for step in path:
        owner = vars(owner)[step]
    return owner, name


def still_importing(module: ModuleType) -> bool:
    """Say whether the body of a module is being executed now."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def when_imported(module: ModuleType, notice: Notice) -> None:
    """Call `notice` when the body of a module that is being executed now has ended.

    The import system marks the end by setting an attribute on the module's spec; there is no
    public way to be told.
    """
    spec = module.__spec__
    if spec is not None and type(spec) is ModuleSpec:
        vars(spec)[_NOTICE] = (module, notice)
        spec.__class__ = _NoticingSpec


_NOTICE = "_hermes_core_notice"


class _NoticingSpec(ModuleSpec):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "_initializing" and not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            module, notice = vars(self).pop(_NOTICE)
            notice(module)


class PostImportFinder:
    """A finder that finds nothing of its own and gives notice when a watched module is in.

    It lets the other finders find the module, and puts one attribute on the loader that they
    return: an `exec_module` that calls the loader's own and then `notice`. Loader, spec and
    module stay what they would be without it.
    """

    def __init__(self, names: Sequence[str], notice: Notice) -> None:
        self._names = frozenset(names)
        self._notice = notice

    def install(self) -> None:
        """Start to watch."""
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Stop watching."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a watched module by way of the other finders; leave all else to them."""
        if fullname not in self._names:
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._attach(spec)
                return spec
        return None

    def _attach(self, spec: ModuleSpec) -> None:
        loader = spec.loader
        execute = getattr(loader, "exec_module", None)
        if loader is None or execute is None:
            return

        def exec_module(module: ModuleType) -> None:
            if module.__spec__ is not spec:  # a loader that serves several modules
                execute(module)
                return
            vars(loader).pop("exec_module", None)
            execute(module)
            self._notice(module)

        # A loader without a __dict__ cannot be watched; the module stays as it is, and pending.
        if hasattr(loader, "__dict__"):
            loader.exec_module = exec_module  # type: ignore[method-assign]
