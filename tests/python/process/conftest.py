"""Running a script many times in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

#: How often a scenario is run; ``make storm`` asks for more.
TIMES = int(os.environ.get("HERMES_CORE_PROCESS_TIMES", "200"))

#: Seconds after which a process counts as hung; far beyond any honest run.
HUNG = 60

RunMany = Callable[..., None]

#: A shell starts what it runs in the background with Ctrl-C ignored, and Python leaves that so.
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def _run(script: str, number: int) -> tuple[int, str]:
    command = [sys.executable, "-X", "faulthandler", "-c", script, str(number)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **pipes) as process:
        try:
            output, _ = process.communicate(timeout=HUNG)
        except subprocess.TimeoutExpired:
            # The fault handler then shows where each thread hangs.
            process.send_signal(signal.SIGABRT)
            output, _ = process.communicate()
    return process.returncode, output


@pytest.fixture
def run_many() -> RunMany:
    """``run_many(script, status=0, output="")``: each of many runs ends just so, by itself.

    The script finds the number of its run in ``sys.argv[1]``, to vary what it does with it.
    ``share`` is the part of the usual number of runs that the scenario gets, ``at_once`` how many
    of them run beside one another.
    """

    def call(
        script: str, status: int = 0, output: str = "", share: float = 1.0, at_once: int = 2
    ) -> None:
        script = CTRL_C + textwrap.dedent(script)
        times = max(2, round(TIMES * share))
        with ThreadPoolExecutor(at_once) as pool:
            for returncode, text in pool.map(lambda n: _run(script, n), range(times)):
                assert (returncode, text) == (status, output)

    return call
