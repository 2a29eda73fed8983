"""Where nobody will take the result of a delegation, it is refused before it starts."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace

import pytest
from adapter_support import Child, Host, dispatch
from real_cli import DELEGATION, once
from test_delegate_task import Tool

from hermes_core import gateway
from hermes_core.gateway import consumers
from measure.model import Model

PACKAGES = Path(sysconfig.get_path("purelib"))
COMMANDS = Path(sysconfig.get_path("scripts"))


@pytest.fixture
def launched(installed: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The gateway with the core in place, in a process that counts as a launcher's."""
    monkeypatch.setattr(consumers, "_is_a_launcher", lambda: True)
    return installed


def answer(host: Host, key: str) -> dict[str, object]:
    child = Child()
    child.go.set()
    return dispatch(host.registry.dispatch_async_delegation, child, key=key)


def assert_refused(said: dict[str, object]) -> None:
    assert (said["status"], said["reason"]) == ("rejected", "no_consumer")
    assert "background=false" in str(said["error"])


@pytest.mark.parametrize(
    "arguments",
    [["chat", *DELEGATION, "-q", "Delegate A"], [*DELEGATION, "-z", "Delegate A"]],
    ids=["chat -q", "-z"],
)
def test_a_run_that_ends_with_its_answer_is_told_to_wait(
    tmp_path: Path, arguments: list[str]
) -> None:
    """F5: the model reads why, nothing is started, and the run goes on."""
    with Model() as model:
        done = once(tmp_path, model.base_url, *arguments)
    assert done.returncode == 0, done.stderr
    assert "Noted." in done.stdout
    told = next(request for request in model.requests if request.kind == "tool")
    assert json.loads(told.text)["error"] == consumers.REFUSAL
    assert not [request for request in model.requests if request.kind == "child"]


def test_the_refusal_is_the_gateways_own_kind_of_error(
    launched: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F5, F6: nothing runs inline, and nothing counts as running."""
    tool = Tool(monkeypatch)
    assert tool("look") == {"error": consumers.REFUSAL}
    (child,) = tool.children
    assert not child.started.is_set()
    assert launched.registry.active_count() == 0
    assert launched.registry.list_async_delegations() == []


def test_the_interactive_cli_takes_everything(
    launched: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_refused(answer(launched, ""))
    manager = importlib.import_module("hermes_cli.plugins").get_plugin_manager()
    monkeypatch.setattr(manager, "_cli_ref", object())
    assert answer(launched, "")["status"] == "dispatched"
    assert answer(launched, "a key")["status"] == "dispatched"


def test_a_session_of_the_tui_takes_its_own(
    launched: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SimpleNamespace(_sessions={"1": {"session_key": "20260101_000000_abcdef"}})
    monkeypatch.setattr(consumers.front_ends, "loaded", lambda name: [server] * ("tui" in name))
    assert_refused(answer(launched, "20260101_000000_abcdef"))
    server._sessions["1"]["_notif_stop"] = object()
    assert answer(launched, "20260101_000000_abcdef")["status"] == "dispatched"
    # A key that was the session's before its context was compressed, say.
    assert answer(launched, "20250101_000000_abcdef")["status"] == "dispatched"
    assert_refused(answer(launched, ""))
    assert_refused(answer(launched, "bg_123456"))


MESSAGING = """
import gateway.run as run
from gateway.config import GatewayConfig
from hermes_core import gateway
from hermes_core.gateway import consumers
from tools import async_delegation

consumers._is_a_launcher = lambda: True
gateway.install()

def status(key):
    return async_delegation.dispatch_async_delegation(
        goal="g", context=None, toolsets=None, role="leaf", model=None, session_key=key,
        runner=dict, max_async_children=100)["status"]

telegram = "agent:main:telegram:dm:4711"
found = [status(telegram)]
runner = run.GatewayRunner(GatewayConfig())
found += [status(key) for key in (telegram, "", "run_0123", "cron_job_1")]
assert found == ["rejected", "dispatched", "rejected", "rejected", "rejected"], found
assert consumers.refusal(telegram) is None
runner._draining = True
assert consumers.refusal(telegram) == consumers.STOPPING
print("fine")
"""


def test_the_messaging_gateway_takes_what_it_can_route(tmp_path: Path) -> None:
    """A cron job in it has no session, and a request to its API none that could be written to."""
    done = subprocess.run(
        [sys.executable, "-c", MESSAGING],
        env={**os.environ, "HERMES_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["fine"]), done.stderr


@pytest.mark.parametrize(
    ("file", "is_one"),
    [
        (COMMANDS / "hermes", True),
        (COMMANDS / "hermes-acp", True),
        (Path("somewhere", "hermes.exe", "__main__.py"), True),
        (PACKAGES / "tui_gateway" / "entry.py", True),
        (PACKAGES / "acp_adapter" / "__main__.py", True),
        (PACKAGES / "batch_runner.py", True),
        (PACKAGES / "pytest" / "__main__.py", False),
        (Path("somewhere", "cli.py"), False),
        (Path("somewhere", "server.py"), False),
        (None, False),
    ],
)
def test_launchers_are_told_from_other_programs(
    installed: Host, monkeypatch: pytest.MonkeyPatch, file: Path | None, is_one: bool
) -> None:
    main = SimpleNamespace() if file is None else SimpleNamespace(__file__=str(file))
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert consumers._is_a_launcher.__wrapped__() is is_one


def test_other_programs_see_to_their_results_themselves(installed: Host) -> None:
    """A program that uses the gateway's modules may take from the queue in its own way."""
    assert answer(installed, "")["status"] == "dispatched"


def test_without_an_install_nothing_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "_is_a_launcher", lambda: True)
    for _ in range(2):
        child = Child()
        child.go.set()
        said = dispatch(host.delegations.dispatch_async_delegation, child)
        assert said["status"] == "dispatched"
        gateway.install()
        assert_refused(answer(host, ""))
        gateway.uninstall()
        host.delegations._successor = None


def test_who_cannot_be_asked_may_be_there(
    launched: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(key: str) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(consumers, "_CONSUMERS", (broken,))
    assert answer(launched, "")["status"] == "dispatched"
    assert "cannot tell" in caplog.text
