"""The run's second part: the messaging gateway, with two chats that delegate."""

from __future__ import annotations

from .chat_client import ChatGateway
from .journal import Journal
from .model_server import ModelServer
from .part import LOST_SECONDS, Part
from .results import Wanted
from .script import Script

CHATS = GAMMA, DELTA = "gamma", "delta"

TASKS = {
    "C1": (GAMMA, "sort the findings"),
    "C2": (GAMMA, "look up the dates"),
    "D1": (DELTA, "draw the diagram"),
}
WANTED = {label: Wanted(chat) for label, (chat, _) in TASKS.items()}
QUESTION = "Q8", "what are you at?"


class Chats(Part):
    """Plays the people in both chats."""

    front_end = "chats"

    def __init__(
        self, gateway: ChatGateway, server: ModelServer, script: Script, journal: Journal
    ) -> None:
        super().__init__(server, script, journal)
        self.gateway = gateway

    def play(self) -> None:
        """Go through both situations."""
        self._until(lambda: bool(self.journal.first("chats.connected")), "no chat is connected")
        self._case("chats: a child ends while its chat is idle")
        self._start("C1")
        self.gates.open("C1")
        self._delivered("C1")
        self._case("chats: children of both end while one chat is in a turn")
        self._start("C2")
        self._start("D1")
        self._ask()
        self.gates.open("C2", "D1")
        self._delivered("D1")
        self.gates.open(QUESTION[0])
        self._until(self.answered, f"{QUESTION[0]} was not answered", LOST_SECONDS)
        self._delivered("C2")

    def answered(self) -> bool:
        """Whether the person who asked got the answer."""
        answer = self.script.answer(QUESTION[0])
        return any(answer in e.text("text") for e in self.journal.all("chat.message", GAMMA))

    def _start(self, label: str) -> None:
        """Have the model delegate, and wait until the child is at work and the turn is over."""
        chat, text = TASKS[label]
        self.gates.hold(label)
        said = len(self.journal.all("chat.message", chat))
        self._write(chat, self.script.start_line(chat, [(label, text)]), f"start {label}")
        self._until(
            lambda: (
                bool(self.journal.first("child.asked", "", label))
                and len(self.journal.all("chat.message", chat)) > said
            ),
            f"{label}: no child at work after the model called delegate_task",
        )

    def _ask(self) -> None:
        """Ask, and have the turn last."""
        label, text = QUESTION
        self.gates.hold(label)
        line = self.script.question_line(GAMMA, label, text)
        self._write(GAMMA, line, f"ask {label}: {text}")
        self._until(
            lambda: bool(self.journal.first("turn.asked", GAMMA, label)),
            f"{label}: the model was never asked in {GAMMA}",
        )

    def _write(self, chat: str, line: str, shown: str) -> None:
        self.journal.add("user", chat, shown)
        self.gateway.write(chat, line)

    def _delivered(self, label: str) -> None:
        """Wait until the turn that a result started has ended; the verdict says if none did."""
        token = self.script.token(label)

        def back() -> bool:
            said = self.journal.all("chat.message", TASKS[label][0])
            return any(token in entry.text("text") for entry in said)

        self._back(back, f"{label} is not back")
