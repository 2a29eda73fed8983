"""Who imports whom, read from the sources: the circles and the arrows that run up.

An import counts wherever it stands: at the top of a file, in a function, in a path written out,
for types alone. In Rust a name that a module hands on (``pub use``) is an import of the file that
has it, and ``mod`` lines do not count. Run as a script, it prints what is wrong in this tree, or in
the one that it is given.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]

# The rooms, floor by floor, from the ground up. A file imports from its own room and from lower
# floors; two rooms of one floor do not know each other.
RUST_FLOORS = (
    ("error", "failpoint", "state"),
    ("memory",),
    ("event",),
    ("sync",),
    ("ledger", "text"),
    ("queue",),
    ("delegation",),
    ("python",),
    ("lib",),
)
PYTHON_FLOORS = (
    ("errors",),
    ("_core",),
    ("runtime",),
    ("text",),
    ("ledger", "queue"),
    ("delegation",),
    ("async_delegation",),
    ("__init__",),
    ("gateway",),
    ("cli",),
    ("plugin", "__main__"),
)


class Import(NamedTuple):
    """One import: the line it stands in, and what is said there."""

    line: int
    text: str


#: For each file, the files it imports, each with the imports that say so. Names are relative to
#: the root of the package or crate, with slashes and without an ending.
Graph = dict[str, dict[str, list[Import]]]


# --- Python -----------------------------------------------------------------------------------


def python_graph(package: Path) -> Graph:
    """The imports among the files of a package."""
    files = sorted([*package.rglob("*.py"), *package.glob("*.pyi")])
    modules = {_dotted(package, file): _name(package, file) for file in files}
    graph: Graph = {}
    for file in files:
        here = _name(package, file)
        edges: dict[str, list[Import]] = defaultdict(list)
        inside = _dotted(package, file)
        parent = inside if file.stem == "__init__" else inside.rpartition(".")[0]
        tree = ast.parse(file.read_text("utf-8"), str(file))
        for node in ast.walk(tree):
            line = getattr(node, "lineno", 0)
            for target in _python_targets(node, parent):
                found = _longest(modules, target)
                if found is not None and found != here:
                    edges[found].append(Import(line, ast.unparse(node)))
        graph[here] = dict(edges)
    return graph


def _python_targets(node: ast.AST, parent: str) -> Iterator[str]:
    """The dotted names that a node imports, each as long as it can be."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            up = parent.split(".")[: len(parent.split(".")) - node.level + 1]
            base = ".".join([*up, base] if base else up)
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else None
        called = node.func.id if isinstance(node.func, ast.Name) else called
        first = node.args[0]
        if (
            called in ("import_module", "__import__")
            and isinstance(first, ast.Constant)
            and isinstance(first.value, str)
        ):
            yield parent + first.value if first.value.startswith(".") else first.value


def _longest(modules: dict[str, str], dotted: str) -> str | None:
    """The file of the longest start of a dotted name that is a module."""
    while dotted:
        if dotted in modules:
            return modules[dotted]
        dotted = dotted.rpartition(".")[0]
    return None


def _dotted(package: Path, file: Path) -> str:
    parts = [package.name, *file.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).with_suffix("").as_posix()


# --- Rust -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""
      (?P<skip> //[^\n]* | /\*(?:[^*]|\*(?!/))*\*/ | b?"(?:[^"\\]|\\.)*" | b?'(?:[^'\\]|\\.[^']*)' )
    | (?P<raw> b?r(?P<hashes>\#*)".*?"(?P=hashes) )
    | (?P<word> (?:r\#)?[A-Za-z_]\w* )
    | (?P<mark> :: | [{}();,*=!\[\]\#] )
    """,
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    text: str
    line: int


class _Path(NamedTuple):
    """A path of a source: its module's names from the root of the crate, and where it stands."""

    names: tuple[str, ...]
    line: int
    said: str


class _Source(NamedTuple):
    paths: list[_Path]
    handed_on: dict[str, tuple[str, ...]]


def rust_graph(crate: Path) -> Graph:
    """The imports among the files of a crate."""
    modules: dict[tuple[str, ...], str] = {}
    for path in sorted(crate.rglob("*.rs")):
        parts = path.relative_to(crate).with_suffix("").parts
        names = () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts
        modules[names] = _name(crate, path)
    sources = {
        names: _read_rust(
            (crate / f"{file}.rs").read_text("utf-8"),
            names,
            {other[-1] for other in modules if other and other[:-1] == names},
        )
        for names, file in modules.items()
    }

    def found(names: tuple[str, ...]) -> str | None:
        for _ in range(8):  # how often a name is handed on, at the most
            length = next(n for n in range(len(names), -1, -1) if names[:n] in modules)
            rest = names[length:]
            onward = sources[names[:length]].handed_on.get(rest[0]) if rest else None
            if onward is None:
                return modules[names[:length]]
            names = onward + rest[1:]
        return None

    graph: Graph = {}
    for names, file in modules.items():
        edges: dict[str, list[Import]] = defaultdict(list)
        for named in sources[names].paths:
            target = found(named.names)
            if target is not None and target != file:
                edges[target].append(Import(named.line, named.said))
        graph[file] = dict(edges)
    return graph


def _read_rust(text: str, module: tuple[str, ...], children: set[str]) -> _Source:
    """The paths that a source names, from the root of the crate."""
    tokens = [
        _Token(match[0].removeprefix("r#"), text.count("\n", 0, match.start()) + 1)
        for match in _TOKEN.finditer(text)
        if match["word"] or match["mark"]
    ]
    source = _Source([], {})
    inner: list[tuple[str, int]] = []  # modules written inside this file, and the depth they are at
    depth = at = 0
    while at < len(tokens):
        token, before = tokens[at], tokens[at - 1].text if at else ""
        here = (*module, *(name for name, _ in inner))
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            depth -= 1
            if inner and inner[-1][1] == depth:
                inner.pop()
        elif token.text == "mod" and tokens[at + 2].text == "{":
            inner.append((tokens[at + 1].text, depth))
            at += 1
        elif token.text == "use":
            end = next(n for n in range(at, len(tokens)) if tokens[n].text == ";")
            said = _said(tokens[at:end])
            for names, name in _use_tree(tokens[at + 1 : end], ()):
                target = _absolute(names, here, children if not inner else set())
                if target is not None and before in ("pub", ")") and not inner and name != "*":
                    source.handed_on[name] = target
                elif target is not None:
                    source.paths.append(_Path(target, token.line, said))
            at = end
        elif before != "::" and at + 1 < len(tokens) and tokens[at + 1].text == "::":
            start = at
            while tokens[at + 1].text == "::" and tokens[at + 2].text.isidentifier():
                at += 2
            names = tuple(each.text for each in tokens[start : at + 1 : 2])
            target = _absolute(names, here, children if not inner else set())
            if target is not None:
                source.paths.append(_Path(target, token.line, "::".join(names)))
        at += 1
    return source


def _said(tokens: list[_Token]) -> str:
    said = " ".join(token.text for token in tokens)
    for mark in ("::", "{", "}", ","):
        said = said.replace(f" {mark}", mark)
    return said.replace(":: ", "::").replace("{ ", "{")


def _use_tree(tokens: list[_Token], base: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each path of a ``use`` and the name it has here; ``*`` for a glob."""
    at = 0
    names = base
    while at < len(tokens) and tokens[at].text not in ("{", "as", ","):
        if tokens[at].text not in ("::", "*"):
            names = (*names, tokens[at].text)
        at += 1
    if at < len(tokens) and tokens[at].text == "{":
        depth, start = 0, at + 1
        for n in range(at, len(tokens)):
            mark = tokens[n].text
            depth += (mark == "{") - (mark == "}")
            if (depth == 1 and mark == ",") or depth == 0:
                if n > start:
                    yield from _use_tree(tokens[start:n], names)
                start = n + 1
        return
    if names[-1] == "self" and base:
        names = names[:-1]
    glob = tokens[-1].text == "*"
    yield names, "*" if glob else tokens[-1].text if tokens[-1].text != "self" else names[-1]


def _absolute(
    names: tuple[str, ...], here: tuple[str, ...], children: set[str]
) -> tuple[str, ...] | None:
    """A path from the root of the crate, or nothing if it is not known to be of this crate."""
    if names[0] == "crate":
        return names[1:]
    if names[0] in children:
        return here + names
    if names[0] not in ("self", "super"):
        return None
    while names and names[0] in ("self", "super"):
        here = here[:-1] if names[0] == "super" else here
        names = names[1:]
    return here + names


# --- What is wrong ----------------------------------------------------------------------------


def circles(graph: Graph) -> list[list[str]]:
    """Groups of files that import one another, directly or around."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(edges: dict[str, set[str]], start: str, out: list[str]) -> None:
        stack = [(start, iter(sorted(edges[start])))]
        seen.add(start)
        while stack:
            at, rest = stack[-1]
            onward = next((other for other in rest if other not in seen), None)
            if onward is None:
                out.append(at)
                stack.pop()
            else:
                seen.add(onward)
                stack.append((onward, iter(sorted(edges[onward]))))

    forward = {file: set(edges) for file, edges in graph.items()}
    back: dict[str, set[str]] = {file: set() for file in graph}
    for file, targets in forward.items():
        for target in targets:
            back[target].add(file)
    for file in sorted(graph):
        if file not in seen:
            visit(forward, file, order)
    seen.clear()
    groups = []
    for file in reversed(order):
        if file not in seen:
            group: list[str] = []
            visit(back, file, group)
            groups.append(sorted(group))
    return sorted(
        (group for group in groups if len(group) > 1), key=lambda group: (len(group), group)
    )


def describe(graph: Graph, group: list[str]) -> str:
    """A circle in words: a shortest way around it, and all that ties its files."""
    way = _way_around(graph, group)
    lines = [f"a circle of {len(group)} files: {', '.join(group)}"]
    lines += [f"  a way around: {' -> '.join([*way, way[0]])}"]
    for file in group:
        for target in sorted(set(graph[file]) & set(group)):
            said = "; ".join(
                f"line {each.line}: {each.text}" for each in dict.fromkeys(graph[file][target])
            )
            lines.append(f"  {file} -> {target}  ({said})")
    return "\n".join(lines)


def _way_around(graph: Graph, group: list[str]) -> list[str]:
    ways = []
    for start in group:
        queue, came = [start], {start: ""}
        for at in queue:
            if start in graph[at]:
                way = [at]
                while came[way[-1]]:
                    way.append(came[way[-1]])
                ways.append(way[::-1])
                break
            for onward in sorted(set(graph[at]) & set(group) - set(came)):
                came[onward] = at
                queue.append(onward)
    return min(ways, key=len)


def upward(graph: Graph, floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports that do not run down, and files that are in no room."""
    height = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    wrong = []
    for file, edges in sorted(graph.items()):
        room = file.split("/")[0]
        if room not in height:
            wrong.append(f"{file} is in no room; the rooms are written in {Path(__file__).name}")
            continue
        for target, imports in sorted(edges.items()):
            other = target.split("/")[0]
            if other != room and height.get(other, -1) >= height[room]:
                wrong.append(f"{file} -> {target}  (line {imports[0].line}: {imports[0].text})")
    return wrong


def report(root: Path = ROOT, only: str = "") -> list[str]:
    """All that is wrong with the two graphs, or with one of them."""
    wrong = []
    for language, graph, floors in (
        ("src", rust_graph, RUST_FLOORS),
        ("python/hermes_core", python_graph, PYTHON_FLOORS),
    ):
        if only in ("", language):
            found = graph(root / language)
            wrong += [f"{language}: {describe(found, group)}" for group in circles(found)]
            wrong += [f"{language}: this import runs up: {line}" for line in upward(found, floors)]
    return wrong


if __name__ == "__main__":
    problems = report(*map(Path, sys.argv[1:2]))
    print(*problems, sep="\n", end="\n" if problems else "")
    sys.exit(bool(problems))
