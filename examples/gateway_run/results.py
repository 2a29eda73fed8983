"""What became of each delegation, read out of the journal and the sessions' histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .journal import Entry, Journal
from .script import Block, Script

# Session name -> the results among its user messages, as the gateway keeps them.
Histories = Mapping[str, Sequence[Block]]


@dataclass
class Delegation:
    """One background task, from the tool call to the turn that its result started."""

    label: str
    session: str
    goal: str
    delegation: str
    dispatched_in: float | None
    started: float | None = None
    ended: float | None = None
    state: str = "running"
    entered: list[tuple[str, float | None, Block]] = field(default_factory=list)

    @property
    def ran(self) -> float | None:
        """How long the subagent worked."""
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started


def handle_of(entry: Entry) -> str:
    """The delegation id in a finished tool call, empty when it is not a dispatch."""
    result = entry.data.get("result")
    if entry.data.get("name") != "delegate_task" or not isinstance(result, dict):
        return ""
    return str(result.get("delegation_id") or "")


def refusal_of(entry: Entry) -> str:
    """Why a delegate_task call gave no handle, empty when it gave one."""
    if entry.data.get("name") != "delegate_task" or handle_of(entry):
        return ""
    result = entry.data.get("result")
    return str(result.get("error") if isinstance(result, dict) else result)


def delegations(journal: Journal, script: Script) -> list[Delegation]:
    """Every delegation that got a handle, in the order of dispatch."""
    found: list[Delegation] = []
    for done in journal.all("tui.tool.complete"):
        if not (handle := handle_of(done)):
            continue
        result = done.data["result"]
        goal = str(result.get("goal") or "") if isinstance(result, dict) else ""
        asked = journal.first("tui.tool.start", done.session, done.name)
        task = Delegation(
            script.label_of(goal) or f"#{len(found) + 1}",
            done.session,
            goal,
            handle,
            done.at - asked.at if asked else None,
        )
        for entry in journal.all("tui.subagent.start", done.session):
            if entry.text("goal") == goal:
                task.started = entry.at
        for entry in journal.all("tui.subagent.complete", done.session):
            if entry.text("goal") == goal:
                task.ended, task.state = entry.at, entry.text("status") or "completed"
        found.append(task)
    return found


def place(tasks: Sequence[Delegation], histories: Histories | None, journal: Journal) -> None:
    """Note for each delegation where its result entered, and when.

    The sessions' histories say where, and how often; the journal says when. Without histories
    (the gateway is gone) the journal alone has to do.
    """
    by_id = {task.delegation: task for task in tasks}
    if histories is None:
        entered = journal.all("reentry")
        seen = [(e.session, e.data["block"]) for e in entered]
    else:
        seen = [(name, block) for name, blocks in histories.items() for block in blocks]
    for session, block in seen:
        if isinstance(block, Block) and (task := by_id.get(block.delegation)):
            entry = journal.first("reentry", session, block.delegation)
            task.entered.append((session, entry.at if entry else None, block))


def delivered_after(task: Delegation, journal: Journal) -> tuple[float | None, bool]:
    """How long the result took into its own session, and whether a turn there stood before it.

    Counted from the moment it could be delivered: the child's end, or the end of the turn that its
    session was in by then, since a delivery never interrupts a turn.
    """
    at = next((at for session, at, _ in task.entered if session == task.session), None)
    if at is None or task.ended is None:
        return None, False
    answers = journal.all("tui.message.complete", task.session)
    answers += journal.all("chat.message", task.session)
    turns = sorted(e.at for e in answers if e.at < at)
    waited = bool(turns) and turns[-1] > task.ended
    return max(0.0, at - (turns[-1] if waited else task.ended)), waited


def problems(
    tasks: Sequence[Delegation], wanted: Mapping[str, tuple[str, str]], plugin: bool
) -> list[str]:
    """What is missing or out of place; `wanted` maps each label to its session and state.

    Empty only if every result arrived once, whole, and where it belongs.
    """
    found: list[str] = []
    got = {task.label for task in tasks}
    found += [f"{label}: no handle in {wanted[label][0]}" for label in wanted if label not in got]
    for task in tasks:
        name = f"{task.label} ({task.delegation})"
        session, state = wanted.get(task.label, (task.session, ""))
        if task.session != session:
            found.append(f"{name}: dispatched in {task.session}, was asked for in {session}")
        if task.ended is None:
            found.append(f"{name}: the child has not ended")
        elif state and task.state != state:
            found.append(f"{name}: the child ended {task.state}, not {state}")
        own = [block for where, _, block in task.entered if where == task.session]
        strays = [where for where, _, _ in task.entered if where != task.session]
        if not own:
            found.append(f"{name}: its result never came back to {task.session}")
        elif len(own) > 1:
            found.append(f"{name}: its result entered {task.session} {len(own)} times")
        found += [
            f"{name}: its result entered {where}, it belongs to {task.session}" for where in strays
        ]
        for block in own:
            if task.label in wanted and block.label != task.label:
                found.append(f"{name}: the text that came back is about {block.label}")
            if state and block.status != state:
                found.append(f"{name}: the text says {block.status}, not {state}")
            if plugin and block.by_host:
                found.append(f"{name}: the text was written by the gateway's own Python")
    return found
