"""The gateway's drains, and its test helper, as the core does them.

The other replaced functions are those of `hermes_core.async_delegation` and the formatter, as
they are.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import hermes_core
from hermes_core.gateway import versions
from hermes_core.gateway.cli import input_queue
from hermes_core.gateway.counters import count

logger = logging.getLogger("hermes_core.gateway")

Event = dict[str, Any]

# How far up the caller of a drain is looked for: a wrapper takes one frame or two.
WRAPPER_FRAMES = 8


def drain_for(
    original: Callable[..., list[tuple[Event, str]]],
    processes: Any,
    turn_ended: Callable[[], bool],
    session_drains: Callable[[str], None] | None = None,
) -> Callable[..., list[tuple[Event, str]]]:
    """Make the stand-in for `ProcessRegistry.drain_notifications`.

    `processes` is the gateway's module; its formatter is looked up at each call, as the
    gateway's own drain does. `turn_ended` is called after each turn of the TUI, and says whether
    the core delivers to the TUI's sessions. `session_drains` is called with the key of any other
    session that drains for itself.
    """

    taken = inspect.signature(original).parameters

    def drain_notifications(
        self: Any,
        session_key: str = "",
        owns_event: Callable[[Event], object] | None = None,
        *,
        skip_poll_observed: bool = True,
        **further: Any,
    ) -> list[tuple[Event, str]]:
        """Take the events that wait now and are the caller's; return those to show, with texts.

        A TUI that the core delivers to gets none: the poller of each session delivers there, as
        soon as the turn is over. Nor does one that does not say for which session it asks: its
        pollers know whose each event is. A CLI's loop gets none either where the core is its
        input queue: they line up in there.
        """
        is_the_tui = _called_by_the_tui(sys._getframe(1))
        says_who = bool(session_key or owns_event or further)
        if is_the_tui and (turn_ended() or not says_who):
            return []
        if input_queue.collect():
            return []
        if session_drains is not None and not is_the_tui:
            session_drains(session_key)
        if further:
            # What a later gateway asks for only its own drain knows.
            further |= {
                "session_key": session_key,
                "owns_event": owns_event,
                "skip_poll_observed": skip_poll_observed,
            }
            known = {name: value for name, value in further.items() if name in taken}
            return original(self, **known)
        results: list[tuple[Event, str]] = []
        foreign: list[Event] = []
        try:
            # What arrives meanwhile is for the next drain: this one must end.
            for _ in range(self.completion_queue.qsize()):
                try:
                    event = self.completion_queue.get_nowait()
                except Exception:  # empty by now, or shut down
                    break
                if not _is_owned(event, session_key, owns_event):
                    foreign.append(event)
                elif _is_skipped(self, event, skip_poll_observed):
                    continue
                elif text := notification(self, processes, event):
                    results.append((event, text))
                else:
                    count("events without a notification")
        finally:
            for event in foreign:
                self.completion_queue.put(event)
        return results

    return drain_notifications


def _is_owned(event: Any, session_key: str, owns_event: Callable[[Event], object] | None) -> bool:
    """Whether a drain for a session may take an event; what is addressed needs proof."""
    if not isinstance(event, dict):
        return True
    # The dict type's own get: a subclass's would be somebody's code.
    kind, key, sid = (dict.get(event, field) for field in _ADDRESS)
    is_result = isinstance(kind, str) and kind == "async_delegation"
    if is_result or _is_text(key) or _is_text(sid):
        if owns_event is not None:
            try:
                return bool(owns_event(event))
            except Exception:
                logger.exception("whose an event is could not be told")
                return False
        if session_key:
            return _is_text(key) and key == session_key
    # What an earlier process left is for whoever proves to own it.
    return not (is_result and dict.get(event, "restored") is True)


_ADDRESS = ("type", "session_key", "origin_ui_session_id")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_skipped(registry: Any, event: Any, skip_poll_observed: bool) -> bool:
    """Whether the agent has seen the end of a process already, in the turn that ends."""
    if not isinstance(event, dict) or dict.get(event, "type") != "completion":
        return False
    skips = getattr(registry, "_drain_should_skip", None)
    if skips is None:
        return False
    how = {} if skip_poll_observed else {"skip_poll_observed": False}
    try:
        return bool(skips(dict.get(event, "session_id", ""), **how))
    except TypeError:  # an id that cannot be hashed was never seen
        return False


def _called_by_the_tui(frame: FrameType | None) -> bool:
    """Look for the TUI's server, also behind the wrappers that other plugins put around ours."""
    for _ in range(WRAPPER_FRAMES):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") == versions.TUI:
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


def fitted(
    ours: Callable[..., Any], original: Callable[..., Any], otherwise: Callable[..., Any] | None
) -> Callable[..., Any]:
    """Make a stand-in take all that the gateway's function takes; itself, where it does.

    Arguments go by their names, in whichever order a later gateway has them. A call with some that
    ours does not know goes `otherwise`, say to the gateway's own, which sees the core's delegations
    among its own; with `None` ours does without them.
    """
    theirs, taken = inspect.signature(original), inspect.signature(ours).parameters
    if _takes_as_it_is(tuple(taken.values()), tuple(theirs.parameters.values())):
        return ours
    takes_any = any(one.kind is one.VAR_KEYWORD for one in taken.values())

    @functools.wraps(ours)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        given: dict[str, Any] = {}
        unnamed: tuple[Any, ...] = ()
        for name, value in theirs.bind(*args, **kwargs).arguments.items():
            kind = theirs.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                given.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                unnamed = value
            else:
                given[name] = value
        if not takes_any and (unnamed or not given.keys() <= taken.keys()):
            if otherwise is not None:
                return otherwise(*args, **kwargs)
            given = {name: value for name, value in given.items() if name in taken}
        return ours(**given)

    return stand_in


def _takes_as_it_is(
    ours: tuple[inspect.Parameter, ...], theirs: tuple[inspect.Parameter, ...]
) -> bool:
    """Whether whatever is an argument for theirs is the same for ours."""
    by_place = [one.name for one in ours if one.kind is one.POSITIONAL_OR_KEYWORD]
    names = {one.name for one in ours if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if any(one.kind is one.VAR_KEYWORD for one in ours):
        names |= {one.name for one in theirs if one.kind is one.KEYWORD_ONLY}
    by_place_there = [one.name for one in theirs if one.kind is one.POSITIONAL_OR_KEYWORD]
    return by_place[: len(by_place_there)] == by_place_there and all(
        one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) and one.name in names
        for one in theirs
    )


def format_process_notification(evt: Any) -> str | None:
    """Make an event into a text; the gateway's name for the argument is its own."""
    return hermes_core.format_process_notification(evt)


def reset_for(original: Callable[[], None], ours: Callable[[], None]) -> Callable[[], None]:
    """Make the stand-in for `tools.async_delegation._reset_for_tests`: it clears both."""

    def _reset_for_tests() -> None:
        """Forget every delegation of both registries."""
        ours()
        original()

    return _reset_for_tests
