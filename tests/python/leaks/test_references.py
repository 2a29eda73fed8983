"""No call keeps a reference to what it was passed, however it ends."""

from __future__ import annotations

import gc
import inspect
import logging
import sys
import time
from collections.abc import Iterator

import pytest

import hermes_core as hc
from hermes_core import _core, async_delegation
from leaks import ledgers, loops, mailboxes, surface
from leaks.surface import CASES, Case, Tracked

#: What defines the cases.
_DEFINED = (surface, mailboxes, ledgers, loops)

#: How often each case is called between two counts.
TIMES = 200

#: What each class has from the object it is.
IGNORED = set(vars(object)) - {"__init__", "__new__"} | {"__weakref__", "__dict__"}

#: The objects that are a case's own. None and the like, and the types, are used by all: other
#: threads move their counts a little.
OWN = set(vars(Tracked()))

#: Seconds in which a worker thread lets go of the job that it has just ended.
SETTLED = 30.0


@pytest.fixture
def unlogged() -> Iterator[None]:
    """A log record keeps the traceback of a runner that raised, and pytest keeps the record."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize(
    "case",
    dict.fromkeys(case for cases in CASES.values() for case in cases),
    ids=lambda c: c.__name__,
)
def test_references_are_given_back(case: Case) -> None:
    tracked = Tracked()
    for _ in range(60):  # what is kept for listing, interned and cached is there by now
        case(tracked)
    before = settled(tracked)
    for _ in range(TIMES):
        case(tracked)
    assert differences(before, settled(tracked, before)) == {}


def settled(tracked: Tracked, wanted: dict[str, int] | None = None) -> dict[str, int]:
    """The counts once no job is in a worker's hand: as wanted, or else as they stay."""
    deadline = time.monotonic() + SETTLED
    counts, last = counted(tracked), {}
    while differences(wanted or last, counts) and time.monotonic() < deadline:
        time.sleep(0.01)
        counts, last = counted(tracked), counts
    return counts


def counted(tracked: Tracked) -> dict[str, int]:
    gc.collect()
    return {name: sys.getrefcount(value) for name, value in tracked.objects().items()}


def differences(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What became more or less, by how much."""
    differ = {name: count - before.get(name, 0) for name, count in after.items()}
    return {
        name: difference
        for name, difference in differ.items()
        if abs(difference) >= (1 if name in OWN or "[" in name else TIMES // 2)
    }


def public() -> Iterator[str]:
    """The name of every function, and of every method and attribute that a class defines."""
    for name in vars(_core):
        if not name.startswith("__") or name == "__version__":
            yield from of(f"_core.{name}", getattr(_core, name))
    for name in hc.__all__:
        yield from of(name, getattr(hc, name))
    for name in async_delegation.__all__:
        yield f"async_delegation.{name}"


def of(name: str, value: object) -> Iterator[str]:
    errors = (hc.ShutDown, hc.LedgerError)
    if not inspect.isclass(value) or value is hc.HermesCoreError or issubclass(value, errors):
        yield name
        return
    native = name.startswith("_core.")
    for member, what in vars(value).items():
        special = member.startswith("__")
        if member in IGNORED or (member.startswith("_") and not special and not native):
            continue
        if callable(what) or inspect.isdatadescriptor(what):
            yield f"{name}.{member}"


def test_no_function_is_left_out() -> None:
    names = set(public())
    assert len(names) > 60
    assert names - set(CASES) == set()
