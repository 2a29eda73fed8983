"""Running a script many times in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

#: How often each scenario is run; ``make storm`` style runs may ask for more.
TIMES = int(os.environ.get("HERMES_CORE_PROCESS_TIMES", "200"))

#: Seconds after which a process counts as hung; far beyond any honest run.
HUNG = 60

RunMany = Callable[..., None]

#: A shell starts what it runs in the background with Ctrl-C ignored, and Python leaves that so.
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def _run(script: str, number: int) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script, str(number)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=HUNG,
        check=False,
        text=True,
    )
    return process.returncode, process.stdout


@pytest.fixture
def run_many() -> RunMany:
    """``run_many(script, status=0, output="")``: each of many runs ends just so, by itself.

    The script finds the number of its run in ``sys.argv[1]``, to vary what it does with it.
    """

    def call(script: str, status: int = 0, output: str = "", times: int = TIMES) -> None:
        script = CTRL_C + textwrap.dedent(script)
        with ThreadPoolExecutor(2) as pool:
            for returncode, text in pool.map(lambda n: _run(script, n), range(times)):
                assert (returncode, text) == (status, output)

    return call
