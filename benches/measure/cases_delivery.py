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
from collections.abc import Iterator
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
    times = effort.times(3)
    fronts = {
        "messaging gateway": [_front("messaging", side) for side in ("ours", "theirs")],
        "TUI, 20 sessions": [_front("tui", side, "20", "none") for side in ("ours", "theirs")],
        "CLI": [_cli(plugin=True), _cli(plugin=False)],
    }
    for name, (ours, theirs) in fronts.items():
        works = [side.asking("arrival", times) for side in (ours, theirs)]
        yield [Case("arrival", f"event to owner, {name}", peer, *works, SOON)]
        for side in (ours, theirs):
            side.close()


def turns(effort: Effort) -> Iterator[Batch]:
    """From a child's end to the request that the model gets, in times of what the turn takes."""
    peer = f"hermes-agent {gateway_version()}"
    with Model() as model:
        sides = [
            _front("tui", side, "1", "real", base_url=model.base_url) for side in ("ours", "theirs")
        ]
        works = [_more_than_the_turn(side, model, effort.times(5)) for side in sides]
        yield [
            Case("turn", "child's end to the model, TUI", peer, *works, LITTLE_MORE, unit="x"),
        ]
        for side in sides:
            side.close()


def _more_than_the_turn(side: Side, model: Model, times: int) -> Work:
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
    sessions = effort.times(100)
    ours, theirs = (_front("tui", side, str(sessions), "none") for side in ("ours", "theirs"))
    # The gateway's pollers would take a quarter of an hour for what ours takes in one repetition.
    works = ours.asking("processor", effort.times(10_000)), theirs.asking("processor", sessions)
    name = f"processor time per event, TUI, {sessions} sessions"
    yield [Case("processor", name, peer, *works, faster(100))]
    for side in (ours, theirs):
        side.close()


def mailboxes(effort: Effort) -> Iterator[Batch]:
    """An event in, out as a delivery, and acknowledged, with ever more mailboxes."""
    times = effort.times(20_000)
    for size in (1, 10_000):
        yield [Case("mailboxes", "put, delivery, ack", None, delivery(size, times), size=size)]


def delivery(mailboxes: int, times: int) -> Work:
    """Seconds per event, each to another of so many mailboxes."""
    queue: hc.CompletionQueue[object] = hc.CompletionQueue()
    boxes = [queue.mailbox(session_key=numbered(n, None)["session_key"]) for n in range(mailboxes)]
    # As many events in turn however many mailboxes there are: that many caches are in use anyway.
    steps = [(numbered(n % mailboxes, None), boxes[n % mailboxes]) for n in range(1000)]

    def work() -> float:
        start = perf_counter()
        for number in range(times):
            event, box = steps[number % 1000]
            queue.put(event)
            box.get().ack()
        return (perf_counter() - start) / times

    return work


def _front(name: str, side: str, *arguments: str, base_url: str = NOBODY) -> Side:
    return Side(["-m", f"measure.front_{name}", side, *arguments], base_url)


def _cli(*, plugin: bool) -> Side:
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
        plugin=plugin,
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
