"""The layout: no import runs in a circle, and the rooms' arrows run down."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit import layout


@pytest.mark.parametrize("language", ["src", "python/hermes_core"])
def test_no_import_runs_in_a_circle_or_up(language: str) -> None:
    problems = layout.report(only=language)
    assert not problems, "\n".join(problems)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


@pytest.mark.parametrize(
    "back",
    [
        "from . import one",
        "from .one import One",
        "from package.one import One",
        "import package.one as first",
        "def late() -> None:\n    from package import one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .one import One",
        "import importlib\nimportlib.import_module('package.one')",
        "import importlib\nimportlib.import_module('.one', __package__)",
    ],
)
def test_a_circle_in_python_is_found(tmp_path: Path, back: str) -> None:
    files = {"__init__.py": "from .one import One", "one.py": "from .room import two"}
    package = _write(
        tmp_path / "package", {**files, "room/__init__.py": "", "room/two.py": "x = 1"}
    )
    assert layout.circles(layout.python_graph(package)) == []
    up = back.replace("from .", "from ..") if back.startswith(("from .", "from typing")) else back
    up = up.replace("'.one', __package__", "'package.one'")
    _write(package, {"room/two.py": up})
    graph = layout.python_graph(package)
    assert layout.circles(graph) == [["one", "room/two"]]
    said = layout.describe(graph, ["one", "room/two"])
    assert "one -> room/two -> one" in said
    assert "line 1: from .room import two" in said


@pytest.mark.parametrize(
    "back",
    [
        "use crate::one::One;",
        "use super::One; // handed on by the room above",
        "use super::super::one::{self, One as First};",
        "use crate::{\n    other::Other,\n    one::{One},\n};",
        "fn late() { use crate::one::One; }",
        "fn late() -> crate::one::One { todo!() }",
        "mod inner { use super::super::super::one::*; }",
        "const QUOTE: char = '\"';\nfn late() { super::One::new() }",
    ],
)
def test_a_circle_in_rust_is_found(tmp_path: Path, back: str) -> None:
    files = {
        "lib.rs": "mod one; mod other; mod room;",
        "one.rs": "use crate::room::two::Two;",
        "other.rs": "pub struct Other;",
        "room/mod.rs": "mod two;\npub use crate::one::One;\npub use self::two::Two;",
        "room/two.rs": '//! See [`crate::one`].\nconst SAID: &str = "use crate::one::One;";',
    }
    crate = _write(tmp_path, files)
    assert layout.circles(layout.rust_graph(crate)) == []
    _write(crate, {"room/two.rs": back})
    assert layout.circles(layout.rust_graph(crate)) == [["one", "room/two"]]


def test_what_a_room_declares_is_its_own_import(tmp_path: Path) -> None:
    files = {"lib.rs": "mod room;", "room/mod.rs": "mod two;\nfn first() { two::second() }"}
    crate = _write(tmp_path, {**files, "room/two.rs": "use super::first;"})
    assert layout.circles(layout.rust_graph(crate)) == [["room/mod", "room/two"]]


def test_an_arrow_that_runs_up_is_found(tmp_path: Path) -> None:
    files = {"lib.rs": "", "low.rs": "use crate::high::High;", "high.rs": "", "side.rs": ""}
    graph = layout.rust_graph(_write(tmp_path, files))
    assert layout.upward(graph, (("low", "side"), ("high",), ("lib",))) == [
        "low -> high  (line 1: use crate::high::High)"
    ]
    assert layout.upward(graph, (("high",), ("low",), ("lib",))) == [
        "side is in no room; the rooms are written in layout.py"
    ]
