"""What ``import hermes_core`` and a queue bring along, and what they do not."""

from __future__ import annotations

import subprocess
import sys

import hermes_core as hc

HEAVY = ("asyncio", "importlib.metadata", "dataclasses", "logging", "concurrent.futures")


def test_import_is_light() -> None:
    script = f"""
import sys
import hermes_core
print([name for name in {HEAVY!r} if name in sys.modules])
queue = hermes_core.CompletionQueue()
queue.put({{"session_key": "a"}})
box = queue.mailbox(session_key="a")
box.get(timeout=60).ack()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_what_is_public_is_there() -> None:
    for name in hc.__all__:
        assert getattr(hc, name) is not None
    assert hc.__version__ == "0.1.0"
