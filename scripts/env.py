"""Keep a private environment up to date: the pinned tools, and this checkout's wheel.

    python scripts/env.py .venv-test requirements/test.txt
    python scripts/env.py .venv-run-0.19.0 hermes-agent==0.19.0

Does nothing when it is up to date. The wheel is built once for all environments.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".run"
WHEELS = WORK / "wheel"
LOG = WORK / "setup.log"
BUILD = ("Cargo.toml", "Cargo.lock", "pyproject.toml", "README.md", "LICENSE")
SOURCES = ("src", "python")
PROGRESS_SECONDS = 5.0
# What a user may have set for all of pip, and what would put the packages somewhere else than into
# the environment, or not at all. Where to get them from (index, proxy, certificates) stays.
ASTRAY = (
    "PIP_DRY_RUN",
    "PIP_NO_DEPS",
    "PIP_PREFIX",
    "PIP_PYTHON",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
)


def main() -> int:
    """Bring the environment up to date, part by part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("venv", type=Path, help="the environment's folder")
    parser.add_argument(
        "requirements", help="what is installed beside the wheel: a file of requirements, or one"
    )
    parser.add_argument("--without-wheel", action="store_true", help="leave our wheel out")
    options = parser.parse_args()
    for name in ASTRAY:
        os.environ.pop(name, None)
    WORK.mkdir(exist_ok=True)
    try:
        with _alone():
            venv = ROOT / options.venv
            _environment(venv)
            _requirements(venv, options.requirements)
            if not options.without_wheel:
                _install_wheel(venv, _wheel(venv))
    except subprocess.CalledProcessError:
        print(f"setup failed; the whole output is in {LOG.relative_to(ROOT)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup interrupted", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one setup at a time work in this checkout; the next finds its work done."""
    with (WORK / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another setup is at work in this checkout; waiting for it ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _environment(venv: Path) -> None:
    """Create the environment, or create it anew when its Python is gone."""
    python = venv / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", ""], check=False).returncode == 0:
        return
    shutil.rmtree(venv, ignore_errors=True)
    _step(f"creating {venv.name}", [sys.executable, "-m", "venv", str(venv)])


def _requirements(venv: Path, requirements: str) -> None:
    """Install the pinned packages."""
    stamp = venv / "requirements.stamp"
    file = ROOT / requirements
    if file.is_file():
        # One file may include another, so all of them count.
        wanted, what = _digest(sorted(file.parent.glob("*.txt"))), ["-r", str(file)]
    else:
        wanted, what = requirements, [requirements]
    if _read(stamp) == sys.version + wanted:
        return
    _step(f"installing {requirements}", [*_pip(venv, "install"), *what])
    stamp.write_text(sys.version + wanted, encoding="utf-8")


def _wheel(venv: Path) -> Path:
    """Build this checkout's wheel when anything that goes into it has changed."""
    files = [path for name in BUILD if (path := ROOT / name).exists()]
    for name in SOURCES:
        files += sorted(p for p in (ROOT / name).rglob("*") if p.is_file() and _is_source(p))
    wanted = _digest(files)
    built = list(WHEELS.glob("*.whl"))
    if len(built) == 1 and _read(WHEELS / "wheel.stamp") == wanted:
        return built[0]
    for tool in ("cargo", "cc"):
        if shutil.which(tool) is None:
            print(f"{tool} is needed to build the wheel, and is not there", file=sys.stderr)
            raise subprocess.CalledProcessError(1, tool)
    shutil.rmtree(WHEELS, ignore_errors=True)
    build = [*_pip(venv, "wheel"), "--verbose", "--no-deps", "--wheel-dir", str(WHEELS), str(ROOT)]
    _step("building the wheel", build)
    (wheel,) = WHEELS.glob("*.whl")
    (WHEELS / "wheel.stamp").write_text(wanted, encoding="utf-8")
    return wheel


def _install_wheel(venv: Path, wheel: Path) -> None:
    stamp = venv / "wheel.stamp"
    wanted = _read(WHEELS / "wheel.stamp")
    if _read(stamp) == wanted:
        return
    # The version does not change between two builds of a checkout, so pip must be told.
    install = [*_pip(venv, "install"), "--no-deps", "--force-reinstall", str(wheel)]
    _step("installing the wheel", install)
    stamp.write_text(wanted, encoding="utf-8")


def _pip(venv: Path, command: str) -> list[str]:
    python = str(venv / "bin" / "python")
    return [python, "-m", "pip", "--disable-pip-version-check", command, "--progress-bar=off"]


def _is_source(path: Path) -> bool:
    return path.suffix not in {".pyc", ".so"} and "__pycache__" not in path.parts


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
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
