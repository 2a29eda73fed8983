"""The adapter: puts the core in place of the delegation code of an installed hermes-agent.

>>> from hermes_core import gateway
>>> report = gateway.install()  # doctest: +SKIP
>>> print(report)  # doctest: +SKIP

`install()` replaces the registry functions of `tools.async_delegation`, the completion queue, the
notification formatter and the drains around them; `uninstall()` puts everything back, queued
events included. A gateway that is not a known one is refused, untouched, with
`IncompatibleGateway`. Log lines go through the logger `hermes_core.gateway`.

A caller that read one of the gateway's functions before an install and calls it after keeps the
gateway's own; it works, and its cap counts the core's delegations too.
"""

from __future__ import annotations

from hermes_core.gateway.install.installation import install, status, uninstall
from hermes_core.gateway.install.report import IncompatibleGateway, InstallReport, Status

__all__ = ["IncompatibleGateway", "InstallReport", "Status", "install", "status", "uninstall"]
