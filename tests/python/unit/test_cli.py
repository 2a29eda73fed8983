"""`hermes-core ls`, `show`, `redeliver`, `drop`, `cancel`, `doctor`, on files as they may be.

What another process holds is in tests/python/process/test_cli_ledger.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc
from hermes_core.cli.main import main

COMMANDS = [["ls"], ["show", "x"], ["watch"], ["redeliver", "x"], ["drop", "x"], ["cancel", "x"]]
HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 \x9b31m\x85\x7f\x00 \u202egnp\u2066.exe\u2069\u2028 [red]\ud800\r\n"
)
OK, REFUSED = 0, 1

Answer = tuple[int, str, str]
Run = Callable[..., Answer]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home's ledger that is not there yet."""
    monkeypatch.setenv("HERMES_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "delegations.db"


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Answer:
        code = main(arguments)
        return (code, *capsys.readouterr())

    return call


def fill(file: Path, *summaries: object, **task: Any) -> list[str]:
    """Run a delegation for each summary; their ids."""
    registry = hc.DelegationRegistry(ledger=file)
    ids = []
    for summary in summaries:
        more = {"goal": "Find the bug", "session_key": "tui:1", **task}
        handle = registry.dispatch(runner=lambda summary=summary: {"summary": summary}, **more)
        handle.result(timeout=10)
        ids.append(handle.id)
    assert registry.ledger.flush()
    return ids


def fill_elsewhere(file: Path, count: int) -> None:
    """Run delegations in a process of their own, which leaves one file."""
    code = """
import sys
import hermes_core as hc
registry = hc.DelegationRegistry(ledger=sys.argv[1])
for number in range(int(sys.argv[2])):
    summary = {"summary": "word " * 400}
    registry.dispatch(goal=f"Task {number}", runner=lambda: summary).result(timeout=10)
"""
    subprocess.run([sys.executable, "-c", code, str(file), str(count)], check=True, timeout=60)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.fixture
def filled(file: Path) -> list[str]:
    return fill(file, "Off by one.", "Off by two.", "Off by three.")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# -- what is listed and shown ---------------------------------------------------------------------


def test_ls_lists_the_newest_last(run: Run, filled: list[str]) -> None:
    code, out, err = run("ls")
    heads, *rows = out.splitlines()
    assert (code, err) == (OK, "")
    assert heads.split() == ["ID", "STATE", "EVENT", "STARTED", "SESSION", "GOAL"]
    assert [row.split()[0] for row in rows] == filled
    assert all(row.split()[1:3] == ["completed", "pending"] for row in rows)
    assert all(row.endswith("ago  tui:1    Find the bug") for row in rows)


def test_ls_with_a_limit_says_that_there_is_more(run: Run, filled: list[str]) -> None:
    _, out, _ = run("ls", "--limit", "2")
    assert [row.split()[0] for row in out.splitlines()[1:3]] == filled[1:]
    assert out.splitlines()[3] == "These are the newest 2; --all lists every one."
    for arguments in (["--limit", "3"], ["--all"]):
        _, out, _ = run("ls", *arguments)
        assert len(out.splitlines()) == 4
    found = json.loads(run("ls", "--limit", "1", "--json")[1])
    assert ([row["delegation_id"] for row in found["delegations"]], found["more"]) == (
        filled[2:],
        True,
    )


def test_ls_as_json_is_one_object(run: Run, filled: list[str], file: Path) -> None:
    code, out, _ = run("ls", "--json")
    found = json.loads(out)
    assert (code, out.count("\n")) == (OK, 1)
    assert (found["ledger"], found["more"]) == (str(file), False)
    row = found["delegations"][0]
    assert (row["delegation_id"], row["goal"]) == (filled[0], "Find the bug")
    assert (row["state"], row["delivery"]) == ("completed", "pending")
    assert isinstance(row["dispatched_at"], float)
    assert "event" not in row


def test_show_has_the_whole_result(run: Run, file: Path) -> None:
    (id,) = fill(file, "One.\n\n\tTwo.", context="It crashes", model="model-1", toolsets=["web"])
    code, out, _ = run("show", id)
    assert code == OK
    for line in (
        f"id          {id}",
        "state       completed",
        "event       pending",
        "session     tui:1",
        "model       model-1",
        "toolsets    web",
        "goal\n  Find the bug",
        "context\n  It crashes",
        "summary\n  One.\n\n      Two.",
    ):
        assert f"\n{line}\n" in f"\n{out}", line
    row = json.loads(run("show", id, "--json")[1])
    assert row["event"]["summary"] == "One.\n\n\tTwo."
    assert row["record"]["context"] == "It crashes"


def test_show_has_what_was_cut(run: Run, file: Path) -> None:
    """F24: the event says which command has the whole summary, and it has it."""
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, ledger=file, max_summary=10)
    summary = "word " * 1000
    handle = registry.dispatch(goal="Say a lot", runner=lambda: {"summary": summary})
    handle.result(timeout=10)
    event = queue.get(timeout=10)
    assert len(event["summary"]) < 200
    command = event["summary"].rpartition("the whole text: ")[2].rstrip("]")
    assert command == f"hermes-core show {handle.id}"
    assert summary.rstrip() in run(*command.split()[1:])[1]


def test_show_has_each_result_of_a_batch(run: Run, file: Path) -> None:
    from hermes_core.delegation.delegation import Delegation, new_record

    registry = hc.DelegationRegistry(ledger=file)
    task = {"context": None, "toolsets": None, "role": "leaf", "model": None}
    record = new_record("Two", session_key="a", **task)
    record |= {"goals": ["One", "Two"], "is_batch": True}
    results = [{"status": "completed", "summary": "First"}, {"status": "error", "error": "Boom"}, 3]
    delegation = registry.start(Delegation(record, lambda: {"results": results}), capacity=3)
    handle = hc.DelegationHandle(registry, delegation)
    handle.result(timeout=10)
    out = run("show", handle.id)[1]
    assert "\ngoals\n  One\n  Two\n" in out
    assert "\nresult 1\n  completed\n\nresult 1, summary\n  First\n" in out
    assert "\nresult 2\n  error\n\nresult 2, error\n  Boom\n\nresult 3\n  3\n" in out
    assert "One | Two" in run("ls")[1]


def test_nothing_that_was_stored_steers_the_terminal(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("goal", "context", "role", "model", "session_key", "idempotency_key")
    task: dict[str, Any] = dict.fromkeys(names, HOSTILE)
    task |= {"parent_session_id": HOSTILE, "origin_ui_session_id": HOSTILE, "toolsets": [HOSTILE]}
    (id,) = fill(file, HOSTILE, **task)
    rows = json.loads(run("ls", "--json")[1])["delegations"]
    # A lone surrogate in an address cannot be kept as one.
    assert rows[0]["goal"] == HOSTILE
    for columns in ("30", "100", "1000"):
        monkeypatch.setenv("COLUMNS", columns)
        for command in COMMANDS[:2] + COMMANDS[3:] + [["doctor"]]:
            for more in ([], ["--json"]):
                arguments = [word.replace("x", id) for word in command]
                _, out, err = run(*arguments, *more)
                for text in (out, err):
                    assert text.replace("\n", "").isprintable(), (arguments, text)
                if more:
                    assert out.isascii()
                    json.loads(out)
    _, _, err = run("show", "no\x1b[31msuch\u202e")
    assert "no\\x1b[31msuch\\u202e" in err


# -- by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['{"goal": {"a": 1}, "goals": 5, "toolsets": 7}', "[1]", "{"])
def test_a_record_of_any_shape_is_shown(run: Run, filled: list[str], file: Path, text: str) -> None:
    """What was damaged, or written by another release, keeps no row from being shown."""
    # In a process of its own: two SQLites in one drop each other's locks.
    code = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as db:
    db.execute("UPDATE delegations SET record = ?", sys.argv[2:])
"""
    subprocess.run([sys.executable, "-c", code, str(file), text], check=True, timeout=60)
    code, listed, _ = run("ls")
    assert (code, [id for id in filled if id in listed]) == (OK, filled)
    code, shown, _ = run("show", filled[0])
    assert (code, "Off by one." in shown) == (OK, True)


def test_an_id_that_is_not_there(run: Run, filled: list[str], file: Path) -> None:
    for command in ("show", "redeliver", "drop", "cancel"):
        code, out, err = run(command, "deleg_none")
        assert (code, out) == (REFUSED, "")
        assert err == f"hermes-core: no delegation deleg_none in {file}\n"
        code, out, err = run(command, "deleg_none", "--json")
        assert (code, err) == (REFUSED, "")
        assert json.loads(out)["error"] == f"no delegation deleg_none in {file}"


# -- no ledger, or something else -----------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_ledger_that_is_not_there_is_not_made(run: Run, file: Path, command: list[str]) -> None:
    code, out, err = run(*command)
    assert (code, out) == (REFUSED, "")
    assert f"there is no ledger {file}" in err
    assert "no ledger" in json.loads(run(*command, "--json")[1])["error"]
    assert list(file.parent.iterdir()) == []


def text(path: Path) -> None:
    path.write_text("My notes, which nobody must move away.\n")


def others(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (note TEXT)")


def without_tables(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("VACUUM")
    path.write_bytes(path.read_bytes() or b"SQLite format 3\0".ljust(4096, b"\0"))


@pytest.mark.parametrize("make", [text, others, without_tables])
@pytest.mark.parametrize("command", [*COMMANDS, ["doctor"]], ids=lambda words: words[0])
def test_a_file_that_is_no_ledger_is_left_alone(
    run: Run, tmp_path: Path, make: Callable[[Path], None], command: list[str]
) -> None:
    path = tmp_path / "else.db"
    make(path)
    before = contents(tmp_path)
    code, out, err = run(*command, "--ledger", str(path))
    assert code == REFUSED
    assert f"{path} is not a ledger" in out + err
    assert contents(tmp_path) == before


def test_an_empty_file_is_left_empty(run: Run, file: Path) -> None:
    file.touch()
    code, _, err = run("ls")
    assert (code, contents(file.parent)) == (REFUSED, {file.name: b""})
    assert "is empty" in err


def test_what_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    code, _, err = run("ls", "--ledger", str(tmp_path))
    assert (code, err) == (REFUSED, f"hermes-core: {tmp_path} cannot be read: Is a directory\n")


@pytest.mark.parametrize("command", [*COMMANDS, ["doctor"]], ids=lambda words: words[0])
def test_a_ledger_of_a_later_release_is_refused_untouched(
    run: Run, file: Path, command: list[str]
) -> None:
    code = f"import hermes_core as hc; hc.Ledger({str(file)!r}).redeliver('none')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 99")
    before = file.read_bytes()
    if command == ["watch"]:
        command = ["watch", "--json"]
    code, out, err = run(*command)
    assert code == REFUSED
    assert "99" in out + err
    assert file.read_bytes() == before


def test_f36_a_damaged_ledger_is_said_and_left_for_who_writes(run: Run, file: Path) -> None:
    fill_elsewhere(file, 60)
    pages = bytearray(file.read_bytes())
    pages[-4096:] = b"\xff" * 4096
    file.write_bytes(pages)

    def about() -> dict[str, tuple[int, bytes]]:
        files = file.parent.iterdir()
        return {one.name: (one.stat().st_mtime_ns, one.read_bytes()) for one in files}

    before = about()
    for command in (["ls", "--all"], ["show", "none"], ["watch", "--json"], ["doctor"]):
        code, out, err = run(*command)
        assert code == REFUSED
        assert "is damaged" in out + err
    assert about() == before
    # Who writes sets it aside, with what belonged to it.
    run("redeliver", "none")
    aside = min(str(path) for path in file.parent.glob("*.damaged-*"))
    code, out, err = run("ls", "--all", "--json")
    assert (code, err) == (OK, "")
    assert json.loads(out)["delegations"]
    assert aside in run("doctor")[1]


def test_a_ledger_that_has_no_name_yet(run: Run, file: Path) -> None:
    """F3: a damaged file was carried over, and whoever did it died before it named the new one."""
    fill_elsewhere(file, 2)
    file.rename(file.with_name(f"{file.name}.salvaged"))
    assert hc.Ledger(file).exists()
    code, out, err = run("ls", "--json")
    assert (code, err, len(json.loads(out)["delegations"])) == (OK, "", 2)
    assert not file.exists()
    assert run("redeliver", "none")[0] == REFUSED
    assert file.exists()


# -- the doctor -----------------------------------------------------------------------------------


def test_the_doctor_says_what_there_is(run: Run, file: Path, filled: list[str]) -> None:
    code, out, _ = run("doctor")
    assert f"ledger        {file}\n" in out
    assert "mode 0600\n" in out
    assert "opens         yes\n" in out
    assert code == REFUSED
    facts = json.loads(run("doctor", "--json")[1])
    ledger = facts["ledger"]
    assert (ledger["path"], ledger["exists"], ledger["opens"]) == (str(file), True, True)
    assert (ledger["running"], ledger["dead_letters"]) == (0, [])
    assert ledger["health"]["state"] == "ok"
    assert ledger["bytes"] > 0


def test_the_doctor_makes_no_ledger(run: Run, file: Path) -> None:
    out = run("doctor")[1]
    assert "none yet; the first delegation makes it" in out
    assert not any(name.startswith("delegations") for name in os.listdir(file.parent))


def test_the_doctor_sees_what_others_could_read(run: Run, file: Path, filled: list[str]) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    findings = json.loads(run("doctor", "--json")[1])["findings"]
    assert any("mode 0640" in finding for finding in findings)


def test_the_doctor_names_what_was_set_aside(run: Run, file: Path, filled: list[str]) -> None:
    aside = file.with_name("delegations.db.damaged-20260101T000000Z")
    aside.touch()
    aside.with_name(f"{aside.name}-wal").touch()
    facts = json.loads(run("doctor", "--json")[1])
    assert facts["ledger"]["set_aside"] == [str(aside)]
    assert any(str(aside) in finding for finding in facts["findings"])


# -- the command itself ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--limit", "0"],
        ["ls", "--limit", "-1"],
        ["ls", "--limit", "x"],
        ["ls", "--limit", "1", "--all"],
        ["show"],
        ["cancel", "a", "b"],
        ["enable", "--ledger", "x"],
    ],
)
def test_a_wrong_command_line_is_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "Error" not in capsys.readouterr().err


def test_a_reader_that_has_read_enough(file: Path, filled: list[str]) -> None:
    """`hermes-core show … | head -1` ends without a word."""
    fill(file, "long " * 100_000)
    show = [
        sys.executable,
        "-m",
        "hermes_core",
        "show",
        hc.Ledger(file).rows(1)[0]["delegation_id"],
    ]
    with subprocess.Popen(show, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"id ")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == REFUSED


def test_a_board_needs_a_terminal(run: Run, filled: list[str]) -> None:
    code, out, err = run("watch")
    assert (code, out) == (REFUSED, "")
    assert "needs a terminal" in err


def test_a_board_needs_rich(run: Run, filled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    code, out, err = run("watch")
    assert (code, out) == (REFUSED, "")
    assert "pip install 'hermes-agent-core[cli]'" in err


def test_an_output_that_cannot_say_it(file: Path) -> None:
    fill(file, "日本語", goal="Grüße")
    done = subprocess.run(
        [sys.executable, "-m", "hermes_core", "ls"],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (OK, b"")
    assert b"Gr\\xfc\\xdfe" in done.stdout
