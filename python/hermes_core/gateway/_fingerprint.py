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
import re
import sys
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING

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
    result: list[str] = []
    lines_of: dict[str, list[str] | str] = {}
    for part in wanted:
        if part.module not in lines_of:
            lines_of[part.module] = _source_lines(part.module)
            if isinstance(problem := lines_of[part.module], str):
                result.append(f"{part.module}: {problem}")
        lines = lines_of[part.module]
        if isinstance(lines, str):
            continue
        found = _find_block(lines, part.name)
        if found is None:
            result.append(f"{part}: not there any more")
        elif digest(found[1]) != part.digest:
            result.append(f"{part}: its source differs from the known one")
    return result


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
    lines = _source_lines(part.module)
    found = None if isinstance(lines, str) else _find_block(lines, part.name)
    if found is None or digest(found[1]) != part.digest:
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
