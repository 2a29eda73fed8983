"""What ours is compared with, beside the standard library's queues: an installed gateway."""

from __future__ import annotations

import atexit
import importlib
import importlib.metadata
import os
import shutil
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


def use_own_home() -> None:
    """Have the gateway keep its state and its logs where nobody else's are, until the exit."""
    home = tempfile.mkdtemp(prefix="hermes-bench-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["HERMES_HOME"] = home


def _process_registry() -> Any:
    use_own_home()
    return importlib.import_module("tools.process_registry")


class Gateway:
    """The gateway's own delegations, with the logging that it has when it runs.

    Its ``setup_logging`` writes INFO and above to files, from its loggers as from ours.
    """

    def __init__(self) -> None:
        self.queue = _process_registry().process_registry.completion_queue
        self.delegation: Any = importlib.import_module("tools.async_delegation")
        importlib.import_module("hermes_logging").setup_logging(mode="gateway")
