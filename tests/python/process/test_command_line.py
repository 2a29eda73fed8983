"""`hermes-core` in odd surroundings: one clear line, and an exit status that says it."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = (sys.executable, "-m", "hermes_core")
FILL = """
import sys
import hermes_core as hc

registry = hc.DelegationRegistry(ledger=sys.argv[1])
registry.dispatch(goal=sys.argv[2], runner=dict, session_key="room " * 30).result(20)
print(registry.list()[0]["delegation_id"])
"""
GOAL = "Read the log and say what is wrong; " * 40


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "delegations.db"
    subprocess.run([sys.executable, "-c", FILL, str(path), GOAL], check=True, timeout=60)
    return path


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
        **(given | options),
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What it said was wrong, in one line of the command's own."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("hermes-core: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def commands(ledger: Path) -> list[list[object]]:
    """Each command that only looks."""
    of_ledger = ["ls", "ls --json", "show x", "doctor", "doctor --json", "watch --json"]
    home = ledger.parent
    found: list[list[object]] = [[*one.split(), "--ledger", ledger] for one in of_ledger]
    found += [["status", "--hermes-home", home], ["status", "--json", "--hermes-home", home]]
    return [*found, ["--help"], ["ls", "--help"]]


def test_an_output_that_is_full_is_said(ledger: Path) -> None:
    for arguments in commands(ledger):
        if arguments[0] == "show":
            continue
        with open("/dev/full", "w") as full:
            done = run(*arguments, stdout=full)
        assert "No space left on device" in one_line(done), arguments


def test_an_output_that_is_closed_is_said(ledger: Path) -> None:
    for arguments in commands(ledger):
        done = run(*arguments, preexec_fn=lambda: os.close(1))
        assert one_line(done) == "hermes-core: the standard output is closed"


def test_no_output_at_all_is_no_reason_to_do_it(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: x\n")

    def close_all() -> None:
        for number in (0, 1, 2):
            os.close(number)

    for arguments in (["enable", "--hermes-home", tmp_path], ["ls", "--ledger", ledger]):
        done = run(*arguments, preexec_fn=close_all)
        assert done.returncode == 1
        assert (tmp_path / "config.yaml").read_text() == "model: x\n"
    with open("/dev/full", "w") as full:
        assert run("ls", "--ledger", ledger, stdout=full, stderr=full).returncode == 1


def test_a_reader_that_has_read_enough_hears_nothing(ledger: Path) -> None:
    for arguments in commands(ledger):
        read, write = os.pipe()
        os.close(read)
        with open(write, "w") as closed:
            done = run(*arguments, stdout=closed)
        if arguments[0] != "show":
            assert (done.returncode, done.stderr) == (1, ""), arguments


@pytest.mark.parametrize("length", [400, 513, 4090, 10_000])
@pytest.mark.parametrize("part", [1, 300])
def test_a_path_of_any_length(tmp_path: Path, length: int, part: int) -> None:
    # Below a file: nothing can be made there.
    (tmp_path / "file").touch()
    folders = "/".join(["x" * part] * (length // (part + 1) + 1))
    path = f"{tmp_path}/file/{folders}"[:length].rstrip("/")
    for command in ("ls", "show x", "drop x"):
        assert one_line(run(*command.split(), "--ledger", path))
    for command in ("doctor", "status"):
        option = "--ledger" if command == "doctor" else "--hermes-home"
        done = run(command, option, path)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") <= 1
    assert one_line(run("enable", "--hermes-home", path))


def test_a_path_that_is_there_and_long(ledger: Path, tmp_path: Path) -> None:
    folder = tmp_path
    while len(str(folder)) < 700:
        folder = folder / ("d" * 100)
    folder.mkdir(parents=True)
    ledger.rename(folder / "l.db")
    done = run("ls", "--ledger", folder / "l.db")
    assert done.returncode == 0 or one_line(done)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/l.db", "a\nb", "\udcff", "\x1b[31m", " "])
def test_an_odd_path_is_said_in_one_line(tmp_path: Path, path: str) -> None:
    assert one_line(run("ls", "--ledger", path, cwd=tmp_path))
    assert one_line(run("ls", "--hermes-home", path, cwd=tmp_path))


def test_no_descriptors_left(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: x\n")
    refused = 0
    for left in range(5, 15, 3):
        for command in ("ls", "status", "redeliver x"):
            option = ("--hermes-home", tmp_path) if command == "status" else ("--ledger", ledger)

            def few(left: int = left) -> None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (left, left))

            done = run(*command.split(), *option, preexec_fn=few)
            assert "Traceback" not in done.stderr, (left, command)
            assert done.stderr.count("\n") <= 1, (left, command, done.stderr)
            if "Too many open files" in done.stderr:
                one_line(done)
            refused += done.returncode == 1
    assert refused


@pytest.mark.parametrize(
    "text",
    [
        "plugins:\n\tenabled: []\n",
        "a: 1\n---\nb: 2\n",
        "plugins: {}\nplugins:\n  enabled: [a]\n",
        "a: [1,\n",
        "a: 'x\n",
        "a: b: c\n",
        "- a\nb: c\n",
        "a: *b\n",
        "a: \x1b[31m\n",
        "%YAML 9.9\n---\n{}: {\n",
    ],
    ids=ascii,
)
def test_what_is_wrong_in_a_config_is_shown_in_its_lines(tmp_path: Path, text: str) -> None:
    pytest.importorskip("ruamel.yaml")
    config = tmp_path / "config.yaml"
    config.write_text(text)
    for command in ("enable", "doctor"):
        done = run(command, "--hermes-home", tmp_path)
        shown = done.stderr if command != "doctor" else done.stdout
        assert done.returncode == 1
        assert "\\x0a" not in shown
        assert "\x1b" not in shown
        assert str(config) in shown
        assert "line " in shown or "position " in shown, shown
        assert "Traceback" not in done.stderr
    assert config.read_text() == text


def test_what_is_piped_is_not_cut(ledger: Path) -> None:
    done = run("ls", "--ledger", ledger)
    assert GOAL.strip() in done.stdout
    assert ("room " * 30).strip() in done.stdout
    narrow = run("ls", "--ledger", ledger, env={**os.environ, "COLUMNS": "60"})
    assert max(map(len, narrow.stdout.splitlines())) <= 60


@pytest.mark.parametrize("kind", ["text", "empty", "sqlite", "folder", "link", "fifo"])
def test_the_doctor_gives_no_advice_about_somebody_elses_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "theirs"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        file = tmp_path / "notes" if kind == "link" else path
        file.write_bytes({"empty": b"", "sqlite": b"SQLite format 3\0" + bytes(84)}.get(kind, b"x"))
        if kind == "link":
            path.symlink_to(file)
    os.chmod(path, 0o755 if kind == "folder" else 0o644)
    before = path.stat()
    done = run("doctor", "--ledger", path)
    assert "chmod" not in done.stdout
    assert "Traceback" not in done.stderr
    after = path.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_the_doctor_says_who_may_read_a_ledger(ledger: Path) -> None:
    ledger.chmod(0o644)
    assert "chmod 600" in run("doctor", "--ledger", ledger).stdout
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o644
