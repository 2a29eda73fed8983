"""Results in the messaging gateway: each to its chat, when that is idle, and nothing polled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from adapter_support import Host
from messaging_support import asynchronous, result, running

from hermes_core import gateway


@pytest.fixture(autouse=True)
def open_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody may write; nothing is downloaded."""
    import tools.tirith_security

    monkeypatch.setenv("GATEWAY_ALLOW_ALL_USERS", "true")
    monkeypatch.setattr(tools.tirith_security, "ensure_installed", lambda **_: None)


@asynchronous
async def test_a_result_reaches_its_idle_chat(installed: Host, tmp_path: Path) -> None:
    """F1, F16: on arrival, without a look every two seconds."""
    gateway.install()
    async with running(tmp_path) as g:
        await g.say("a", "hello")
        await g.idle()
        installed.queue.put(result("a", "d1"))
        await g.until(lambda: bool(g.results()))
        assert g.results("a") == ["d1"]
        await g.idle()
        assert installed.queue.unfinished_tasks == 0
