"""The CLI's part of the run with the scripted model: one session, on a terminal."""

from __future__ import annotations

from .cli_client import CliGateway
from .journal import Journal
from .model_server import ModelServer
from .part import LOST_SECONDS, Part
from .results import Wanted
from .script import Script

OMEGA = "omega"
TASKS = {
    "E1": "weigh the options",
    "E2": "read the minutes",
    "E3": "draft the letter",
}
WANTED = {label: Wanted(OMEGA) for label in TASKS}
QUESTION = "Q9", "what is the plan?"


class Terminal(Part):
    """Plays the user of the CLI, of whom only what the model is asked is seen."""

    front_end = "cli"

    def __init__(
        self, gateway: CliGateway, server: ModelServer, script: Script, journal: Journal
    ) -> None:
        super().__init__(server, script, journal)
        self.gateway = gateway

    def play(self) -> None:
        """Go through both situations."""
        self._until(lambda: bool(self.journal.first("cli.prompt")), "the CLI shows no prompt")
        self._case("CLI: a child ends while the session is idle")
        self._start("E1")
        self.gates.open("E1")
        self._delivered("E1")
        self._case("CLI: two children end while the session is in a turn")
        self._start("E2", "E3")
        label, text = QUESTION
        self.gates.hold(label)
        self._write(self.script.question_line(OMEGA, label, text), f"ask {label}: {text}")
        self._until(lambda: self._seen("turn.asked", label), f"{label}: the model was never asked")
        self.gates.open("E2", "E3")
        for child in ("E2", "E3"):
            self._until(lambda child=child: self._ended(child), f"{child}: the child does not end")
        self.gates.open(label)
        self._until(self.answered, f"{label} was not answered", LOST_SECONDS)
        self._delivered("E2", "E3")

    def answered(self) -> bool:
        """Whether the answer to the question went out whole."""
        return self._seen("turn.answered", QUESTION[0])

    def _start(self, *labels: str) -> None:
        """Have the model delegate, and wait until the children are at work and the turn is over."""
        self.gates.hold(*labels)
        line = self.script.start_line(OMEGA, [(label, TASKS[label]) for label in labels])
        self._write(line, f"start {', '.join(labels)}")
        for label in labels:
            self._until(
                lambda label=label: (
                    bool(self.journal.first("child.asked", "", label))
                    and self._seen("turn.answered", label)
                ),
                f"{label}: no child at work after the model called delegate_task",
            )

    def _write(self, line: str, shown: str) -> None:
        self.journal.add("user", OMEGA, shown)
        self.gateway.write(line)

    def _ended(self, child: str) -> bool:
        return bool(self.journal.first("child.answered", "", child))

    def _delivered(self, *labels: str) -> None:
        """Wait until the turns that results started are over."""

        def back() -> bool:
            # The first answer about a task was to its start.
            return all(len(self.journal.all("turn.answered", OMEGA, label)) > 1 for label in labels)

        self._back(back, f"not everything is back of {', '.join(labels)}")

    def _seen(self, kind: str, label: str) -> bool:
        return bool(self.journal.first(kind, OMEGA, label))
