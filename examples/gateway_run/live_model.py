"""The run with a real model: asked in plain words, so only the routing can be checked."""

from __future__ import annotations

from functools import partial

from .journal import Journal
from .part import Stuck
from .results import delegations, handle_of
from .scenario import ALPHA, BETA
from .script import Block, Script
from .tui_client import Gateway

TASKS = {
    ALPHA: (("A1", "name three sorting algorithms"), ("A2", "name three prime numbers")),
    BETA: (("B1", "name three rivers"), ("B2", "name three musical keys")),
}
PROMPT = (
    "[{session}/{nonce}] Call the delegate_task tool {count} times now, each call with"
    " background=true and one of these goals, word for word: {goals}. Then say in one short"
    " sentence that they run. When a result comes back later, repeat it in one sentence; do not"
    " delegate anything else."
)


def read_histories(gateway: Gateway, script: Script) -> dict[str, list[Block]]:
    """The results in each session, as the gateway keeps them."""
    return {
        name: [block for text in user_texts(gateway, session_id) for block in script.blocks(text)]
        for session_id, name in gateway.sessions.items()
    }


def user_texts(gateway: Gateway, session_id: str) -> list[str]:
    """The user messages of a session, in order: one began each of its turns."""
    messages = gateway.request("session.history", session_id=session_id).get("messages") or []
    return [str(m.get("text", "")) for m in messages if m.get("role") == "user"]


def open_sessions(gateway: Gateway, journal: Journal, patience: float) -> None:
    """Open the sessions, each once the gateway has built the agent of the one before."""
    for count, name in enumerate(TASKS, start=1):
        gateway.open_session(name)
        if not journal.wait(partial(_infos, journal, count), patience):
            raise Stuck("the gateway does not build its agents")


def _infos(journal: Journal, count: int) -> bool:
    return len(journal.all("tui.session.info")) >= count


def play(gateway: Gateway, script: Script, journal: Journal, patience: float) -> None:
    """Ask both sessions at once, so that each dispatches while the other is busy."""
    ids = {name: session_id for session_id, name in gateway.sessions.items()}
    journal.add("case", "", "two sessions delegate at the same time")
    for name, tasks in TASKS.items():
        goals = "; ".join(f'"{label}/{script.nonce}: {what}"' for label, what in tasks)
        text = PROMPT.format(session=name, nonce=script.nonce, count=len(tasks), goals=goals)
        journal.add("user", name, f"delegate {len(tasks)} tasks, in plain words")
        gateway.request("prompt.submit", session_id=ids[name], text=text)
    wanted = sum(map(len, TASKS.values()))
    if not journal.wait(
        lambda: sum(bool(handle_of(e)) for e in journal.all("tui.tool.complete")) >= wanted,
        patience,
    ):
        raise Stuck(f"the model did not call delegate_task {wanted} times")

    # Nobody sees a real model being asked. But each turn that has ended was begun by the user
    # message that stands at its place in the history.
    turns = -1
    while journal.wait(partial(_more_turns, journal, turns), patience):
        turns = _turns(journal)
        for session_id, name in gateway.sessions.items():
            texts = user_texts(gateway, session_id)
            for text, began in zip(texts, turn_starts(journal, name), strict=False):
                for block in script.blocks(text):
                    if not journal.first("reentry", name, block.delegation):
                        journal.add("reentry", name, block.delegation, {"block": block}, began)
        out = delegations(journal, script)
        if all(journal.first("reentry", task.session, task.delegation) for task in out):
            return


def turn_starts(journal: Journal, session: str) -> list[float]:
    """When each finished turn of a session began, in order."""
    starts: list[float] = []
    began: float | None = None
    for entry in journal.entries():
        if entry.session != session:
            continue
        if entry.kind == "tui.message.start" and began is None:
            began = entry.at  # the gateway announces some turns twice
        elif entry.kind == "tui.message.complete":
            starts.append(entry.at if began is None else began)
            began = None
    return starts


def _more_turns(journal: Journal, than: int) -> bool:
    return _turns(journal) > than


def _turns(journal: Journal) -> int:
    return len(journal.all("tui.message.complete"))
