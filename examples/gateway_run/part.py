"""What the parts of the scripted run share: each plays the users of one front end."""

from __future__ import annotations

from collections.abc import Callable

from .journal import Journal
from .model_server import Gates, ModelServer
from .script import Script

# A step that the run cannot do without may take long on a busy machine; a result that is not back
# after this long in an idle session is lost.
STEP_SECONDS = 60.0
LOST_SECONDS = 15.0


class Stuck(Exception):
    """The run cannot go on; the text says what did not happen."""


class Part:
    """The users of one front end."""

    #: Its name in the journal.
    front_end = ""

    def __init__(self, server: ModelServer, script: Script, journal: Journal) -> None:
        self.gates: Gates = server.gates
        self.script = script
        self.journal = journal

    def _case(self, title: str) -> None:
        self.journal.add("case", "", title)

    def _until(
        self, condition: Callable[[], bool], otherwise: str, seconds: float = STEP_SECONDS
    ) -> None:
        """Wait for what the part cannot go on without."""
        if not self.journal.wait(lambda: condition() or self._gone(), seconds, otherwise):
            raise Stuck(otherwise)
        if not condition():
            raise Stuck(f"the {self.front_end} gateway ended by itself; {otherwise}")

    def _back(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for what must come by itself; the verdict says if it did not."""
        self.journal.wait(condition, LOST_SECONDS, otherwise)

    def _gone(self) -> bool:
        return bool(self.journal.first("gateway.ended", "", self.front_end))
