"""Lives that are killed, one after another, on one ledger."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import judge
from .clock import WallClock
from .driver import JOURNAL, LEASE, LEDGER, STATE, Journal

STDERR = "stderr"

#: Seconds by which an honest process has ended, or delivered what is left.
PATIENCE = 60.0
#: Seconds in which a life comes to a fail point, if it does.
REACH = 2.0
#: Seconds after its beginning within which a life is killed.
LONGEST = 0.4


class Storm:
    """A folder with a ledger, a journal, and the lives that are led on it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._lives = 0
        self._is_damaged = False
        self._was_paused = False
        self._clock = WallClock(folder)
        self._note_of = Journal(folder / JOURNAL).note_of
        self.faults: list[str] = []

    def kill_at_random(self, processes: int = 1) -> None:
        """Lives beside one another, each killed at a moment of its own, some while they begin."""
        lives = [self._start() for _ in range(processes)]
        for life in lives:
            if self._rng.random() < 0.8:
                self._begun(life)
            time.sleep(self._rng.uniform(0.0, LONGEST))
            life.kill()
            self._expect(life, -signal.SIGKILL)
        self._look()

    def kill_at(self, step: str, nth: int) -> bool:
        """A life that is killed at a step, at its end maybe; false if it did not come there."""
        life = self._start(f"{step}@{nth}=kill", *["--put-back"] * (step == "reopen"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            life.wait(REACH)
        self._wait(life)
        self._look()
        return life.returncode == -signal.SIGKILL

    def fail_at(self, step: str, nth: int) -> None:
        """A life in which a step fails once; then an orderly end."""
        self._end_orderly(self._start(f"{step}@{nth}=error"))

    def end_orderly(self) -> None:
        """A life that ends as it should. By then a damage is repaired."""
        self._is_damaged = False
        self._end_orderly(self._start())

    def pause(self) -> None:
        """Two lives, one of which stands still beyond the end of its lease, and goes on."""
        self._was_paused = True
        paused, other = self._begun(self._start()), self._begun(self._start())
        time.sleep(self._rng.uniform(0.0, LONGEST))
        paused.send_signal(signal.SIGSTOP)
        time.sleep(LEASE * 1.5)
        paused.send_signal(signal.SIGCONT)
        time.sleep(self._rng.uniform(0.0, 0.2))
        for life in (paused, other):
            life.kill()
            self._expect(life, -signal.SIGKILL)
        self._look()

    def step_clock(self) -> None:
        """Two lives under a wall clock that is set while they last, and an orderly end of both."""
        lives = [self._begun(self._start()) for _ in range(2)]
        for _ in range(3):
            time.sleep(self._rng.uniform(0.0, LONGEST))
            far = self._rng.choice((1, 60, 86_400, 3_650 * 86_400))
            self._clock.set(self._rng.choice((-1, 0, 1)) * far)
        for life in lives:
            self._expect(life, 0)
        self._look()

    def unlink(self) -> None:
        """Two lives whose log, its index or the whole ledger loses its name; orderly ends."""
        lives = [self._begun(self._start()) for _ in range(2)]
        time.sleep(self._rng.uniform(0.1, LONGEST))
        endings = self._rng.choice((["-wal"], ["-shm"], ["-wal", "-shm"], ["", "-wal", "-shm"]))
        for ending in endings:
            (self._folder / f"{LEDGER}{ending}").unlink(missing_ok=True)
        time.sleep(self._rng.uniform(0.0, LONGEST))
        for life in lives:
            self._expect(life, 0)
        self._look()

    def copy_over(self) -> None:
        """Two lives whose ledger is replaced by a copy of itself, and orderly ends."""
        lives = [self._begun(self._start()) for _ in range(2)]
        time.sleep(self._rng.uniform(0.1, LONGEST))
        copy = self._folder / "copy"
        shutil.copy(self._folder / LEDGER, copy)
        copy.replace(self._folder / LEDGER)
        time.sleep(self._rng.uniform(0.0, LONGEST))
        for life in lives:
            self._expect(life, 0)
        self._look()

    def damage(self) -> None:
        """Overwrite a page that holds no row: the first of an index."""
        path = self._folder / LEDGER
        with contextlib.closing(sqlite3.connect(path)) as connection:
            ((size,),) = connection.execute("PRAGMA page_size")
            ((root,),) = connection.execute(
                "SELECT rootpage FROM sqlite_schema WHERE name = 'settled'"
            )
        with path.open("r+b") as file:
            file.seek((root - 1) * size)
            file.write(b"\xa5" * size)
        self._is_damaged = True

    def verdict(self) -> list[str]:
        """Deliver what is left, and say what is wrong with all that was."""
        life = self._start("", "--drain")
        self._expect(life, 0, "what is left is not delivered")
        self._look()
        journal = self._journal()
        self.faults += judge.faults(journal, was_paused=self._was_paused)
        self.faults += self._missing_states(journal.states)
        return self.faults

    def counts(self) -> str:
        """What was done, in words."""
        journal = self._journal()
        lost = sum(any(status == "lost" for _, status in got) for got in journal.got.values())
        return (
            f"{self._lives} lives, {len(journal.dispatched):,} dispatched, "
            f"{len(journal.acked):,} acknowledged, {lost:,} lost"
        )

    def _journal(self) -> judge.Journal:
        return judge.Journal((self._folder / JOURNAL).read_text(encoding="utf-8"))

    def _start(self, failpoint: str = "", *options: str) -> subprocess.Popen[bytes]:
        self._lives += 1
        seed = self._rng.randrange(1 << 32)
        command = [sys.executable, "-m", "crash.driver", str(self._folder), str(seed)]
        path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            **self._clock.environment,
            "PYTHONPATH": os.pathsep.join(path),
            "HERMES_CORE_FAILPOINT": failpoint,
        }
        with (self._folder / STDERR).open("ab") as stderr:
            return subprocess.Popen(
                [*command, *options],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )

    def _begun(self, life: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """The life, once it has begun, or ended."""
        assert life.stdout is not None
        life.stdout.readline()
        return life

    def _end_orderly(self, life: subprocess.Popen[bytes]) -> None:
        self._begun(life)
        time.sleep(self._rng.uniform(0.0, LONGEST))
        self._expect(life, 0)
        self._look()

    def _expect(self, life: subprocess.Popen[bytes], status: int, otherwise: str = "") -> None:
        """Wait for the end of a life, which has a status."""
        self._wait(life)
        if life.returncode != status:
            self.faults.append(otherwise or f"a life ended with {life.returncode}")

    def _wait(self, life: subprocess.Popen[bytes]) -> None:
        """Have a life end, if nothing else has ended it."""
        try:
            life.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            # The fault handler then shows where each thread hangs.
            life.send_signal(signal.SIGABRT)
            life.communicate()
        self._note_of(life.pid, "gone")

    def _look(self) -> None:
        """Check the files as they are on disk now, without a touch on them."""
        if self._is_damaged:
            return
        with tempfile.TemporaryDirectory() as copies:
            for name in (LEDGER, STATE):
                for path in self._folder.glob(f"{name}*"):
                    # A living process may take one away.
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copy(path, copies)
                        if name == LEDGER and (mode := stat.S_IMODE(path.stat().st_mode)) != 0o600:
                            self.faults.append(f"{path.name} has the mode {mode:o}")
            for name in (LEDGER, STATE):
                for fault in _damage(Path(copies, name)):
                    self.faults.append(f"{name} is damaged: {fault}")

    def _missing_states(self, states: set[int]) -> Iterator[str]:
        with contextlib.closing(sqlite3.connect(self._folder / STATE)) as connection:
            kept = {number for (number,) in connection.execute("SELECT number FROM states")}
        if missing := states - kept:
            yield f"{len(missing)} rows of {STATE} are gone"


def _damage(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            lines = [line for (line,) in connection.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as exc:
            lines = [str(exc)]
    if lines != ["ok"]:
        yield from lines
