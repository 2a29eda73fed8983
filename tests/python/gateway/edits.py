"""What a later gateway may have done to a function: edits of its source, each with what follows.

Independent of how the core reads: by the syntax tree of the whole module.
"""

from __future__ import annotations

import ast
import copy
import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import later

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Target(NamedTuple):
    """A function of a version, by its path, and its role for the core."""

    version: str
    module: str
    name: str
    role: str = ""

    @property
    def own_name(self) -> str:
        return self.name.rpartition(".")[2]


class Block:
    """The lines of a function, to be changed."""

    def __init__(self, target: Target, lines: list[str], node: Definition) -> None:
        self.target = target
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        self.first, self.last = first - 1, node.end_lineno or 0
        self.node = node
        self.indent = " " * node.col_offset
        self.lines = lines[self.first : self.last]
        self.body = node.body[0].lineno - 1 - self.first
        self.begin = node.lineno - 1 - self.first

    def with_signature(self, change: Callable[[Definition], None]) -> list[str]:
        """The lines with another head."""
        node = copy.deepcopy(self.node)
        change(node)
        keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        head = f"{self.indent}{keyword} {node.name}({ast.unparse(node.args)}):"
        return [*self.lines[: self.begin], head, *self.lines[self.body :]]

    def with_line(self, text: str) -> list[str]:
        """The lines with one more at the start of the body."""
        inner = " " * self.node.body[0].col_offset
        return [*self.lines[: self.body], f"{inner}{text}", *self.lines[self.body :]]


class Edit(NamedTuple):
    """An edit of a function, and what must be said of it."""

    #: Makes the new lines of the function's.
    change: Callable[[Block], list[str]]
    #: Whether the function can still be stood in for, called or leaned on.
    fits: Callable[[Target], bool]
    #: Whether the function is still where it was.
    stays: bool = True
    #: Whether it can be done to a function.
    can: Callable[[Target], bool] = lambda target: True


def _always(target: Target) -> bool:
    return True


def _never(target: Target) -> bool:
    return False


def _is_method(target: Target) -> bool:
    return "." in target.name and target.name[0].isupper()


def _optional_keyword(node: Definition) -> None:
    node.args.kwonlyargs.append(ast.arg("later"))
    node.args.kw_defaults.append(ast.Constant(None))


def _optional_positional(node: Definition) -> None:
    node.args.args.append(ast.arg("later"))
    node.args.defaults.append(ast.Constant(None))


def _anything(node: Definition) -> None:
    node.args.kwarg = ast.arg("anything")


def _required(node: Definition) -> None:
    node.args.kwonlyargs.append(ast.arg("needed"))
    node.args.kw_defaults.append(None)


def _needed_names(node: Definition) -> list[ast.arg]:
    """The parameters that must be given, `self` aside."""
    given = node.args
    positional = given.args[: len(given.args) - len(given.defaults)]
    named = [
        each for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if not value
    ]
    return [each for each in [*positional, *named] if each.arg != "self"]


def _renamed(node: Definition) -> None:
    _needed_names(node)[0].arg += "_of_it"


def _swapped(node: Definition) -> None:
    first, second = _positional(node)[:2]
    first.arg, second.arg = second.arg, first.arg


def _positional(node: Definition) -> list[ast.arg]:
    return [each for each in _needed_names(node) if each in node.args.args]


def _toggled(block: Block) -> list[str]:
    lines = list(block.lines)
    head = lines[block.begin]
    is_async = head.lstrip().startswith("async ")
    lines[block.begin] = (
        head.replace("async def", "def", 1) if is_async else head.replace("def", "async def", 1)
    )
    return lines


def _under_a_condition(block: Block) -> list[str]:
    return [f"{block.indent}if LATER:", *(f"    {line}" if line else line for line in block.lines)]


EDITS: dict[str, Edit] = {
    "body": Edit(lambda block: block.with_line("'later'"), _always),
    "comment": Edit(lambda block: block.with_line("# later"), _always),
    "optional keyword": Edit(lambda block: block.with_signature(_optional_keyword), _always),
    "optional positional": Edit(
        lambda block: block.with_signature(_optional_positional),
        _always,
        can=lambda target: node_of(target).args.vararg is None,
    ),
    "anything": Edit(
        lambda block: block.with_signature(_anything),
        _always,
        can=lambda target: node_of(target).args.kwarg is None,
    ),
    "required": Edit(lambda block: block.with_signature(_required), _never),
    "renamed": Edit(
        lambda block: block.with_signature(_renamed),
        _never,
        can=lambda target: bool(_needed_names(node_of(target))),
    ),
    "swapped": Edit(
        lambda block: block.with_signature(_swapped),
        lambda target: target.role not in ("wrapped", "called"),
        can=lambda target: len(_positional(node_of(target))) > 1,
    ),
    "gone": Edit(lambda block: [f"{block.indent}LATER = None"], _never, stays=False),
    "moved": Edit(
        lambda block: [f"{block.indent}from later import {block.node.name}"], _never, stays=False
    ),
    "decorated": Edit(lambda block: [f"{block.indent}@later", *block.lines], _always),
    "decorated over lines": Edit(
        lambda block: (
            [f"{block.indent}{line}" for line in ("@later(", "    1,", ")")] + block.lines
        ),
        _always,
    ),
    "static": Edit(
        lambda block: [f"{block.indent}@staticmethod", *block.lines], _never, can=_is_method
    ),
    "property": Edit(
        lambda block: [f"{block.indent}@functools.cached_property", *block.lines],
        _never,
        can=_is_method,
    ),
    "under a condition": Edit(_under_a_condition, _never),
    "twice": Edit(lambda block: [*block.lines, "", *block.lines], _never),
    "set again": Edit(
        lambda block: [*block.lines, f"{block.indent}{block.node.name} = later({block.node.name})"],
        _never,
    ),
    "a coroutine or none": Edit(
        _toggled, _never, can=lambda target: not node_of(target).decorator_list
    ),
}


def file_of(version: str, module: str) -> Path:
    return later.tree(version) / f"{module.replace('.', '/')}.py"


@functools.cache
def text_of(version: str, module: str) -> str:
    return file_of(version, module).read_text(encoding="utf-8")


@functools.cache
def _nodes(version: str, module: str) -> ast.Module:
    return ast.parse(text_of(version, module))


@functools.cache
def node_of(target: Target) -> Definition:
    found: ast.AST = _nodes(target.version, target.module)
    for step in target.name.split("."):
        found = next(each for each in ast.walk(found) if getattr(each, "name", "") == step)
    assert isinstance(found, Definition)
    return found


def block_of(target: Target) -> Block:
    lines = text_of(target.version, target.module).split("\n")
    return Block(target, lines, node_of(target))


def edited(version: str, module: str, edits: Iterable[tuple[Target, str]], more: str = "") -> str:
    """The source of a module, with its functions edited and some lines added at its end."""
    lines = text_of(version, module).split("\n")
    blocks = [(block_of(target), edit) for target, edit in edits]
    # From the end: a function is not inside of one that is edited after it.
    for block, edit in sorted(blocks, key=lambda pair: -pair[0].first):
        if edit in EDITS:
            new = EDITS[edit].change(block)
        else:
            # As another version has it.
            new = block_of(block.target._replace(version=edit)).lines
        lines[block.first : block.last] = new
    return "\n".join(lines) + more
