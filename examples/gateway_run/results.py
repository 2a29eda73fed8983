"""What became of each delegation, read out of the journal and the sessions' histories."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .journal import Entry, Journal
from .script import Block, Script

# Session name -> the results among its user messages, as the gateway keeps them.
Histories = Mapping[str, Sequence[Block]]


@dataclass(frozen=True)
class Wanted:
    """How a background task must end, and where."""

    session: str
    fails: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """What the gateway may call it; later ones take the model's error for an answer."""
        return ("failed", "completed") if self.fails else ("completed",)


@dataclass
class Delegation:
    """One background task, from the tool call to the turn that its result started."""

    label: str
    session: str
    delegation: str
    dispatched_in: float | None = None
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


def goals_of(entry: Entry) -> list[str]:
    """The goals of a dispatch, as the gateway repeats them: one, or those of a batch."""
    result = entry.data.get("result")
    if not isinstance(result, dict):
        return []
    goals = result.get("goals")
    return list(map(str, goals)) if isinstance(goals, list) else [str(result.get("goal") or "")]


def delegations(journal: Journal, script: Script) -> list[Delegation]:
    """Every delegation of the TUI that got a handle, in the order of dispatch."""
    found: list[Delegation] = []
    for done in journal.all("tui.tool.complete"):
        if not (handle := handle_of(done)):
            continue
        goals = goals_of(done)
        asked = journal.first("tui.tool.start", done.session, done.name)
        task = Delegation(
            script.label_of("\n".join(goals)) or f"#{len(found) + 1}",
            done.session,
            handle,
            done.at - asked.at if asked else None,
        )
        started, ended = (
            [
                e
                for e in journal.all(f"tui.subagent.{what}", done.session)
                if e.text("goal") in goals
            ]
            for what in ("start", "complete")
        )
        if started:
            task.started = started[0].at
        if len(ended) == len(goals):
            task.ended = ended[-1].at
            task.state = "+".join(sorted({e.text("status") or "completed" for e in ended}))
        found.append(task)
    return found


def seen_by_model(journal: Journal, sessions: Collection[str]) -> Iterator[Delegation]:
    """The same of `sessions` of a front end that tells nothing itself, as the model saw it."""
    for began in journal.all("model.dispatched"):
        if began.session not in sessions:
            continue
        handle = began.text("delegation")
        task = Delegation(began.name, began.session, handle)
        labels = began.name.split("+")
        asked, ended = (
            [e for e in journal.all(f"child.{what}") if e.name in labels]
            for what in ("asked", "answered")
        )
        if asked:
            task.started = asked[0].at
        if len(ended) == len(labels):
            task.ended = ended[-1].at
        for entry in journal.all("reentry", None, handle):
            block = entry.data["block"]
            assert isinstance(block, Block)
            task.entered.append((entry.session, entry.at, block))
            task.state = block.status
        yield task


def place(tasks: Sequence[Delegation], histories: Histories | None, journal: Journal) -> None:
    """Note for each delegation where its result entered, and when.

    The sessions' histories say where, and how often; the journal says when. Without histories
    (the gateway is gone) the journal alone has to do.
    """
    by_id = {task.delegation: task for task in tasks}
    if histories is None:
        seen = [(e.session, e.data["block"]) for e in journal.all("reentry")]
    else:
        seen = [(name, block) for name, blocks in histories.items() for block in blocks]
        elsewhere = [e for e in journal.all("reentry") if e.session not in histories]
        seen += [(e.session, e.data["block"]) for e in elsewhere]
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
    tasks: Sequence[Delegation], wanted: Mapping[str, Wanted], script: Script, *, by_host: bool
) -> list[str]:
    """What is missing or out of place.

    Empty only if every result arrived once, whole, where it belongs, and in the words of the
    gateway or else of the core.
    """
    found: list[str] = []
    got = {task.label for task in tasks}
    found += [
        f"{label}: no handle in {wanted[label].session}" for label in wanted if label not in got
    ]
    for task in tasks:
        name = f"{task.label} ({task.delegation})"
        want = wanted.get(task.label)
        if want and task.session != want.session:
            found.append(f"{name}: dispatched in {task.session}, was asked for in {want.session}")
        if task.ended is None:
            found.append(f"{name}: the child has not ended")
        elif want and task.state not in want.states:
            found.append(f"{name}: the child ended {task.state}, not {' or '.join(want.states)}")
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
            if block.by_host != by_host:
                whose = "the gateway's own Python" if block.by_host else "somebody else"
                found.append(f"{name}: the text was written by {whose}")
            if not want:
                continue
            if block.label != task.label:
                found.append(f"{name}: the text that came back is about {block.label}")
            if block.status not in want.states:
                found.append(
                    f"{name}: the text says {block.status}, not {' or '.join(want.states)}"
                )
            for label in task.label.split("+"):
                words = script.refusal(label) if want.fails else script.token(label)
                if words not in block.text:
                    found.append(f"{name}: the text does not hold what the child of {label} said")
    return found
