"""`hermes-core enable`, `disable` and `status`: the core in a gateway's config."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from hermes_core.cli import terminal
from hermes_core.cli.open import Refused

if TYPE_CHECKING:
    from hermes_core.gateway.install.ladder import Ladder


def change(arguments: Namespace) -> int:
    """Add the core to what the gateway loads, or take it out.

    A gateway that could not be served is left as it is.
    """
    from hermes_core.gateway import config_file
    from hermes_core.gateway.install import ladder

    enable = arguments.command == "enable"
    file = config_file.path(arguments.hermes_home)
    found = ladder.climb(arguments.hermes_home) if enable else None
    if found is not None and found.refusals:
        refusal = "hermes-core was not enabled, for it could do nothing here:"
        if len(found.refusals) == 1:
            raise Refused(f"{refusal} {found.refusals[0]}")
        raise _block(refusal + "".join(f"\n- {line}" for line in found.refusals))
    try:
        changed = config_file.set_enabled(file, enable)
    except config_file.ConfigError as error:
        raise _block(str(error)) from None
    served = {} if found is None else _served(found)
    if arguments.json:
        terminal.say_json({"config": str(file), "enabled": enable, "changed": changed, **served})
        return 0
    state = "enabled" if enable else "disabled"
    shown = terminal.safe(str(file))
    terminal.say(f"hermes-core is {state} in {shown}" + ("" if changed else " (it was already)"))
    if changed:
        terminal.say("A running gateway takes it up when it is restarted.")
    for line in _served_lines(served) if served else ():
        terminal.say(line)
    return 0


def status(arguments: Namespace) -> int:
    """Say what is installed, whether it fits, and whether it is on."""
    found = facts(arguments.hermes_home)
    if arguments.json:
        terminal.say_json(found)
    else:
        for line in lines(found):
            terminal.say(line)
        if "error" in found:
            terminal.complain(found["error"], is_block=True)
    return 0 if is_in_use(found) else 1


def facts(home: str | None) -> dict[str, Any]:
    """What there is to know of the core in the gateway with this home."""
    from hermes_core.gateway import config_file
    from hermes_core.gateway.install import fingerprint, ladder
    from hermes_core.gateway.install.installation import own_version

    file = config_file.path(home)
    enabled: bool | None = None
    problem = ""
    try:
        enabled = config_file.is_enabled(file)
    except config_file.ConfigError as error:
        problem = str(error)
    standing = ladder.climb(home)
    found: dict[str, Any] = {
        "hermes_core": own_version(),
        "hermes_agent": fingerprint.version() or None,
        "compatible": not standing.refusals,
        "differences": standing.refusals,
        **_served(standing),
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
        *_served_lines(found),
        f"config        {terminal.safe(found['config'])}",
        f"enabled       {enabled}",
    ]


def _block(text: str) -> Refused:
    refused = Refused(text)
    refused.is_block = True
    return refused


def _served(found: Ladder) -> dict[str, Any]:
    """How the gateway is served, module by module."""
    from hermes_core.gateway.install import ladder

    return {
        "served": ladder.in_short(found.standings.values()),
        "modules": [
            {"module": each.module, "served": each.rung, "why": each.why, "advice": each.advice}
            for each in found.standings.values()
        ],
        "ignored": found.ignored,
    }


def _served_lines(found: dict[str, Any]) -> list[str]:
    """How the gateway is served; where not as a known one is, why, and what to do about it."""
    shown = [f"{'served':14}{found['served']}"] if found["served"] else []
    indent = " " * 14
    alike: dict[tuple[Any, ...], list[str]] = {}
    for each in found["modules"] if found.get("compatible", True) else ():
        if each["served"] != "exact":
            same = (each["served"], each["why"], each["advice"])
            alike.setdefault(same, []).append(terminal.safe(each["module"]))
    for (served, why, advice), names in alike.items():
        shown.append(f"{indent}{', '.join(names)}: {served}")
        shown += [f"{indent}- {terminal.safe(line)}" for line in why]
        shown.append(f"{indent}  ({terminal.safe(advice)})")
    if found["ignored"]:
        shown.append(f"{'ignored':14}{terminal.safe(found['ignored'])}")
    return shown
