"""F40: Ctrl-C at any point of opening a mailbox, and any other exception there, loses nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from process.conftest import HUNG
from process.lives import live

#: How many results wait.
RESULTS = 4

#: Raises at each instruction in turn that runs in the package while a mailbox is opened, until one
#: opening runs through; each time the next opening must have all that was left.
SCRIPT = """
import os, shutil, sys
import hermes_core as hc

source, results = sys.argv[1], int(sys.argv[2])
package = os.path.dirname(hc.__file__)
steps = left = 0

def trace(frame, event, _):
    global left
    if not frame.f_code.co_filename.startswith(package):
        return None
    frame.f_trace_opcodes, frame.f_trace_lines = True, False
    if event == "opcode":
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
    return trace

at = 1
while True:
    folder = f"{source}.{at}"
    os.mkdir(folder)
    for ending in ("", "-wal"):
        if os.path.exists(source + ending):
            shutil.copy(source + ending, f"{folder}/l.db{ending}")
    registry = hc.DelegationRegistry(ledger=f"{folder}/l.db")
    left, ended = at, True
    # Python 3.12 looks whether any frame wants to hear of instructions when tracing begins.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        box = registry.queue.mailbox(session_key="a")
        sys.settrace(None)
    except KeyboardInterrupt as exc:
        sys.settrace(None)
        # Kept, as by whoever logs it later: the frames live on.
        kept, ended = exc, False
    box = registry.queue.mailbox(session_key="a")
    assert box.pending() == results, (at, box.pending())
    for _ in range(results):
        box.get(timeout=30).ack()
    assert registry.queue.empty(), at
    shutil.rmtree(folder)
    if ended:
        break
    # Every instruction of the first, where it is decided what is whose; then some.
    at += 1 + at // 40
print("fine", at > 400)
"""


def test_f40_an_interrupt_at_any_point_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    live(path, f"for _ in range({RESULTS}): dispatch().result(30)")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), path, str(RESULTS)],
        capture_output=True,
        text=True,
        timeout=2 * HUNG,
    )
    assert (done.returncode, done.stdout) == (0, "fine True\n"), done.stderr


def test_f40_a_hook_that_raises_loses_nothing(tmp_path: Path) -> None:
    """What cannot be put is given back, and another process has it."""
    path = tmp_path / "l.db"
    live(path, f"for _ in range({RESULTS}): dispatch().result(30)")
    said = live(
        path,
        """
        calls = []
        truncated = registry._truncated

        def fails(event):
            calls.append(event)
            if len(calls) == 2:
                raise MemoryError
            return truncated(event)

        registry._truncated = fails
        try:
            queue.mailbox(session_key="a")
        except MemoryError:
            say("raised")
        ledger.flush(30)
        say([row["holder"] for row in ledger.rows()])
        """,
    )
    assert said == ["raised", ["us", *["nobody"] * (RESULTS - 1)]]
