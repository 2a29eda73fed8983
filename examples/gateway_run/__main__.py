"""`make run`: sessions and chats of a real gateway delegate, and every result must come home."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from types import FrameType

from . import chats, live_model, scenario, terminal, unseen
from .chat_client import ChatGateway
from .cli_client import CliGateway
from .home import HOST, PLUGIN, Model, environment, has_batches, write_home
from .journal import Journal, OutOfTime
from .model_server import KEY, MODEL, ModelServer
from .part import Stuck
from .report import UNSEEN, WIDTH, Live, Screen, table
from .results import Histories, Wanted, delegations, place, problems, seen_by_model
from .script import Script
from .tui_client import Gateway, GatewayGone, RpcError

TERMINATED = 128 + signal.SIGTERM
# How long the gateway may take for the histories after the run itself is over.
HISTORY_SECONDS = 10.0
# How long a line of a process may be under way that has shown a later one elsewhere.
START_SECONDS = 5.0
ROOT = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    """The command line; the real model's options have environment variables behind them."""
    parser = argparse.ArgumentParser(
        prog="make run",
        description="Two sessions and two chats of a real gateway delegate; every result must come "
        "home.",
    )
    parser.add_argument(
        "--without-plugin",
        action="store_true",
        help="the same run on the gateway's own Python, for comparison",
    )
    parser.add_argument(
        "--unseen",
        action="store_true",
        help="a copy of the gateway, each function of which that the core knows reads differently",
    )
    parser.add_argument("--timeout", type=float, help="give up after this many seconds")
    parser.add_argument("--keep", action="store_true", help="keep the run's home at success too")
    for name, what in (
        ("base-url", "OpenAI-compatible endpoint of a real model to use"),
        ("key", "its key"),
        ("name", "its name"),
    ):
        variable = f"HERMES_RUN_{name.replace('-', '_').upper()}"
        parser.add_argument(
            f"--model-{name}",
            default=os.environ.get(variable, ""),
            help=f"{what} (or ${variable})",
        )
    options = parser.parse_args()
    if options.model_base_url and not options.model_name:
        parser.error("--model-base-url needs --model-name")
    if options.unseen and options.without_plugin:
        parser.error("--unseen asks how the plugin serves such a gateway")
    if options.timeout is None:
        options.timeout = 600.0 if options.model_base_url else 300.0
    return options


class Run:
    """One run, from an empty home to the verdict."""

    def __init__(self, options: argparse.Namespace, screen: Screen) -> None:
        self.screen = screen
        self.plugin = not options.without_plugin
        self.real = bool(options.model_base_url)
        self.options = options
        self.script = Script(secrets.token_hex(2))
        self.journal = Journal(options.timeout)
        self.home = ROOT / ".run" / f"home-{os.getpid()}-{self.script.nonce}"
        self.gateway: Gateway | None = None
        self.chat_gateway: ChatGateway | None = None
        self.cli: CliGateway | None = None
        self.wanted: dict[str, Wanted] = {}
        self.missing: list[str] = []

    def run(self) -> int:
        """Play, check, report; the exit status."""
        with ExitStack() as stack:
            try:
                self._play(stack)
                self._check()
            except Stuck as stuck:
                self._give_up(str(stuck))
            except (GatewayGone, RpcError, OSError) as error:
                self._give_up(str(error))
            except OutOfTime as late:
                self._give_up(f"out of time after {self.options.timeout:g} s: {late}".rstrip(": "))
        # The gateway has ended by now, so nothing writes there any more.
        return self._verdict()

    def _play(self, stack: ExitStack) -> None:
        server = None
        if self.real:
            options = self.options
            model = Model(options.model_base_url, options.model_key or "none", options.model_name)
        else:
            server = ModelServer(self.script, self.journal, scenario.FAILING)
            server.start()
            # Stopped last: the gateway must not find its model gone while it ends.
            stack.callback(server.stop)
            model = Model(server.base_url, KEY, MODEL)
        write_home(self.home, model)
        env = environment(self.home, model)
        if self.options.unseen:
            env["PYTHONPATH"] = str(self._unseen())
        if self.plugin:
            self._switch_on(env)
        self.screen.line(f"model    {model.name} at {model.base_url}", clip=True)
        name = f"{HOST} {metadata.version(HOST)}{', changed' if self.options.unseen else ''}"
        self.screen.line(f"gateway  {name}, delegation by {self._who()}", clip=True)
        Live(self.screen, self.journal, self.script)
        work = self.home / "work"
        work.mkdir()
        command = [sys.executable, "-m", "tui_gateway.entry"]
        self.gateway = Gateway(command, env, work, self.journal)
        stack.callback(self.gateway.close)
        if server is not None:
            # Now, so that it is there when the first part is over.
            self.chat_gateway = ChatGateway(env, work, self.journal)
            stack.callback(self.chat_gateway.close)
            self.cli = CliGateway(env, work, self.journal)
            stack.callback(self.cli.close)
        if not self.journal.wait(lambda: bool(self.journal.first("tui.gateway.ready")), 60):
            raise GatewayGone("the gateway does not say that it is ready")
        if server is None:
            live_model.open_sessions(self.gateway, self.journal, self.options.timeout)
            self._must_be_active()
            live_model.play(self.gateway, self.script, self.journal, self.options.timeout)
            return
        self.wanted = scenario.wanted(batches=has_batches())
        play = scenario.Scenario(self.gateway, server, self.script, self.journal, self.wanted)
        self.wanted = self.wanted | chats.WANTED | terminal.WANTED
        play.open()
        self._must_be_active()
        play.play()
        self.missing += [
            f"{label}: the question in {session} was not answered"
            for label, (session, _) in scenario.QUESTIONS.items()
            if not play.answered(session, label)
        ]
        assert self.chat_gateway is not None
        assert self.cli is not None
        chats.Chats(self.chat_gateway, server, self.script, self.journal).play()
        terminal.Terminal(self.cli, server, self.script, self.journal).play()
        if status := self.cli.close():
            self.missing.append(f"the CLI ended with the status {status}")

    def _who(self) -> str:
        return "the hermes-core plugin" if self.plugin else "its own Python"

    def _switch_on(self, env: dict[str, str]) -> None:
        """Enable the plugin as a user does."""
        done = subprocess.run(
            [Path(sys.executable).with_name(PLUGIN), "enable"],
            env=env,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise Stuck(f"`{PLUGIN} enable` failed: {said[-1] if said else 'no output'}")

    def _unseen(self) -> Path:
        """Make the changed copy of the gateway."""
        # What the core knows stands in its wheel.
        from hermes_core.gateway import versions

        folder = self.home / "gateway"
        unseen.make(folder, versions.modules())
        return folder

    def _must_be_active(self) -> None:
        """Go on only if the plugin is at work in the gateway's process."""
        if not self.plugin:
            return
        assert self.gateway is not None
        plugins = self.gateway.request("plugins.list").get("plugins") or []
        if not any(p.get("name") == PLUGIN and p.get("enabled") for p in plugins):
            raise Stuck(f"the gateway has not loaded the plugin {PLUGIN}")
        self.journal.wait(lambda: bool(self._said("tui")), START_SECONDS)
        if trouble := self._not_served("tui"):
            raise Stuck(trouble)
        self.screen.line(f"plugin   {self._said('tui').partition(': ')[2]}", clip=True)

    def _said(self, front_end: str) -> str:
        """What the core said as it was put in place in a front end's process."""
        first = self.journal.first("core", "", front_end)
        return first.text("text") if first else ""

    def _not_served(self, front_end: str) -> str:
        """What is wrong with how the core serves a front end, by what it said there itself."""
        said = self._said(front_end)
        if not said:
            return f"the core does not say that it serves the {front_end} gateway"
        for part in ("registry", "queue"):
            how = f"{part} {'by shape' if self.options.unseen else 'exact'}"
            if how not in said:
                return f'not "{how}" in the {front_end} gateway: {said}'
        return ""

    def _check(self) -> None:
        """Draw the table and note what is missing or out of place."""
        tasks = delegations(self.journal, self.script)
        place(tasks, self._histories(), self.journal)
        tasks += seen_by_model(self.journal, UNSEEN)
        table(self.screen, tasks, self.journal)
        self.missing += problems(tasks, self.wanted, self.script, by_host=not self.plugin)
        if self.plugin and not self.real:
            self.missing += filter(None, map(self._not_served, ("tui", "chats", "cli")))
        for kind, words in (
            ("model.failed", "the scripted model failed:"),
            ("model.unknown", "the scripted model was asked something it has no line for"),
        ):
            self.missing += [f"{words} {e.name}".rstrip() for e in self.journal.all(kind)]

    def _histories(self) -> Histories | None:
        if self.gateway is None or self.journal.first("gateway.ended", "", "tui"):
            return None
        self.journal.extend(HISTORY_SECONDS)
        with suppress(GatewayGone, RpcError, OutOfTime):
            return live_model.read_histories(self.gateway, self.script)
        return None

    def _give_up(self, why: str) -> None:
        """Report what can still be told when the run could not go on."""
        self.missing.append(why)
        if self.journal.first("case"):
            self._check()

    def _verdict(self) -> int:
        self.screen.line()
        if not self.missing:
            self.screen.line(
                "PASS: every result came back once, where it belongs, as a new turn.", "good"
            )
            if self.options.keep:
                self.screen.line(f"Kept {self.home.relative_to(ROOT)}")
            else:
                shutil.rmtree(self.home, ignore_errors=True)
            return 0
        self.screen.line(f"FAIL: {len(self.missing)} missing or out of place", "bad")
        for problem in self.missing:
            for part in textwrap.wrap(f"- {problem}", WIDTH - 2, subsequent_indent="  "):
                self.screen.line(f"  {part}", "bad")
        for gateway in (self.gateway, self.chat_gateway, self.cli):
            if gateway is None or not gateway.stderr_tail:
                continue
            self.screen.line()
            self.screen.line(f"The last words on stderr of the gateway, process {gateway.pid}:")
            for line in list(gateway.stderr_tail)[-15:]:
                for part in textwrap.wrap(line, WIDTH - 2) or [""]:
                    self.screen.line(f"  {part}", "dim")
        if self.home.exists():
            self.screen.line(f"Config, logs and state are kept in {self.home.relative_to(ROOT)}")
        return 1


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    """Leave through the same doors as Ctrl-C, so that the gateway is ended too."""
    raise SystemExit(TERMINATED)


def main() -> int:
    """Run once."""
    options = arguments()
    signal.signal(signal.SIGTERM, _terminated)
    screen = Screen()
    run = Run(options, screen)
    try:
        return run.run()
    except (KeyboardInterrupt, SystemExit) as stop:
        screen.line()
        screen.line("Interrupted; the gateway has been ended.")
        shutil.rmtree(run.home, ignore_errors=True)
        return 130 if isinstance(stop, KeyboardInterrupt) else TERMINATED


if __name__ == "__main__":
    sys.exit(main())
