"""A front end that is not the gateway's gets each result once, killed and started again (F53)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from front_end import lines
from later import INSTALLED, environment, run

Event = dict[str, Any]

SCRIPT = Path(__file__).with_name("front_end.py")
SECONDS = 120.0
VERSION = "0.19.0"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it kills itself by a signal")


def front_end(
    home: Path,
    *arguments: str,
    version: str = VERSION,
    killed: bool = False,
    silent: bool = False,
) -> list[str]:
    """Run one to its end, killed or silent; the ids of what it started."""
    # What a killed one held is free soon; who lives holds what it has, however slow it is.
    lease = "0.3" if killed or silent else "100000"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(home / "journal"), *arguments],
        env=environment(version, home, HERMES_CORE_LEASE_SECONDS=lease),
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stdout + done.stderr
    return list(json.loads(done.stdout)) if done.stdout else []


def journal(home: Path) -> list[Event]:
    return lines(str(home / "journal"))


def check(home: Path, started: list[str]) -> None:
    """Each result came once, to its own user, and nothing is left."""
    found = journal(home)
    assert sorted(line["id"] for line in found) == sorted(started)
    # Of one that is lost nothing more is known.
    assert all((line["summary"] or line["key"]).split()[0] == line["key"] for line in found)
    assert json.loads(run(VERSION, LEFT, home)) == []


LEFT = """
    import json, queue
    from hermes_core import gateway
    gateway.install()
    from tools import async_delegation
    left = queue.Queue()
    async_delegation.restore_undelivered_completions(left)
    print(json.dumps([event["delegation_id"] for event in left.queue]))
"""


def test_each_result_comes_once_to_its_own_user(tmp_path: Path) -> None:
    started = front_end(tmp_path, "ann", "bob", "start=5", "fail=2")
    assert len(started) == 10
    check(tmp_path, started)
    assert not any(line["restored"] for line in journal(tmp_path))


@pytest.mark.parametrize("stage", ["taken", "claimed", "completed"])
def test_what_a_killed_one_had_comes_to_the_next(tmp_path: Path, stage: str) -> None:
    """What it had completed does not."""
    # Of two, one may be killed between the turn and its completion.
    users = ["ann"] if stage == "completed" else ["ann", "bob"]
    started = front_end(tmp_path, *users, f"start={6 // len(users)}", f"die={stage}", killed=True)
    assert len(started) == 6
    front_end(tmp_path, *users, f"die={stage}", "until=6", killed=True)
    done = len(journal(tmp_path))
    assert done == (2 if stage == "completed" else 0)
    front_end(tmp_path, *users, "until=6")
    check(tmp_path, started)
    assert all(line["restored"] for line in journal(tmp_path)[done:])


@pytest.mark.parametrize("end", ["exit=claimed", "end=taken", "end=claimed", "end=completed"])
def test_what_one_had_that_ended_comes_to_the_next(tmp_path: Path, end: str) -> None:
    """Who ends in order gives up what it has: nobody waits for its lease."""
    is_at_once = end.startswith("exit")
    started = front_end(tmp_path, "ann", "bob", "start=3", end, silent=is_at_once)
    assert len(started) == 6
    front_end(tmp_path, "ann", "bob", end, "until=6", silent=is_at_once)
    done = len(journal(tmp_path))
    front_end(tmp_path, "ann", "bob", "until=6")
    check(tmp_path, started)
    assert all(line["restored"] for line in journal(tmp_path)[done:])


def test_what_ran_as_one_was_killed_comes_as_lost(tmp_path: Path) -> None:
    front_end(tmp_path, "ann", "die=running", killed=True)
    front_end(tmp_path, "ann", "until=1")
    (line,) = journal(tmp_path)
    assert line["key"] == "ann"
    assert json.loads(run(VERSION, LEFT, tmp_path)) == []


@pytest.mark.parametrize("order", ["on off", "off on"])
def test_the_core_comes_or_goes_between_two_starts(tmp_path: Path, order: str) -> None:
    """What the gateway's own ledger has is delivered with the core in place; ours waits for it."""
    first, second = ("core=1", "core=0") if order == "on off" else ("core=0", "core=1")
    # A claim in the gateway's ledger holds for five minutes, whoever is dead.
    stage = "die=claimed" if order == "on off" else "die=taken"
    early = front_end(tmp_path, "ann", "start=3", stage, first, killed=True)
    until = "until=2" if order == "on off" else "until=5"
    late = front_end(tmp_path, "ann", "start=2", until, second)
    if order == "on off":
        assert sorted(line["id"] for line in journal(tmp_path)) == sorted(late)
        front_end(tmp_path, "ann", "until=5", first)
    check(tmp_path, early + late)


def test_one_that_was_killed_as_the_core_left_delivers_each_once(tmp_path: Path) -> None:
    """The gateway's rows were written, and our ledger said nothing of it yet."""
    started = json.loads(run(VERSION, HALF_HANDED_BACK, tmp_path, HERMES_CORE_LEASE_SECONDS="0.3"))
    front_end(tmp_path, "ann", "until=2")
    check(tmp_path, started)


HALF_HANDED_BACK = """
    import json, os, sys
    from hermes_core import gateway
    from hermes_core.gateway import queue_swap
    gateway.install()
    from tools import async_delegation
    from tools.process_registry import process_registry
    started = [
        async_delegation.dispatch_async_delegation_batch(
            goals=["g"], context=None, toolsets=None, role="leaf", model=None, session_key="ann",
            runner=lambda: {"results": [{"status": "completed", "summary": "ann"}]},
        )["delegation_id"]
        for _ in range(2)
    ]
    events = [process_registry.completion_queue.get(timeout=60) for _ in started]
    token = async_delegation.claim_event_delivery(events[0], "a window")
    process_registry.completion_queue.put(events[1])
    queue_swap._swap.leases.write()
    print(json.dumps(started), flush=True)
    os._exit(0)
"""


def test_without_claims_a_get_is_a_delivery(tmp_path: Path) -> None:
    """0.17.0: as it was; what was taken is gone with its process."""
    said = run(INSTALLED, TAKEN, tmp_path).split()
    assert said == ["GatewayQueue", "delivered"]


TAKEN = """
    from hermes_core import gateway, async_delegation as ours
    from hermes_core.gateway import home_ledgers
    gateway.install()
    from tools import async_delegation
    from tools.process_registry import process_registry
    name = async_delegation.dispatch_async_delegation(
        goal="g", context=None, toolsets=None, role="leaf", model=None, session_key="ann",
        runner=lambda: {"summary": "s"},
    )["delegation_id"]
    event = process_registry.completion_queue.get(timeout=60)
    home_ledgers.flush()
    print(type(process_registry.completion_queue).__name__)
    print(ours._registry.get(name)["delivery"])
"""
