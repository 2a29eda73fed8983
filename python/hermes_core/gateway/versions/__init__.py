"""The gateways that the core knows, as data: adding a version is adding a file to this folder.

`functions.toml` lists the functions that the core stands in for or leans on, with the parameters
that each must have. A version's file says how its functions read (the fingerprints of their source
texts, see `fingerprint.digest`), what else is true of it, and which of its modules the core serves
at full strength. A user's own file of the same form, `hermes-core.toml` in the gateway's home,
makes a patched gateway a known one; `hermes-core doctor --fingerprint` prints the draft of one.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

DISTRIBUTION = "hermes-agent"

REGISTRY = "tools.async_delegation"
PROCESSES = "tools.process_registry"
ADAPTERS = "gateway.platforms.base"
SESSIONS = "gateway.session"
MESSAGING = "gateway.run"
TUI = "tui_gateway.server"
CLI = "cli"
CONTEXT = "gateway.session_context"
PLUGINS = "hermes_cli.plugins"
DELEGATE = "tools.delegate_tool"
CONSTANTS = "hermes_constants"
STATE = "hermes_state"
REDACTION = "agent.redact"
PROFILES = "hermes_cli.profiles"

FRONT_ENDS = (TUI, CLI, MESSAGING)

#: The user's own file, in the gateway's home.
OWN_FILE = "hermes-core.toml"


class VersionError(ValueError):
    """A user's own file is none of a version; the message says why and where."""


class Function(NamedTuple):
    """A function of the gateway that the core stands in for, or leans on."""

    module: str
    name: str
    #: `replaced`, `wrapped`, `called` or `leaned on`; functions.toml says what each means.
    role: str
    required: tuple[str, ...]
    tolerated: tuple[str, ...] = ()
    #: What it is to whoever calls it, as `source.kind` says.
    kind: str = "function"
    #: Whether there are known versions that do not have it.
    optional: bool = False
    #: What it is of no use for without the others of the same word.
    together: str = ""
    #: What whoever replaces it owes to the gateway.
    obligations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Facts(NamedTuple):
    """What is true of a version besides its sources; each version's file says what each means."""

    drain_arguments: tuple[str, ...]
    turn_keywords: tuple[str, ...]
    event_keys: tuple[str, ...]
    batch_event_keys: tuple[str, ...]
    live_statuses: tuple[str, ...]
    ownership: str
    refusal: str
    claims: tuple[str, ...]
    watcher: str


class Version(NamedTuple):
    """A gateway that is known."""

    name: str
    served: frozenset[str]
    facts: Facts
    #: By module and function.
    digests: dict[tuple[str, str], str]


@functools.cache
def functions() -> tuple[Function, ...]:
    """Return the functions that are looked at, module by module."""
    return tuple(
        Function(module, name, **{key: _frozen(value) for key, value in function.items()})
        for module, table in _table().items()
        for name, function in table.items()
    )


@functools.cache
def leans_on() -> dict[str, tuple[str, ...]]:
    """Return for each module that is served the ones that it leans on."""
    return {module: tuple(others) for module, others in _data(_FUNCTIONS)["leans-on"].items()}


@functools.cache
def needs() -> dict[str, tuple[str, ...]]:
    """Return for modules what they must have besides functions."""
    return {module: tuple(names) for module, names in _data(_FUNCTIONS)["needs"].items()}


def modules() -> tuple[str, ...]:
    """Return the modules whose functions are looked at."""
    return tuple(_table())


@functools.cache
def shipped() -> tuple[Version, ...]:
    """Return the versions that this release knows, the oldest first."""
    files = sorted(
        (file.name for file in _folder().iterdir() if _is_of_a_version(file.name)), key=_in_order
    )
    return tuple(_version(_data(name)) for name in files)


def own(file: Path) -> Version | None:
    """Return what a user's own file declares known; `None` if there is no such file.

    Raises `VersionError`.
    """
    try:
        return _version(tomllib.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise VersionError(f"{file} cannot be read: {error}") from error
    except VersionError as error:
        raise VersionError(
            f"{file} is not the file of a version: {error}; "
            "`hermes-core doctor --fingerprint` prints one"
        ) from None


_FUNCTIONS = "functions.toml"
#: The tables that are not of a module.
_OTHER_TABLES = ("leans-on", "needs")


def _folder() -> Any:
    return resources.files(__name__)


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((_folder() / name).read_text("utf-8"))


def _table() -> dict[str, dict[str, Any]]:
    tables = _data(_FUNCTIONS).items()
    return {module: table for module, table in tables if module not in _OTHER_TABLES}


def _is_of_a_version(name: str) -> bool:
    return name.endswith(".toml") and name[0].isdigit()


def _in_order(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in name.removesuffix(".toml").split("."))


def _version(data: dict[str, Any]) -> Version:
    """Make a version of what its file says; raises `VersionError`."""
    served = _item(data, "served", list)
    if unknown := sorted({str(module) for module in served} - set(modules())):
        raise VersionError(f"served names {', '.join(unknown)}, of which nothing is known")
    facts = _item(data, "facts", dict)
    kinds = {name: str if name in _TEXTS else list for name in Facts._fields}
    digests = {
        (module, name): _item(functions, name, str)
        for module in _item(data, "digests", dict)
        for functions in (_item(data["digests"], module, dict),)
        for name in functions
    }
    return Version(
        _item(data, "version", str),
        frozenset(served),
        Facts(**{name: _frozen(_item(facts, name, kind)) for name, kind in kinds.items()}),
        digests,
    )


def _item(table: dict[str, Any], name: str, kind: type[str | list[Any] | dict[str, Any]]) -> Any:
    """Return what stands under a name; raises `VersionError` where it is missing, or another kind
    of thing."""
    if name not in table:
        raise VersionError(f"{name} is missing")
    if not isinstance(table[name], kind):
        raise VersionError(f"{name} is {table[name]!r}, not a {_KINDS[kind]}")
    return table[name]


#: The facts that are a word; the others are lists.
_TEXTS = ("ownership", "refusal", "watcher")
_KINDS: dict[type, str] = {str: "text", list: "list", dict: "table"}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
