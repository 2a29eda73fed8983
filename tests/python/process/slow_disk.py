"""A disk that stands still until it is told to go on, for child processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: While the named file is there, a sync opens the FIFO that it names, and so waits for its writer.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
static void stand_still(void) {
    const char *gate = getenv("DISK_GATE");
    if (!gate || access(gate, F_OK)) return;
    int fd = open(gate, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) close(fd);
}
int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    stand_still();
    return real(fd);
}
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    stand_still();
    return real(fd);
}
"""


def gate(folder: Path) -> dict[str, str]:
    """The environment of a process whose syncs wait as long as there is a FIFO at ``DISK_GATE``:
    each for somebody who opens it for writing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return {**os.environ, "LD_PRELOAD": str(library), "DISK_GATE": str(folder / "gate")}
