"""Install and uninstall: what is done in which order, under one lock."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hermes_core
from hermes_core import async_delegation
from hermes_core.gateway import (
    _cli,
    _cli_input,
    _consumers,
    _counters,
    _fingerprint,
    _hooks,
    _known,
    _ledger,
    _messaging,
    _messaging_hooks,
    _messaging_turns,
    _queue_swap,
    _redaction,
    _replacements,
    _tui,
    _watch_drain,
)
from hermes_core.gateway._records import RecordShare
from hermes_core.gateway._report import IncompatibleGateway, InstallReport, Status

if TYPE_CHECKING:
    from queue import Queue
    from types import ModuleType

logger = logging.getLogger("hermes_core.gateway")

FRONT_ENDS: dict[str, dict[str, Callable[[Any], Callable[..., Any]] | None]] = {
    _known.ADAPTERS: {
        "BasePlatformAdapter._release_session_guard": _messaging_hooks.release_for,
        "BasePlatformAdapter._heal_stale_session_lock": _messaging_hooks.heal_for,
        "BasePlatformAdapter._start_session_processing": _messaging_turns.start_for,
    },
    _known.SESSIONS: {
        "SessionStore.get_or_create_session": _messaging_hooks.session_for,
        "SessionStore.reset_session": _messaging_hooks.reset_for,
    },
    _known.MESSAGING: {
        "_drain_gateway_watch_events": _watch_drain.watch_drain_for,
        "GatewayRunner._release_running_agent_state": _messaging_hooks.end_of_run_for,
        "GatewayRunner._update_platform_runtime_status": _messaging_hooks.platform_status_for,
        "GatewayRunner._handle_message_with_agent": _messaging_turns.agent_turn_for,
        "GatewayRunner._async_delegation_watcher": _messaging.watcher_for,
    },
    _known.TUI: {"_notification_poller_loop": _tui.poller_for},
    _known.CLI: {"HermesCLI.run.process_loop": None},
}
"""Front-end modules, with the functions in each that the core stands in for, and by what.

A module is served whole or not at all, and only if those that it leans on are. The CLI's loop
stays; what it waits at is exchanged.
"""

LEANS_ON = {_known.MESSAGING: (_known.ADAPTERS, _known.SESSIONS)}

QUEUE = f"{_known.PROCESSES}.process_registry.completion_queue"

_lock = threading.RLock()
_current: Installation | None = None


def install() -> InstallReport:
    """Put the core in place of the gateway's own delegation code.

    Checks the whole gateway first and touches nothing if it is not a known one. Front ends that
    are not imported yet are served when they are. Does nothing when already installed. May be
    called from any thread at any time, also while delegations run and events arrive: none is
    lost, and the cap counts those of both registries.

    Raises `IncompatibleGateway`.
    """
    global _current
    with _lock:
        if _current is not None and _current.leaving:
            uninstall()  # the rest of one that was broken off
        if _current is not None:
            _current.attend_front_ends()
            return _current.report()
    if found := _fingerprint.differences():
        raise IncompatibleGateway(found)
    # Imported outside the lock: an import waits for the import locks of other threads, and one of
    # those may be waiting for ours, with a front end that has just come in.
    modules = _import_core_modules()
    with _lock:
        if _current is None:
            if found := _loaded_differences(modules):
                raise IncompatibleGateway(found)
            # Known before the first step, so that an interrupt leaves nothing behind that an
            # uninstall would not find.
            _current = Installation(*modules)
            try:
                _current.install()
                _current.attend_front_ends()
                _current.announce()
            except BaseException:
                _current.uninstall()
                _current = None
                raise
        return _current.report()


def uninstall() -> InstallReport:
    """Put everything back as it was, queued events included.

    Delegations that run go on; their results go to the gateway's own queue, and until they end
    the gateway's registry counts, lists and interrupts them. Does nothing when not installed.
    Where an interrupt breaks it off, call it again.
    """
    global _current
    with _lock:
        if _current is None:
            return InstallReport("", [], [], [], 0)
        report = _current.uninstall()
        _current = None
    logger.info(
        "hermes_core %s put back %s in hermes-agent %s",
        own_version(),
        ", ".join(report.replaced),
        report.version,
    )
    return report


def status() -> Status:
    """Return what is installed now, and the counters; changes nothing."""
    with _lock:
        if _current is None:
            version = _fingerprint.version()
            return Status(False, version, [], [], [], 0, _counters.snapshot(), _ledger.health())
        counters = _counters.snapshot() | _messaging.waiting()
        return Status(True, *_current.report(), counters, _ledger.health())


def own_version() -> str:
    """Return the version of the installed hermes_core."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hermes-agent-core")
    except PackageNotFoundError:
        return str(getattr(hermes_core, "__version__", "(version unknown)"))


class Installation:
    """One stay of the core in one gateway."""

    def __init__(self, registry: ModuleType, processes: ModuleType) -> None:
        self._version = _fingerprint.version()
        self._registry = registry
        self._processes = processes
        self._swaps: list[_Swap | _cli.InputSwap] = []
        self._served: list[ModuleType] = []
        self._left_alone: dict[str, str] = {}
        self._moved = 0
        self._announced = False
        self.leaving = False  # an uninstall has begun
        self._records = RecordShare(registry)
        self._queue = _queue_swap.QueueSwap(
            processes.process_registry, async_delegation.completion_queue
        )
        self._finder = _hooks.PostImportFinder(list(FRONT_ENDS), self._front_end_came)

    def install(self) -> None:
        """Replace the core parts; front ends follow."""
        # Queue and records first: what the new functions do must find them in place.
        self._records.install()
        self._moved = self._queue.install()
        async_delegation._refusal = _consumers.refusal
        async_delegation._ledger_for = _ledger.of_dispatch
        async_delegation._registry.redact = _redaction.redact
        for owner, label, name, ours in self._core_parts():
            self._replace(owner, f"{label}.{name}", name, ours)
        self._finder.install()

    def uninstall(self) -> InstallReport:
        """Put everything back, in the opposite order; may be repeated until it comes through."""
        self.leaving = True
        self._finder.uninstall()
        _messaging.give_way()
        put_back: list[str] = []
        left_alone: list[str] = []
        for swap in reversed(self._swaps):
            if swap.undo():
                put_back.append(swap.label)
            else:
                left_alone.append(f"{swap.label}: something else has replaced it since")
        _tui.leave()
        async_delegation._refusal = None
        async_delegation._ledger_for = None
        async_delegation._registry.redact = None
        moved = self._queue.uninstall()
        self._records.uninstall()
        _ledger.flush()
        return InstallReport(self._version, [*put_back, QUEUE][::-1], [], left_alone, moved)

    def report(self) -> InstallReport:
        """Return what is replaced now."""
        labels = [QUEUE, *(swap.label for swap in self._swaps)]
        served = {_hooks.name_of(module) for module in self._served}
        pending = [
            name
            for name, functions in FRONT_ENDS.items()
            if name not in served
            and not any(f"{name}.{function}" in self._left_alone for function in functions)
        ]
        left_alone = [f"{label}: {reason}" for label, reason in self._left_alone.items()]
        return InstallReport(self._version, labels, pending, left_alone, self._moved)

    def announce(self) -> None:
        """Log what is replaced, once, as soon as there is a log.

        The TUI loads plugins before it sets its logging up; it asks again after each turn.
        """
        if self._announced or not logger.hasHandlers():
            return
        self._announced = True
        report = self.report()
        logger.info(
            "hermes_core %s replaces %s in hermes-agent %s",
            own_version(),
            ", ".join(report.replaced),
            report.version,
        )

    def _turn_ended(self) -> None:
        """A turn of the TUI has ended."""
        self.announce()
        _tui.turn_ended()

    def attend_front_ends(self) -> None:
        """Serve the front ends that are imported; wait for those that are being imported."""
        for name in FRONT_ENDS:
            for module in _hooks.loaded(name):
                self._attend(name, module)

    def _attend(self, name: str, module: ModuleType) -> None:
        functions = FRONT_ENDS[name]
        if module in self._served:
            return
        heads = {function.partition(".")[0] for function in functions}
        if not heads <= vars(module).keys() and _hooks.still_importing(module):
            _hooks.when_imported(module, self._front_end_came)
            return
        if found := self._problems(name, module):
            self._left_alone.update(found)
            for label, problem in found.items():
                logger.warning("hermes_core leaves %s alone: %s", label, problem)
            return
        # All are made before the first is put in place: one that cannot be made leaves none behind.
        made: list[_Swap | _cli.InputSwap] = []
        for function, stand_in in functions.items():
            if stand_in is None:
                made.append(self._input_swap(module.HermesCLI))
            else:
                owner, attribute = _hooks.owner_of(module, function)
                ours = stand_in(vars(owner)[attribute])
                made.append(_Swap(owner, f"{name}.{function}", attribute, ours))
        for swap in made:
            self._do(swap)
        for function in functions:
            self._left_alone.pop(f"{name}.{function}", None)
        self._served.append(module)

    def _problems(self, name: str, module: ModuleType) -> dict[str, str]:
        """Say which functions of a front end are not the known ones, and why."""
        known = {str(part): part for part in _fingerprint.parts(self._version)}
        found: dict[str, str] = {}
        for function in FRONT_ENDS[name]:
            label = f"{name}.{function}"
            if (problem := _fingerprint.in_memory(known[label], module)) is not None:
                found[label] = problem
        served = {_hooks.name_of(other) for other in self._served}
        for other in LEANS_ON.get(name, ()):
            if other not in served:
                found |= {f"{name}.{each}": f"leans on {other}" for each in FRONT_ENDS[name]}
        return found

    def _front_end_came(self, module: ModuleType) -> None:
        """Serve a front end whose import has just ended, on the thread that imported it."""
        name = _hooks.name_of(module)
        try:
            with _lock:
                if _current is self and not self.leaving:
                    self._attend(name, module)
                    logger.info("hermes_core serves %s, imported just now", name)
        except Exception:
            # The import must not fail for it: the front end works with its own function, too.
            logger.exception("hermes_core could not serve %s", name)

    def _input_swap(self, cli_class: type) -> _cli.InputSwap:
        processes, events = self._processes, async_delegation.completion_queue

        def text_of(event: Any) -> str | None:
            return _replacements.notification(processes.process_registry, processes, event)

        def make(plain: Queue[Any], cli: Any) -> _cli_input.InputQueue:
            return _cli_input.InputQueue(plain, cli, events, text_of, _cli.restore)

        return _cli.InputSwap(cli_class, f"{_known.CLI}.HermesCLI.{_cli.ATTRIBUTE}", make)

    def _replace(self, owner: Any, label: str, name: str, ours: Callable[..., Any]) -> None:
        self._do(_Swap(owner, label, name, ours))

    def _do(self, swap: _Swap | _cli.InputSwap) -> None:
        self._swaps.append(swap)  # first: what is not done yet can be undone all the same
        swap.do()

    def _core_parts(self) -> list[tuple[Any, str, str, Callable[..., Any]]]:
        registry, processes = self._registry, self._processes
        reset = _replacements.reset_for(
            registry._reset_for_tests, async_delegation._reset_for_tests
        )
        functions: list[tuple[str, Callable[..., Any]]] = [
            (
                "dispatch_async_delegation",
                _cli.dispatch_for(async_delegation.dispatch_async_delegation),
            ),
            ("active_count", async_delegation.active_count),
            ("list_async_delegations", async_delegation.list_async_delegations),
            ("interrupt_all", async_delegation.interrupt_all),
            ("_reset_for_tests", reset),
        ]
        formatter = hermes_core.format_process_notification
        return [
            *((registry, _known.REGISTRY, name, ours) for name, ours in functions),
            (processes, _known.PROCESSES, "format_process_notification", formatter),
            (
                processes.ProcessRegistry,
                f"{_known.PROCESSES}.ProcessRegistry",
                "drain_notifications",
                _replacements.drain_for(processes, self._turn_ended),
            ),
        ]


class _Swap:
    """One attribute that holds something of ours."""

    __slots__ = ("_name", "_original", "_ours", "_owner", "label")

    def __init__(self, owner: Any, label: str, name: str, ours: Callable[..., Any]) -> None:
        self.label = label
        self._owner = owner
        self._name = name
        self._ours = ours
        self._original = vars(owner)[name]

    def do(self) -> None:
        setattr(self._owner, self._name, self._ours)

    def undo(self) -> bool:
        """Put the original back, unless someone has put a third thing there, say a wrapper."""
        present = vars(self._owner).get(self._name)
        if present is self._ours:
            setattr(self._owner, self._name, self._original)
        return present is self._ours or present is self._original


def _import_core_modules() -> tuple[ModuleType, ModuleType]:
    try:
        return (
            importlib.import_module(_known.REGISTRY),
            importlib.import_module(_known.PROCESSES),
        )
    except ImportError as error:
        raise IncompatibleGateway([f"its tools cannot be imported: {error}"]) from error


def _loaded_differences(modules: tuple[ModuleType, ModuleType]) -> list[str]:
    """Compare what is loaded with what is known: another plugin may have been here before."""
    by_name = {module.__name__: module for module in modules}
    result = [
        f"{part}: {problem}"
        for part in _fingerprint.parts(_fingerprint.version())
        if part.module in by_name
        and (problem := _fingerprint.in_memory(part, by_name[part.module])) is not None
    ]
    instance = getattr(modules[1], "process_registry", None)
    if instance is None:
        result.append(f"{_known.PROCESSES}.process_registry: not there")
    elif (problem := _queue_swap.unsuitable(instance)) is not None:
        result.append(f"{QUEUE}: {problem}")
    return result
