"""The command `hermes-core`: its words, and which module does what each says."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from hermes_core.cli import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import SupportsWrite

FINE, REFUSED = 0, 1
"""Exit codes; a wrong command line ends with 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        if sys.stdout is None:
            raise terminal.NoOutput("the standard output is closed")
        try:
            code = _run(argv)
        finally:
            terminal.flush()
        return code
    except BrokenPipeError:
        # Whoever read has read enough.
        return REFUSED
    except (terminal.NoOutput, OSError) as error:
        terminal.complain(_reason(error))
        return REFUSED


def _run(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    # Late, so that it is said in one line if no descriptor is left to load it.
    from hermes_core import LedgerError
    from hermes_core.cli.open import Refused

    module, _, function = arguments.does.partition(":")
    try:
        code: int = getattr(import_module(f"hermes_core.cli.{module}"), function)(arguments)
        return code
    except (LedgerError, Refused) as error:
        if arguments.json:
            terminal.say_json({"error": str(error)})
        else:
            terminal.complain(str(error), is_block=isinstance(error, Refused) and error.is_block)
        return REFUSED


def _reason(error: Exception) -> str:
    """An error of the system in one line."""
    if isinstance(error, OSError) and error.strerror:
        of = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return of + error.strerror
    return str(error)


class _Parser(argparse.ArgumentParser):
    """A parser whose help is output as any other: what it cannot write, it says."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help."""
        terminal.say(self.format_help().rstrip("\n"))


def _parser() -> _Parser:
    parser = _Parser(
        prog="hermes-core",
        description="The native delegation core in a hermes-agent gateway: switch it on and off, "
        "and look after what it was given to do.",
        epilog="Exit codes: 0 fine; 1 not in use, refused or not found; 2 wrong command line.",
    )
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object")
    common.add_argument(
        "--hermes-home",
        metavar="PATH",
        help="the gateway's home; by default $HERMES_HOME, else ~/.hermes",
    )
    ledger = _Parser(add_help=False, parents=[common])
    ledger.add_argument(
        "--ledger", metavar="PATH", help="the ledger; by default delegations.db in the home"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, does: str, says: str, of: _Parser = ledger) -> _Parser:
        command = commands.add_parser(name, parents=[of], help=says, description=f"{says}.")
        command.set_defaults(does=does)
        return command

    def add_with_id(name: str, does: str, says: str) -> None:
        add(name, does, says).add_argument("id", metavar="ID", help="the delegation's id")

    add(
        "enable", "enable:change", "Add the core to plugins.enabled in the gateway's config", common
    )
    add("disable", "enable:change", "Take the core out of plugins.enabled", common)
    says = "Say what is installed, whether it fits, and whether it is enabled"
    add("status", "enable:status", says, common)
    which = add("ls", "rows:ls", "List delegations, the newest last").add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="every one that the ledger keeps")
    which.add_argument(
        "--limit", metavar="N", type=_count, default=20, help="the newest N (default: 20)"
    )
    add_with_id("show", "rows:show", "Show a delegation with its task and its whole result")
    says = "Show what runs and what waits, live, until Ctrl-C; with --json, a line for each change"
    add("watch", "watch:watch", says)
    add_with_id("redeliver", "actions:run", "Have a result wait for its session again")
    add_with_id("drop", "actions:run", "Give up a result that was not delivered")
    add_with_id("cancel", "actions:run", "Ask the process that runs a delegation to stop it")
    says = "Say whether all is well: the core in the gateway, the ledger, results that nobody took"
    doctor = add("doctor", "doctor:run", says)
    doctor.add_argument(
        "--fingerprint",
        action="store_true",
        help="print how this gateway's functions read, as a file that makes it a known one",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not (number := int(text[:18])):
        raise argparse.ArgumentTypeError("not a number above 0")
    return number
