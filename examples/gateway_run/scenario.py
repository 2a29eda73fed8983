"""The TUI's part of the run with the scripted model.

Its situations are each made on purpose, by holding answers back.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from .journal import Journal
from .model_server import ModelServer
from .part import Part, Stuck
from .results import Wanted, goals_of, handle_of, refusal_of
from .script import Script
from .tui_client import BUSY, Gateway, RpcError

ALPHA, BETA = "alpha", "beta"

TASKS = {
    "A1": "survey the parsers",
    "A2": "time the builds",
    "A3": "list the open questions",
    "A4": "read the changelog",
    "A5": "count the tests",
    "A6": "name the slowest test",
    "A7": "find the oldest note",
    "A8": "find the newest note",
    "A9": "find the longest note",
    "B1": "compare the formats",
    "B2": "check the links",
    "B3": "collect the figures",
    "B4": "read a page that is not there",
}
FAILING = frozenset({"B4"})
# What one call dispatches as a unit, where the gateway can.
BATCH = "A7", "A8", "A9"
QUESTIONS = {
    "Q1": (ALPHA, "what is running now?"),
    "Q2": (ALPHA, "what comes next?"),
    "Q3": (ALPHA, "who waits for whom?"),
    "Q4": (BETA, "is anything left over?"),
    "Q5": (BETA, "and now?"),
    "Q6": (ALPHA, "how many are out?"),
    "Q7": (BETA, "how many are out here?"),
}


def wanted(*, batches: bool) -> dict[str, Wanted]:
    """What must come back: label -> the session that asked for it, and how it must end."""
    labels = [label for label in TASKS if label not in BATCH]
    labels += ["+".join(BATCH)] if batches else []
    return {label: Wanted(owner(label), label in FAILING) for label in labels}


def owner(label: str) -> str:
    """The session that asks for a task."""
    return ALPHA if label[0] == "A" else BETA


class Scenario(Part):
    """Plays the user of both sessions."""

    front_end = "tui"

    def __init__(
        self,
        gateway: Gateway,
        server: ModelServer,
        script: Script,
        journal: Journal,
        wanted: Collection[str],
    ) -> None:
        super().__init__(server, script, journal)
        self.gateway = gateway
        self.wanted = wanted
        self.ids: dict[str, str] = {}

    def open(self) -> None:
        """Open the sessions, each once the gateway has built the agent of the one before.

        Two at once may find the host's state.db locked; that session then keeps no history.
        """
        for name in (ALPHA, BETA):
            self.ids[name] = self.gateway.open_session(name)
            self._idle(name)

    def play(self) -> None:
        """Go through all situations."""
        self._idle_owner()
        self._busy_owner()
        self._busy_other()
        self._turns_of_the_other_end()
        self._burst()
        if "+".join(BATCH) in self.wanted:
            self._batch()
        self._failure()
        # What the situations did not wait for: everything is back, everybody is done.
        self._delivered(*self.wanted)
        for name in (ALPHA, BETA):
            self._idle(name)

    # The situations.

    def _idle_owner(self) -> None:
        self._case("a child ends while its session is idle")
        self._start(ALPHA, "A1")
        self._idle(ALPHA)
        self._end("A1")
        self._delivered("A1")

    def _busy_owner(self) -> None:
        self._case("a child ends while its own session is in a turn")
        self._start(ALPHA, "A2")
        self._ask("Q1", hold=True)
        self._end("A2")
        self._answer("Q1")
        self._delivered("A2")

    def _busy_other(self) -> None:
        self._case("dispatched, ended and delivered while the other session is in a turn")
        self._ask("Q2", hold=True)
        self._start(BETA, "B1")
        self._end("B1")
        self._delivered("B1")
        self._answer("Q2")

    def _turns_of_the_other_end(self) -> None:
        self._case("a result waits for its session while turns of the other session end")
        self._start(ALPHA, "A3")
        self._ask("Q3", hold=True)
        self._end("A3")
        for question in ("Q4", "Q5"):
            self._ask(question)
            self._answer(question)
        self._answer("Q3")
        self._delivered("A3")

    def _burst(self) -> None:
        self._case("five children of both sessions end at once, both sessions in a turn")
        self._start(ALPHA, "A4", "A5", "A6")
        self._ask("Q6", hold=True)
        self._start(BETA, "B2", "B3")
        self._ask("Q7", hold=True)
        self._end("A4", "B2", "A5", "B3", "A6")
        self._answer("Q6", "Q7")
        self._delivered("A4", "A5", "A6", "B2", "B3")

    def _batch(self) -> None:
        self._case("one call of three children, whose results come back together")
        unit = "+".join(BATCH)
        self._start(ALPHA, *BATCH, together=True)
        self._idle(ALPHA)
        self._end(*BATCH)
        self._delivered(unit)

    def _failure(self) -> None:
        self._case("a child fails: the model refuses it")
        self._start(BETA, "B4")
        self._end("B4")
        self._delivered("B4")

    # What the user does, and waits for.

    def _submit(self, session: str, text: str, shown: str) -> None:
        """Send a line as soon as the session takes one."""
        self._idle(session)
        self.journal.add("user", session, shown)
        while True:
            turns = self._ends(session)
            try:
                self.gateway.request("prompt.submit", session_id=self.ids[session], text=text)
            except RpcError as error:
                if error.code != BUSY:
                    raise
                # A result came first. Its turn ends with a notice of its own.
                self._until(partial(self._ended_since, session, turns), f"{session} stays busy")
            else:
                return

    def _start(self, session: str, *labels: str, together: bool = False) -> None:
        """Have the model delegate, and wait until the children are at work."""
        self.gates.hold(*labels)
        tasks = [(label, TASKS[label]) for label in labels]
        line = self.script.start_line(session, tasks, together=together)
        unit = "+".join(labels)
        self._submit(session, line, f"start {unit if together else ', '.join(labels)}")
        for label in labels:
            self._until(
                partial(self._at_work, label, unit if together else label),
                f"{label}: no child at work after the model called delegate_task",
            )
            if refusal := self._refused():
                raise Stuck(f"delegate_task was refused: {refusal}")

    def _ask(self, label: str, *, hold: bool = False) -> None:
        """Ask a question; with `hold`, its session stays in the turn until `_answer`."""
        session, text = QUESTIONS[label]
        if hold:
            self.gates.hold(label)
        line = self.script.question_line(session, label, text)
        self._submit(session, line, f"ask {label}: {text}")
        self._until(
            lambda: bool(self.journal.first("turn.asked", session, label)),
            f"{label}: the model was never asked in {session}",
        )

    def _answer(self, *labels: str) -> None:
        """Let questions be answered, and wait for the answers."""
        self.gates.open(*labels)
        for label in labels:
            session = QUESTIONS[label][0]
            self._until(
                partial(self.answered, session, label),
                f"{label}: the question in {session} was never answered",
            )

    def _end(self, *labels: str) -> None:
        """Let children answer, and wait until they have ended."""
        self.gates.open(*labels)
        for label in labels:
            self._until(partial(self._ended, label), f"{label}: the child does not end")

    def _delivered(self, *labels: str) -> None:
        """Wait until results are back in their sessions; the verdict says which never came."""
        self._back(
            lambda: all(map(self.back, labels)), f"not everything is back of {', '.join(labels)}"
        )

    def _idle(self, session: str) -> None:
        def idle() -> bool:
            last = [
                e
                for e in self.journal.entries()
                if e.session == session and e.kind in ("tui.message.start", "tui.session.info")
            ][-1:]
            return bool(last) and last[0].data.get("running") is False

        self._until(idle, f"{session} does not become idle")

    # What the journal says.

    def answered(self, session: str, label: str) -> bool:
        """Whether the answer to a question was shown in its session."""
        answer = self.script.answer(label)
        return any(
            answer in e.text("text") for e in self.journal.all("tui.message.complete", session)
        )

    def back(self, label: str) -> bool:
        """Whether the turn that a result started has ended in its own session."""
        token = self.script.token(label)
        return any(
            token in e.text("text") for e in self.journal.all("tui.message.complete", owner(label))
        )

    def _at_work(self, label: str, unit: str) -> bool:
        """Whether `unit` has a handle and the child of `label` is at the model, or was refused."""
        done = self.journal.all("tui.tool.complete")
        handles = [e for e in done if handle_of(e)]
        return bool(self._refused()) or (
            bool(self.journal.first("child.asked", "", label))
            and any(self.script.label_of("\n".join(goals_of(e))) == unit for e in handles)
        )

    def _ended(self, label: str) -> bool:
        """Whether the gateway has seen the child of `label` end."""
        return any(
            self.script.label_of(e.text("goal")) == label
            for e in self.journal.all("tui.subagent.complete")
        )

    def _refused(self) -> str:
        return next(filter(None, map(refusal_of, self.journal.all("tui.tool.complete"))), "")

    def _ended_since(self, session: str, turns: int) -> bool:
        return self._ends(session) > turns

    def _ends(self, session: str) -> int:
        return sum(
            e.data.get("running") is False for e in self.journal.all("tui.session.info", session)
        )
