"""`scripts/env.py`, which every `make` word runs first: in any environment, also twice at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "env.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script alone, and one package to install that needs no index."""
    root = tmp_path / "checkout"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPT, root / "scripts" / "env.py")
    wheel = root / "probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "probe-1.0.dist-info"
        archive.writestr("probe.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    (root / "requirements.txt").write_text(f"{wheel}\n", encoding="utf-8")
    return root


def setup(
    checkout: Path, requirements: str = "requirements.txt", **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "scripts/env.py", ".venv", requirements, "--without-wheel"],
        cwd=checkout,
        env={**os.environ, "PIP_NO_INDEX": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def has_probe(checkout: Path) -> bool:
    python = checkout / ".venv" / "bin" / "python"
    return subprocess.run([python, "-c", "import probe"], check=False).returncode == 0


def test_pips_own_variables_lead_no_package_astray(checkout: Path, tmp_path: Path) -> None:
    elsewhere = {f"PIP_{name}": str(tmp_path / name) for name in ("TARGET", "PREFIX", "ROOT")}
    flags = {f"PIP_{name}": "1" for name in ("USER", "REQUIRE_VIRTUALENV", "NO_DEPS", "DRY_RUN")}
    with setup(checkout, **elsewhere, **flags) as run:
        output, _ = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert has_probe(checkout)
    assert not any(Path(path).exists() for path in elsewhere.values())


def test_one_requirement_needs_no_file(checkout: Path) -> None:
    wheel = checkout / "probe-1.0-py3-none-any.whl"
    outputs = []
    for _ in range(2):
        run = setup(checkout, requirements=f"probe @ {wheel.as_uri()}")
        outputs.append(run.communicate(timeout=120)[0])
        assert run.returncode == 0, outputs
    assert has_probe(checkout)
    assert "installing probe @" in outputs[0]
    assert outputs[1] == "", "it is up to date"


def test_two_first_runs_at_once(checkout: Path) -> None:
    with setup(checkout) as first, setup(checkout) as second:
        runs = [first, second]
        outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert has_probe(checkout)
    assert sum("creating .venv" in output for output in outputs) == 1
    assert sum("another setup is at work" in output for output in outputs) == 1
