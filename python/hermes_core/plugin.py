"""Entry point for the gateway's plugin system: group `hermes_agent.plugins`, name `hermes-core`.

Switched on by `hermes-core enable`, which adds the name to `plugins.enabled` in the gateway's
config. The gateway then calls `register` once in every process of its that loads plugins.
"""

from __future__ import annotations

import contextlib
import logging
import sys

logger = logging.getLogger("hermes_core.gateway")


def register(ctx: object) -> None:
    """Put the core in place in this process; called by the gateway when it loads plugins.

    Says in one line, on the standard error output, what is served and what is not, and in another
    where the user's own file of a version is none. A gateway that cannot be served keeps its own
    Python code.
    """
    from hermes_core import gateway

    try:
        report = gateway.install()
    except gateway.IncompatibleGateway as refusal:
        logger.warning("hermes_core stands aside: %s", refusal)
        why, *more = refusal.differences
        others = f", and {len(more)} more that `hermes-core status` lists" if more else ""
        _say(f"hermes_core stands aside in this gateway: {why}{others}")
        return
    _say(report.summary())
    if report.ignored:
        logger.warning("hermes_core does without your own file: %s", report.ignored)
        _say(f"hermes_core does without your own file: {report.ignored}")


def _say(line: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)
