"""A process of one side, the gateway with the core or without, that measures when asked.

The process inherits a pipe for questions and one for answers: the front ends take stdin and stdout
for themselves. A question is the name of a measurement and a word for it, how many times, say; the
answer is a number.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from . import home
from .runner import Work

PIPES = "HERMES_CORE_MEASURE_PIPES"
BENCHES = Path(__file__).resolve().parents[1]

Measure = Callable[[str], float]


class Side:
    """The process, from outside."""

    def __init__(
        self,
        command: Sequence[str],
        base_url: str,
        *,
        plugin: bool = False,
        terminal: int | None = None,
        path: Sequence[str] = (),
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="hermes-bench-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        home.write(folder, base_url, plugin=plugin)
        questions, self._questions = os.pipe()
        self._answers, answers = os.pipe()
        streams = subprocess.DEVNULL if terminal is None else terminal
        self._process = subprocess.Popen(
            command,
            stdin=streams,
            stdout=streams,
            stderr=terminal,  # without one, ours: what goes wrong there is seen
            cwd=folder,
            env={
                **home.environment(folder),
                "PYTHONPATH": os.pathsep.join([*path, str(BENCHES)]),
                PIPES: f"{questions},{answers}",
            },
            pass_fds=(questions, answers),
            start_new_session=True,
        )
        os.close(questions)
        os.close(answers)
        self._lines = os.fdopen(self._answers, encoding="utf-8")
        atexit.register(self.close)

    def ask(self, name: str, wanted: object) -> float:
        """What the process measures."""
        os.write(self._questions, f"{name} {wanted}\n".encode())
        if not (line := self._lines.readline()):
            raise RuntimeError(f"the process of {name!r} ended with {self._process.wait()}")
        return float(line)

    def asking(self, name: str, wanted: object) -> Work:
        """The same, as the work of a case."""
        return lambda: self.ask(name, wanted)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def serve(*measures: Measure) -> None:
    """Answer, inside the process, until the other side has gone."""
    by_name = {measure.__name__: measure for measure in measures}
    questions, answers = map(int, os.environ[PIPES].split(","))
    with os.fdopen(questions, encoding="utf-8") as lines:
        for line in lines:
            name, wanted = line.split()
            os.write(answers, f"{by_name[name](wanted)}\n".encode())
