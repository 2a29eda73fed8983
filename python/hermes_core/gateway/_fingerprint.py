"""Does the gateway hold the code that the adapter was written against?

Everything here reads; nothing is imported and nothing is changed. A function is known by its
source text: the text is looked up in the module's file, so that a front end need not be imported
to be checked. A function that is already loaded must moreover be the one that its file defines,
which tells a function that another plugin has replaced.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import os
import re
import sys
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, ClassVar

from hermes_core.gateway._known import KNOWN, Part

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec

DISTRIBUTION = "hermes-agent"


def version() -> str:
    """Return the version of the installed hermes-agent, or an empty string."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def parts(of_version: str) -> tuple[Part, ...]:
    """Return what is known about a version; for an unknown one, about the nearest known."""
    return KNOWN.get(of_version) or KNOWN[max(KNOWN)]


def differences() -> list[str]:
    """Compare the gateway on disk with the known one; an empty list means that it matches."""
    found = version()
    if not found:
        return [f"{DISTRIBUTION} is not installed in this environment ({sys.prefix})"]
    result: list[str] = []
    if found not in KNOWN:
        result.append(f"version {found} (known: {', '.join(sorted(KNOWN))})")
    result += in_files(parts(found))
    return result


def in_files(wanted: Iterable[Part]) -> list[str]:
    """Compare functions, as their files define them, with what is known about them."""
    # In a dict, so that a file that cannot be read is reported once.
    result: dict[str, None] = {}
    sources: dict[str, _Source] = {}
    for part in wanted:
        if part.module not in sources:
            sources[part.module] = _Source(part.module)
        found = sources[part.module].locate(part.name)
        if isinstance(found, str):
            result[f"{part.module}: {found}"] = None
        elif found is None:
            result[f"{part}: not there any more"] = None
        elif found[1] != part.digest:
            result[f"{part}: its source differs from the known one"] = None
    return list(result)


def in_memory(part: Part, module: ModuleType) -> str | None:
    """Say why a loaded function is not the known one, or return None when it is.

    `module` is the loaded module; its name differs from the part's where it runs as `__main__`.
    """
    owner: object = module
    function: object = None
    inner: list[str] = []
    for step in part.name.split("."):
        if isinstance(function, FunctionType):
            inner.append(step)
            continue
        function = vars(owner).get(step) if hasattr(owner, "__dict__") else None
        owner = function
    if function is None:
        return "not there"
    if not isinstance(function, FunctionType):
        return f"is now a {type(function).__name__}, put there by something else"
    code: CodeType | None = function.__code__
    for step in inner:
        code = _inner_function(code, step)
    if code is None:
        return f"{function.__qualname__} of {function.__code__.co_filename} does not define it"
    found = _Source(part.module).locate(part.name)
    if found is None or isinstance(found, str) or found[1] != part.digest:
        return "its source differs from the known one"
    if code.co_firstlineno != found[0] or code.co_filename != getattr(module, "__file__", None):
        return f"replaced by {code.co_qualname} of {code.co_filename}"
    if not inner and (signature := parameters(function)) != part.parameters:
        return f"takes ({signature}), known ({part.parameters})"
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


def parameters(function: FunctionType) -> str:
    """Return the parameter names of a function, with the `*` that starts the keyword-only ones."""
    names: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        names.append(name)
    return ", ".join(names)


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

    __slots__ = ("_lines", "_module", "_state")

    _found: ClassVar[dict[tuple[str, str], tuple[object, tuple[int, str] | None]]] = {}

    def __init__(self, module: str) -> None:
        self._module = module
        self._lines: list[str] | str | None = None
        self._state = _file_state(module)

    def locate(self, name: str) -> tuple[int, str] | str | None:
        """Return a function's line number and fingerprint, or why the file cannot be read."""
        key = (self._module, name)
        known = self._found.get(key)
        if known is not None and known[0] == self._state:
            return known[1]
        if self._lines is None:
            self._lines = _source_lines(self._module)
        if isinstance(self._lines, str):
            return self._lines
        block = _find_block(self._lines, name)
        found = None if block is None else (block[0], digest(block[1]))
        if self._state is not None:
            self._found[key] = (self._state, found)
        return found


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


def _source_lines(module: str) -> list[str] | str:
    """Return the lines of a module's source, or the reason why there are none."""
    spec = find_spec(module)
    if spec is None:
        return "no such module"
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source = get_source(spec.name) if get_source is not None else None
    except (ImportError, OSError, SyntaxError, UnicodeError) as error:
        return f"its source cannot be read ({error})"
    if not isinstance(source, str):
        return f"has no source to check ({spec.origin})"
    # Not splitlines(): it also breaks at characters that are no line end to Python's tokenizer.
    return [f"{line}\n" for line in source.split("\n")]


def _find_block(lines: list[str], qualname: str) -> tuple[int, str] | None:
    """Return the line number and the text of a function in the source of its module."""
    indent = ""
    start = 0
    for step in qualname.split("."):
        pattern = re.compile(rf"{indent}(?:class|(?:async )?def) {re.escape(step)}\b")
        for number in range(start, len(lines)):
            if pattern.match(lines[number]):
                start = number + 1
                break
        else:
            return None
        indent += "    "
    try:
        block = inspect.getblock(lines[start - 1 :])
    except (SyntaxError, IndentationError):
        return None
    return start, "".join(block)
