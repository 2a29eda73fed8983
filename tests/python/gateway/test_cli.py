"""`hermes-core enable | disable | status`: the one change, and nothing else in the file."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_core.cli.main import main
from hermes_core.gateway import config_file, versions

CONFIG = """\
# my gateway
model:
  default: "gpt"   # quoted
  temperature: 0.70
plugins:
  # what loads
  enabled:
  - other   # mine
  disabled:
  - old
list_further_in:
- a
zone: on
long: {long}
""".format(long=" ".join(["word"] * 60))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def run(home: Path, *arguments: str) -> int:
    return main([*arguments, "--hermes-home", str(home)])


def write(home: Path, text: str) -> Path:
    file = home / "config.yaml"
    file.write_bytes(text.encode())
    return file


def test_enable_adds_one_line_and_disable_takes_it_out(home: Path) -> None:
    file = write(home, CONFIG)
    assert run(home, "enable") == 0
    enabled = file.read_text()
    assert enabled == CONFIG.replace(
        "  - other   # mine\n", "  - other   # mine\n  - hermes-core\n"
    )
    assert run(home, "enable") == 0
    assert file.read_text() == enabled
    assert run(home, "disable") == 0
    assert file.read_text() == CONFIG
    assert run(home, "disable") == 0
    assert file.read_text() == CONFIG


def test_lists_that_are_further_in_stay_so(home: Path) -> None:
    text = "plugins:\n  enabled:\n    - a\nother:\n  - b\n  - c\n"
    file = write(home, text)
    assert run(home, "enable") == 0
    assert file.read_text() == text.replace("    - a\n", "    - a\n    - hermes-core\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "plugins:\n  enabled:\n  - hermes-core\n"),
        ("a: 1\n", "a: 1\nplugins:\n  enabled:\n  - hermes-core\n"),
        ("plugins:\n", "plugins:\n  enabled:\n  - hermes-core\n"),
        ("plugins: {}\n", "plugins:\n  enabled:\n  - hermes-core\n"),
        ("plugins:\n  enabled: []\n", "plugins:\n  enabled:\n  - hermes-core\n"),
        ("plugins:\n  enabled: [a]\n", "plugins:\n  enabled: [a, hermes-core]\n"),
        ("plugins:\n  enabled:\n", "plugins:\n  enabled:\n  - hermes-core\n"),
        ("# only this\n", "# only this\nplugins:\n  enabled:\n  - hermes-core\n"),
    ],
)
def test_every_shape_of_the_section(home: Path, before: str, after: str) -> None:
    file = write(home, before)
    assert run(home, "enable") == 0
    text = file.read_text()
    assert config_file.is_enabled(file)
    assert text == after


@pytest.mark.parametrize("value", ["null", "~", "", "[]", "null  # none yet", "[]  # none yet"])
@pytest.mark.parametrize("below", ["", "  # what else\n  disabled: [x]\n", "other: 1\n"])
def test_a_list_that_was_empty_comes_and_goes(home: Path, value: str, below: str) -> None:
    file = write(home, f"plugins:\n  enabled: {value}\n{below}")
    for _ in range(2):
        assert run(home, "enable") == 0
        assert config_file.is_enabled(file)
        assert run(home, "disable") == 0
        assert not config_file.is_enabled(file)
        text = file.read_text()
        assert ("# none yet" in text) == ("# none yet" in value)
        assert text.endswith(below)


@pytest.mark.parametrize(
    "entries",
    [
        "  - hermes-core  # ours\n  # before b\n  - b # x\n",
        "  - b # x\n  - hermes-core\n  # the end\nz: 1\n",
        "  # first\n  - 'hermes-core'\n\n  # before c\n  - c\n",
    ],
)
def test_disable_takes_out_its_line_and_no_comment(home: Path, entries: str) -> None:
    file = write(home, f"plugins:\n  enabled:\n{entries}")
    assert run(home, "disable") == 0
    kept = [line for line in entries.splitlines() if "hermes-core" not in line]
    assert file.read_text().splitlines() == ["plugins:", "  enabled:", *kept]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("enable", "plugins:\n  enabled: [a,  # first\n    b,  # second\n    ]\nx: 1\n"),
        ("disable", "plugins:\n  enabled: [\n    a,  # first\n    hermes-core  # it\n    ]\n"),
    ],
)
def test_comments_inside_a_flow_list_are_not_dropped(
    home: Path, command: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(home, text)
    assert run(home, command) == 1
    message = capsys.readouterr().err
    assert "losing comments (# first" in message
    assert "by hand" in message
    assert file.read_text() == text


def test_a_new_file_is_for_its_owner(home: Path) -> None:
    assert run(home / "new" / "home", "enable") == 0
    file = home / "new" / "home" / "config.yaml"
    assert file.read_text() == "plugins:\n  enabled:\n  - hermes-core\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_disable_without_a_file_writes_none(home: Path) -> None:
    assert run(home, "disable") == 0
    assert list(home.iterdir()) == []


def test_enable_takes_the_name_out_of_disabled(home: Path) -> None:
    """The gateway loads nothing that is listed there, enabled or not."""
    file = write(
        home, "plugins:\n  enabled:\n  - hermes-core\n  disabled:\n  - hermes-core\n  - b\n"
    )
    assert not config_file.is_enabled(file)
    assert run(home, "enable") == 0
    assert file.read_text() == "plugins:\n  enabled:\n  - hermes-core\n  disabled:\n  - b\n"


def test_mode_line_ends_and_link_are_kept(home: Path) -> None:
    target = home / "dotfiles"
    target.write_bytes(b"a: 1\r\nplugins:\r\n  enabled:\r\n  - x\r\n")
    target.chmod(0o640)
    (home / "config.yaml").symlink_to(target)
    assert run(home, "enable") == 0
    assert (home / "config.yaml").is_symlink()
    assert target.read_bytes() == b"a: 1\r\nplugins:\r\n  enabled:\r\n  - x\r\n  - hermes-core\r\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in home.iterdir()) == ["config.yaml", "dotfiles"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "not a mapping"),
        ("just text\n", "not a mapping"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\na: 2\n", "not valid YAML"),
        ("plugins: 3\n", "plugins is a"),
        ("plugins: [a]\n", "plugins is a"),
        ("plugins:\n  enabled: yes please\n", "plugins.enabled is a str"),
        ("plugins:\n  enabled:\n    a: 1\n", "plugins.enabled is a"),
        ("plugins:\n  disabled: 4\n", "plugins.disabled is a"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
    ],
)
@pytest.mark.parametrize("command", ["enable", "disable", "status"])
def test_a_config_that_is_wrong_is_refused_untouched(
    home: Path, command: str, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(home, text)
    assert run(home, command) == 1
    assert words in capsys.readouterr().err
    assert file.read_text() == text
    assert run(home, command, "--json") == 1
    assert words in json.loads(capsys.readouterr().out)["error"]


def test_bytes_that_are_no_text_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "config.yaml").write_bytes(b"a: \xff\xfe\n")
    assert run(home, "enable") == 1
    assert "cannot be read" in capsys.readouterr().err
    assert (home / "config.yaml").read_bytes() == b"a: \xff\xfe\n"


def test_a_managed_installation_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(home, "a: 1\n")
    (home / ".managed").touch()
    assert run(home, "enable") == 1
    assert "managed" in capsys.readouterr().err
    assert file.read_text() == "a: 1\n"


def test_a_file_that_cannot_be_replaced_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(home, "a: 1\n")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    assert run(home, "enable") == 1
    assert "No space left" in capsys.readouterr().err
    assert file.read_text() == "a: 1\n"
    assert list(home.iterdir()) == [file]


def test_without_ruamel_the_message_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert run(home, "enable") == 1
    assert "ruamel.yaml is missing" in capsys.readouterr().err


def test_status_says_what_there_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "status") == 1
    assert "enabled       no" in capsys.readouterr().out
    run(home, "enable")
    capsys.readouterr()
    assert run(home, "status") == 0
    shown = capsys.readouterr().out
    assert "hermes-agent  0.17.0" in shown
    assert "compatible    yes" in shown
    assert "enabled       yes" in shown
    assert run(home, "status", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["compatible"] is True
    assert facts["enabled"] is True
    assert facts["hermes_agent"] == "0.17.0"
    assert facts["config"] == str(home / "config.yaml")


def altered(**changed: str) -> tuple[versions.Version, ...]:
    """The known versions, with other digests for functions of the registry."""
    digests = {(versions.REGISTRY, name): digest for name, digest in changed.items()}
    return tuple(
        version._replace(digests={**version.digests, **digests}) for version in versions.shipped()
    )


def test_status_names_what_differs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F52: it is served all the same."""
    known = altered(active_count="0")
    monkeypatch.setattr(versions, "shipped", lambda: known)
    assert run(home, "enable") == 0
    shown = capsys.readouterr().out
    assert (
        "tools.async_delegation: by shape\n              - active_count reads differently" in shown
    )
    assert run(home, "status") == 0
    assert "- active_count reads differently" in capsys.readouterr().out


def test_a_gateway_that_cannot_be_served_is_not_enabled(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """F52"""
    file = write(home, "a: 1\n")
    needed = tuple(
        each._replace(required=("x",)) if each.name == "active_count" else each
        for each in versions.functions()
    )
    known = altered(active_count="0")
    monkeypatch.setattr(versions, "functions", lambda: needed)
    monkeypatch.setattr(versions, "shipped", lambda: known)
    why = "tools.async_delegation.active_count: does not take x any more"
    assert run(home, "enable") == 1
    assert why in capsys.readouterr().err
    assert file.read_text() == "a: 1\n"
    assert run(home, "enable", "--json") == 1
    assert why in json.loads(capsys.readouterr().out)["error"]
    assert run(home, "status") == 1
    shown = capsys.readouterr().out
    assert "compatible    no" in shown
    assert f"- {why}" in shown
    assert run(home, "disable") == 0


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["enable", "--no"], ["status", "x"]])
def test_a_wrong_command_line_is_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2


def test_the_home_follows_the_gateways_rule(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_HOME", str(home))
    assert main(["enable"]) == 0
    assert (home / "config.yaml").exists()


def test_the_installed_command_without_a_terminal(home: Path) -> None:
    """A narrow output encoding and a path that it cannot say."""
    odd = home / "grüße"
    odd.mkdir()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict", "HERMES_HOME": str(odd)}
    for command in (
        [str(Path(sys.executable).with_name("hermes-core")), "enable"],
        [sys.executable, "-m", "hermes_core", "status"],
    ):
        done = subprocess.run(
            command, capture_output=True, env=environment, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"gr\\xfc\\xdfe" in done.stdout


def test_the_gateway_reads_what_enable_wrote(home: Path) -> None:
    """Its own reader, in its own process."""
    write(home, CONFIG)
    run(home, "enable")
    code = (
        "from hermes_cli.plugins import _get_enabled_plugins, _get_disabled_plugins;"
        "print(sorted(_get_enabled_plugins()), sorted(_get_disabled_plugins()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "HERMES_HOME": str(home)},
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "['hermes-core', 'other'] ['old']", done.stderr
