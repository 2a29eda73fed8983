"""The command line beside the processes that it is about: alive, killed, and started again."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from hermes_core.cli import terminal
from process.lives import Child

#: Far beyond any honest run.
HUNG = 60

#: A process that uses a ledger: it does what each line of its input says, and says what came of it.
GATEWAY = """
import json, sys, threading, time
import hermes_core as hc

queue = hc.CompletionQueue()
registry = hc.DelegationRegistry(queue, capacity=100, ledger=hc.Ledger(sys.argv[1], lease=0.3))
boxes = {}

def box(key, **more):
    if key not in boxes:
        boxes[key] = queue.mailbox(session_key=key, **more)
    return boxes[key]

def end(key, **task):
    handle = registry.dispatch(session_key=key, runner=lambda: {"summary": "Done."}, **task)
    handle.result(timeout=30)
    return handle.id

def run(key, **task):
    stop, has_begun = threading.Event(), threading.Event()
    def runner():
        has_begun.set()
        stop.wait()
        return {"status": "interrupted"}
    handle = registry.dispatch(session_key=key, runner=runner, interrupt_fn=stop.set, **task)
    has_begun.wait()
    return handle.id

def take(key):
    with box(key).get(timeout=30) as delivery:
        return [delivery.event["delegation_id"], delivery.event["status"]]

def settle(id):
    while registry.get(id)["delivery"] == "pending":
        time.sleep(0.01)

def bury(key):
    delivery = box(key, max_attempts=1).get(timeout=30)
    delivery.nack()
    registry.ledger.flush()

for line in sys.stdin:
    name, arguments, task = json.loads(line)
    print(json.dumps(globals()[name](*arguments, **task)), flush=True)
"""


class Gateway(Child):
    """A process that uses a ledger."""

    def __init__(self, file: Path) -> None:
        super().__init__([sys.executable, "-X", "faulthandler", "-c", GATEWAY, str(file)])

    def __call__(self, name: str, *arguments: str, **task: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps([name, arguments, task])}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"it ended in {name}{arguments}"
        return json.loads(answer)

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        self.process.communicate()


Start = Callable[[], Gateway]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


@pytest.fixture
def start(file: Path) -> Iterator[Start]:
    """Starts a process that uses the ledger."""
    with contextlib.ExitStack() as stack:

        def call() -> Gateway:
            return stack.enter_context(Gateway(file))

        yield call


def hermes_core(file: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """What a command says, as JSON."""
    command = [sys.executable, "-m", "hermes_core", *arguments, "--ledger", str(file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HUNG, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def row_of(file: Path, delegation_id: str) -> dict[str, Any]:
    code, row = hermes_core(file, "show", delegation_id)
    assert code == 0
    return row


def wait_until_free(file: Path, delegation_id: str) -> dict[str, Any]:
    """The row once nobody holds it: when the lease of whoever did is over."""
    while (row := row_of(file, delegation_id))["holder"] != "nobody":
        time.sleep(max(0.0, row["held_until"] - time.time()))
    return row


def test_beside_a_process_that_runs(start: Start, file: Path) -> None:
    """What it runs can be cancelled, and ends as such; what waits there can be dropped."""
    gateway = start()
    running, waiting = gateway("run", "a", goal="Run"), gateway("end", "b", goal="Wait")
    again = gateway("end", "b", goal="Wait, too")
    found = hermes_core(file, "ls")[1]["delegations"]
    assert [row["delegation_id"] for row in found[:2]] == [running, waiting]
    assert [(row["state"], row["delivery"], row["holder"]) for row in found[:2]] == [
        ("running", None, "other"),
        ("completed", "pending", "other"),
    ]
    for command, id in (("drop", running), ("redeliver", running), ("redeliver", waiting)):
        code, answer = hermes_core(file, command, id)
        assert (code, answer["done"]) == (1, False)
        assert "held by a process" in answer["error"]
    code, answer = hermes_core(file, "cancel", waiting)
    assert (code, answer["done"]) == (1, False)
    code, answer = hermes_core(file, "cancel", running)
    assert (code, answer["done"]) == (0, True)
    assert gateway("take", "a") == [running, "interrupted"]
    code, answer = hermes_core(file, "drop", waiting)
    assert (code, answer["done"], answer.get("error")) == (0, True, None)
    gateway("settle", waiting)
    assert gateway("take", "b") == [again, "completed"]
    assert row_of(file, waiting)["delivery"] == "dropped"


def test_after_kill_9(start: Start, file: Path) -> None:
    """F3, F11: what ran is lost, what waited waits, and by hand each goes as it is told."""
    gateway = start()
    running, waiting = gateway("run", "a", goal="Run"), gateway("end", "b", goal="Wait")
    done = gateway("end", "c", goal="Be done")
    assert gateway("take", "c") == [done, "completed"]
    gateway.kill()
    assert wait_until_free(file, running)["state"] == "lost"
    assert wait_until_free(file, waiting)["delivery"] == "pending"
    _, facts = hermes_core(file, "doctor")
    unowned = [row["delegation_id"] for row in facts["ledger"]["unowned"]]
    assert (sorted(unowned), facts["ledger"]["undelivered"]) == (sorted([running, waiting]), 2)
    code, answer = hermes_core(file, "cancel", running)
    assert (code, answer["done"]) == (1, False)

    assert hermes_core(file, "drop", running)[0] == 0
    assert hermes_core(file, "drop", running)[0] == 1
    assert row_of(file, running)["delivery"] == "dropped"
    assert hermes_core(file, "redeliver", done)[0] == 0
    assert row_of(file, done)["delivery"] == "pending"
    gateway = start()
    assert gateway("take", "b") == [waiting, "completed"]
    assert gateway("take", "c") == [done, "completed"]
    assert hermes_core(file, "redeliver", running)[0] == 0
    gateway.close()
    assert start()("take", "a") == [running, "lost"]


def test_dead_letters(start: Start, file: Path) -> None:
    """F10: one that had all its attempts is listed, and comes when it is told to."""
    gateway = start()
    dead = gateway("end", "a", goal="Die")
    gateway("bury", "a")
    assert row_of(file, dead)["delivery"] == "dead"
    code, facts = hermes_core(file, "doctor")
    assert code == 1
    assert [row["delegation_id"] for row in facts["ledger"]["dead_letters"]] == [dead]
    assert any(f"({dead})" in finding for finding in facts["findings"])
    assert hermes_core(file, "redeliver", dead)[0] == 0
    assert hermes_core(file, "doctor")[1]["ledger"]["dead_letters"] == []
    gateway.close()
    assert start()("take", "a") == [dead, "completed"]


# -- the board ------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 90, lines: int = 12) -> None:
        self.screen = ""
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hermes_core", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            # A shell may have started us with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        os.close(slave)

    def wait_for(self, text: str) -> None:
        """Wait until a text has been printed, from now on."""
        seen = len(self.screen)
        while text not in self.screen[seen:]:
            assert self._read(), f"ended without {text!r}: {self.screen}"

    def end(self, number: int = 0) -> int:
        """Send a signal, if one is given; what the command ends with."""
        self.process.send_signal(number)
        while self._read():
            pass
        return self.process.wait(HUNG)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(HUNG)
        os.close(self._master)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._master], [], [], HUNG)
        assert ready, f"nothing more: {self.screen}"
        try:
            text = os.read(self._master, 65536).decode(errors="replace")
        except OSError:
            # Whoever had the terminal has ended.
            return False
        self.screen += text
        return bool(text)


Watch = Callable[..., Terminal]


@pytest.fixture
def watch(file: Path) -> Iterator[Watch]:
    """Shows the ledger on a terminal."""
    with contextlib.ExitStack() as stack:

        def call(**size: int) -> Terminal:
            board = Terminal("watch", "--ledger", str(file), **size)
            stack.callback(board.close)
            return board

        yield call


def test_the_board_shows_what_happens(start: Start, watch: Watch) -> None:
    gateway = start()
    gateway("run", "a", goal="First \x1b]0;owned\x07\x9b31m\u202e one [red]")
    board = watch(columns=160)
    board.wait_for("1 running, 0 undelivered, 0 dead letters")
    gateway("end", "b", goal="Second one")
    board.wait_for("1 running, 1 undelivered, 0 dead letters")
    gateway("take", "b")
    board.wait_for("1 running, 0 undelivered, 0 dead letters")
    assert board.end(signal.SIGINT) == 0
    screen = board.screen
    assert "First \\x1b]0;owned\\x07\\x9b31m\\u202e one [red]" in screen
    assert "Second one" in screen
    assert "Traceback" not in screen
    assert not {"\x07", "\x9b", "\u202e"} & set(screen)
    # The terminal is left as it was: the first screen, the cursor shown.
    assert screen.rindex("\x1b[?1049l") > screen.rindex("\x1b[?1049h")
    assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


def test_the_board_leaves_the_terminal_as_it_was_when_it_is_told_to_end(
    start: Start, watch: Watch
) -> None:
    start()("run", "a", goal="First")
    board = watch()
    board.wait_for("First")
    assert board.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert board.screen.rindex("\x1b[?1049l") > board.screen.rindex("\x1b[?1049h")


def test_the_board_fits_the_terminal(start: Start, watch: Watch) -> None:
    gateway = start()
    for number in range(12):
        gateway("end", f"session {number}", goal="日本語 " * 40)
    board = watch(columns=101, lines=8)
    board.wait_for("8 more; Ctrl-C ends")
    assert board.end(signal.SIGINT) == 0
    screen = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", board.screen.replace("\x1b[H", "\n"))
    assert "日本語 …" in screen
    assert all(terminal.cells(line) <= 101 for line in screen.splitlines()), screen


def test_the_board_ends_when_the_ledger_goes(start: Start, watch: Watch, file: Path) -> None:
    gateway = start()
    gateway("run", "a", goal="First")
    board = watch()
    board.wait_for("First")
    gateway.kill()
    for path in file.parent.iterdir():
        path.unlink()
    board.wait_for("is gone")
    assert board.end() == 1
    assert list(file.parent.iterdir()) == []


def test_a_line_for_each_change(start: Start, file: Path) -> None:
    gateway = start()
    running = gateway("run", "a", goal="First")
    command = [sys.executable, "-m", "hermes_core", "watch", "--json", "--ledger", str(file)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert [row["delegation_id"] for row in first["delegations"]] == [running]
        waiting = gateway("end", "b", goal="Second")
        second = json.loads(process.stdout.readline())
        assert [row["delegation_id"] for row in second["delegations"]] == [running, waiting]
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(HUNG) == 0
