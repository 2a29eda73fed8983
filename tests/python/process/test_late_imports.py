"""F39: whatever runs later is imported when the first registry is made."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import hermes_core as hc

#: Seconds after which a process counts as hung.
HUNG = 60

#: Uses whatever there is, from the copy of the package in ``sys.argv[1]``, which is gone from the
#: first registry on. Prints what was looked for since.
SCRIPT = """
import sys
folder, path = sys.argv[1:]
sys.path.insert(0, folder)
import shutil
import hermes_core as hc
assert hc.__file__.startswith(folder)
# What this script itself needs.
import asyncio, os, queue as stdlib_queue, threading, traceback, linecache, tokenize, socket

registry = hc.DelegationRegistry(ledger=hc.Ledger(path, lease=3600), capacity=99, max_summary=3)
shutil.rmtree(os.path.join(folder, "hermes_core"))

class Recorder:
    seen = []
    def find_spec(self, name, *_):
        self.seen.append(name)

sys.meta_path.insert(0, Recorder())
box = registry.queue.mailbox(session_key="k", owns=lambda event: 1 / 0)
hung = threading.Event()

async def look():
    await asyncio.sleep(0)
    return {"summary": "a\\u0301\\U0001f468\\u200d\\U0001f469"}

def bad():
    raise ValueError("no \\udc80")

def raises():
    raise KeyError("from an interrupt_fn")

def odd():
    return {"summary": object(), "results": [{1, 2}], "x": float("nan"), 3: b"x"}

for runner in (dict, bad, look, lambda: look(), odd, lambda: 3):
    registry.dispatch(goal="g" * 9, runner=runner, session_key="k", idempotency_key=None)
for _ in range(6):
    with box.get(timeout=30) as delivery:
        assert delivery.text
        registry.event(delivery.event["delegation_id"])
stops = registry.dispatch(
    goal="s", runner=hung.wait, interrupt_fn=hung.set, session_key="k", idempotency_key="once"
)
again = registry.dispatch(goal="s", runner=dict, session_key="k", idempotency_key="once")
assert again.id == stops.id
registry.dispatch(goal="s", runner=hung.wait, interrupt_fn=raises)
registry.interrupt_all("test") if hasattr(registry, "interrupt_all") else stops.cancel("test")
hung.set()
stops.result(30)
registry.redact = lambda text: 3
registry.dispatch(goal="s", runner=dict, session_key="k").result(30)

async def main():
    handle = registry.dispatch(goal="b", runner=look, session_key="k")
    await handle
    bounded = hc.CompletionQueue(1)
    await bounded.aput(1)
    waits = asyncio.ensure_future(bounded.aput(2))
    await asyncio.sleep(0)
    bounded.get()
    await waits
    for _ in range(3):
        delivery = await box.aget(timeout=30)
        delivery.nack()
        (await box.aget(timeout=30)).ack()
    try:
        await box.aget(timeout=0.01)
    except stdlib_queue.Empty:
        pass

asyncio.run(main())
handle = registry.dispatch(goal="d", runner=dict, session_key="other")
handle.result(30)
registry.queue.new_epoch("other")
registry.redeliver(handle.id)
registry.drop(handle.id)
for rows in (registry.ledger.rows(), registry.ledger.dead_letters(), registry.list()):
    len(rows)
registry.stats()
hc.DelegationRegistry(ledger=path).restore(session_keys=["k"])
registry.ledger.cancel("unknown")
pid = os.fork()
if pid == 0:
    done = registry.dispatch(goal="child", runner=look, session_key="k").result(30)
    os._exit(0 if done["summary"] and not Recorder.seen else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert registry.ledger.flush(30)
print(*sorted(set(Recorder.seen)))
"""


def test_f39_nothing_is_imported_after_the_first_registry(tmp_path: Path) -> None:
    """The package is gone from the disk by then, as while it is upgraded; nor is anything else."""
    package = Path(hc.__file__).parent
    copy = tmp_path / "site"
    (copy / "hermes_core").mkdir(parents=True)
    for file in package.rglob("*"):
        target = copy / "hermes_core" / file.relative_to(package)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif file.suffix != ".pyc":
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(file, target)
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-W",
            "ignore",
            "-c",
            textwrap.dedent(SCRIPT),
            copy,
            tmp_path / "l.db",
        ],
        capture_output=True,
        text=True,
        timeout=HUNG,
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
