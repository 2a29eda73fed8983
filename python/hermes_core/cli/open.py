"""Opening the ledger that a command is about: only one that is there, and only a ledger."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_core import Ledger
from hermes_core.cli import terminal

_SQLITE = b"SQLite format 3\0"
#: Where an SQLite file says whose it is, and what ours say.
_APPLICATION = slice(68, 72)
_OURS = b"hclg"


class Refused(Exception):
    """A command cannot do what it was asked for; the message says why.

    Attributes:
        is_block: the message has lines of its own, such as one that points at a place in a file.
    """

    is_block = False


class NoLedger(Refused):
    """There is no ledger to look at."""


def path_of(arguments: Namespace) -> Path:
    """Return where the ledger is that a command is about, or would be."""
    if arguments.ledger is not None:
        return Path(os.path.abspath(os.path.expanduser(arguments.ledger)))
    from hermes_core.gateway import config_file, home_ledgers

    return Path(os.path.abspath(home_ledgers.path_of_home(config_file.home(arguments.hermes_home))))


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """Open a ledger; in the end, show its warnings about its file.

    Raises:
        Refused: there is none, or the file is no ledger. It is not touched.
    """
    # With no bound: what is deleted is the gateway's business.
    ledger = Ledger(path, keep_seconds=None, keep_rows=None)
    _require_ledger(ledger, path)
    try:
        yield ledger
    finally:
        core = ledger._core
        hand: list[tuple[str, str, int]] = []
        while core is not None and core.notice(0, hand):
            kind, text, _ = hand.pop()
            if kind == "warning":
                terminal.complain(text)


def _require_ledger(ledger: Ledger, path: Path) -> None:
    """Look at the file before SQLite does, which makes one that is not there.

    A file that is damaged further in is for the ledger to find and to set aside.
    """
    try:
        # A pipe or a device is not opened: that may wait, or do something.
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise Refused(f"{path} is not a ledger: it is no regular file")
        with open(path, "rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        if ledger.exists():
            # It has no name yet, and gets it when it is opened.
            return
        raise NoLedger(
            f"there is no ledger {path}: the first delegation of a gateway with the core makes it"
        ) from None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from None
    if not head:
        raise NoLedger(f"{path} is empty: no delegation was written yet")
    # What was written last is in the log beside the file, whose it is included.
    has_log = os.path.exists(f"{path}-wal")
    if not head.startswith(_SQLITE) or (head[_APPLICATION] != _OURS and not has_log):
        raise Refused(f"{path} is not a ledger")
