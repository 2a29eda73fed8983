"""What a count holds for: the compiler, the C library and the processor's features."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

#: Those that the core's vectors, memchr's and the C library's are chosen by.
_FEATURES = ("sse4_2", "avx2", "bmi2", "erms", "fsrm", "avx512bw")


def core() -> dict[str, str]:
    """What the counts of the core hold for."""
    return {
        "rustc": _first_line(["rustc", "--version"]),
        "valgrind": _first_line(["valgrind", "--version"]) if shutil.which("valgrind") else "none",
        "libc": " ".join(platform.libc_ver()),
        "cpu": f"{platform.machine()} {' '.join(_features())}",
    }


def python() -> dict[str, str]:
    """What the counts of the Python leaves hold for."""
    return {**core(), "python": platform.python_version()}


def differences(kept: dict[str, str], here: dict[str, str]) -> list[str]:
    """What is not as it was when the counts were recorded."""
    return [
        f"{name} is {value}, the counts are for {kept.get(name)}"
        for name, value in here.items()
        if kept.get(name) != value
    ]


def _first_line(command: list[str]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[0]


def _features() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "").split()
    return [feature for feature in _FEATURES if feature in flags]
