"""What the core raises of its own, under one base.

The full, closed or empty queue raises what ``queue.Queue`` does.
"""

from __future__ import annotations

__all__ = [
    "HermesCoreError",
    "LedgerBusy",
    "LedgerError",
    "LedgerFull",
    "LedgerNewerSchema",
    "NotALedger",
]


class HermesCoreError(Exception):
    """The base of what the core raises of its own."""

    __module__ = "hermes_core"


class LedgerError(HermesCoreError, RuntimeError):
    """The ledger cannot be read or written. The message says why, and what to do."""

    __module__ = "hermes_core"

    def __init__(self, message: str = "", path: str | None = None) -> None:
        super().__init__(message)
        #: The file, if the error is about one.
        self.path = path


class LedgerFull(LedgerError):
    """The disk of the ledger is full."""

    __module__ = "hermes_core"


class LedgerBusy(LedgerError):
    """Another program kept the ledger's file locked for longer than it is waited for."""

    __module__ = "hermes_core"


class LedgerNewerSchema(LedgerError):
    """A later release made the ledger's file. It is left as it is."""

    __module__ = "hermes_core"

    def __init__(
        self, message: str = "", path: str | None = None, found: int = 0, known: int = 0
    ) -> None:
        super().__init__(message, path)
        #: The number of the file's schema.
        self.found = found
        #: The newest that this release knows.
        self.known = known


class NotALedger(LedgerError):
    """The file is another program's. It is left as it is."""

    __module__ = "hermes_core"
