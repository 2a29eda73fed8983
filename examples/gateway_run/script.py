"""What the scripted model says: a pure function of the conversation it is shown.

It keeps no state between requests, like a real model. Everything it needs stands in the text: each
user line starts with `[session/nonce]`, each task is `LABEL/nonce: what to do`, so a conversation
tells by itself whose it is, and a result that turns up in the wrong one is seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

Message = Mapping[str, object]

BLOCK = re.compile(r"^\[ASYNC DELEGATION (?:BATCH )?COMPLETE — ([\w-]+)\]", re.MULTILINE)
# A delegation says how it ended in a line of its own; a batch says it of each task.
STATUS = re.compile(r"^(?:Status: (\S+)|--- . TASK \d+/\d+.*\(status=(\w+))", re.MULTILINE)
HANDLE = re.compile(r'"delegation_id": "(\w+)"')
# What the gateway asks after a session's first turn, where the session has no title yet.
TITLE = re.compile(r"User: .*\n\nAssistant: ", re.DOTALL)
# How the gateway's own Python explains a result; the core's formatter has other words for it.
HOST_WORDS = re.compile(r"A background (?:subagent|fan-out of \d+ subagent\(s\)) you dispatched")
START = "Start in the background:"
TOGETHER = "Start together in the background:"
ASK = "Question"


class Part(Enum):
    """What the last message of a conversation wants from the model."""

    DISPATCH = "dispatch"
    DISPATCHED = "dispatched"
    QUESTION = "question"
    REENTRY = "re-entry"
    CHILD = "child"
    TITLE = "title"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Block:
    """One result as it stands in a conversation."""

    delegation: str
    status: str
    label: str  # of the task that it reports on, or those of a batch
    text: str

    @property
    def by_host(self) -> bool:
        """Whether the gateway's own formatter wrote it."""
        return HOST_WORDS.search(self.text) is not None


@dataclass(frozen=True)
class Call:
    """One delegate_task call that the model makes, with a goal or, for a batch, several."""

    label: str
    goals: tuple[str, ...]
    context: str

    def arguments(self) -> str:
        """The call's arguments, as a model writes them."""
        tasks = [{"goal": goal, "context": self.context} for goal in self.goals]
        what = tasks[0] if len(tasks) == 1 else {"tasks": tasks}
        return json.dumps({**what, "background": True})


@dataclass(frozen=True)
class Seen:
    """A conversation, understood."""

    part: Part
    session: str = ""
    label: str = ""
    calls: tuple[Call, ...] = ()
    blocks: tuple[Block, ...] = ()
    handles: tuple[
        tuple[str, str], ...
    ] = ()  # label and delegation id, of each call that began one


def text_of(content: object) -> str:
    """The text of a message's content, which may come in parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return ""


class Script:
    """The words of one run; the nonce keeps them apart from anything else in a conversation."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self._session = re.compile(rf"\[(\w+)/{nonce}\]")
        self._task = re.compile(rf"\b(\w+)/{nonce}: ([^;\n]+)")
        self._label = re.compile(rf"\b(\w+)/{nonce}: ")
        self._question = re.compile(rf"\]\s*{ASK} (\w+):")
        self._token = re.compile(rf"RESULT-(\w+)-{nonce}")

    # What the user says.

    def start_line(
        self, session: str, tasks: Iterable[tuple[str, str]], *, together: bool = False
    ) -> str:
        """The user's line that makes the model delegate `tasks`, pairs of label and text.

        One call each, or one for all of them.
        """
        wanted = "; ".join(f"{label}/{self.nonce}: {text}" for label, text in tasks)
        return f"[{session}/{self.nonce}] {TOGETHER if together else START} {wanted}"

    def question_line(self, session: str, label: str, text: str) -> str:
        """A plain question, which keeps the session busy while the model answers."""
        return f"[{session}/{self.nonce}] {ASK} {label}: {text}"

    # What the model says.

    def token(self, label: str) -> str:
        """The word that only the child of `label` produces."""
        return f"RESULT-{label}-{self.nonce}"

    def child_answer(self, label: str) -> str:
        """The final text of a child."""
        return f"{self.token(label)}: done, with three findings and no open end."

    def refusal(self, label: str) -> str:
        """The error by which a child fails."""
        return f"the scripted model refuses {label}"

    def answer(self, label: str) -> str:
        """The answer to a question."""
        return f"Answer to {label}: both sessions keep working while their subagents run."

    def acknowledgement(self, blocks: Sequence[Block]) -> str:
        """The model's reaction to results that came back."""
        return "Noted " + "; ".join(
            f"{b.delegation} ({b.status}): {self.token(b.label)}" for b in blocks
        )

    # What a conversation holds.

    def blocks(self, text: str) -> list[Block]:
        """The results in a message, each with the labels that its own text names."""
        found = list(BLOCK.finditer(text))
        blocks = []
        for index, match in enumerate(found):
            end = found[index + 1].start() if index + 1 < len(found) else len(text)
            body = text[match.start() : end]
            statuses = sorted({one or other for one, other in STATUS.findall(body)})
            labels = {*self._token.findall(body), *self._label.findall(body)}
            status, label = "+".join(statuses) or "?", "+".join(sorted(labels)) or "?"
            blocks.append(Block(match[1], status, label, body))
        return blocks

    def label_of(self, goals: str) -> str:
        """The label in a goal, empty when there is none; of several goals, all of them."""
        return "+".join(dict.fromkeys(self._label.findall(goals)))

    def _handles(self, messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
        """The delegations that the last answer's calls began."""
        for message in reversed(messages):
            if message.get("role") != "tool":
                return
            found = HANDLE.search(text_of(message.get("content")))
            label = str(message.get("tool_call_id")).removeprefix("call_").partition("_")[0]
            if found:
                yield label, found[1]

    def read(self, messages: Sequence[Message]) -> Seen:
        """Understand a conversation from its texts alone."""
        users = [text_of(m.get("content")) for m in messages if m.get("role") == "user"]
        if not users:
            return Seen(Part.UNKNOWN)
        if TITLE.match(users[0]):
            return Seen(Part.TITLE)
        owner = next((m[1] for m in map(self._session.search, users) if m), "")
        if not owner:
            label = self.label_of(users[0])
            return Seen(Part.CHILD, label=label) if label else Seen(Part.UNKNOWN)
        last = messages[-1]
        if last.get("role") == "tool":
            return Seen(Part.DISPATCHED, owner, handles=tuple(self._handles(messages)))
        if last.get("role") != "user":
            return Seen(Part.UNKNOWN, owner)
        text = users[-1]
        if blocks := self.blocks(text):
            return Seen(Part.REENTRY, owner, blocks=tuple(blocks))
        if START in text or TOGETHER in text:
            goals = {
                label: f"{label}/{self.nonce}: {what.strip()}"
                for label, what in self._task.findall(text)
            }
            units = [tuple(goals)] if TOGETHER in text else [(label,) for label in goals]
            calls = tuple(
                Call(
                    "+".join(unit), tuple(goals[label] for label in unit), f"Asked for in {owner}."
                )
                for unit in units
            )
            return Seen(Part.DISPATCH, owner, "+".join(c.label for c in calls), calls)
        if match := self._question.search(text):
            return Seen(Part.QUESTION, owner, match[1])
        return Seen(Part.UNKNOWN, owner)
