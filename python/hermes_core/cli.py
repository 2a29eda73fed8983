"""The command `hermes-core`: its words, and which module does what each says."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from hermes_core._cli import terminal

FINE, REFUSED = 0, 1
"""Exit codes; a wrong command line ends with 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args(argv)
    from hermes_core import LedgerError
    from hermes_core._cli.opening import Refused

    module, _, function = arguments.does.partition(":")
    try:
        code: int = getattr(import_module(f"hermes_core._cli.{module}"), function)(arguments)
        sys.stdout.flush()
        return code
    except (LedgerError, Refused) as error:
        if arguments.json:
            terminal.say_json({"error": str(error)})
        else:
            terminal.complain(str(error))
        return REFUSED
    except BrokenPipeError:
        # Whoever read has read enough. What is left must not be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hermes-core",
        description="The native delegation core in a hermes-agent gateway: switch it on and off, "
        "and look after what it was given to do.",
        epilog="Exit codes: 0 fine; 1 not in use, refused or not found; 2 wrong command line.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument(
        "--hermes-home",
        metavar="PATH",
        help="the gateway's home; by default $HERMES_HOME, else ~/.hermes",
    )
    ledger = argparse.ArgumentParser(add_help=False, parents=[common])
    ledger.add_argument(
        "--ledger", metavar="PATH", help="the ledger; by default delegations.db in the home"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        name: str, does: str, says: str, of: argparse.ArgumentParser = ledger
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[of], help=says, description=f"{says}.")
        command.set_defaults(does=does)
        return command

    def add_with_id(name: str, does: str, says: str) -> None:
        add(name, does, says).add_argument("id", metavar="ID", help="the delegation's id")

    add(
        "enable", "switch:switch", "Add the core to plugins.enabled in the gateway's config", common
    )
    add("disable", "switch:switch", "Take the core out of plugins.enabled", common)
    says = "Say what is installed, whether it fits, and whether it is enabled"
    add("status", "switch:status", says, common)
    which = add("ls", "rows:ls", "List delegations, the newest last").add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every one that the ledger keeps")
    which.add_argument(
        "--limit", metavar="N", type=_count, default=20, help="the newest N (default: 20)"
    )
    add_with_id("show", "rows:show", "Show a delegation with its task and its whole result")
    says = "Show what runs and what waits, live, until Ctrl-C; with --json, a line for each change"
    add("watch", "board:watch", says)
    add_with_id("redeliver", "by_hand:run", "Have a result wait for its session again")
    add_with_id("drop", "by_hand:run", "Give up a result that was not delivered")
    add_with_id("cancel", "by_hand:run", "Ask the process that runs a delegation to stop it")
    says = "Say whether all is well: the core in the gateway, the ledger, results that nobody took"
    add("doctor", "doctor:run", says)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not (number := int(text[:18])):
        raise argparse.ArgumentTypeError("not a number above 0")
    return number
