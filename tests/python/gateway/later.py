"""The gateways that `make test` knows beside the installed one, each in processes of its own.

Each is installed, with what it depends on, into a folder of its own (`make gateways`; another place
for them is named by HERMES_AGENT_TREES). A folder that stands first on the path makes everything in
that process the version's own: modules, launchers, metadata, and the packages that it asks for. A
test names a version, or the folder of a copy that it has changed:

    run("0.19.0", "from tools import async_delegation", home)
    run(copy("0.19.0", tmp_path / "copy", {"tools/async_delegation.py": edit}), code, home)
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "examples"))

from gateway_run.unseen import link  # noqa: E402

INSTALLED = "0.17.0"
LATER = ("0.18.2", "0.19.0")
ALL = (INSTALLED, *LATER)

SECONDS = 120.0

#: From a file's text to what it is to be in a copy; None takes the file away.
Edits = Mapping[str, Callable[[str], str] | None]


def tree(version: str) -> Path:
    """The folder of a version; skips the test where a later one is not unpacked."""
    if version == INSTALLED:
        return Path(str(_installed().locate_file(""))).resolve()
    folder = Path(os.environ.get("HERMES_AGENT_TREES", ROOT / ".run" / "gateways")) / version
    if not folder.is_dir():
        pytest.skip(f"no hermes-agent {version} in a folder: run `make gateways`")
    return folder.resolve()


def copy(version: str, folder: Path, edits: Edits, called: str = "") -> Path:
    """Make a copy of a version, changed by the edits; `called` is the version it says it is."""
    source = tree(version)
    own = _own_names(version)
    for entry in source.iterdir():
        if entry.name not in own:
            continue
        # Compiled files come along, so that what is the same is as quick to import.
        for file in (entry, *entry.rglob("*")):
            if file.is_file():
                link(file, folder / file.relative_to(source))
    for name, edit in edits.items():
        file = folder / name
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        file.unlink(missing_ok=True)
        if edit is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(edit(text), encoding="utf-8")
    if called:
        info = folder / f"hermes_agent-{version}.dist-info"
        info = info.rename(folder / f"hermes_agent-{called}.dist-info")
        said = (info / "METADATA").read_text(encoding="utf-8")
        (info / "METADATA").unlink()
        said = said.replace(f"\nVersion: {version}\n", f"\nVersion: {called}\n", 1)
        (info / "METADATA").write_text(said, encoding="utf-8")
    return folder


def replacing(old: str, new: str) -> Callable[[str], str]:
    """An edit that changes the first place of a text that must be there."""

    def edit(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return edit


def _installed() -> importlib.metadata.Distribution:
    return importlib.metadata.distribution("hermes-agent")


def _own_names(version: str) -> set[str]:
    """What in the folder of a version is the version's own, and not a package that it asks for."""
    info = f"hermes_agent-{version}.dist-info"
    if version == INSTALLED:
        modules = (_installed().read_text("top_level.txt") or "").split()
        return {info, *modules, *(f"{module}.py" for module in modules)}
    files = importlib.metadata.Distribution.at(tree(version) / info).files or ()
    # Its data and launchers stand beside its modules, and are listed as above them.
    return {next(part for part in file.parts if part != "..") for file in files}


def environment(gateway: str | Path, home: Path, **more: str) -> dict[str, str]:
    """The environment of a process in which a version, or the one in a folder, is the gateway."""
    said = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if gateway != INSTALLED:
        said["PYTHONPATH"] = str(gateway if isinstance(gateway, Path) else tree(gateway))
    return {**said, "HERMES_HOME": str(home), "HOME": str(home), **more}


def python(
    gateway: str | Path, code: str, home: Path, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a script beside a gateway, in the folder `home`, which is the gateway's home too."""
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=environment(gateway, home, **more),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def run(gateway: str | Path, code: str, home: Path, *arguments: str, **more: str) -> str:
    """Run a script as `python` does; it must end well. What it printed."""
    done = python(gateway, code, home, *arguments, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
