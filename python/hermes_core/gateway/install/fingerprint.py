"""How a function of the gateway reads, in its file and in memory.

Everything here reads; nothing is imported and nothing is changed. A function is known by its
source text: the text is looked up in the module's file, so that a front end need not be imported
to be checked. A function that is already loaded must moreover be the one that its file defines,
which tells a function that another plugin has replaced.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import sys
import tokenize
from collections.abc import Iterable
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from hermes_core.gateway.install import source
from hermes_core.gateway.versions import DISTRIBUTION, Function

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


class Found(NamedTuple):
    """A function as its file defines it."""

    #: Where it begins, its decorators included.
    line: int
    digest: str
    #: `function`, `coroutine`, `generator`, `context manager` and so on: what a call of it gives.
    kind: str
    #: The names of its parameters, of those that can be given by position, and of those that have
    #: no default.
    parameters: tuple[str, ...]
    positional: tuple[str, ...]
    required: tuple[str, ...]
    is_decorated: bool = False
    #: Why it may be something else once its module is loaded; empty where nothing is in doubt.
    doubt: str = ""


class Unreadable(NamedTuple):
    """A module whose source there is no way to read."""

    why: str


def version() -> str:
    """Return the version that the installed hermes-agent gives itself, or an empty string."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def in_files(functions: Iterable[Function]) -> dict[Function, Found | str | None]:
    """Look functions up in their files: each as it reads, `None` if it is not there, or why its
    file cannot be read."""
    sources: dict[str, _Source] = {}
    found: dict[Function, Found | str | None] = {}
    for function in functions:
        if function.module not in sources:
            sources[function.module] = _Source(function.module)
        found[function] = sources[function.module].locate(function.name)
    return found


def has(module: str, pattern: re.Pattern[str]) -> bool:
    """Say whether the source of a module has a text."""
    text = _source_of(module)
    return isinstance(text, str) and pattern.search(text) is not None


def in_memory(function: Function, module: ModuleType) -> str | None:
    """Say why a loaded function is not the one that its file defines; `None` when it is.

    `module` is the loaded module; its name differs from the function's where it runs as `__main__`.
    """
    owner: object = module
    loaded: object = None
    inner: list[str] = []
    for step in function.name.split("."):
        if isinstance(loaded, FunctionType):
            inner.append(step)
            continue
        loaded = vars(owner).get(step) if hasattr(owner, "__dict__") else None
        owner = loaded
    if loaded is None:
        return "not there"
    found = in_files([function])[function]
    if not isinstance(found, Found):
        return "its source is not there any more"
    if found.is_decorated:
        # What its decorators make of it is up to them.
        return None if callable(loaded) else f"is now a {type(loaded).__name__}"
    if not isinstance(loaded, FunctionType):
        return f"is now a {type(loaded).__name__}, put there by something else"
    code: CodeType | None = loaded.__code__
    for step in inner:
        code = _inner_function(code, step)
    if code is None:
        return f"{loaded.__qualname__} of {loaded.__code__.co_filename} does not define it"
    if code.co_firstlineno != found.line or code.co_filename != getattr(module, "__file__", None):
        return f"replaced by {code.co_qualname} of {code.co_filename}"
    return None


def _inner_function(code: CodeType | None, name: str) -> CodeType | None:
    """Return the code of the function that a function defines in its body."""
    inner = (
        const
        for const in (code.co_consts if code is not None else ())
        if isinstance(const, CodeType)
    )
    return next((const for const in inner if const.co_name == name), None)


def digest(text: str) -> str:
    """Return the fingerprint of a source text; line ends and trailing blank space do not count."""
    normal = "\n".join(line.rstrip() for line in text.split("\n")).rstrip()
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()


def find_spec(name: str) -> ModuleSpec | None:
    """Find a module without importing anything, not even its parent package.

    `importlib.util.find_spec` imports the parent; that of `gateway.run` is heavy, and loads
    plugins itself.
    """
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None:
        return loaded  # type: ignore[no-any-return]
    parent, _, _ = name.rpartition(".")
    path: list[str] | None = None
    if parent:
        above = find_spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        path = list(above.submodule_search_locations)
    for finder in list(sys.meta_path):
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


class _Source:
    """The file of a module; what was found in it is not looked for again until it changes."""

    __slots__ = ("_module", "_state", "_text")

    _found: ClassVar[dict[tuple[str, str], tuple[object, Found | str | None]]] = {}

    def __init__(self, module: str) -> None:
        self._module = module
        self._text: source.Text | Unreadable | None = None
        self._state = _file_state(module)

    def locate(self, name: str) -> Found | str | None:
        """Return how a function reads; `None` if it is not there, or why the file is unreadable."""
        key = (self._module, name)
        known = self._found.get(key)
        if known is not None and known[0] == self._state:
            return known[1]
        if self._text is None:
            text = _source_of(self._module)
            self._text = source.Text(text) if isinstance(text, str) else text
        if isinstance(self._text, Unreadable):
            return self._text.why
        try:
            definition = self._text.definition(name.split("."))
        except (SyntaxError, ValueError, RecursionError, tokenize.TokenError) as error:
            return f"its source cannot be read ({error})"
        found = None if definition is None else _found_in(definition)
        if self._state is not None:
            self._found[key] = (self._state, found)
        return found


def _found_in(definition: source.Definition) -> Found:
    """Describe a function by its definition."""
    given = definition.node.args
    positional = [each.arg for each in (*given.posonlyargs, *given.args)]
    named = [each.arg for each in given.kwonlyargs]
    needed = positional[: len(positional) - len(given.defaults)] + [
        name for name, default in zip(named, given.kw_defaults, strict=True) if default is None
    ]
    return Found(
        definition.line,
        digest(definition.text),
        source.kind(definition),
        (*positional, *named),
        tuple(positional),
        tuple(needed),
        bool(definition.node.decorator_list),
        definition.doubt,
    )


def _file_state(module: str) -> tuple[str, int, int] | None:
    """Return what differs once the file of a module has changed."""
    spec = find_spec(module)
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    try:
        state = os.stat(spec.origin)
    except OSError:  # in an archive, say
        return None
    return spec.origin, state.st_mtime_ns, state.st_size


def _source_of(module: str) -> str | Unreadable:
    """Return the source of a module, or the reason why there is none."""
    spec = find_spec(module)
    if spec is None:
        return Unreadable("no such module")
    get_source = getattr(spec.loader, "get_source", None)
    try:
        text = get_source(spec.name) if get_source is not None else None
    except (ImportError, OSError, SyntaxError, UnicodeError) as error:
        return Unreadable(f"its source cannot be read ({error})")
    return text if isinstance(text, str) else Unreadable(f"has no source to check ({spec.origin})")
