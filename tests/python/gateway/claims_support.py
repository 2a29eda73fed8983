"""What the tests of claims share: delegations that have ended, and what is known of them."""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_support import Child, Host, dispatch, until

from hermes_core.gateway import home_ledgers, host_rows

Event = dict[str, Any]


def own_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own."""
    monkeypatch.setenv("HERMES_HOME", str(folder))
    yield folder
    for path in tuple(home_ledgers._opened):
        if path.is_relative_to(os.path.realpath(folder)):
            del home_ledgers._opened[path]
    host_rows._homes.clear()


def run(host: Host, summary: str = "done", key: str = "a") -> str:
    """Have a delegation end; its id. Its event waits."""
    child = Child(summary)
    child.go.set()
    return end(host, start(host, child, key), child)


def start(host: Host, child: Child, key: str = "a") -> str:
    """Begin a delegation, which runs until it is let go; its id."""
    answer = dispatch(host.registry.dispatch_async_delegation, child, cap=1000, key=key)
    return str(answer["delegation_id"])


def end(host: Host, name: str, child: Child) -> str:
    """Have it end, and wait until its event waits."""
    child.go.set()
    until(lambda: name in names(host.queue.queue), f"{name} waits")
    return name


def names(events: Any) -> list[Any]:
    return [event.get("delegation_id") for event in events]


def durable(host: Host, name: str) -> Event:
    found: Event = host.registry.get_durable_delegation(name)
    return found


def delivery(name: str) -> str | None:
    """What our ledger says of a result; None where it has no row."""
    home_ledgers.flush()
    found = home_ledgers.find(name)
    return None if found is None else str(found[1]["delivery"])


def row(host: Host, name: str) -> Event | None:
    """The gateway's own row of a delegation."""
    with contextlib.closing(host.registry._connect()) as connection:
        connection.row_factory = lambda cursor, values: {
            column[0]: value for column, value in zip(cursor.description, values, strict=True)
        }
        asked = "SELECT * FROM async_delegations WHERE delegation_id = ?"
        found: Event | None = connection.execute(asked, (name,)).fetchone()
        return found


def state(host: Host, name: str) -> str | None:
    """What the gateway's own row says of a delivery; None where there is none."""
    found = row(host, name)
    return None if found is None else str(found["delivery_state"])


def in_home(home: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in the context of a home."""
    constants = importlib.import_module("hermes_constants")
    home.mkdir(exist_ok=True)

    def there() -> Any:
        constants.set_hermes_home_override(str(home))
        return function(*arguments)

    return contextvars.copy_context().run(there)
