"""`hermes-core watch`: what is in the ledger, live."""

from __future__ import annotations

import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from hermes_core import Ledger, LedgerError
from hermes_core.cli import rows, table, terminal
from hermes_core.cli.open import NoLedger, Refused, opened, path_of

if TYPE_CHECKING:
    from rich.text import Text

#: Seconds between two looks: other processes say nothing when they write.
INTERVAL = 1.0
#: How many of those that are done are looked at.
RECENT = 50
#: Lines of the screen that are no rows: the title, an empty one, the heads, the last one.
AROUND = 4

STYLES = {
    "queued": "dim",
    "running": "cyan",
    "pending": "yellow",
    "dead": "bold red",
    "lost": "red",
}


def watch(arguments: Namespace) -> int:
    """Show the ledger until Ctrl-C."""
    path = path_of(arguments)
    with opened(path) as ledger:
        if not arguments.json:
            _require_screen()
        before = signal.signal(signal.SIGTERM, _end)
        try:
            return _lines(ledger) if arguments.json else _screen(ledger)
        except KeyboardInterrupt:
            return 0
        finally:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _require_screen() -> None:
    try:
        import rich  # noqa: F401
    except ImportError:
        raise Refused(
            "watch needs rich: pip install 'hermes-agent-core[cli]'; --json does without"
        ) from None
    if not sys.stdout.isatty():
        raise Refused("watch needs a terminal; --json prints a line for each change")


def _end(number: int, frame: FrameType | None) -> None:
    # So that the terminal is left as it was.
    sys.exit(128 + number)


def _looks(ledger: Ledger) -> Iterator[tuple[list[rows.Row], str]]:
    """What there is, again and again, and what is wrong meanwhile.

    Raises:
        LedgerError: it cannot be read at all.
        NoLedger: it is gone.
    """
    found = snapshot(ledger)
    yield found, ""
    while True:
        time.sleep(INTERVAL)
        problem = ""
        try:
            if not ledger.exists():
                raise NoLedger(f"the ledger {ledger.path} is gone")
            found = snapshot(ledger)
        except LedgerError as error:
            problem = str(error)
        yield found, problem


def snapshot(ledger: Ledger) -> list[rows.Row]:
    """What runs, what waits, what is dead, then what was done last."""
    open_rows = [*ledger.running(), *ledger.elsewhere(), *ledger.dead_letters()]
    recent = reversed(ledger.rows(RECENT))
    return list({row["delegation_id"]: row for row in (*open_rows, *recent)}.values())


def _lines(ledger: Ledger) -> int:
    before = ""
    for found, problem in _looks(ledger):
        shown: dict[str, Any] = {
            "ledger": ledger.path,
            "delegations": [rows.brief(row) for row in found],
        }
        for row in shown["delegations"]:
            # It changes by itself.
            del row["held_until"]
        if problem:
            shown["error"] = problem
        if repr(shown) != before:
            before = repr(shown)
            terminal.say_json(shown)
    return 0


def _screen(ledger: Ledger) -> int:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for found, problem in _looks(ledger):
            size = console.size
            live.update(_page(ledger, found, problem, size.width, size.height), refresh=True)
    return 0


def _page(ledger: Ledger, found: list[rows.Row], problem: str, width: int, height: int) -> Text:
    """The screen as one text of so many columns and lines."""
    from rich.text import Text

    room = max(1, height - AROUND)
    shown = found[:room]
    heads, *body = table.lines(rows.COLUMNS, [rows.texts(row) for row in shown], width)
    page = Text(no_wrap=True, overflow="crop", end="")
    page.append(f"{terminal.fit(_title(ledger, found), width)}\n\n", "bold")
    page.append(f"{heads}\n", "dim")
    for row, line in zip(shown, body, strict=True):
        style = STYLES.get(rows.delivery(row)) or STYLES.get(row["state"], "")
        page.append(f"{line}\n", style)
    last = terminal.safe(problem) or (
        f"{len(found) - room} more; Ctrl-C ends" if len(found) > room else "Ctrl-C ends"
    )
    page.append(terminal.fit(last, width), "red" if problem else "dim")
    return page


def _title(ledger: Ledger, found: list[rows.Row]) -> str:
    running = sum(row["state"] == "running" for row in found)
    waiting = sum(rows.delivery(row) == "pending" for row in found)
    dead = sum(row["delivery"] == "dead" for row in found)
    queued = sum(row["state"] == "queued" for row in found)
    waits = f"{queued} queued, " if queued else ""
    counts = f"{running} running, {waits}{waiting} undelivered, {dead} dead letters"
    return terminal.safe(f"{counts}  {ledger.path}")
