"""What the adapter tells its caller: the reports of a swap and the refusal of one."""

from __future__ import annotations

from typing import Any, NamedTuple

from hermes_core.gateway import settings
from hermes_core.gateway.install.ladder import Rung, Standing, in_short


class IncompatibleGateway(RuntimeError):
    """The installed gateway lacks what the core needs of it, or wants what the core does not know.

    Raised before anything is touched. `differences` holds one line for each thing that is not as
    expected; the message says them all, and what to do about it.
    """

    differences: list[str]

    def __init__(self, differences: list[str]) -> None:
        self.differences = list(differences)
        lines = "".join(f"\n  - {line}" for line in self.differences)
        super().__init__(
            f"this hermes-agent cannot be served by hermes_core:{lines}\n"
            "Nothing was changed: the gateway goes on with its own Python code. Install a "
            "hermes-agent that this release of hermes_core supports, or a newer hermes_core."
        )


class InstallReport(NamedTuple):
    """What one `install()` or `uninstall()` did.

    After `uninstall()`, `replaced` names what was put back and `moved_events` counts the events
    that went back with it.
    """

    version: str
    """The version of hermes-agent that was found; empty when there was nothing to do."""
    replaced: list[str]
    """Full names of what the core stands in for now."""
    pending: list[str]
    """Front-end modules that are not imported yet; each is served as soon as it is."""
    left_alone: list[str]
    """Parts that were not touched, each with the reason."""
    moved_events: int
    """Queued events that moved from one queue to the other, in order."""
    modules: list[Standing]
    """How each module of the gateway is served, and why not better."""
    ignored: str
    """Why the user's own file of a version is not heeded; empty where nothing is wrong with it."""

    def summary(self) -> str:
        """Say in one line how each part of the gateway is served."""
        return f"hermes_core in hermes-agent {self.version}: {in_short(self.modules)}"

    def __str__(self) -> str:
        return "\n".join(_lines(self.version, self))


class Status(NamedTuple):
    """The present state of the adapter."""

    installed: bool
    """Whether the core is in place."""
    version: str
    """The version of hermes-agent that was found; empty when there is none."""
    replaced: list[str]
    """Full names of what the core stands in for now."""
    pending: list[str]
    """Front-end modules that are not imported yet; each is served as soon as it is."""
    left_alone: list[str]
    """Parts that were not touched, each with the reason."""
    moved_events: int
    """Queued events that the last install moved into the core's queue."""
    modules: list[Standing]
    """How each module of the gateway is served, and why not better."""
    ignored: str
    """Why the user's own file of a version is not heeded; empty where nothing is wrong with it."""
    counters: dict[str, int]
    """What the drains took without delivering it, and what followed after an uninstall; how many
    results wait for their chats now, by reason, and how many are parked."""
    ledgers: list[dict[str, Any]]
    """How each ledger is that was opened in this process: its `path`, its `state`, how many writes
    are `waiting`, and more, see `Ledger.health`."""

    def __str__(self) -> str:
        head = "installed" if self.installed else "not installed"
        counted = [f"{name}: {count}" for name, count in sorted(self.counters.items())]
        kept = [
            f"ledger: {ledger['path']}: {ledger['state']}, {ledger['waiting']} writes wait"
            for ledger in self.ledgers
        ]
        capacity = f"at capacity: {settings.at_capacity()}"
        return "\n".join([head, *_lines(self.version, self), capacity, *kept, *counted])


def _lines(version: str, report: InstallReport | Status) -> list[str]:
    lines = [f"hermes-agent {version}" if version else "no hermes-agent"]
    lines += [f"replaced: {name}" for name in report.replaced]
    lines += [f"when imported: {name}" for name in report.pending]
    lines += [f"left alone: {name}" for name in report.left_alone]
    lines += [f"served: {in_short(report.modules)}"] if report.modules else []
    lines += [f"module: {each}" for each in report.modules if each.rung is not Rung.EXACT]
    lines += [f"ignored: {report.ignored}"] if report.ignored else []
    lines.append(f"moved events: {report.moved_events}")
    return lines
