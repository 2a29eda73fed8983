"""What the run shows: a line for each thing as it happens, and a table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from .chats import CHATS
from .journal import Entry, Journal
from .results import Delegation, delivered_after, goals_of, handle_of, refusal_of
from .script import Script
from .terminal import OMEGA

WIDTH = 80
SESSION_COLORS = {"alpha": "36", "beta": "35", "gamma": "34", "delta": "33", "omega": "36"}
# Sessions of front ends of which only what their model is asked is seen.
UNSEEN = {*CHATS, OMEGA}
COLORS = {**SESSION_COLORS, "good": "32", "bad": "31", "bold": "1", "dim": "2"}
MODEL_LINES = {
    "dispatch": "model: calls delegate_task for {label}",
    "question": "model: asked {label}, in a turn until it answers",
}


class Screen:
    """Lines of at most 80 columns, coloured on a terminal unless NO_COLOR is set."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out
        self.color = out.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str = "", color: str = "", *, clip: bool = False) -> None:
        """Write one line."""
        text = " ".join(text.splitlines()) if clip else text
        if clip and len(text) > WIDTH:
            text = text[: WIDTH - 1] + "…"
        if color and self.color:
            text = f"\x1b[{COLORS[color]}m{text}\x1b[0m"
        self.out.write(text + "\n")
        self.out.flush()


class Live:
    """Turns the journal's entries into lines."""

    def __init__(self, screen: Screen, journal: Journal, script: Script) -> None:
        self.screen = screen
        self.script = script
        self.started = journal.started
        self.cases = 0
        self.tasks: dict[str, tuple[str, str]] = {}  # delegation id -> label and owning session
        journal.listen(self._show)

    def _show(self, entry: Entry) -> None:
        if entry.kind == "case":
            self.cases += 1
            self.screen.line()
            self.screen.line(f"{self.cases}. {entry.name}", "bold", clip=True)
            return
        text, color = self._words(entry)
        if text:
            offset = entry.at - self.started
            line = f"{offset:7.2f} s  {entry.session:<6}  {text}"
            self.screen.line(line, color or entry.session, clip=True)

    def _words(self, entry: Entry) -> tuple[str, str]:
        """The words for an entry, and a colour other than its session's."""
        match entry.kind:
            case "user":
                return f"user: {entry.name}", ""
            case "turn.asked":
                words = MODEL_LINES.get(entry.text("part"), "")
                return words.format(label=entry.name), "dim"
            case "tui.tool.complete":
                return self._dispatched(entry)
            case "tui.subagent.start":
                return f"{self._label(entry)}: running", ""
            case "tui.subagent.complete":
                return f"{self._label(entry)}: {entry.text('status') or 'ended'}", ""
            case "model.dispatched" if entry.session in UNSEEN:
                self.tasks[entry.text("delegation")] = (entry.name, entry.session)
                return f"{entry.name}: handle {entry.text('delegation')}", ""
            case "reentry":
                return self._entered(entry)
            case "tui.message.complete" | "chat.message":
                return f"shown: {entry.text('text')}", "dim"
            case "tui.error":
                return f"error: {entry.text('message')}", "bad"
            case "model.failed":
                return f"the scripted model failed: {entry.name}", "bad"
            case _:
                return "", ""

    def _dispatched(self, entry: Entry) -> tuple[str, str]:
        if refusal := refusal_of(entry):
            return f"delegate_task refused: {refusal}", "bad"
        handle = handle_of(entry)
        if not handle:
            return "", ""
        label = self.script.label_of("\n".join(goals_of(entry))) or handle
        self.tasks[handle] = (label, entry.session)
        return f"{label}: handle {handle}", ""

    def _entered(self, entry: Entry) -> tuple[str, str]:
        label, owner = self.tasks.get(entry.name, (entry.name, entry.session))
        if owner != entry.session:
            return f"{label}: WRONG SESSION, {entry.name} belongs to {owner}", "bad"
        return f"{label}: delivered, a new turn begins ({entry.name})", "good"

    def _label(self, entry: Entry) -> str:
        return self.script.label_of(entry.text("goal")) or entry.text("goal")


def seconds(value: float | None) -> str:
    """A duration for a reader."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _astray(task: Delegation, where: set[str]) -> str:
    if task.session in where:
        return "?"  # it is there; nobody saw it come
    return f"in {', '.join(sorted(where))}!" if where else "lost"


def table(screen: Screen, tasks: Sequence[Delegation], journal: Journal) -> None:
    """The last word on each delegation."""
    # As wide as the handles are: the gateway's own have 14 characters, the core's 22.
    handle = max((len(task.delegation) for task in tasks), default=10)
    label = max((len(task.label) for task in tasks), default=2)
    row = "{:<" + str(label) + "} {:<" + str(handle) + "} {:<7} {:<9} {:>13} {:>6} {:>15}"
    head = ("", "delegation", "session", "state", "dispatched in", "ran", "delivered after")
    screen.line()
    screen.line(row.format(*head), "bold")
    footnote = False
    for task in tasks:
        after, waited = delivered_after(task, journal)
        footnote = footnote or waited
        where = {session for session, _, _ in task.entered}
        ok = where == {task.session} and len(task.entered) == 1
        cells = (
            task.label,
            task.delegation,
            task.session,
            task.state,
            seconds(task.dispatched_in),
            seconds(task.ran),
            (_astray(task, where) if after is None else seconds(after)) + ("*" if waited else ""),
        )
        screen.line(row.format(*cells).rstrip(), "" if ok else "bad")
    if footnote:
        screen.line("* its session was in a turn when it ended: counted from the end of that turn")
