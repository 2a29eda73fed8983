"""A user's own file makes a patched gateway a known one; one that is wrong is said, and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import later
import pytest
from adapter_support import Host
from later import replacing

from hermes_core import gateway
from hermes_core.cli.main import main
from hermes_core.gateway import versions
from hermes_core.gateway.install import ladder

COMMAND = "import sys; from hermes_core.cli.main import main; sys.exit(main(sys.argv[1:]))"

INSTALL = """
    import sys
    from hermes_core import plugin
    plugin.register(object())
    # The TUI takes the standard output for itself.
    output = sys.stdout
    import tui_gateway.server as server
    print(server._notification_poller_loop.__module__, file=output)
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed gateway with a line of the user's in the TUI's poller."""

    def edit(text: str) -> str:
        head, marker, rest = text.partition("def _notification_poller_loop(")
        body = rest.index("\n    while ") + 1
        return f"{head}{marker}{rest[:body]}    stop_event.is_set()\n{rest[body:]}"

    folder = tmp_path_factory.mktemp("patched") / "gateway"
    return later.copy(later.INSTALLED, folder, {"tui_gateway/server.py": edit})


def test_a_patched_front_end_is_served_once_its_user_says_so(patched: Path, tmp_path: Path) -> None:
    """F52"""

    def status() -> dict[str, dict[str, object]]:
        said = later.python(patched, COMMAND, tmp_path, "status", "--json").stdout
        return {each["module"]: each for each in json.loads(said)["modules"]}

    before = status()
    assert [name for name, each in before.items() if each["served"] != "exact"] == [versions.TUI]
    assert before[versions.TUI]["served"] == "the host's"
    assert before[versions.TUI]["why"] == ["_notification_poller_loop reads differently"]
    assert str(tmp_path / versions.OWN_FILE) in str(before[versions.TUI]["advice"])
    done = later.python(patched, INSTALL, tmp_path)
    assert "TUI the host's, CLI exact, messaging exact" in done.stderr
    assert done.stdout.splitlines()[-1] == versions.TUI

    # As the advice says; a shell makes the file before the command runs.
    own = tmp_path / versions.OWN_FILE
    own.touch()
    draft = later.run(patched, COMMAND, tmp_path, "doctor", "--fingerprint")
    own.write_text(draft, encoding="utf-8")
    assert {each["served"] for each in status().values()} == {"exact"}
    done = later.python(patched, INSTALL, tmp_path)
    assert "TUI exact, CLI exact, messaging exact" in done.stderr
    assert done.stdout.splitlines()[-1] == "hermes_core.gateway.tui.delivery"


def test_the_file_is_the_one_of_the_home_that_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "another"))
    (tmp_path / versions.OWN_FILE).write_text("no", encoding="utf-8")
    main(["status", "--json", "--hermes-home", str(tmp_path)])
    assert str(tmp_path) in json.loads(capsys.readouterr().out)["ignored"]
    main(["status", "--json"])
    assert json.loads(capsys.readouterr().out)["ignored"] == ""


def without(*lines: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if not line.startswith(lines))

    return edit


WRONG: dict[str, tuple[Callable[[str], str], str]] = {
    "nothing": (lambda text: "", "served is missing"),
    "no TOML": (lambda text: "version = ", "cannot be read"),
    "no version": (without("version ="), "version is missing"),
    "no facts": (without("[facts]"), "facts is missing"),
    "a fact too few": (without("refusal ="), "refusal is missing"),
    "a fact of another kind": (
        lambda text: text.replace('refusal = "error"', "refusal = 3"),
        "refusal is 3, not a text",
    ),
    "modules as a text": (
        lambda text: text.replace("served = [", 'served = "cli" #'),
        "served is 'cli', not a list",
    ),
    "a module that is none": (replacing("served = [", 'served = ["cIi", '), "served names cIi"),
    "a digest that is none": (
        lambda text: f'{text}"x" = 3\n',
        "x is 3, not a text",
    ),
    "digests that are none": (
        lambda text: text[: text.index("[digests")] + '[digests]\ncli = "0"\n',
        "cli is '0', not a table",
    ),
}


@pytest.mark.parametrize("how", [*WRONG, "a folder", "no text"])
def test_a_file_that_is_none_is_said_and_refuses_nothing(
    host: Host,
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / versions.OWN_FILE
    if how == "a folder":
        own.mkdir()
        why = "cannot be read"
    elif how == "no text":
        own.write_bytes(b"\xff")
        why = "cannot be read"
    else:
        edit, why = WRONG[how]
        own.write_text(edit(ladder.draft(str(tmp_path))), encoding="utf-8")
    home = ["--hermes-home", str(tmp_path)]
    assert main(["enable", *home]) == 0
    (said,) = [line for line in capsys.readouterr().out.splitlines() if str(own) in line]
    assert why in said
    assert main(["status", *home]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if str(own) in line] == [said]
    assert main(["doctor", *home]) == 1
    shown = capsys.readouterr().out
    (finding,) = [line for line in shown.splitlines() if line.startswith("- ") and str(own) in line]
    assert why in finding
    monkeypatch.setenv("HERMES_HOME", str(tmp_path))
    assert why in gateway.status().ignored
    report = gateway.install()
    assert {str(each.rung) for each in report.modules} == {"exact"}
    assert why in report.ignored
    assert f"ignored: {report.ignored}" in str(report).splitlines()
    assert gateway.status().ignored == report.ignored


def test_the_start_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / versions.OWN_FILE).write_text("version = 3\n", encoding="utf-8")
    done = later.python(later.INSTALLED, INSTALL, tmp_path)
    served, ignored = done.stderr.splitlines()[:2]
    assert served.startswith("hermes_core in hermes-agent 0.17.0: registry exact")
    assert ignored.startswith(
        f"hermes_core does without your own file: {tmp_path / versions.OWN_FILE}"
    )
    assert done.stdout.splitlines()[-1] == "hermes_core.gateway.tui.delivery"
