"""A version, or a changed copy of one, is all of the gateway in a process that gets its folder."""

from __future__ import annotations

import json
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from later import ALL, INSTALLED, LATER, copy, run, tree

PARTS = """
    import contextlib, importlib, importlib.metadata, io, json, sys
    parts = sys.argv[1:]
    # Some tell the user something as they are imported.
    with contextlib.redirect_stdout(io.StringIO()):
        files = {part: importlib.import_module(part).__file__ for part in parts}
    found = importlib.metadata.entry_points(group="hermes_agent.plugins")
    print(json.dumps({
        "version": importlib.metadata.version("hermes-agent"),
        "files": files,
        "plugins": [plugin.name for plugin in found],
    }))
"""
NAMES = (
    "tools.async_delegation",
    "tools.process_registry",
    "tools.delegate_tool",
    "cli",
    "tui_gateway.server",
    "gateway.run",
    "hermes_cli.plugins",
)


@pytest.mark.parametrize("version", ALL)
def test_every_part_is_of_the_version(version: str, tmp_path: Path) -> None:
    found = json.loads(run(version, PARTS, tmp_path, *NAMES))
    assert found["version"] == version
    assert found["plugins"] == ["hermes-core"]
    where = tree(version) if version != INSTALLED else Path(sys.prefix).resolve()
    for name, file in found["files"].items():
        assert where in Path(file).resolve().parents, name


CHANGED = """
    import importlib.metadata, inspect, sys
    from tools import async_delegation, process_registry
    print(importlib.metadata.version("hermes-agent"))
    print(async_delegation.added, "changed" in inspect.getsource(async_delegation.active_count))
    print(process_registry.process_registry.completion_queue.qsize())
    try:
        from tools import delegate_tool
    except ImportError:
        print("gone")
    from tools import made
    print(made.value)
    # Which put the folder that they are in first on the path; the last one takes our output, too.
    import gateway.platforms.base, gateway.run, tui_gateway.entry
    import cli
    print(cli.__file__, file=sys.__stdout__)
"""

EXPECTED = ["0.99.0", "7 True", "0", "gone", "8"]


@pytest.mark.parametrize("version", LATER)
def test_a_copy_is_changed_as_it_was_told_and_nothing_else_is(version: str, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in tree(version).rglob("*.py")}
    folder = copy(
        version,
        tmp_path / "copy",
        {
            "tools/async_delegation.py": lambda text: (
                text.replace("def active_count() -> int:", "def active_count() -> int:  # changed")
                + "\nadded = 7\n"
            ),
            "tools/delegate_tool.py": None,
            "tools/made.py": lambda _: "value = 8\n",
        },
        called="0.99.0",
    )
    *said, last = run(folder, CHANGED, tmp_path / "home").splitlines()
    assert [line for line in said if line in EXPECTED] == EXPECTED, said
    assert last == str(folder / "cli.py")
    assert {file: file.stat().st_mtime_ns for file in tree(version).rglob("*.py")} == before
    compiled = Path(cache_from_source(str(tree(version) / "tools" / "made.py")))
    assert compiled.parent.is_dir()
    assert not compiled.exists()
