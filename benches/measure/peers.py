"""What ours is compared with, beside the standard library's queues: an installed gateway."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import tempfile
from typing import Any


def gateway_version() -> str | None:
    """The version of the installed hermes-agent, if there is one."""
    try:
        return importlib.metadata.version("hermes-agent")
    except importlib.metadata.PackageNotFoundError:
        return None


def formatter() -> Any:
    """The gateway's own formatter."""
    return _process_registry().format_process_notification


def _process_registry() -> Any:
    # The gateway keeps its state and its logs in a home; this one is nobody's.
    os.environ["HERMES_HOME"] = tempfile.mkdtemp(prefix="hermes-bench-")
    return importlib.import_module("tools.process_registry")


class Gateway:
    """The gateway's own delegations, with the logging that it has when it runs.

    Its ``setup_logging`` writes INFO and above to files, from its loggers as from ours.
    """

    def __init__(self) -> None:
        self.queue = _process_registry().process_registry.completion_queue
        self.delegation: Any = importlib.import_module("tools.async_delegation")
        importlib.import_module("hermes_logging").setup_logging(mode="gateway")
