"""A step of the ledger that fails, once and for good, each by itself.

F9: a write of the ledger failed, its delegation stayed in `finalizing` for good, and its result was
never published.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crash.__main__ import STEPS

START = """
import json, logging, sys
from contextlib import suppress
from queue import Empty
import hermes_core as hc

logging.disable()
path = sys.argv[1]
events = hc.CompletionQueue()
ledger = hc.Ledger(path, lease=0.5)
registry = hc.DelegationRegistry(events, ledger=ledger)
"""

LIVE = """
box = events.mailbox(session_key="k", max_attempts=1)
ran, served, refused = [], [], []

def lead(goal, failing=False):
    def runner():
        ran.append(goal)
        return {"summary": goal}
    try:
        registry.dispatch(goal=goal, runner=runner, session_key="k")
    except hc.LedgerError as exc:
        assert path in str(exc), exc
        refused.append(goal)
        return
    delivery = box.get(timeout=30)
    assert delivery.event["summary"] == goal
    if failing:
        assert delivery.nack()
        return
    assert delivery.ack()
    served.append(goal)

lead("a"), lead("dead", failing=True), lead("b")
assert registry.active_count() == 0
assert not any(registry.live_work().values()), registry.live_work()
assert not set(ran) & set(refused)
with suppress(hc.LedgerError):
    for letter in registry.dead_letters():
        registry.drop(letter["delegation_id"])
health = registry.stats()["ledger"]
assert not refused or health["failed"] or health["last_error"], health
# With its last retry, a step that failed once is behind us.
is_on_disk = ledger.flush(30 if sys.argv[2] == "once" else 0.1)
print(json.dumps({"refused": refused, "served": served, "is_on_disk": is_on_disk}))
"""

AFTERWARDS = """
box, came = events.mailbox(session_key="k"), []
while True:
    try:
        delivery = box.get(timeout=0.1)
    except Empty:
        if ledger.elsewhere() or ledger.running():
            continue
        break
    came.append(delivery.event["goal"])
    delivery.ack()
print(json.dumps(came))
"""


def in_a_process(script: str, path: Path, *arguments: str, failpoint: str = "") -> object:
    """What a script prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", START + script, path, *arguments],
        env={**os.environ, "HERMES_CORE_FAILPOINT": failpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not STEPS, reason="this extension has no fail points; `make crash` builds one")
@pytest.mark.parametrize("how_often", ["once", "always"])
@pytest.mark.parametrize("step", STEPS or ["none"])
def test_a_step_that_fails(step: str, how_often: str, tmp_path: Path) -> None:
    """F9: the caller hears of it; what runs ends, is delivered, and frees its permit."""
    path = tmp_path / "delegations.db"
    failpoint = f"{step}{'@1' if how_often == 'once' else ''}=error"
    told = in_a_process(LIVE, path, how_often, failpoint=failpoint)
    assert isinstance(told, dict)
    assert told["is_on_disk"] or how_often == "always"
    came = in_a_process(AFTERWARDS, path)
    assert isinstance(came, list)
    # Nothing that was refused is there, and nothing comes again whose delivery is on disk.
    assert not set(came) & set(told["refused"])
    assert not (told["is_on_disk"] and set(came) & set(told["served"]))
