"""Fixtures for the adapter: every test gets a gateway as it came, and leaves it so."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest

# By this folder: `gateway` is the name of a package of the gateway, too.
sys.path.append(os.path.dirname(__file__))

from adapter_support import Host, rest, until

# Before anything of the gateway is imported: it fixes its paths at import.
os.environ["HERMES_HOME"] = tempfile.mkdtemp(prefix="hermes-home-")

KNOWN = "0.17.0"

try:
    FOUND = importlib.metadata.version("hermes-agent")
except importlib.metadata.PackageNotFoundError:
    FOUND = "none"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if not str(item.path).startswith(here):
            continue
        # A module that is for another version says so.
        wanted = getattr(getattr(item, "module", None), "GATEWAY", KNOWN)
        if wanted != FOUND:
            reason = f"needs hermes-agent=={wanted} installed, found {FOUND}"
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def host() -> Iterator[Host]:
    """The gateway as it came; what a test installs is taken out again."""
    from hermes_core import gateway
    from hermes_core.gateway import queue_swap

    host = Host()
    original = host.queue
    own_class = type(host.delegations.completion_queue)
    yield host
    until(lambda: not host.unfinished(), "all have ended")
    gateway.uninstall()
    assert host.queue is original
    host.registry._reset_for_tests()
    host.delegations._reset_for_tests()
    with original.mutex:
        original.queue.clear()
        original.unfinished_tasks = 0
    ours = host.delegations.completion_queue
    rest(ours)
    with contextlib.suppress(ValueError):  # what tests took and did not call done
        while True:
            ours.task_done()
    host.delegations._on_end = None
    host.delegations._successor = None
    host.registry._records = getattr(host.registry._records, "plain", host.registry._records)
    ours.__class__ = own_class
    queue_swap._stop_listening()
    queue_swap._swap = None


@pytest.fixture
def installed(host: Host) -> Host:
    """The gateway with the core in place."""
    from hermes_core import gateway

    gateway.install()
    return host
