"""The core's log lines, handed to ``logging`` in Python frames.

The native core keeps its ``tracing`` events; a Python function that has called it passes them on
here. ``logging`` is imported when there is a line to pass on, or found if the process has it.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from hermes_core import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WARNING = 30
#: The loggers whose levels decide what the core keeps.
_LOGGERS = ("hermes_core.registry", "hermes_core.queue")

_known: list[Any] = []
#: Where the first of them keeps its answers; ``logging`` empties it whenever a level changes.
_answers: dict[object, object] = {}
#: Stands there while the core knows the levels.
_TOLD = object()


def pass_on() -> None:
    """Hand what the core has logged to ``logging``, and have it know which levels are wanted.

    Never raises: what is logged here has happened already.
    """
    try:
        lines = _core.take_log()
        if lines is not None or _TOLD not in _answers:
            _pass_on(lines)
    except Exception:
        pass


def _pass_on(lines: list[tuple[int, str, str]] | None) -> None:
    global _answers
    if lines is not None:
        import logging

        for level, name, message in lines:
            logging.getLogger(name).log(level, "%s", message)
    if not _known:
        logging_module = sys.modules.get("logging")
        get_logger = getattr(logging_module, "getLogger", None)
        if get_logger is None:
            return
        _known.extend(get_logger(name) for name in _LOGGERS)
    first, second = _known
    token = object()
    if type(first) is type(second) is sys.modules["logging"].Logger and not (
        first.disabled or second.disabled
    ):
        # First: a change of levels in between takes it away again.
        _answers = first._cache
        _answers[_TOLD] = token
    level = next((level for level in (10, 20) if _is_enabled(level)), _WARNING)
    _core.set_log_level(level)
    if _answers.get(_TOLD) is not token:
        # Another thread was at it meanwhile, and this one may have been late: ask once more.
        _answers.pop(_TOLD, None)


def _is_enabled(level: int) -> bool:
    return any(logger.isEnabledFor(level) for logger in _known)


def exception(exc: BaseException, message: str, *args: object) -> None:
    """Log an exception, with its traceback, at level ERROR; never raises."""
    import logging

    logger = logging.getLogger("hermes_core.registry")
    try:
        logger.error(message, *args, exc_info=exc)
    except BaseException:
        # One whose own __str__ raises cannot be shown; that there was one can.
        logger.error("%s: %s", message % args, type(exc).__name__)


def warning(message: str, *args: object) -> None:
    """Log at level WARNING; never raises."""
    with suppress(Exception):
        import logging

        logging.getLogger("hermes_core.registry").warning(message, *args)


def ledger_error(message: str, *args: object) -> None:
    """Log what went wrong with a ledger at level ERROR; never raises."""
    with suppress(Exception):
        import logging

        logging.getLogger("hermes_core.ledger").error(message, *args)
