"""The core's log lines, handed to ``logging`` in Python frames.

The native core keeps its ``tracing`` events; a Python function that has called it passes them on
here. ``logging`` is imported when there is a line to pass on, or found if the process has it.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from . import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WARNING = 30
#: The loggers whose levels decide what the core keeps.
_LOGGERS = ("hermes_core.registry", "hermes_core.queue")

_known: list[Any] = []


def pass_on() -> None:
    """Hand what the core has logged to ``logging``, and tell it which levels are wanted.

    Never raises: what is told here has happened already.
    """
    with suppress(Exception):
        _pass_on()


def _pass_on() -> None:
    lines = _core.take_log()
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
    for level in (10, 20):
        if first.isEnabledFor(level) or second.isEnabledFor(level):
            _core.set_log_level(level)
            return
    _core.set_log_level(_WARNING)


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
