"""The installed gateway's own modules, imported when a test first asks for one.

The tests compare with whichever version is importable: 0.17.0 as installed, or a later one whose
files come first on ``PYTHONPATH``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest


def delegations() -> Any:
    """``tools.async_delegation``."""
    return pytest.importorskip("tools.async_delegation")


def processes() -> Any:
    """``tools.process_registry``."""
    return pytest.importorskip("tools.process_registry")


def module(name: str) -> ModuleType:
    """Any other module of the gateway."""
    found: ModuleType = pytest.importorskip(name)
    return found


def has_batches() -> bool:
    """Whether this gateway runs a fan-out as one delegation (0.18.2 on)."""
    return hasattr(delegations(), "dispatch_async_delegation_batch")


def needs_batches() -> None:
    """Skip the test where the gateway has no batches."""
    if not has_batches():
        pytest.skip("this gateway has no batches")


def needs_first_version() -> None:
    """Skip the test where the gateway is not 0.17.0, the one that the adapter works on."""
    if has_batches():
        pytest.skip("about the gateway of version 0.17.0")
