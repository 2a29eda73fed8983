"""Keep the private environment of `scripts/run` up to date; does nothing when it is."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-run"
PYTHON = VENV / "bin" / "python"
WHEELS = ROOT / ".run" / "wheel"
LOG = ROOT / ".run" / "setup.log"
REQUIREMENTS = ROOT / "requirements" / "run.txt"
BUILD = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE")
SOURCES = ("src", "python")
PROGRESS_SECONDS = 5.0


def main() -> int:
    """Bring the environment up to date, part by part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-wheel", action="store_true", help="install the gateway alone")
    options = parser.parse_args()
    LOG.parent.mkdir(exist_ok=True)
    try:
        _environment()
        _gateway()
        if not options.without_wheel:
            _wheel()
    except subprocess.CalledProcessError:
        print(f"run: that failed; the whole output is in {LOG.relative_to(ROOT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nrun: interrupted", file=sys.stderr)
        return 130
    return 0


def _environment() -> None:
    """Create the environment, or create it anew when its Python is gone."""
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0:
        return
    shutil.rmtree(VENV, ignore_errors=True)
    _step("creating .venv-run", [sys.executable, "-m", "venv", str(VENV)])


def _gateway() -> None:
    """Install the gateway, pinned."""
    stamp = VENV / "gateway.stamp"
    wanted = _digest([REQUIREMENTS])
    if _read(stamp) == wanted:
        return
    name = REQUIREMENTS.read_text(encoding="utf-8").split()[-1]
    _step(f"installing {name}", [*_pip("install"), "-r", str(REQUIREMENTS)])
    stamp.write_text(wanted, encoding="utf-8")


def _wheel() -> None:
    """Build and install this checkout's wheel when anything that goes into it has changed."""
    stamp = VENV / "wheel.stamp"
    files = [path for name in BUILD if (path := ROOT / name).exists()]
    for name in SOURCES:
        files += sorted(p for p in (ROOT / name).rglob("*") if p.is_file() and _is_source(p))
    wanted = _digest(files)
    if _read(stamp) == wanted:
        return
    for tool in ("cargo", "cc"):
        if shutil.which(tool) is None:
            print(f"run: {tool} is needed to build the wheel, and is not there", file=sys.stderr)
            raise subprocess.CalledProcessError(1, tool)
    shutil.rmtree(WHEELS, ignore_errors=True)
    build = [*_pip("wheel"), "--verbose", "--no-deps", "--wheel-dir", str(WHEELS), str(ROOT)]
    _step("building the wheel", build)
    (wheel,) = WHEELS.glob("*.whl")
    # The version does not change between two builds of a checkout, so pip must be told.
    install = [*_pip("install"), "--no-deps", "--force-reinstall", str(wheel)]
    _step("installing the wheel", install)
    stamp.write_text(wanted, encoding="utf-8")


def _pip(command: str) -> list[str]:
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", command, "--progress-bar=off"]


def _is_source(path: Path) -> bool:
    return path.suffix not in {".pyc", ".so"} and "__pycache__" not in path.parts


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _step(what: str, command: Sequence[str]) -> None:
    """Run a long command with its output in the log, and show every few seconds how far it is."""
    started = time.monotonic()
    print(f"{what} ...", flush=True)
    with LOG.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as run:
        try:
            while True:
                try:
                    code = run.wait(PROGRESS_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    elapsed = time.monotonic() - started
                    print(f"  {elapsed:4.0f} s  {_last_line()}", flush=True)
        except BaseException:
            run.terminate()
            raise
    if code:
        for line in LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-25:]:
            print(f"  {line}", file=sys.stderr)
        raise subprocess.CalledProcessError(code, command[0])
    print(f"  done in {time.monotonic() - started:.0f} s", flush=True)


def _last_line() -> str:
    """What the command said last, cut to fit a line."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:66]


if __name__ == "__main__":
    sys.exit(main())
