"""From a delegation's end to the turn that takes its result, in each of the gateway's front ends.

Each side is a process of its own, the gateway with the core or without. They wait while it is the
other's turn to measure.
"""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter

import hermes_core as hc

from .events import numbered
from .figures import at_most, faster
from .model import Model
from .peers import gateway_version
from .runner import Batch, Case, Effort, Work
from .side import Side

#: From an event to its owner, at most.
SOON = at_most(0.002)
#: What delivery may add to what the turn itself takes.
LITTLE_MORE = at_most(1.15)
NOBODY = "http://127.0.0.1:9/v1"
_WHERE_IS_THE_CURSOR = b"\x1b[6n"


def arrival(effort: Effort) -> Iterator[Batch]:
    """From an event's put to its owner, in each front end."""
    peer = f"hermes-agent {gateway_version()}"
    times = min(3, effort.repetitions)
    tui = "TUI, 20 sessions"
    fronts: list[tuple[dict[str, str], Callable[[bool], Side]]] = [
        ({"messaging gateway": "arrival"}, lambda is_ours: _front("messaging", is_ours)),
        (
            {tui: "arrival", f"{tui}, one busy": "arrival_beside_another"},
            lambda is_ours: _front("tui", is_ours, "20", "none"),
        ),
        ({"CLI": "arrival"}, _cli),
    ]
    for questions, open_side in fronts:
        ours, theirs = open_side(True), open_side(False)
        for name, question in questions.items():
            yield [
                Case(
                    "arrival",
                    f"event to owner, {name}",
                    peer,
                    ours.asking(question, times),
                    theirs.asking(question, times),
                    SOON,
                )
            ]
        ours.close()
        theirs.close()


def turns(effort: Effort) -> Iterator[Batch]:
    """From a child's end to the request that the model gets, in times of what the turn takes."""
    peer = f"hermes-agent {gateway_version()}"
    times = min(10, effort.repetitions)
    with Model() as model:
        ours, theirs = (
            _front("tui", is_ours, "1", "real", base_url=model.base_url)
            for is_ours in (True, False)
        )
        yield [
            Case(
                "turn",
                "child's end to the model, in turns by hand",
                peer,
                _in_turns_by_hand(ours, model, times),
                _in_turns_by_hand(theirs, model, times),
                LITTLE_MORE,
                unit="x",
            )
        ]
        ours.close()
        theirs.close()


def _in_turns_by_hand(side: Side, model: Model, times: int) -> Work:
    """How many times as long a delivered turn takes to the model, as one begun by hand."""
    numbers = count()

    def work() -> float:
        seconds: dict[str, list[float]] = {"delivered": [], "built": []}
        for _ in range(times):
            for how, taken in seconds.items():
                name = f"{id(side)}-{next(numbers)}"
                began = side.ask(how, name)
                taken.append(model.wait_for("result", f"Child {name} ").at - began)
        return statistics.median(seconds["delivered"]) / statistics.median(seconds["built"])

    return work


def processor(effort: Effort) -> Iterator[Batch]:
    """Processor seconds for each of many events of many sessions of the TUI."""
    peer = f"hermes-agent {gateway_version()}"
    sessions = max(10, effort.times(100))
    ours, theirs = (_front("tui", is_ours, str(sessions), "none") for is_ours in (True, False))
    yield [
        Case(
            "processor",
            f"processor time per event, TUI, {sessions} sessions",
            peer,
            ours.asking("processor", effort.times(10_000)),
            # As many would take the gateway a quarter of an hour; each of more costs it more.
            theirs.asking("processor", effort.times(50)),
            faster(100),
        )
    ]
    ours.close()
    theirs.close()


def mailboxes(effort: Effort) -> Iterator[Batch]:
    """An event in, out as a delivery, and acknowledged, with ever more mailboxes."""
    times = effort.times(20_000)
    name = "put, delivery, ack"
    yield [
        Case("mailboxes", case, None, delivered(size, busy, times), size=size)
        for size in (1, 10_000)
        for case, busy in ((f"{name}, one busy session", 1), (f"{name}, 1,000 busy", 1000))
    ]


def delivered(mailboxes: int, busy: int, times: int) -> Work:
    """Seconds per event, of so many of the owners of the mailboxes in turn."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    boxes = [queue.mailbox(session_key=numbered(n, None)["session_key"]) for n in range(mailboxes)]
    owners = [n % min(busy, mailboxes) for n in range(1000)]
    # As many events in turn however many are busy.
    steps = [(numbered(owner, None), boxes[owner]) for owner in owners]

    def work() -> float:
        start = perf_counter()
        for number in range(times):
            event, box = steps[number % 1000]
            queue.put(event)
            box.get().ack()
        return (perf_counter() - start) / times

    return work


def _front(name: str, is_ours: bool, *arguments: str, base_url: str = NOBODY) -> Side:
    side = "ours" if is_ours else "theirs"
    return Side([sys.executable, "-m", f"measure.front_{name}", side, *arguments], base_url)


def _cli(is_ours: bool) -> Side:
    """An interactive `hermes chat` on a terminal, with `front_cli` inside."""
    hermes = shutil.which("hermes", path=str(Path(sys.executable).parent))
    assert hermes is not None
    start = Path(tempfile.mkdtemp(prefix="hermes-bench-"), "sitecustomize.py")
    start.write_text("from measure import front_cli\nfront_cli.start()\n", encoding="utf-8")
    ours, theirs = pty.openpty()
    threading.Thread(target=_be_a_terminal, args=(ours,), daemon=True).start()
    side = Side(
        [hermes, "chat", "--toolsets", "delegation"],
        NOBODY,
        plugin=is_ours,
        terminal=theirs,
        path=[str(start.parent)],
    )
    os.close(theirs)
    return side


def _be_a_terminal(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the process has ended
        while data := os.read(descriptor, 65536):
            if _WHERE_IS_THE_CURSOR in data:
                os.write(descriptor, b"\x1b[1;1R")
