"""The gateway's drains, and its test helper, as the core does them.

The other replaced functions are those of `hermes_core.async_delegation` and the formatter, as
they are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hermes_core.gateway import _cli_input, _known
from hermes_core.gateway._counters import count

logger = logging.getLogger("hermes_core.gateway")

Event = dict[str, Any]

# How far up the caller of a drain is looked for: a wrapper takes one frame or two.
WRAPPER_FRAMES = 8


def drain_for(
    processes: Any, turn_ended: Callable[[], None]
) -> Callable[[Any], list[tuple[Event, str]]]:
    """Make the stand-in for `ProcessRegistry.drain_notifications`.

    `processes` is the gateway's module; its formatter is looked up at each call, as the
    gateway's own drain does. `turn_ended` is called after each turn of the TUI.
    """

    def drain_notifications(self: Any) -> list[tuple[Event, str]]:
        """Take every event that waits now; return those to show, each with its text.

        The TUI gets none: it asks after each turn on behalf of no session in particular, and
        would hand what belongs to another session to its own. The poller of each session
        delivers there, as soon as the turn is over. The CLI's loop gets none either: they line
        up in its input queue.
        """
        if _called_by_the_tui(sys._getframe(1)):
            turn_ended()
            return []
        if _cli_input.collect():
            return []
        results: list[tuple[Event, str]] = []
        # What arrives meanwhile is for the next drain: this one must end.
        for _ in range(self.completion_queue.qsize()):
            try:
                event = self.completion_queue.get_nowait()
            except Exception:  # empty by now, or shut down
                break
            if text := notification(self, processes, event):
                results.append((event, text))
            else:
                count("events without a notification")
        return results

    return drain_notifications


def _called_by_the_tui(frame: FrameType | None) -> bool:
    """Look for the TUI's server, also behind the wrappers that other plugins put around ours."""
    for _ in range(WRAPPER_FRAMES):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == _known.TUI:
            return True
        frame = frame.f_back
    return False


def notification(registry: Any, processes: Any, event: Any) -> str | None:
    """Make an event into a text, by the formatter in the gateway's module; `None` for none."""
    try:
        return _text(registry, processes, event)
    except Exception:
        # One bad event must not take those behind it along.
        logger.exception("an event could not be made into a notification: %r", type(event))
        return None


def _text(registry: Any, processes: Any, event: Any) -> str | None:
    if not isinstance(event, dict):
        return None
    if event.get("type") == "completion":
        try:
            consumed = registry.is_completion_consumed(event.get("session_id", ""))
        except TypeError:  # an id that cannot be hashed was never consumed
            consumed = False
        if consumed:
            return None
    text: str | None = processes.format_process_notification(event)
    return text


def reset_for(original: Callable[[], None], ours: Callable[[], None]) -> Callable[[], None]:
    """Make the stand-in for `tools.async_delegation._reset_for_tests`: it clears both."""

    def _reset_for_tests() -> None:
        """Forget every delegation of both registries."""
        ours()
        original()

    return _reset_for_tests
