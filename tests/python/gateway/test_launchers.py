"""The plugin from every launcher that loads plugins: real processes, one line of config.

Each process is stopped once its log says that the core is in place; none needs a model.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adapter_support import until

HERMES = shutil.which("hermes", path=str(Path(sys.executable).parent)) or "hermes"
INSTALLED = "INFO hermes_core.gateway: hermes_core"
DRAIN = "gateway.run._drain_gateway_watch_events"
TUI = [sys.executable, "-m", "tui_gateway.entry"]

CONFIG = """\
model:
  default: none
  provider: custom
  base_url: http://127.0.0.1:9/v1
plugins:
  enabled:
  - {name}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG.format(name="hermes-core"), encoding="utf-8")
    return tmp_path


@contextmanager
def launched(home: Path, command: list[str], **more: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "HERMES_HOME": str(home), "OPENAI_API_KEY": "none", **more}
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def log(home: Path) -> str:
    files = sorted((home / "logs").glob("*.log"))
    return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def wait_for(home: Path, process: subprocess.Popen[bytes], text: str) -> str:
    ended = threading.Event()

    def there() -> bool:
        # One more look at the log after the end: the line may be the last thing written.
        if ended.is_set():
            pytest.fail(
                f"{process.args} ended with {process.returncode} and without {text!r}\n"
                + (home / "output").read_text(encoding="utf-8", errors="replace")[-2000:]
            )
        if process.poll() is not None:
            ended.set()
        return text in log(home)

    until(there, f"{text!r} in the log", 60)
    return log(home)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-z", "hello"],
        ["chat", "-q", "hello"],
        ["cron", "tick"],
        ["gateway", "run"],
        ["dashboard", "--no-open", "--skip-build", "--port", "0"],
    ],
    ids=" ".join,
)
def test_hermes_loads_the_core(home: Path, arguments: list[str]) -> None:
    with launched(home, [HERMES, *arguments]) as process:
        text = wait_for(home, process, INSTALLED)
        assert "tools.async_delegation.dispatch_async_delegation" in text
        assert "completion_queue" in text
        if arguments[0] == "gateway":
            wait_for(home, process, "hermes_core serves gateway.run, imported just now")


def test_the_gateway_as_main_module_loads_the_core(home: Path) -> None:
    with launched(home, [sys.executable, "-m", "gateway.run"]) as process:
        text = wait_for(home, process, INSTALLED)
    (line,) = [line for line in text.splitlines() if "hermes_core 0" in line][:1]
    assert DRAIN in line


def test_the_tui_loads_the_core_on_its_build_thread(home: Path) -> None:
    """It sets logging up later than it loads plugins; here the test does, to see the line."""
    (home / "sitecustomize.py").write_text(
        "import logging, os\n"
        "os.makedirs(os.environ['HERMES_HOME'] + '/logs', exist_ok=True)\n"
        "logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s',\n"
        "    filename=os.environ['HERMES_HOME'] + '/logs/test.log')\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])])
    with launched(home, TUI, PYTHONPATH=path) as process:
        assert process.stdin is not None
        request = {"jsonrpc": "2.0", "id": 1, "method": "session.create", "params": {}}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        wait_for(home, process, INSTALLED)


def test_without_the_line_of_config_nothing_happens(home: Path) -> None:
    (home / "config.yaml").write_text(CONFIG.format(name="another"), encoding="utf-8")
    with launched(home, [HERMES, "cron", "tick"]) as process:
        assert process.wait(60) == 0
    assert "Plugin discovery complete" in log(home)
    assert "hermes_core" not in log(home)


def test_an_incompatible_gateway_runs_on_and_says_why(home: Path) -> None:
    """Another plugin was there first."""
    (home / "sitecustomize.py").write_text(
        "from hermes_core.gateway.install import installation as i\n"
        "i._loaded_differences = lambda modules: ['the queue: is another']\n",
        encoding="utf-8",
    )
    with launched(home, [HERMES, "cron", "tick"], PYTHONPATH=str(home)) as process:
        assert process.wait(60) == 0
    text = log(home)
    assert "WARNING hermes_core.gateway: hermes_core stands aside" in text
    assert "the queue: is another" in text
    said = (home / "output").read_text(encoding="utf-8").splitlines()
    assert "hermes_core stands aside in this gateway: the queue: is another" in said


def test_the_start_says_in_one_line_how_each_part_is_served(home: Path) -> None:
    with launched(home, [HERMES, "cron", "tick"]) as process:
        assert process.wait(60) == 0
    (line,) = [
        line
        for line in (home / "output").read_text(encoding="utf-8").splitlines()
        if line.startswith("hermes_core")
    ]
    assert line == (
        "hermes_core in hermes-agent 0.17.0: "
        "registry exact, queue exact, TUI exact, CLI exact, messaging exact"
    )
