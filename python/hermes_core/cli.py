"""The command `hermes-core`: switch the core on and off in a gateway's config, and look."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DONE, NOT_IN_USE = 0, 1
"""Exit codes; a wrong command line ends with 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args(argv)
    from hermes_core.gateway import _config

    try:
        file = _config.path(arguments.hermes_home)
        if arguments.command == "status":
            return _status(file, arguments.json)
        return _switch(file, arguments.command == "enable", arguments.json)
    except _config.ConfigError as error:
        if arguments.json:
            _print(json.dumps({"error": str(error)}))
        else:
            print(f"hermes-core: {error}", file=sys.stderr)
        return NOT_IN_USE


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument(
        "--hermes-home",
        metavar="PATH",
        help="the gateway's home; by default $HERMES_HOME, else ~/.hermes",
    )
    parser = argparse.ArgumentParser(
        prog="hermes-core",
        description="Switch the native delegation core on or off in a hermes-agent gateway.",
        epilog="Exit codes: 0 fine, 1 not in use or refused, 2 wrong command line.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, description in (
        ("enable", "add the core to plugins.enabled in the gateway's config"),
        ("disable", "take the core out of plugins.enabled"),
        ("status", "say what is installed, whether it fits, and whether it is enabled"),
    ):
        commands.add_parser(name, parents=[common], help=description, description=description)
    return parser


def _switch(file: Path, wanted: bool, as_json: bool) -> int:
    from hermes_core.gateway import _config, _fingerprint

    changed = _config.set_enabled(file, wanted)
    differences = _fingerprint.differences() if wanted else []
    if as_json:
        _print(
            json.dumps(
                {
                    "config": str(file),
                    "enabled": wanted,
                    "changed": changed,
                    "differences": differences,
                }
            )
        )
        return DONE
    state = "enabled" if wanted else "disabled"
    _print(f"hermes-core is {state} in {file}" + ("" if changed else " (it was already)"))
    if changed:
        _print("A running gateway takes it up when it is restarted.")
    if differences:
        print("It will stand aside, for this gateway does not match:", file=sys.stderr)
        for line in differences:
            print(f"  - {line}", file=sys.stderr)
    return DONE


def _status(file: Path, as_json: bool) -> int:
    from hermes_core.gateway import _config, _fingerprint
    from hermes_core.gateway._install import own_version

    enabled: bool | None = None
    problem = ""
    try:
        enabled = _config.is_enabled(file)
    except _config.ConfigError as error:
        problem = str(error)
    found = _fingerprint.version()
    differences = _fingerprint.differences()
    facts: dict[str, Any] = {
        "hermes_core": own_version(),
        "hermes_agent": found or None,
        "compatible": not differences,
        "differences": differences,
        "config": str(file),
        "enabled": enabled,
    }
    if problem:
        facts["error"] = problem
    if as_json:
        _print(json.dumps(facts))
    else:
        _print(f"hermes_core   {facts['hermes_core']}")
        _print(f"hermes-agent  {found or 'not installed'}")
        _print(f"compatible    {'yes' if not differences else 'no'}")
        for line in differences:
            _print(f"              - {line}")
        _print(f"config        {file}")
        _print(f"enabled       {'unknown' if problem else 'yes' if enabled else 'no'}")
        if problem:
            print(f"hermes-core: {problem}", file=sys.stderr)
    return DONE if enabled and not differences else NOT_IN_USE


def _print(text: str) -> None:
    """Print to any kind of output: one that cannot encode a character shows it escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
