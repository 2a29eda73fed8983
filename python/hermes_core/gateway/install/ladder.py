"""How much of a gateway the core serves: module by module, as high up as is safe.

A module stands on one of four rungs, the first of these that holds:

* *exact*: its functions read as in a version that is known, or in one that the user declares known.
* *by shape*: its functions have the names and parameters that they must have. That is enough for
  the registry and the queue, and for functions that ours calls.
* *the host's*: a front end that reads differently keeps its own loops. They work with our queue as
  with theirs.
* *refused*: the registry or the queue lacks a function, or a function wants what ours does not
  know, or it cannot be told which it has. Then nothing is touched.

What a gateway is its sources say: its version is that of the release even where it was installed
from a later state of its repository.
"""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from hermes_core.gateway import config_file, versions
from hermes_core.gateway.install import fingerprint
from hermes_core.gateway.install.fingerprint import Found

if TYPE_CHECKING:
    from pathlib import Path

    from hermes_core.gateway.versions import Facts, Function, Version


class Rung(enum.StrEnum):
    """How a module of the gateway is served."""

    EXACT = "exact"
    BY_SHAPE = "by shape"
    HOSTS = "the host's"
    REFUSED = "refused"


class Standing(NamedTuple):
    """Where a module stands, why, and what can be done about it."""

    module: str
    rung: Rung
    #: One line for each function that keeps it from a higher rung.
    why: tuple[str, ...] = ()
    advice: str = ""

    def __str__(self) -> str:
        why = f" ({'; '.join(self.why)})" if self.why else ""
        return f"{self.module}: {self.rung}{why}"


class Ladder(NamedTuple):
    """Where each module of a gateway stands."""

    standings: dict[str, Standing]
    #: Why the gateway cannot be served at all; empty where it can.
    refusals: list[str]
    #: The known version that is nearest, by what reads the same.
    nearest: Version
    #: What is true of this gateway, as far as that can be told.
    facts: Facts
    #: The functions that cannot even be called as they must be, by their full names.
    misfits: frozenset[str]
    #: Why the user's own file is not heeded; empty where it is, or where there is none.
    ignored: str = ""

    def rung(self, module: str) -> Rung:
        """Return where a module stands."""
        return self.standings[module].rung


NOT_THERE = f"{versions.DISTRIBUTION} is not installed in this environment ({sys.prefix})"

_BLESS = (
    "the core works with the gateway's own loops there; where they do what they did, write "
    "`hermes-core doctor --fingerprint` to {own} to have them replaced"
)
_DECLARE = (
    "it is served by names and parameters alone; where it does what it did, write "
    "`hermes-core doctor --fingerprint` to {own}, and it is a known one"
)
_LATER = "a later hermes_core may serve it"
_NOT_YET = "this release of hermes_core leaves the loops of this version to the gateway"
_WITH_OTHERS = "it is served once that is"
#: The registry of a version that is known starts none.
_THREAD = re.compile(r"\bThread\(")
_UNCLAIMED = "without all functions of its claims, what is taken counts as delivered"
_WATCHED = "a thread that it starts watches its own delegations, not the core's"


def climb(home: str | None = None) -> Ladder:
    """Read the installed gateway, and say where each of its modules stands; never raises.

    Args:
        home: where the user's own file is; the gateway's home if left out.
    """
    return _Reading(config_file.home(home)).ladder()


def draft(home: str | None = None) -> str:
    """Return the file of a version for the installed gateway, with the nearest one's facts."""
    reading = _Reading(config_file.home(home))
    ladder = reading.ladder()
    lines = [
        f"# hermes-agent {fingerprint.version()}, nearest to {ladder.nearest.name}",
        "",
        f"version = {_toml(fingerprint.version())}",
        f"served = {_toml(sorted(ladder.nearest.served))}",
        "",
        "[facts]",
        *(f"{name} = {_toml(value)}" for name, value in ladder.facts._asdict().items()),
    ]
    for module in versions.modules():
        lines += ["", f"[digests.{_toml(module)}]"]
        lines += [
            f"{_toml(function.name)} = {_toml(found.digest)}"
            for function, found in reading.found.items()
            if function.module == module and isinstance(found, Found)
        ]
    return "\n".join(lines) + "\n"


def in_short(standings: Iterable[Standing]) -> str:
    """Say in one line how each part of a gateway is served."""
    rungs = {standing.module: standing.rung for standing in standings}
    return ", ".join(
        f"{name} {rungs[module]}" for module, name in _PARTS.items() if module in rungs
    )


class _Reading:
    """The installed gateway as its files say it is, beside the versions that are known."""

    def __init__(self, home: Path) -> None:
        self._own = home / versions.OWN_FILE
        self._known, self._ignored = versions.shipped(), ""
        try:
            own = versions.own(self._own)
        except versions.VersionError as error:
            self._ignored = str(error)
        else:
            self._known += () if own is None else (own,)
        self.found = fingerprint.in_files(versions.functions())
        self._nearest = max(self._known, key=self._alike)

    def ladder(self) -> Ladder:
        """Say where each module stands."""
        found: dict[str, Standing] = {}
        refusals = [NOT_THERE]
        if fingerprint.version():
            alone = {module: self._alone(module) for module in versions.modules()}
            found = {module: self._with_others(each, alone) for module, each in alone.items()}
            refusals = [
                line for each in alone.values() if each.rung is Rung.REFUSED for line in each.why
            ]
        unfit = frozenset(str(each) for each in self.found if any(self._misfits([each])))
        return Ladder(found, refusals, self._nearest, self._facts(), unfit, self._ignored)

    def _alone(self, module: str) -> Standing:
        """Say where a module stands by its own functions."""
        functions = [function for function in self.found if function.module == module]
        if any(self._reads_as(functions, version) for version in self._serving(module)):
            return Standing(module, Rung.EXACT)
        misfits = dict.fromkeys([*self._misfits(functions), *_missing_of(module)])
        if misfits:
            rung = Rung.HOSTS if module in _that_may_be_left() else Rung.REFUSED
            return Standing(module, rung, tuple(misfits), _LATER)
        changed = [*filter(None, map(self._difference, functions)), *self._further(functions)]
        if module == versions.REGISTRY:
            changed += self._of_the_registry(functions)
        decisive = [each for each in functions if each.role not in ("wrapped", "called")]
        if module not in _that_may_be_left() or any(
            self._reads_as(decisive, version) for version in self._serving(module)
        ):
            rung, advice = Rung.BY_SHAPE, _DECLARE
        else:
            rung = Rung.HOSTS
            advice = _BLESS if module in self._nearest.served else _NOT_YET
        return Standing(module, rung, tuple(changed), advice.format(own=self._own))

    def _of_the_registry(self, functions: Iterable[Function]) -> Iterator[str]:
        """Say what else comes of how the registry is."""
        if fingerprint.has(versions.REGISTRY, _THREAD):
            yield _WATCHED
        claims = [each for each in functions if each.together == _CLAIMS]
        if any(map(self._is_lacking, claims)) and not all(map(self._is_lacking, claims)):
            yield _UNCLAIMED

    def _with_others(self, standing: Standing, alone: dict[str, Standing]) -> Standing:
        """A module that is served for those that it leans on, if they are."""
        needed = versions.leans_on().get(standing.module, ())
        low = [each for each in needed if alone[each].rung in (Rung.HOSTS, Rung.REFUSED)]
        # Without the registry and the queue nothing is touched.
        low += [each for each in alone if alone[each].rung is Rung.REFUSED and each not in low]
        if not low or standing.rung in (Rung.HOSTS, Rung.REFUSED):
            return standing
        rung = Rung.HOSTS if standing.module in _that_may_be_left() else Rung.REFUSED
        why = tuple(f"it leans on {other}" for other in low)
        return Standing(standing.module, rung, why, _WITH_OTHERS)

    def _serving(self, module: str) -> Iterator[Version]:
        return (version for version in self._known if module in version.served)

    def _reads_as(self, functions: Iterable[Function], version: Version) -> bool:
        """Whether these all read as in a version, and nothing but that can be meant by them."""
        return all(
            self._digest(function) == _known_digest(function, version)
            and not self._is_doubtful(function)
            for function in functions
        )

    def _digest(self, function: Function) -> str | None:
        found = self.found[function]
        return found.digest if isinstance(found, Found) else None

    def _is_doubtful(self, function: Function) -> bool:
        found = self.found[function]
        if isinstance(found, str):
            return not function.optional
        return found is not None and bool(found.doubt)

    def _difference(self, function: Function) -> str | None:
        """Say in what a function is not as in the nearest version."""
        digest, known = self._digest(function), _known_digest(function, self._nearest)
        if digest == known:
            return None
        how = "is not there" if digest is None else "is new" if known is None else ""
        return f"{function.name} {how or 'reads differently'}"

    def _further(self, functions: Iterable[Function]) -> Iterator[str]:
        """Say what functions may be given that no stand-in knows."""
        for function in functions:
            found = self.found[function]
            if function.role == "replaced" and isinstance(found, Found):
                known = (*function.required, *function.tolerated)
                if further := [name for name in found.parameters if name not in known]:
                    yield f"{function.name} also takes {', '.join(further)}"

    def _misfits(self, functions: Iterable[Function]) -> Iterator[str]:
        """Say in what functions have not the shape that they must have."""
        for function in functions:
            found = self.found[function]
            if isinstance(found, Found):
                yield from (f"{function}: {misfit}" for misfit in _misfits_of(function, found))
            elif function.optional:
                continue
            elif found is None:
                yield f"{function}: not there any more"
            else:
                yield f"{function.module}: {found}"

    def _alike(self, version: Version) -> int:
        """Count the functions that read as in a version."""
        return sum(self._digest(each) == _known_digest(each, version) for each in self.found)

    def _facts(self) -> Facts:
        """What is true of the nearest version, but for what the sources themselves tell."""
        claims = [function for function in self.found if function.together == _CLAIMS]
        return self._nearest.facts._replace(
            drain_arguments=self._parameters(versions.PROCESSES, _DRAIN)[1:],
            turn_keywords=self._parameters(versions.TUI, _TURN)[4:],
            claims=()
            if any(map(self._is_lacking, claims))
            else tuple(each.name for each in claims),
        )

    def _is_lacking(self, function: Function) -> bool:
        return not isinstance(self.found[function], Found)

    def _parameters(self, module: str, name: str) -> tuple[str, ...]:
        return next(
            found.parameters if isinstance(found, Found) else ()
            for function, found in self.found.items()
            if (function.module, function.name) == (module, name)
        )


_CLAIMS = "claims"
_PARTS = {
    versions.REGISTRY: "registry",
    versions.PROCESSES: "queue",
    versions.TUI: "TUI",
    versions.CLI: "CLI",
    versions.MESSAGING: "messaging",
}
_DRAIN = "ProcessRegistry.drain_notifications"
_TURN = "_run_prompt_submit"


def _missing_of(module: str) -> Iterator[str]:
    """Say what else a module must have and has not."""
    for name in versions.needs().get(module, ()):
        if not fingerprint.has(module, re.compile(rf"^{name}\b[^=\n]*=", re.MULTILINE)):
            yield f"{module}.{name}: not there any more"


def _misfits_of(function: Function, found: Found) -> Iterator[str]:
    """Say in what a function has not the shape that it must have."""
    if found.doubt:
        yield found.doubt
    if found.kind != function.kind:
        yield f"is a {found.kind} now, not a {function.kind}"
    missing = [name for name in function.required if name not in found.parameters]
    yield from (f"does not take {name} any more" for name in missing)
    for name in found.required:
        if name not in (*function.required, *function.tolerated):
            yield f"now requires {name}"
    # What is replaced is called by others, and their arguments go by their names.
    is_called = function.role in ("wrapped", "called") and not missing
    if is_called and found.positional[: len(function.required)] != function.required:
        yield "takes its arguments in another order"


def _known_digest(function: Function, version: Version) -> str | None:
    return version.digests.get((function.module, function.name))


def _that_may_be_left() -> frozenset[str]:
    """The modules that may be left to the gateway: those of front ends, and what only tells."""
    leaned_on = (other for name in versions.FRONT_ENDS for other in versions.leans_on()[name])
    return frozenset([*versions.FRONT_ENDS, *leaned_on, versions.CONTEXT])


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "[" + ", ".join(_toml(each) for each in value) + "]"
