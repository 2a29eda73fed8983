"""A gateway that nobody has seen is served as far as is safe, and everything says the same of it.

Releases are changed by generated edits. What must be said of the result is worked out here, from
the edits and the version files, in another way than the core works it out from the sources.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple

import edits
import later
import pytest
from edits import EDITS, Target
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import hermes_core.gateway.versions
from hermes_core import gateway
from hermes_core.cli.main import main
from hermes_core.gateway.install import fingerprint, ladder
from hermes_core.gateway.install.report import InstallReport

LONG = os.environ.get("HERMES_CORE_EXAMPLES") == "long"
BASES = ("0.17.0", "0.19.0")
FOLDER = Path(hermes_core.gateway.versions.__file__).parent

#: The modules of front ends, by what they are called in one line, and those that each leans on.
FRONT_ENDS = {
    "tui_gateway.server": "TUI",
    "cli": "CLI",
    "gateway.run": "messaging",
}
LEANED_ON = {
    "gateway.platforms.base",
    "gateway.session",
    "hermes_cli.profiles",
    "hermes_state",
    "hermes_cli.plugins",
}
MAY_BE_LEFT = {*FRONT_ENDS, *LEANED_ON, "gateway.session_context"}

Function = tuple[str, str]


@functools.cache
def data(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name).read_text(encoding="utf-8"))


@functools.cache
def known() -> dict[str, dict[str, Any]]:
    """The version files, by version."""
    names = [file.stem for file in FOLDER.glob("*.toml") if file.stem[0].isdigit()]
    return {name: data(f"{name}.toml") for name in names}


@functools.cache
def functions() -> dict[Function, dict[str, Any]]:
    """What is said of each function."""
    return {
        (module, name): about
        for module, table in data("functions.toml").items()
        if module not in ("leans-on", "needs")
        for name, about in table.items()
    }


def digest(version: str, function: Function) -> str | None:
    module, name = function
    return known()[version]["digests"].get(module, {}).get(name)


def target(version: str, function: Function) -> Target:
    return Target(version, *function, functions()[function]["role"])


class Case(NamedTuple):
    """A release, and what was done to it."""

    base: str
    edits: dict[Function, str]
    #: Lines at the end of a module.
    more: dict[str, str]
    version: str

    def text(self, module: str) -> str:
        mine = [(target(self.base, f), edit) for f, edit in self.edits.items() if f[0] == module]
        return edits.edited(self.base, module, mine, self.more.get(module, ""))

    @property
    def modules(self) -> set[str]:
        return {module for module, _ in self.edits} | self.more.keys()


# -- what must be said ----------------------------------------------------------------------------


class Oracle:
    """Where each module of an edited gateway must stand."""

    def __init__(self, case: Case) -> None:
        self.case = case
        alone = {module: self._alone(module) for module in {m for m, _ in functions()}}
        self.is_refused = "refused" in alone.values()
        self.rungs = {module: self._with_others(module, alone) for module in alone}

    def _alone(self, module: str) -> str:
        mine = [function for function in functions() if function[0] == module]
        if self._some_version(module, mine):
            return "exact"
        if not all(map(self._fits, mine)):
            return "the host's" if module in MAY_BE_LEFT else "refused"
        decisive = [f for f in mine if functions()[f]["role"] in ("replaced", "leaned on")]
        if module not in MAY_BE_LEFT or self._some_version(module, decisive):
            return "by shape"
        return "the host's"

    def _with_others(self, module: str, alone: dict[str, str]) -> str:
        if self.is_refused:
            return "the host's" if module in MAY_BE_LEFT else "refused"
        others = data("functions.toml")["leans-on"].get(module, [])
        if any(alone[other] == "the host's" for other in others):
            return "the host's"
        return alone[module]

    def _some_version(self, module: str, mine: list[Function]) -> bool:
        """Whether some version serves the module, and all of these are as they are in it."""
        return any(
            module in about["served"] and all(self._is_as_in(version, f) for f in mine)
            for version, about in known().items()
        )

    def _is_as_in(self, version: str, function: Function) -> bool:
        edit = self.case.edits.get(function)
        if edit is None:
            return digest(version, function) == digest(self.case.base, function)
        if edit in known():
            return digest(version, function) == digest(edit, function)
        return not EDITS[edit].stays and digest(version, function) is None

    def _fits(self, function: Function) -> bool:
        edit = self.case.edits.get(function)
        if edit is None or edit in known():
            return True
        if not EDITS[edit].stays:
            return bool(functions()[function].get("optional"))
        return EDITS[edit].fits(target(self.case.base, function))

    def line(self) -> str:
        """What the start says of a gateway that is served."""
        names = {"tools.async_delegation": "registry", "tools.process_registry": "queue"}
        parts = [f"{name} {self.rungs[module]}" for module, name in (names | FRONT_ENDS).items()]
        return f"hermes_core in hermes-agent {self.case.version}: {', '.join(parts)}"


# -- cases ----------------------------------------------------------------------------------------

#: As main of the gateway has it: a thread that watches for subagents that do not get on.
MONITOR = """

def _watch_for_stalled_runs():
    threading.Thread(target=lambda: None, name="monitor", daemon=True).start()
"""
#: Another front end, in the gateway's own folder.
CONSUMER = """

def _another_consumer(registry):
    while True:
        event = registry.completion_queue.get(timeout=1.0)
        if event is None:
            return
"""


@functools.cache
def there(base: str) -> list[Function]:
    return sorted(function for function in functions() if digest(base, function))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    base = draw(st.sampled_from(BASES))
    changed: dict[Function, str] = {}
    core = [function for function in there(base) if function[0] not in MAY_BE_LEFT]
    for _ in range(draw(st.integers(1, 4))):
        # What can be refused is the smaller part of the functions.
        function = draw(st.sampled_from(draw(st.sampled_from([core, there(base)]))))
        if function in changed:
            continue
        role = functions()[function]["role"]
        other = [version for version in known() if digest(version, function)]
        possible = [name for name, edit in EDITS.items() if edit.can(target(base, function))]
        # Most of them fit, or nearly all gateways would be refused.
        fitting = [name for name in possible if EDITS[name].fits(target(base, function))]
        changed[function] = draw(
            st.sampled_from(draw(st.sampled_from([fitting, fitting, possible, other])))
        )
        assert role
    more = draw(
        st.dictionaries(
            st.sampled_from(["tools.process_registry", "tui_gateway.server"]),
            st.just(CONSUMER),
            max_size=1,
        )
    )
    version = draw(st.sampled_from([base, "0.20.0", "0.99.1"]))
    return Case(base, changed, more, version)


@contextmanager
def installed(case: Case, folder: Path) -> Iterator[None]:
    """Have the core find the edited gateway; whatever is loaded is the one beside the tests."""
    paths: dict[str, Path] = {}
    for module in case.modules:
        paths[module] = folder / f"{module}.py"
        paths[module].write_text(case.text(module), encoding="utf-8")

    def find_spec(name: str) -> ModuleSpec | None:
        path = paths.get(name, edits.file_of(case.base, name))
        return importlib.util.spec_from_file_location(name, path) if path.exists() else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "find_spec", find_spec)
        patch.setattr(fingerprint, "version", lambda: case.version)
        yield


SEEN: Counter[str] = Counter()
NUMBERS = iter(range(10**9))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for base in BASES:
        later.tree(base)
    return tmp_path_factory.mktemp("unseen")


@settings(
    max_examples=400 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # A smaller case says no more, and each costs a reading of a large file.
    phases=[Phase.explicit, Phase.generate],
    derandomize=not LONG,
)
@given(case=cases())
def test_an_edited_gateway_is_served_as_far_as_is_safe(folders: Path, case: Case) -> None:
    """F52"""
    folder = folders / str(next(NUMBERS))
    folder.mkdir()
    with installed(case, folder):
        oracle = Oracle(case)
        check(case, oracle, folder)
    SEEN.update(oracle.rungs.values())


def test_the_cases_had_every_rung() -> None:
    """Judged only where they were run, here and by name."""
    assert not SEEN or SEEN.keys() >= {"exact", "by shape", "the host's", "refused"}


REGISTRY, TUI = "tools.async_delegation", "tui_gateway.server"
NAMED = {
    "every function of 0.19.0 reads differently": Case(
        "0.19.0", dict.fromkeys(there("0.19.0"), "body"), {}, "0.19.0"
    ),
    "a part for kanban in the poller": Case(
        "0.17.0", {(TUI, "_notification_poller_loop"): "body"}, {TUI: CONSUMER}, "0.17.0"
    ),
    "a thread that watches": Case(
        "0.19.0",
        {
            (REGISTRY, "dispatch_async_delegation"): "optional keyword",
            (REGISTRY, "dispatch_async_delegation_batch"): "optional keyword",
        },
        {REGISTRY: MONITOR},
        "0.20.0",
    ),
    "hooks that only tell read differently": Case(
        "0.17.0",
        {
            ("gateway.session", "SessionStore.reset_session"): "optional keyword",
            ("gateway.platforms.base", "BasePlatformAdapter._release_session_guard"): "body",
        },
        {},
        "0.17.0",
    ),
    "a function of the registry is a coroutine": Case(
        "0.19.0", {(REGISTRY, "active_count"): "a coroutine or none"}, {}, "0.19.0"
    ),
    "no function of the claims": Case(
        "0.19.0",
        {
            (module, name): "gone"
            for (module, name), about in functions().items()
            if about.get("together")
        },
        {},
        "0.19.0",
    ),
    "as it is, by another name": Case("0.19.0", {}, {}, "0.21.0"),
}
RUNGS = {
    "every function of 0.19.0 reads differently": ("by shape", "the host's", "the host's"),
    "a part for kanban in the poller": ("exact", "the host's", "exact"),
    "a thread that watches": ("by shape", "the host's", "the host's"),
    "hooks that only tell read differently": ("exact", "exact", "exact"),
    "a function of the registry is a coroutine": ("refused", "the host's", "the host's"),
    "no function of the claims": ("by shape", "the host's", "the host's"),
    "as it is, by another name": ("exact", "the host's", "the host's"),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_a_later_gateway_may_well_do(name: str, tmp_path: Path) -> None:
    """F52"""
    case = NAMED[name]
    with installed(case, tmp_path):
        oracle = Oracle(case)
        check(case, oracle, tmp_path)
        found = ladder.climb(str(tmp_path))
    assert tuple(oracle.rungs[each] for each in (REGISTRY, TUI, "gateway.run")) == RUNGS[name]
    watched = "a thread that it starts watches its own delegations, not the core's"
    assert (watched in found.standings[REGISTRY].why) == (name == "a thread that watches")
    assert bool(found.facts.claims) == (case.base == "0.19.0" and "claims" not in name)


def check(case: Case, oracle: Oracle, home: Path) -> None:
    """Everything that says how a gateway is served says the same, and why."""
    found = ladder.climb(str(home))
    assert {module: str(each.rung) for module, each in found.standings.items()} == oracle.rungs
    assert bool(found.refusals) == oracle.is_refused
    for standing in found.standings.values():
        if standing.rung != "exact":
            assert standing.advice
        if standing.rung in ("by shape", "refused"):
            assert standing.why
    for (module, name), edit in case.edits.items():
        standing = found.standings[module]
        fits = edit in known() or EDITS[edit].fits(target(case.base, (module, name)))
        if standing.rung == "by shape" and digest_changes(case, (module, name)):
            assert any(name in line for line in standing.why), (name, standing)
        if not fits and not functions()[module, name].get("optional"):
            assert any(name in line for line in standing.why), (name, standing)
    modules = {each.module: str(each.rung) for each in gateway.status().modules}
    assert modules == oracle.rungs
    report = InstallReport(
        case.version, [], [], [], 0, list(found.standings.values()), found.ignored
    )
    assert oracle.is_refused or report.summary() == oracle.line()
    said_by_the_commands(oracle, home)


def digest_changes(case: Case, function: Function) -> bool:
    edit = case.edits[function]
    return edit not in known() or digest(edit, function) != digest(case.base, function)


def said_by_the_commands(oracle: Oracle, home: Path) -> None:
    import contextlib
    import io

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main([*arguments, "--json", "--hermes-home", str(home)])
        return code, json.loads(said.getvalue())

    config = home / "config.yaml"
    code, facts = run("enable")
    assert code == (1 if oracle.is_refused else 0)
    assert config.exists() != oracle.is_refused
    for command in ("status", "doctor"):
        code, facts = run(command)
        assert facts["compatible"] != oracle.is_refused
        assert bool(facts["differences"]) == oracle.is_refused
        assert {each["module"]: each["served"] for each in facts["modules"]} == oracle.rungs
        if command == "status":
            assert code == (1 if oracle.is_refused else 0)
