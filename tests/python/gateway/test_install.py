"""What install() checks, replaces and refuses, and what uninstall() restores."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import later
import pytest
from adapter_support import WAIT, Host
from later import replacing

from hermes_core import gateway
from hermes_core.gateway import queue_swap, versions
from hermes_core.gateway.install import fingerprint, installation, record_share

FUNCTIONS = (
    "dispatch_async_delegation",
    "active_count",
    "list_async_delegations",
    "interrupt_all",
    "_reset_for_tests",
)


def everything(host: Host) -> dict[str, Any]:
    """All that an install may touch."""
    found = {name: vars(host.registry)[name] for name in FUNCTIONS}
    found["_records"] = host.registry._records
    found["format"] = host.processes.format_process_notification
    found["drain"] = vars(host.processes.ProcessRegistry)["drain_notifications"]
    found["queue"] = host.queue
    found["queue attributes"] = sorted(vars(host.processes.process_registry))
    found["meta_path"] = list(sys.meta_path)
    return found


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
        check=False,
    )


def test_install_replaces_the_core_and_says_so(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hermes_core.gateway"):
        report = gateway.install()
    delegations = host.delegations
    dispatch = host.registry.dispatch_async_delegation
    assert dispatch.__wrapped__ is delegations.dispatch_async_delegation
    assert host.registry.active_count is delegations.active_count
    assert host.registry.list_async_delegations is delegations.list_async_delegations
    assert host.registry.interrupt_all is delegations.interrupt_all
    assert host.queue is delegations.completion_queue
    assert report.version == "0.17.0"
    assert "tools.async_delegation.dispatch_async_delegation" in report.replaced
    assert "tools.process_registry.process_registry.completion_queue" in report.replaced
    assert report.moved_events == 0
    assert "replaced: tools.async_delegation.active_count" in str(report)
    assert any("replaces" in record.getMessage() for record in caplog.records)


def test_uninstall_restores_everything(host: Host) -> None:
    before = everything(host)
    for _ in range(3):
        gateway.install()
        assert everything(host) != before
        gateway.uninstall()
        assert everything(host) == before
        assert host.registry._records is before["_records"]
    assert "_put" not in vars(host.queue)


def test_install_is_idempotent(host: Host) -> None:
    host.queue.put({"type": "completion", "session_id": "1"})
    first = gateway.install()
    after_first = everything(host)
    assert gateway.install() == first
    assert everything(host) == after_first
    assert first.moved_events == 1


def test_uninstall_without_install_does_nothing(host: Host) -> None:
    before = everything(host)
    report = gateway.uninstall()
    assert report.replaced == []
    assert everything(host) == before


def test_status_before_during_and_after(host: Host) -> None:
    assert gateway.status().installed is False
    assert gateway.status().version == "0.17.0"
    gateway.install()
    status = gateway.status()
    assert status.installed is True
    assert "tools.async_delegation.active_count" in status.replaced
    assert str(status).startswith("installed\nhermes-agent 0.17.0")
    gateway.uninstall()
    assert gateway.status().installed is False
    assert gateway.status().replaced == []


def test_a_wrapper_put_around_ours_stays(host: Host) -> None:
    original = host.registry.active_count
    gateway.install()
    ours = host.registry.active_count

    def wrapper() -> int:
        return int(ours())

    host.registry.active_count = wrapper
    report = gateway.uninstall()
    try:
        assert host.registry.active_count is wrapper
        assert any("active_count" in line for line in report.left_alone)
    finally:
        host.registry.active_count = original


def after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that is broken off by Ctrl-C once it has been called this often."""
    left = calls

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (installation._Swap, "undo", 0),
        (installation._Swap, "undo", 3),
        (queue_swap.QueueSwap, "uninstall", 0),
        (record_share.RecordShare, "uninstall", 0),
    ],
)
@pytest.mark.parametrize("then", [gateway.uninstall, gateway.install])
def test_an_uninstall_that_is_broken_off_can_be_repeated(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    calls: int,
    then: Callable[[], Any],
) -> None:
    before = everything(host)
    host.queue.put({"n": 1})
    gateway.install()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, after(calls, getattr(owner, name)))
        with pytest.raises(KeyboardInterrupt):
            gateway.uninstall()
    assert gateway.status().installed is True
    report = then()
    assert report.left_alone == []
    if then is gateway.install:
        assert host.registry.active_count is host.delegations.active_count
        assert host.queue is host.delegations.completion_queue
        gateway.uninstall()
    assert everything(host) == before
    assert list(host.queue.queue) == [{"n": 1}]
    assert gateway.status().installed is False


@pytest.mark.parametrize("step", ["install", "_core_parts", "attend_front_ends", "announce"])
def test_an_install_that_is_broken_off_leaves_nothing_behind(
    host: Host, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = everything(host)
    with monkeypatch.context() as patch:
        patch.setattr(installation.Installation, step, after(0, lambda: None))
        with pytest.raises(KeyboardInterrupt):
            gateway.install()
    assert everything(host) == before
    assert gateway.status().installed is False


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dispatch_async_delegation", "interrupt_all"])
def test_a_function_replaced_by_another_plugin_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def other(*args: Any, **kwargs: Any) -> None: ...

    monkeypatch.setattr(host.registry, name, other)
    before = everything(host)
    with pytest.raises(gateway.IncompatibleGateway, match=name) as refusal:
        gateway.install()
    assert len(refusal.value.differences) == 1
    assert "replaced by" in refusal.value.differences[0]
    assert everything(host) == before


def test_a_foreign_queue_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    import queue

    monkeypatch.setattr(host.processes.process_registry, "completion_queue", queue.LifoQueue())
    with pytest.raises(gateway.IncompatibleGateway, match="LifoQueue"):
        gateway.install()
    bounded: queue.Queue[Any] = queue.Queue(5)
    monkeypatch.setattr(host.processes.process_registry, "completion_queue", bounded)
    with pytest.raises(gateway.IncompatibleGateway, match="bounded to 5"):
        gateway.install()


def test_what_counts_is_how_it_reads_not_which_version_it_says(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52"""
    monkeypatch.setattr(fingerprint, "version", lambda: "0.99.0")
    report = gateway.install()
    assert report.version == "0.99.0"
    assert {standing.rung for standing in report.modules} == {"exact"}


def otherwise(module: str, name: str) -> Any:
    """The known versions, with another digest for one function."""
    known = versions.shipped()

    def shipped() -> tuple[versions.Version, ...]:
        return tuple(
            version._replace(digests={**version.digests, (module, name): "0"}) for version in known
        )

    return shipped


def test_a_changed_front_end_keeps_its_own_loop(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F52: the others are served all the same."""
    shipped = otherwise(versions.TUI, "_notification_poller_loop")
    monkeypatch.setattr(versions, "shipped", shipped)
    report = gateway.install()
    rungs = {standing.module: standing for standing in report.modules}
    assert rungs.pop(versions.TUI)[1:3] == (
        "the host's",
        ("_notification_poller_loop reads differently",),
    )
    assert {standing.rung for standing in rungs.values()} == {"exact"}
    assert host.registry.active_count is host.delegations.active_count
    assert versions.TUI not in report.pending
    assert not [name for name in report.replaced if name.startswith(versions.TUI)]
    assert "TUI the host's, CLI exact, messaging exact" in report.summary()


def test_no_gateway_is_refused(tmp_path: Path) -> None:
    """The interpreter finds hermes_core and nothing else."""
    import hermes_core

    code = """
        import sys
        sys.path[:] = [p for p in sys.path if "site-packages" not in p]
        sys.path[:0] = sys.argv[1:]
        from hermes_core import gateway
        try:
            gateway.install()
        except gateway.IncompatibleGateway as refusal:
            print(refusal.differences)
        print(gateway.status())
    """
    link = tmp_path / "hermes_core"
    link.symlink_to(Path(hermes_core.__file__).parent)
    done = run_python(code, str(tmp_path))
    assert "hermes-agent is not installed" in done.stdout, done.stderr


INSTALL = """
    import sys
    from hermes_core import gateway
    print(*gateway.status().modules, sep="\\n")
    try:
        gateway.install()
    except gateway.IncompatibleGateway as refusal:
        print("refused:", *refusal.differences, sep="\\n")
        assert not [name for name in sys.modules if name.split(".")[0] in ("tools", "gateway")]
"""


def test_every_difference_on_disk_is_named_and_nothing_is_imported(tmp_path: Path) -> None:
    edits = {
        "tools/async_delegation.py": replacing("def interrupt_all(", "def interrupt_them("),
        "tools/process_registry.py": replacing(
            "drain_notifications(", "drain_notifications(limit, "
        ),
        "gateway/run.py": replacing("def _drain_gateway_watch_events(", "def _drain_all("),
    }
    root = later.copy(later.INSTALLED, tmp_path / "gateway", edits)
    done = later.python(root, INSTALL, tmp_path / "home")
    standings, _, refusals = done.stdout.partition("refused:\n")
    assert refusals.splitlines() == [
        "tools.async_delegation.interrupt_all: not there any more",
        "tools.process_registry.ProcessRegistry.drain_notifications: now requires limit",
    ], done.stderr
    assert (
        "gateway.run: the host's (gateway.run._drain_gateway_watch_events: not there any more"
        in standings
    )
    assert "exact" not in standings


@pytest.mark.parametrize("version", later.LATER)
def test_later_versions_are_served_as_far_as_is_known(version: str, tmp_path: Path) -> None:
    """F52: their registry and queue at full strength, their loops are their own."""
    done = later.python(version, INSTALL, tmp_path)
    assert "refused" not in done.stdout, done.stdout
    rungs = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    for module in ("tools.async_delegation", "tools.process_registry"):
        assert rungs[module] == "exact", done.stderr
    for module in versions.FRONT_ENDS:
        assert rungs[module].startswith("the host's")


def test_line_ends_do_not_count() -> None:
    assert fingerprint.digest("a\r\n b\r\n") == fingerprint.digest("a\n b")
    assert fingerprint.digest("a\n b") != fingerprint.digest("a\n  b")


# -- front ends ---------------------------------------------------------------------------------


FRONT_END = """
    import logging, sys, threading
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    from hermes_core import gateway
"""


def test_a_front_end_is_served_when_it_is_imported_later() -> None:
    code = (
        FRONT_END
        + """
    report = gateway.install()
    assert "gateway.run" not in sys.modules and "tui_gateway.server" not in sys.modules
    messaging = ["gateway.platforms.base", "gateway.session", "gateway.run"]
    others = ["tui_gateway.server", "cli", "tools.delegate_tool"]
    assert report.pending == [*messaging, *others], report
    import gateway.run as run
    assert run._drain_gateway_watch_events.__module__ == "hermes_core.gateway.messaging.watch_drain"
    assert "exec_module" not in vars(run.__loader__)
    status = gateway_status = __import__("hermes_core.gateway").gateway.status()
    assert status.pending == others and status.left_alone == []
    assert "gateway.run._drain_gateway_watch_events" in status.replaced
    from hermes_core import gateway as adapter
    adapter.uninstall()
    assert run._drain_gateway_watch_events.__module__ == "gateway.run"
    adapter.install()
    assert run._drain_gateway_watch_events.__module__ == "hermes_core.gateway.messaging.watch_drain"
    print("fine")
    """
    )
    done = run_python(code)
    assert "fine" in done.stdout, done.stdout + done.stderr


def test_a_front_end_changed_in_memory_is_left_alone() -> None:
    code = (
        FRONT_END
        + """
    import gateway.run as run
    from hermes_core import gateway as adapter
    def other(completion_queue): return []
    run._drain_gateway_watch_events = other
    report = adapter.install()
    assert run._drain_gateway_watch_events is other
    assert report.pending == ["tui_gateway.server", "cli", "tools.delegate_tool"]
    assert report.left_alone[0].startswith("gateway.run._drain_gateway_watch_events: replaced by")
    """
    )
    done = run_python(code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "leaves gateway.run._drain_gateway_watch_events alone" in done.stdout


def test_a_front_end_that_is_being_imported_is_served_at_its_end(tmp_path: Path) -> None:
    """install() runs inside the import of gateway.run, before the function exists."""
    code = (
        FRONT_END
        + """
    import importlib.abc
    class InTheMiddle(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "gateway.authz_mixin":
                self.report = adapter.install()
            return None
    from hermes_core import gateway as adapter
    import gateway
    finder = InTheMiddle()
    sys.meta_path.insert(0, finder)
    import gateway.run as run
    rest = ["gateway.run", "tui_gateway.server", "cli", "tools.delegate_tool"]
    assert finder.report.pending[-4:] == rest, finder.report
    assert run._drain_gateway_watch_events.__module__ == "hermes_core.gateway.messaging.watch_drain"
    import importlib.machinery
    assert type(run.__spec__) is importlib.machinery.ModuleSpec
    assert adapter.status().pending == ["tui_gateway.server", "cli", "tools.delegate_tool"]
    """
    )
    done = run_python(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_front_end_run_as_main_is_served(tmp_path: Path) -> None:
    """`python -m gateway.run` is `__main__`, not `gateway.run`; both get the drain."""
    code = (
        FRONT_END
        + """
    import runpy
    def stop(*args, **kwargs):
        from hermes_core import gateway as adapter
        report = adapter.install()
        main = sys.modules["__main__"]
        assert main.__spec__.name == "gateway.run"
        module = main._drain_gateway_watch_events.__module__
        assert module == "hermes_core.gateway.messaging.watch_drain", module
        assert report.pending == ["tui_gateway.server", "cli", "tools.delegate_tool"]
        import gateway.run as run
        assert run._drain_gateway_watch_events.__module__ == module
        served = adapter.status().replaced
        assert served.count("gateway.run._drain_gateway_watch_events") == 2
        assert served.count("gateway.run.GatewayRunner._async_delegation_watcher") == 2
        adapter.uninstall()
        assert main._drain_gateway_watch_events.__module__ == "__main__"
        assert run._drain_gateway_watch_events.__module__ == "gateway.run"
        print("fine")
        raise SystemExit(0)
    import asyncio
    asyncio.run = stop
    sys.argv = ["gateway"]
    runpy.run_module("gateway.run", run_name="__main__", alter_sys=True)
    """
    )
    done = run_python(code)
    assert "fine" in done.stdout, done.stdout + done.stderr


def test_the_adapter_imports_no_front_end_and_the_package_no_adapter() -> None:
    done = run_python(
        """
        import sys
        import hermes_core
        heavy = {"asyncio", "importlib.metadata", "dataclasses", "logging", "hermes_core.gateway"}
        print(sorted(heavy & set(sys.modules)))
        from hermes_core import gateway
        gateway.install()
        fronts = {"cli", "gateway.run", "tui_gateway.server", "gateway.platforms.base"}
        print(sorted(fronts & set(sys.modules)))
        """
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stdout + done.stderr


def test_many_threads_install_and_uninstall(host: Host) -> None:
    before = everything(host)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                gateway.install()
                gateway.status()
                gateway.uninstall()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT * 6)
    assert failures == []
    gateway.uninstall()
    assert everything(host) == before


def test_the_plugin_installs_and_a_refusal_is_a_warning(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from hermes_core import plugin

    with monkeypatch.context() as patch:
        patch.setattr(host.registry, "interrupt_all", lambda reason="": 0)
        patch.setattr(host.registry, "active_count", lambda: 0)
        plugin.register(object())
    assert gateway.status().installed is False
    (warning,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "active_count: replaced by" in warning.getMessage()
    assert "interrupt_all: replaced by" in warning.getMessage()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "hermes_core stands aside in this gateway: tools.async_delegation.active"
    )
    assert line.endswith(", and 1 more that `hermes-core status` lists")
    plugin.register(object())
    plugin.register(object())
    assert gateway.status().installed is True
    said = capsys.readouterr().err.splitlines()
    names = ("registry", "queue", "TUI", "CLI", "messaging")
    assert said[0] == "hermes_core in hermes-agent 0.17.0: " + ", ".join(
        f"{n} exact" for n in names
    )
    assert set(said) == {said[0]}


def test_the_tui_gets_its_log_line_once_there_is_a_log(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It loads plugins before it sets logging up; the line comes after the first turn."""
    logger = logging.getLogger("hermes_core.gateway")
    caplog.set_level(logging.INFO, logger.name)
    code = compile("result = registry.drain_notifications()", "server", "exec")
    turn = {"__name__": "tui_gateway.server", "registry": host.processes.process_registry}
    with monkeypatch.context() as patch:
        patch.setattr(logger, "hasHandlers", lambda: False)
        gateway.install()
        exec(code, turn)
        assert caplog.records == []
    exec(code, turn)
    exec(code, turn)
    assert len([r for r in caplog.records if "replaces" in r.getMessage()]) == 1


def test_a_failed_install_is_rolled_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from hermes_core.gateway import replacements

    def broken(*args: Any) -> None:
        raise OSError("no")

    before = everything(host)
    events = [{"type": "completion", "n": n} for n in range(3)]
    for event in events:
        host.queue.put(event)
    monkeypatch.setattr(replacements, "drain_for", broken)
    with pytest.raises(OSError, match="no"):
        gateway.install()
    assert everything(host) == before
    assert list(host.queue.queue) == events
