"""The run with a real model: asked in plain words, so only the routing can be checked."""

from __future__ import annotations

from functools import partial

from .journal import Journal
from .results import delegations, handle_of
from .scenario import ALPHA, BETA, Stuck
from .script import Script
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


def read_histories(gateway: Gateway) -> dict[str, list[str]]:
    """The user messages of each session, as the gateway keeps them."""
    histories: dict[str, list[str]] = {}
    for session_id, name in gateway.sessions.items():
        messages = gateway.request("session.history", session_id=session_id).get("messages") or []
        histories[name] = [str(m.get("text", "")) for m in messages if m.get("role") == "user"]
    return histories


def play(gateway: Gateway, script: Script, journal: Journal, patience: float) -> None:
    """Ask both sessions at once, so that each dispatches while the other is busy."""
    ids = {name: gateway.open_session(name) for name in TASKS}
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

    # A turn that has ended is the moment to look whether a result began it.
    turns = -1
    while journal.wait(partial(_more_turns, journal, turns), patience):
        turns = _turns(journal)
        texts = [text for texts in read_histories(gateway).values() for text in texts]
        back = {block.delegation for text in texts for block in script.blocks(text)}
        if all(task.delegation in back for task in delegations(journal, script)):
            return


def _more_turns(journal: Journal, than: int) -> bool:
    return _turns(journal) > than


def _turns(journal: Journal) -> int:
    return len(journal.all("tui.message.complete"))
