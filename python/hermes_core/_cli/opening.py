"""Opening the ledger that a command is about: only one that is there, and only a ledger."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_core import Ledger
from hermes_core._cli import terminal

_SQLITE = b"SQLite format 3\0"
#: Where an SQLite file says whose it is, and what ours say.
_APPLICATION = slice(68, 72)
_OURS = b"hclg"


class Refused(Exception):
    """A command cannot do what it was asked for; the message says why."""


class NoLedger(Refused):
    """There is no ledger to look at."""


def path_of(arguments: Namespace) -> Path:
    """Return where the ledger is that a command is about, or would be."""
    if arguments.ledger is not None:
        return Path(os.path.abspath(Path(arguments.ledger).expanduser()))
    from hermes_core.gateway import _config, _ledger

    return Path(os.path.abspath(_ledger.path_of_home(_config.home(arguments.hermes_home))))


@contextmanager
def opened(path: Path) -> Iterator[Ledger]:
    """Open a ledger; in the end, say what it has told of its file.

    Raises:
        Refused: there is none, or the file is no ledger. It is not touched.
    """
    # With no bound: what is deleted is the gateway's business.
    ledger = Ledger(path, keep_seconds=None, keep_rows=None)
    _require_ledger(ledger, path)
    try:
        yield ledger
    finally:
        while (notice := ledger._core.notice(0)) is not None:
            kind, text = notice
            if kind == "warning":
                terminal.complain(text)


def _require_ledger(ledger: Ledger, path: Path) -> None:
    """Look at the file before SQLite does, which makes one that is not there.

    A file that is damaged further in is for the ledger to judge and to set aside.
    """
    try:
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
