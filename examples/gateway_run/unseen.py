"""A gateway that nobody has seen: the installed one, with a comment in each function.

So none of those that the core knows reads as it did, and all do what they did.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from .home import HOST

_COMMENT = "# Not as it was."


def make(folder: Path, modules: Collection[str]) -> None:
    """Make a copy in `folder`, which is to come first on the path, with the `modules` changed."""
    for file in metadata.files(HOST) or ():
        if ".." not in file.parts:  # a launcher
            link(Path(str(file.locate())), folder / file)
    for name in modules:
        file = folder.joinpath(*name.split(".")).with_suffix(".py")
        text = file.read_text(encoding="utf-8")
        file.unlink()
        file.write_text(_changed(text), encoding="utf-8")


def link(source: Path, file: Path) -> None:
    """Make a file that is the same as another until somebody puts a new one in its place.

    It is no symbolic link: parts of the gateway go by where their own file is, links resolved.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.hardlink_to(source)
    except OSError:  # on another disk
        shutil.copy2(source, file)


def _changed(text: str) -> str:
    """Put a comment into each function."""
    lines = text.split("\n")
    bodies = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for first in sorted(bodies, key=lambda node: node.lineno, reverse=True):
        before = lines[first.lineno - 1].encode()[: first.col_offset].decode()
        if not before.strip():
            lines.insert(first.lineno - 1, f"{before}{_COMMENT}")
    return "\n".join(lines)
