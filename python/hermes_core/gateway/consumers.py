"""Will anybody take the result of a delegation that starts now?

Asked at each dispatch in an installed gateway. The launchers of hermes-agent are many, and few have
something that takes completions: the interactive CLI's loop, the pollers of the TUI, the messaging
gateway's watcher. `hermes chat -q`, `-z`, cron jobs, kanban workers, the ACP server and the batch
runner have none: there the child would be orphaned, or its result lost. So in a process of
hermes-agent's own a consumer must be known that takes what the session gets. In anybody else's
program there may be one that nobody can know of.
"""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermes_core.gateway import front_ends, versions

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("hermes_core.gateway")

REFUSAL = (
    "Background delegation is not available here: this run has nothing that would take the result "
    "when the subagent ends, so it would be lost. Delegate with background=false: the call then "
    "waits for the subagent and returns its result."
)

STOPPING = (
    "Nothing was started: the gateway is stopping, and would stop the subagent, too. Say so, and "
    "delegate again once the gateway is back."
)

#: Where the gateway keeps the session key of the turn that runs.
_APPROVAL = "tools.approval"

#: What the TUI's `prompt.background` puts before the key of a conversation that has no session.
_TUI_TASK = "bg_"


def refusal(session_key: str) -> str | None:
    """Say why a dispatch from this session is refused; `None` where its result may be taken."""
    try:
        if not _is_a_launcher():
            return None
        if any(runner._draining for runner in _runners()):
            return STOPPING
        if any(takes(session_key) for takes in _CONSUMERS):
            return None
    except Exception:
        # Whoever cannot be asked may be there.
        logger.exception("cannot tell whether a result would be taken")
        return None
    return REFUSAL


def supported_for(original: Callable[..., bool]) -> Callable[..., bool]:
    """Make the stand-in for `gateway.session_context.async_delivery_supported`.

    Later gateways ask it before they detach the subagents from the turn: where it says no, the
    turn waits for them, and can stop them.
    """

    def async_delivery_supported(*given: Any, **how: Any) -> bool:
        """Say whether what ends after the turn could still be delivered to its session."""
        if not original(*given, **how):
            return False
        approval = sys.modules.get(_APPROVAL)
        key = approval.get_current_session_key(default="") if approval is not None else ""
        return refusal(key) is None

    return async_delivery_supported


def cli() -> Any:
    """Return the interactive CLI of this process, which alone announces itself to plugins."""
    plugins = sys.modules.get(versions.PLUGINS)
    return getattr(getattr(plugins, "_plugin_manager", None), "_cli_ref", None)


def _cli_takes(session_key: str) -> bool:
    """The interactive CLI takes everything of its process."""
    return cli() is not None


def _tui_takes(session_key: str) -> bool:
    """A session of the TUI has a poller from before its first turn on, for its own key."""
    if not session_key or session_key.startswith(_TUI_TASK):
        return False
    return any(
        session.get("_notif_stop") is not None
        for module in front_ends.loaded(versions.TUI)
        for session in tuple(module._sessions.values())
    )


def _messaging_takes(session_key: str) -> bool:
    """The messaging gateway takes what it can route: to a chat that it knows or that is named."""
    event = {"session_key": session_key}
    return any(runner._build_process_event_source(event) is not None for runner in _runners())


def _runners() -> list[Any]:
    """The `GatewayRunner`s that are there, which is one at most but for tests."""
    found = [module._gateway_runner_ref() for module in front_ends.loaded(versions.MESSAGING)]
    return [runner for runner in found if runner is not None]


_CONSUMERS: tuple[Callable[[str], bool], ...] = (_cli_takes, _tui_takes, _messaging_takes)


@functools.cache
def _is_a_launcher() -> bool:
    """Whether the program that runs is one of hermes-agent's own."""
    if not (file := getattr(sys.modules.get("__main__"), "__file__", None)):
        return False
    program = Path(file).resolve()
    distribution = importlib.metadata.distribution(versions.DISTRIBUTION)
    root = Path(str(sys.modules[versions.REGISTRY].__file__)).resolve().parents[1]
    if program.is_relative_to(root):
        modules = (distribution.read_text("top_level.txt") or "").split()
        return program.relative_to(root).with_suffix("").parts[0] in modules
    # Its commands, by their names: where those are is up to whoever installed them. On Windows a
    # command is an archive with the program inside.
    command = program.parent if program.name == "__main__.py" else program
    names = {entry.name for entry in distribution.entry_points if entry.group == "console_scripts"}
    return command.stem in names
