"""The messaging gateway's own shutdown tells ours to stop, and each still ends with its event."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, threading
import gateway.run as run
from gateway.config import GatewayConfig
from hermes_core import gateway
from tools import async_delegation
from tools.process_registry import process_registry

runner = run.GatewayRunner(GatewayConfig())
gateway.install()
for n in range(3):
    told = threading.Event()
    answer = async_delegation.dispatch_async_delegation(
        goal="g", context=None, toolsets=None, role="leaf", model=None, session_key=f"k{n}",
        runner=lambda told=told: {"status": "interrupted" if told.wait(60) else "never told"},
        interrupt_fn=told.set)
    assert answer["status"] == "dispatched"
asyncio.run(runner.stop())
events = [process_registry.completion_queue.get(timeout=60) for _ in range(3)]
assert {event["status"] for event in events} == {"interrupted"}
assert {event["session_key"] for event in events} == {"k0", "k1", "k2"}
assert async_delegation.active_count() == 0
print("fine")
"""


def test_the_gateways_shutdown_interrupts_ours(tmp_path: Path) -> None:
    """F22"""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "HERMES_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["fine"]), done.stderr
