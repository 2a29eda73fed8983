"""Where a module's source defines a function, and what is to be said of the definition.

Front ends have tens of thousands of lines, and parsing one takes longer than the start of a small
process. So a function is looked for by the lines that could define it, and its own lines alone are
parsed. Only where these leave a doubt is the whole module: a decorator, a second definition, a name
that is set or imported as well.
"""

from __future__ import annotations

import ast
import bisect
import inspect
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

#: A function's definition, and a class's.
Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
#: What is run only sometimes.
_CONDITIONS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match)

#: What decorators make of a function, by the last part of their names.
_MADE_BY = {
    "staticmethod": "static method",
    "classmethod": "class method",
    "property": "property",
    "cached_property": "property",
    "contextmanager": "context manager",
    "asynccontextmanager": "asynchronous context manager",
}


class Definition(NamedTuple):
    """The definition of a function."""

    line: int
    text: str
    node: Function
    #: Why what the module has under this name may be something else; empty where nothing is.
    doubt: str = ""


class Text:
    """The source of a module."""

    __slots__ = ("_lines", "_starts", "_text", "_tree")

    def __init__(self, text: str) -> None:
        self._text = text
        # Not splitlines(): it also breaks at characters that are no line end to Python's tokenizer.
        self._lines = [f"{line}\n" for line in text.split("\n")]
        self._starts = [0, *itertools.accumulate(map(len, self._lines))]
        self._tree: ast.Module | None = None

    def definition(self, path: Sequence[str]) -> Definition | None:
        """Return the definition of a function, by its name and those of what it is defined in.

        Raises `SyntaxError` where the source is no Python.
        """
        if path[-1] not in self._text:
            return None
        lines = self._only_lines(path)
        return self._in_the_tree(path) if lines is None else self._at(*lines)

    def _only_lines(self, path: Sequence[str]) -> tuple[int, int] | None:
        """Return the line of the definition, behind that of its first decorator, if there is no
        doubt about it."""
        indent, first, last = "", 0, len(self._lines)
        for depth, step in enumerate(path, 1):
            spots = self._spots(step, first, last)
            if len(spots) != 1:
                return None
            (first,) = spots
            words = r"(?:async +)?def" if depth == len(path) else r"(?:class|(?:async +)?def)"
            if not re.match(rf"{indent}{words} ", self._lines[first]):
                return None
            top = first
            while self._is_decorator(top - 1, indent):
                top -= 1
            if self._may_be_decorated(top, indent):
                return None
            if depth < len(path):
                last = self._end(first, indent)
                indent += "    "
        return top, first

    def _spots(self, name: str, first: int, last: int) -> list[int]:
        """Return the lines of a range that give a name a value, or may."""
        gives = re.compile(
            rf"\s*(?:(?:class|(?:async\s+)?def)\s+{name}\b"
            rf"|(?:.*\bimport\b.*\b)?{name}\s*(?:[=,:#)]|$))"
        )
        found = []
        at, end = self._starts[first], self._starts[last]
        while (at := self._text.find(name, at, end)) >= 0:
            line = self._line_of(at)
            if gives.match(self._lines[line]):
                found.append(line)
            at = self._starts[line + 1]
        return found

    def _may_be_decorated(self, line: int, indent: str) -> bool:
        """Whether the statement before a definition begins as a decorator does."""
        for before in reversed(self._lines[:line]):
            # Further in, or the end of a bracket: the same statement goes on above.
            if before.startswith(indent) and re.match(r"[^\s#)\]}]", before[len(indent) :]):
                return before[len(indent)] == "@"
            if before.strip() and not before.startswith(indent):
                return False
        return False

    def _is_decorator(self, line: int, indent: str) -> bool:
        """Whether a line is a decorator, the whole of it."""
        text = self._lines[line] if line >= 0 else ""
        return re.fullmatch(rf"{indent}@[\w.]+(?:\([^()]*\))?\s*", text) is not None

    def _end(self, line: int, indent: str) -> int:
        """Return the line behind a definition, by how far in the next one stands."""
        outside = re.compile(rf"^[ \t]{{0,{len(indent)}}}[^\s#)\]}}]", re.MULTILINE)
        found = outside.search(self._text, self._starts[line + 1])
        return len(self._lines) if found is None else self._line_of(found.start())

    def _line_of(self, place: int) -> int:
        return bisect.bisect_right(self._starts, place) - 1

    def _at(self, first: int, line: int, doubt: str = "") -> Definition:
        """Return the definition in a line, with the decorators from another on."""
        indent = re.match(r"\s*", self._lines[line])[0]  # type: ignore[index]
        end = self._end(line, indent)
        try:
            node, length = _function(self._lines[first:end])
        except SyntaxError:
            # A text over several lines may begin further left than its function.
            end = line + len(inspect.getblock(self._lines[line:]))
            node, length = _function(self._lines[first:end])
        own = first + length
        # What is remarked at its end belongs to it.
        inner = f"{indent} "
        last = next(
            (
                number
                for number in range(end, own, -1)
                if self._lines[number - 1].startswith(inner) and self._lines[number - 1].strip()
            ),
            own,
        )
        return Definition(first + 1, "".join(self._lines[first:last]), node, doubt)

    def _in_the_tree(self, path: Sequence[str]) -> Definition | None:
        """Return the definition by what the whole source says."""
        if self._tree is None:
            self._tree = ast.parse(self._text)
        scope: ast.AST = self._tree
        doubts: list[str] = []
        for step in path:
            values = list(_values(scope, step))
            scopes = [each for each, _ in values if isinstance(each, _Scope)]
            if not scopes:
                return None
            scope = scopes[-1]
            if len(values) > 1:
                lines = ", ".join(str(each.lineno) for each, _ in values)
                doubts.append(f"{step} is set more than once (lines {lines})")
            elif values[0][1]:
                doubts.append(f"{step} is defined under a condition (line {scope.lineno})")
        if not isinstance(scope, Function):
            return None
        first = min([scope.lineno, *(each.lineno for each in scope.decorator_list)])
        return self._at(first - 1, scope.lineno - 1, "; ".join(doubts))


def _function(lines: Sequence[str]) -> tuple[Function, int]:
    """Parse a function, wherever it stands; with how many of the lines it has.

    Raises `SyntaxError`.
    """
    text = "".join(lines)
    # Not dedented: see above.
    is_inner = text[0].isspace()
    tree = ast.parse(f"if True:\n{text}" if is_inner else text)
    node = next(each for each in ast.walk(tree) if isinstance(each, Function))
    return node, (node.end_lineno or 0) - is_inner


def kind(definition: Definition) -> str:
    """Say what a function is to whoever calls it."""
    node = definition.node
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in _MADE_BY:
            return _MADE_BY[name]
    is_generator = "yield" in definition.text and any(
        isinstance(each, ast.Yield | ast.YieldFrom) for each in _own(node)
    )
    if isinstance(node, ast.AsyncFunctionDef):
        return "asynchronous generator" if is_generator else "coroutine"
    return "generator" if is_generator else "function"


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what belongs to a function itself, not to one that is defined in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _Scope | ast.Lambda):
            yield child
            yield from _own(child)


def _values(scope: ast.AST, name: str, is_sure: bool = True) -> Iterator[tuple[Any, bool]]:
    """Yield what gives a name its value in a scope, each with whether only under a condition."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, _Scope):
            if node.name == name:
                yield node, not is_sure
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if any((each.asname or each.name) == name for each in node.names):
                yield node, not is_sure
        elif isinstance(node, ast.Name):
            if node.id == name and not isinstance(node.ctx, ast.Load):
                yield node, not is_sure
        elif not isinstance(node, ast.Lambda):
            yield from _values(node, name, is_sure and not isinstance(node, _CONDITIONS))
