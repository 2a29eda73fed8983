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

#: Syncs wait as long as there is the file that `DISK_STOPS` names.
STOPPED = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_for_disk(void) { while (access(getenv("DISK_STOPS"), F_OK) == 0) usleep(1000); }
int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_for_disk();
    return real(fd);
}
int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_for_disk();
    return real(fd);
}
"""


def gate(folder: Path) -> dict[str, str]:
    """The environment of a process whose syncs wait as long as there is a FIFO at ``DISK_GATE``:
    each for somebody who opens it for writing."""
    return {**os.environ, **_under(_SOURCE, folder), "DISK_GATE": str(folder / "gate")}


def stopped(folder: Path) -> dict[str, str]:
    """What to add to the environment of a process whose syncs wait as long as there is a file at
    ``DISK_STOPS``."""
    return {**_under(STOPPED, folder), "DISK_STOPS": str(folder / "stops")}


def _under(text: str, folder: Path) -> dict[str, str]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, library = folder / "disk.c", folder / "disk.so"
    source.write_text(text)
    command = [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True, timeout=60)
    return {"LD_PRELOAD": str(library)}
