"""What a strict type checker accepts and refuses, and the stubs against the native module."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="needs mypy installed"
)


def mypy(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy as a user of the installed package does, with no configuration of ours."""
    (cwd / "mypy.ini").write_text("[mypy]\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_what_users_write_is_accepted(tmp_path: Path) -> None:
    done = mypy("mypy", "--strict", str(HERE / "ok.py"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n")


def test_mistakes_are_refused_and_nothing_else(tmp_path: Path) -> None:
    file = HERE / "errors.py"
    lines = file.read_text(encoding="utf-8").splitlines()
    marked = {
        (number, code)
        for number, line in enumerate(lines, 1)
        for code in re.findall(r"# error: ([a-z-]+)$", line)
    }
    done = mypy("mypy", "--strict", "--show-error-codes", "--no-pretty", str(file), cwd=tmp_path)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    matches = [re.fullmatch(r".*errors\.py:(\d+): error: .*\[([a-z-]+)\]", e) for e in errors]
    found = {(int(match[1]), match[2]) if match else None for match in matches}
    assert found == marked, done.stdout + done.stderr


def test_the_stub_is_that_of_the_module(tmp_path: Path) -> None:
    allowed = HERE / "stubtest_allowlist.txt"
    done = mypy("mypy.stubtest", "hermes_core._core", "--allowlist", str(allowed), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
