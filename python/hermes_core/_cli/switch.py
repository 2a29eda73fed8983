"""`hermes-core enable`, `disable` and `status`: the core in a gateway's config."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from hermes_core._cli import terminal
from hermes_core._cli.opening import Refused


def switch(arguments: Namespace) -> int:
    """Add the core to what the gateway loads, or take it out."""
    from hermes_core.gateway import _config, _fingerprint

    wanted = arguments.command == "enable"
    file = _config.path(arguments.hermes_home)
    try:
        changed = _config.set_enabled(file, wanted)
    except _config.ConfigError as error:
        raise Refused(str(error)) from None
    differences = _fingerprint.differences() if wanted else []
    if arguments.json:
        facts = {"enabled": wanted, "changed": changed, "differences": differences}
        terminal.say_json({"config": str(file), **facts})
        return 0
    state = "enabled" if wanted else "disabled"
    shown = terminal.safe(str(file))
    terminal.say(f"hermes-core is {state} in {shown}" + ("" if changed else " (it was already)"))
    if changed:
        terminal.say("A running gateway takes it up when it is restarted.")
    if differences:
        terminal.complain("it will stand aside, for this gateway does not match:")
        for line in differences:
            terminal.complain(f"  - {line}")
    return 0


def status(arguments: Namespace) -> int:
    """Say what is installed, whether it fits, and whether it is on."""
    from hermes_core.gateway import _config

    found = facts(_config.path(arguments.hermes_home))
    if arguments.json:
        terminal.say_json(found)
    else:
        for line in lines(found):
            terminal.say(line)
        if "error" in found:
            terminal.complain(found["error"])
    return 0 if is_in_use(found) else 1


def facts(file: Path) -> dict[str, Any]:
    """What there is to know of the core in the gateway with this config."""
    from hermes_core.gateway import _config, _fingerprint
    from hermes_core.gateway._install import own_version

    enabled: bool | None = None
    problem = ""
    try:
        enabled = _config.is_enabled(file)
    except _config.ConfigError as error:
        problem = str(error)
    differences = _fingerprint.differences()
    found: dict[str, Any] = {
        "hermes_core": own_version(),
        "hermes_agent": _fingerprint.version() or None,
        "compatible": not differences,
        "differences": differences,
        "config": str(file),
        "enabled": enabled,
    }
    if problem:
        found["error"] = problem
    return found


def is_in_use(found: dict[str, Any]) -> bool:
    """Whether a gateway with these facts uses the core."""
    return bool(found["enabled"] and found["compatible"])


def lines(found: dict[str, Any]) -> list[str]:
    """The facts for a reader."""
    enabled = {True: "yes", False: "no", None: "unknown"}[found["enabled"]]
    return [
        f"hermes_core   {found['hermes_core']}",
        f"hermes-agent  {found['hermes_agent'] or 'not installed'}",
        f"compatible    {'yes' if found['compatible'] else 'no'}",
        *(f"              - {terminal.safe(line)}" for line in found["differences"]),
        f"config        {terminal.safe(found['config'])}",
        f"enabled       {enabled}",
    ]
