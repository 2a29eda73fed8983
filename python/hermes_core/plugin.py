"""Entry point for the gateway's plugin system: group `hermes_agent.plugins`, name `hermes-core`.

Switched on by `hermes-core enable`, which adds the name to `plugins.enabled` in the gateway's
config. The gateway then calls `register` once in every process of its that loads plugins.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("hermes_core.gateway")


def register(ctx: object) -> None:
    """Put the core in place in this process; called by the gateway when it loads plugins.

    A gateway that does not match keeps its own Python code, and the log says what differs.
    """
    from hermes_core import gateway

    try:
        gateway.install()
    except gateway.IncompatibleGateway as refusal:
        logger.warning("hermes_core stands aside: %s", refusal)
