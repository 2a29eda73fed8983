"""Install and uninstall: what is done in which order, under one lock."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hermes_core
from hermes_core import async_delegation
from hermes_core.gateway import (
    consumers,
    counters,
    front_ends,
    home_ledgers,
    queue_swap,
    queued,
    replacements,
    settings,
    versions,
)
from hermes_core.gateway.cli import input_queue, session
from hermes_core.gateway.install import fingerprint, ladder, redaction
from hermes_core.gateway.install.ladder import Rung
from hermes_core.gateway.install.record_share import RecordShare
from hermes_core.gateway.install.report import IncompatibleGateway, InstallReport, Status
from hermes_core.gateway.leasing import Leasing
from hermes_core.gateway.messaging import hooks, turns, watch_drain, watcher
from hermes_core.gateway.messaging import starts as messaging_starts
from hermes_core.gateway.tui import delivery
from hermes_core.gateway.tui import starts as tui_starts
from hermes_core.runtime import forked

if TYPE_CHECKING:
    from queue import Queue
    from types import ModuleType

    from hermes_core.gateway.install.ladder import Ladder

logger = logging.getLogger("hermes_core.gateway")

FRONT_ENDS: dict[str, dict[str, Callable[[Any], Callable[..., Any]] | None]] = {
    versions.ADAPTERS: {
        "BasePlatformAdapter._release_session_guard": hooks.release_for,
        "BasePlatformAdapter._heal_stale_session_lock": hooks.heal_for,
        "BasePlatformAdapter._start_session_processing": turns.start_for,
    },
    versions.SESSIONS: {
        "SessionStore.get_or_create_session": hooks.session_for,
        "SessionStore.reset_session": hooks.reset_for,
    },
    versions.MESSAGING: {
        "_drain_gateway_watch_events": watch_drain.watch_drain_for,
        "GatewayRunner._release_running_agent_state": hooks.end_of_run_for,
        "GatewayRunner._update_platform_runtime_status": hooks.platform_status_for,
        "GatewayRunner._handle_message_with_agent": turns.agent_turn_for,
        "GatewayRunner._async_delegation_watcher": watcher.watcher_for,
    },
    versions.TUI: {"_notification_poller_loop": delivery.poller_for},
    versions.CLI: {"HermesCLI.run.process_loop": None},
    versions.CONTEXT: {"async_delivery_supported": consumers.supported_for},
    versions.DELEGATE: {"delegate_task": queued.delegate_for},
}
"""Front-end modules, with the functions in each that the core stands in for, and by what.

A module is served whole or not at all, and only if those that it leans on are. The CLI's loop
stays; what it waits at is exchanged.
"""

Tells = tuple[
    str,
    Callable[[Any, Any, Any], Callable[..., Any]],
    Callable[[Any, Any], None],
]

TOLD: dict[str, Tells] = {
    versions.TUI: ("_start_notification_poller", tui_starts.poller_for, tui_starts.running),
    versions.MESSAGING: (
        "GatewayRunner._async_delegation_watcher",
        messaging_starts.watcher_for,
        messaging_starts.running,
    ),
}
"""Of front ends that keep their own loops: the function that starts one, what tells of that, and
what is done about those that run by then."""

LEANS_ON = {versions.MESSAGING: (versions.ADAPTERS, versions.SESSIONS)}

QUEUE = f"{versions.PROCESSES}.process_registry.completion_queue"

_lock = forked.lock(sys.modules[__name__], make=threading.RLock)
_current: Installation | None = None


def install() -> InstallReport:
    """Put the core in place of the gateway's own delegation code.

    Looks at the whole gateway first: each of its modules is served as far as is safe (see
    `hermes_core.gateway.install.ladder`), and nothing is touched where that is not at all. Front
    ends that are not imported yet are served when they are. Does nothing when already installed.
    May be called from any thread at any time, also while delegations run and events arrive: none
    is lost, and the cap counts those of both registries.

    Raises `IncompatibleGateway`.
    """
    global _current
    with _lock:
        if _current is not None and _current.leaving:
            uninstall()  # the rest of one that was broken off
        if _current is not None:
            _current.attend_front_ends()
            return _current.report()
    found = ladder.climb()
    if found.refusals:
        raise IncompatibleGateway(found.refusals)
    # Imported outside the lock: an import waits for the import locks of other threads, and one of
    # those may be waiting for ours, with a front end that has just come in.
    modules = _import_core_modules()
    with _lock:
        if _current is None:
            if differences := _loaded_differences(modules):
                raise IncompatibleGateway(differences)
            # Known before the first step, so that an interrupt leaves nothing behind that an
            # uninstall would not find.
            _current = Installation(*modules, found)
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
            return InstallReport("", [], [], [], 0, [], "")
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
            found = ladder.climb()
            standings = list(found.standings.values())
            version = fingerprint.version()
            report = InstallReport(version, [], [], [], 0, standings, found.ignored)
            return Status(False, *report, counters.snapshot(), home_ledgers.health())
        counted = counters.snapshot() | watcher.waiting() | _current.claims()
        if waiting := async_delegation._registry.stats()["queued"]:
            counted["delegations that wait for capacity"] = waiting
        return Status(True, *_current.report(), counted, home_ledgers.health())


def own_version() -> str:
    """Return the version of the installed hermes_core."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hermes-agent-core")
    except PackageNotFoundError:
        return str(getattr(hermes_core, "__version__", "(version unknown)"))


class Installation:
    """One stay of the core in one gateway."""

    def __init__(self, registry: ModuleType, processes: ModuleType, found: Ladder) -> None:
        self._version = fingerprint.version()
        self._ladder = found
        self._registry = registry
        self._processes = processes
        self._swaps: list[_Swap | _Added | session.InputSwap] = []
        self._served: list[ModuleType] = []
        self._told: list[ModuleType] = []  # of front ends that keep their own loops
        self._left_alone: dict[str, str] = {}
        self._moved = 0
        self._announced = False
        self.leaving = False  # an uninstall has begun
        self._records = RecordShare(registry)
        ours, host = async_delegation.completion_queue, processes.process_registry
        self._leasing: Leasing | None = None
        if found.facts.claims:
            theirs = host.completion_queue
            self._leasing = Leasing(registry, theirs, ours, async_delegation._registry)
        self._queue = queue_swap.QueueSwap(host, ours, self._leasing)
        self._finder = front_ends.PostImportFinder(list(FRONT_ENDS), self._front_end_came)

    def install(self) -> None:
        """Replace the core parts; front ends follow."""
        # Queue and records first: what the new functions do must find them in place.
        self._records.install()
        # But before the queue what its consumers call of each event: it knows of both queues.
        for owner, label, name, ours in self._delivery_parts():
            self._replace(owner, f"{label}.{name}", name, ours)
        self._moved = self._queue.install()
        async_delegation._refusal = consumers.refusal
        async_delegation._ledger_for = home_ledgers.of_dispatch
        async_delegation._max_queued = settings.max_queued
        async_delegation._permits = settings.permits
        shared = async_delegation._registry
        shared.redact = redaction.redact
        shared.max_summary, shared.max_total = settings.bounds()
        for owner, label, name, ours in self._core_parts():
            self._replace(owner, f"{label}.{name}", name, ours)
        told = queue_swap.on_assignment(delivery.queue_replaced)
        self._do(_Added(self._processes.ProcessRegistry, "__setattr__", told))
        self._finder.install()

    def uninstall(self) -> InstallReport:
        """Put everything back, in the opposite order; may be repeated until it comes through."""
        self.leaving = True
        self._finder.uninstall()
        watcher.give_way()
        # Here, too: what its consumers call must know of each event until it is gone.
        moved = self._queue.uninstall() if self._leasing is not None else 0
        put_back: list[str] = []
        left_alone: list[str] = []
        for swap in reversed(self._swaps):
            if swap.undo():
                if not isinstance(swap, _Added):
                    put_back.append(swap.label)
            else:
                left_alone.append(f"{swap.label}: something else has replaced it since")
        delivery.leave()
        async_delegation._refusal = None
        async_delegation._ledger_for = None
        async_delegation._max_queued = async_delegation._permits = None
        shared = async_delegation._registry
        shared.redact = shared.max_summary = shared.max_total = None
        if self._leasing is None:
            moved = self._queue.uninstall()
        self._records.uninstall()
        home_ledgers.flush()
        self._swaps.clear()  # with what they hold of the gateway
        back = [*put_back, QUEUE][::-1]
        standings = list(self._ladder.standings.values())
        ignored = self._ladder.ignored
        return InstallReport(self._version, back, [], left_alone, moved, standings, ignored)

    def report(self) -> InstallReport:
        """Return what is replaced now."""
        swaps = [swap for swap in self._swaps if not isinstance(swap, _Added)]
        labels = [QUEUE, *(swap.label for swap in swaps)]
        served = {front_ends.name_of(module) for module in self._served}
        pending = [
            name
            for name, functions in FRONT_ENDS.items()
            if name not in served
            and self._is_wanted(name)
            and not any(f"{name}.{function}" in self._left_alone for function in functions)
        ]
        left_alone = [f"{label}: {reason}" for label, reason in self._left_alone.items()]
        return InstallReport(
            self._version,
            labels,
            pending,
            left_alone,
            self._moved,
            list(self._ladder.standings.values()),
            self._ladder.ignored,
        )

    def claims(self) -> dict[str, int]:
        """Count the results that consumers have, where they claim them."""
        return {} if self._leasing is None else self._leasing.claims.counts()

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

    def _turn_ended(self) -> bool:
        """A turn of the TUI has ended; whether the core delivers to its sessions."""
        self.announce()
        if not any(front_ends.name_of(module) == versions.TUI for module in self._served):
            return False
        delivery.turn_ended()
        return True

    def attend_front_ends(self) -> None:
        """Serve the front ends that are imported; wait for those that are being imported."""
        for name in filter(self._is_wanted, FRONT_ENDS):
            for module in front_ends.loaded(name):
                self._attend(name, module)
        for name in filter(self._is_told, TOLD):
            for module in front_ends.loaded(name):
                self._listen_to(name, module)

    def _is_told(self, name: str) -> bool:
        """Whether a front end keeps its own loops, and is to have what was left for it."""
        if self._leasing is None or name not in TOLD or self._is_wanted(name):
            return False
        return f"{name}.{TOLD[name][0]}" not in self._ladder.misfits

    def _listen_to(self, name: str, module: ModuleType) -> None:
        """Have what was left for the sessions of such a front end come as they start."""
        function, wrap, running = TOLD[name]
        if self._leasing is None or module in self._told:
            return
        if function.partition(".")[0] not in vars(module):
            if front_ends.still_importing(module):
                front_ends.when_imported(module, self._front_end_came)
            return
        owner, attribute = front_ends.owner_of(module, function)
        if callable(original := vars(owner).get(attribute)):
            ours = wrap(original, module, self._leasing.restored)
            self._replace(owner, f"{name}.{function}", attribute, ours)
            self._told.append(module)
            try:
                running(module, self._leasing.restored)
            except Exception:
                # What comes while the process runs is delivered all the same.
                logger.exception("what was left for %s before cannot be given back", name)

    def _attend(self, name: str, module: ModuleType) -> None:
        functions = FRONT_ENDS[name]
        if module in self._served:
            return
        heads = {function.partition(".")[0] for function in functions}
        if not heads <= vars(module).keys() and front_ends.still_importing(module):
            front_ends.when_imported(module, self._front_end_came)
            return
        if found := self._problems(name, module):
            self._left_alone.update(found)
            for label, problem in found.items():
                logger.warning("hermes_core leaves %s alone: %s", label, problem)
            return
        # All are made before the first is put in place: one that cannot be made leaves none behind.
        made: list[_Swap | _Added | session.InputSwap] = []
        for function, stand_in in functions.items():
            if stand_in is None:
                made.append(self._input_swap(module.HermesCLI))
            else:
                owner, attribute = front_ends.owner_of(module, function)
                ours = stand_in(vars(owner)[attribute])
                made.append(_Swap(owner, f"{name}.{function}", attribute, ours))
        for swap in made:
            self._do(swap)
        queue_swap.adapt()
        for function in functions:
            self._left_alone.pop(f"{name}.{function}", None)
        self._served.append(module)

    def _problems(self, name: str, module: ModuleType) -> dict[str, str]:
        """Say which functions of a front end are not those of its file, and why."""
        known = {str(function): function for function in versions.functions()}
        found: dict[str, str] = {}
        for function in FRONT_ENDS[name]:
            label = f"{name}.{function}"
            if (problem := fingerprint.in_memory(known[label], module)) is not None:
                found[label] = problem
        served = {front_ends.name_of(other) for other in self._served}
        for other in LEANS_ON.get(name, ()):
            if other not in served:
                found |= {f"{name}.{each}": f"leans on {other}" for each in FRONT_ENDS[name]}
        return found

    def _is_wanted(self, name: str) -> bool:
        """Whether a front end is served by more than the queue, or leaned on by one that is."""
        if name == versions.DELEGATE:
            return self._replaces(name)
        if name == versions.CONTEXT:
            wanted = [each for each in versions.functions() if each.module == name]
            found = fingerprint.in_files(wanted).values()
            return self._replaces(name) and any(
                isinstance(each, fingerprint.Found) for each in found
            )
        served = [front_end for front_end in versions.FRONT_ENDS if self._replaces(front_end)]
        return name in served or any(name in LEANS_ON.get(other, ()) for other in served)

    def _replaces(self, front_end: str) -> bool:
        return self._ladder.rung(front_end) in (Rung.EXACT, Rung.BY_SHAPE)

    def _front_end_came(self, module: ModuleType) -> None:
        """Serve a front end whose import has just ended, on the thread that imported it."""
        name = front_ends.name_of(module)
        try:
            with _lock:
                if _current is not self or self.leaving:
                    return
                if self._is_told(name):
                    self._listen_to(name, module)
                elif self._is_wanted(name):
                    self._attend(name, module)
                    logger.info("hermes_core serves %s, imported just now", name)
        except Exception:
            # The import must not fail for it: the front end works with its own function, too.
            logger.exception("hermes_core could not serve %s", name)

    def _input_swap(self, cli_class: type) -> session.InputSwap:
        processes, events = self._processes, async_delegation.completion_queue

        def text_of(event: Any) -> str | None:
            return replacements.notification(processes.process_registry, processes, event)

        def make(plain: Queue[Any], cli: Any) -> input_queue.InputQueue:
            return input_queue.InputQueue(plain, cli, events, text_of, session.restore)

        return session.InputSwap(cli_class, f"{versions.CLI}.HermesCLI.{session.ATTRIBUTE}", make)

    def _replace(self, owner: Any, label: str, name: str, ours: Callable[..., Any]) -> None:
        self._do(_Swap(owner, label, name, ours))

    def _do(self, swap: _Swap | _Added | session.InputSwap) -> None:
        self._swaps.append(swap)  # first: what is not done yet can be undone all the same
        swap.do()

    def _delivery_parts(self) -> list[tuple[Any, str, str, Callable[..., Any]]]:
        """What stands in for the functions by which consumers claim and settle."""
        registry, leasing = self._registry, self._leasing
        functions = {} if leasing is None else leasing.functions()
        return [
            (
                registry,
                versions.REGISTRY,
                name,
                # It does without what it does not know: the gateway's own does not know ours.
                replacements.fitted(ours, vars(registry)[name], None),
            )
            for name, ours in functions.items()
            if name in vars(registry)
        ]

    def _reset_for_tests(self) -> None:
        async_delegation._reset_for_tests()
        if self._leasing is not None:
            self._leasing.claims.clear()

    def _core_parts(self) -> list[tuple[Any, str, str, Callable[..., Any]]]:
        registry, processes = self._registry, self._processes
        reset = replacements.reset_for(registry._reset_for_tests, self._reset_for_tests)
        propagate = vars(registry).get("propagate_context_to_thread")
        functions: list[tuple[str, Callable[..., Any]]] = [
            *(
                (dispatch.__name__, session.dispatch_for(dispatch, propagate))
                for dispatch in (
                    async_delegation.dispatch_async_delegation,
                    async_delegation.dispatch_async_delegation_batch,
                )
            ),
            ("active_count", async_delegation.active_count),
            ("list_async_delegations", async_delegation.list_async_delegations),
            ("interrupt_all", async_delegation.interrupt_all),
            ("interrupt_for_session", async_delegation.interrupt_for_session),
            ("_reset_for_tests", reset),
        ]
        formatter = replacements.format_process_notification
        drain = replacements.drain_for(
            processes.ProcessRegistry.drain_notifications,
            processes,
            self._turn_ended,
            None if self._leasing is None else self._leasing.session_drains,
        )
        owner = processes.ProcessRegistry
        parts: list[tuple[Any, str, str, Callable[..., Any]]] = [
            *(
                (registry, versions.REGISTRY, name, ours)
                for name, ours in functions
                if hasattr(registry, name)  # not every version has them all
            ),
            (processes, versions.PROCESSES, formatter.__name__, formatter),
            (owner, f"{versions.PROCESSES}.ProcessRegistry", drain.__name__, drain),
        ]
        return [
            (owner, label, name, _fitted(owner, name, ours)) for owner, label, name, ours in parts
        ]


#: What the gateway's own functions see of ours, by its table of delegations.
_SEEN = ("active_count", "list_async_delegations", "interrupt_all", "interrupt_for_session")


def _fitted(owner: Any, name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
    original = vars(owner)[name]
    return replacements.fitted(ours, original, original if name in _SEEN else None)


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


class _Added:
    """A method that a class of the gateway's has of ours, where it had none of its own."""

    __slots__ = ("_name", "_ours", "_owner", "label")

    def __init__(self, owner: type, name: str, ours: Callable[..., Any]) -> None:
        self.label = f"{owner.__module__}.{owner.__name__}.{name}"
        self._owner = owner
        self._name = name
        self._ours = ours

    def do(self) -> None:
        if self._name not in vars(self._owner):
            setattr(self._owner, self._name, self._ours)

    def undo(self) -> bool:
        """Take it away again, unless someone has put another thing there."""
        present = vars(self._owner).get(self._name)
        if present is self._ours:
            delattr(self._owner, self._name)
        return present is self._ours or present is None


def _import_core_modules() -> tuple[ModuleType, ModuleType]:
    try:
        return (
            importlib.import_module(versions.REGISTRY),
            importlib.import_module(versions.PROCESSES),
        )
    except ImportError as error:
        raise IncompatibleGateway([f"its tools cannot be imported: {error}"]) from error


def _loaded_differences(modules: tuple[ModuleType, ModuleType]) -> list[str]:
    """Compare what is loaded with its files: another plugin may have been here before."""
    by_name = {module.__name__: module for module in modules}
    wanted = [each for each in versions.functions() if each.module in by_name]
    result = [
        f"{function}: {problem}"
        for function, found in fingerprint.in_files(wanted).items()
        if isinstance(found, fingerprint.Found)
        and (problem := fingerprint.in_memory(function, by_name[function.module])) is not None
    ]
    result += [
        f"{name}.{attribute}: not there"
        for name, module in by_name.items()
        for attribute in versions.needs().get(name, ())
        if not hasattr(module, attribute)
    ]
    if not isinstance(getattr(modules[0], "_records", {}), dict):
        result.append(f"{versions.REGISTRY}._records: is no dict")
    instance = getattr(modules[1], "process_registry", None)
    if instance is not None and (problem := queue_swap.unsuitable(instance)) is not None:
        result.append(f"{QUEUE}: {problem}")
    return result
