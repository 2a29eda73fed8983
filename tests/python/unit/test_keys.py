"""F42: one form of a session key everywhere, and what is no key reaches no mailbox."""

from __future__ import annotations

import enum
import json
import queue
import random
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc

KEYS = (
    *("room", "a\0b", "\0", " ", "\n", "é", "e\u0301", "ключ", "x" * 100_000, "\U0001f600" * 3000),
    *(
        "\ud800",
        "\udcff",
        "room-\udcff",
        "/data/\udce4/x",
        "\ud83d\ude00",
        "\U0001f600",
        "\udfff" * 50,
    ),
    *(
        "\ufffd",
        "\ufffd\ufffd",
        "\ufffdroom",
        "room\ufffd",
        "\ufffd\ud800",
        "\ufffdeda080",
        "\ufffd61",
    ),
    *(
        "\ufeff",
        "\u202eabc",
        "ﬁ",
        "fi",
        "K",
        "\u212a",
        "İ",
        "i\u0307",
        "ß",
        "ẞ",
        "SS",
        "Ａ",
        "A",
        "a",
    ),
    *(
        "agent:main:matrix:group:!room:example.org:8448",
        "'; drop table delegations; --",
        "%s",
        "*",
        "\\",
    ),
)
HOST = """
import ast, sys
import hermes_core as hc

registry = hc.DelegationRegistry(ledger=sys.argv[1], capacity=10_000)
for number, key in enumerate(ast.literal_eval(open(sys.argv[2]).read())):
    task = registry.dispatch(
        goal=str(number), runner=dict, session_key=key, origin_ui_session_id=key,
        parent_session_id=key, idempotency_key=key,
    )
    task.result(60)
"""


def left_by_another(folder: Path, keys: list[str]) -> Path:
    """A ledger with one result of each key that a process left when it ended in order."""
    # As Python writes them: JSON would make one character of two surrogates.
    (folder / "keys").write_text(ascii(keys))
    path = folder / "l.db"
    command = [sys.executable, "-c", HOST, str(path), str(folder / "keys")]
    subprocess.run(command, check=True, timeout=120)
    return path


def odd_keys(count: int) -> list[str]:
    """Keys of every plane, lone surrogates and marks among them, each one once."""
    draw = random.Random(42)
    chars = (
        "\ufffd",
        "\ud800",
        "\udc80",
        "\udfff",
        "\0",
        "e\u0301",
        "é",
        "a",
        ":",
        "\U0010ffff",
        "0",
    )
    keys = {
        "".join(
            draw.choice((*chars, chr(draw.randrange(1, 0x110000))))
            for _ in range(draw.randint(1, 6))
        )
        for _ in range(count)
    }
    return sorted(keys)


def test_f42_each_key_gets_its_own_results_back(tmp_path: Path) -> None:
    keys = list(dict.fromkeys([*KEYS, *odd_keys(150)]))
    path = left_by_another(tmp_path, keys)
    registry = hc.DelegationRegistry(ledger=path)
    rows = {row["record"]["goal"]: row for row in hc.Ledger(path).rows()}
    for number, key in enumerate(keys):
        row = rows[str(number)]
        fields = ("session_key", "origin_ui_session_id", "parent_session_id", "idempotency_key")
        assert [row[field] for field in fields] == [key] * 4
        box = registry.queue.mailbox(session_key=key)
        assert box.pending() == 1, ascii(key)
        delivery = box.get(timeout=10)
        assert delivery.event["goal"] == str(number)
        assert delivery.event["session_key"] == key
        assert delivery.ack()
        with pytest.raises(queue.Empty):
            box.get_nowait()
    assert registry.queue.qsize() == 0


def test_f42_a_key_with_its_name_is_run_once_in_any_spelling(tmp_path: Path) -> None:
    path = left_by_another(tmp_path, list(KEYS))
    registry = hc.DelegationRegistry(ledger=path)
    for number, key in enumerate(KEYS):
        owner = {"session_key": key, "origin_ui_session_id": key, "parent_session_id": key}
        known = registry.dispatch(goal="again", runner=dict, idempotency_key=key, **owner)
        assert (registry.ledger.get(known.id) or {})["record"]["goal"] == str(number)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: ascii(key)[:20])
def test_f42_all_that_is_done_by_key_or_id_knows_any(tmp_path: Path, key: str) -> None:
    registry = hc.DelegationRegistry(ledger=tmp_path / "l.db")
    box = registry.queue.mailbox()
    handle = registry.dispatch(goal="g", runner=dict, session_key=key)
    event = handle.result(20)
    assert registry.event(handle.id) is not None
    assert event is not None
    assert registry.live_work(session_key=key)["undelivered"] == 1
    assert [one["session_key"] for one in registry.queue.pending(session_key=key)] == [key]
    registry.queue.new_epoch(key)
    assert box.pending() == 0
    assert (registry.ledger.get(handle.id) or {})["delivery"] == "parked"
    assert registry.redeliver(handle.id)
    assert registry.queue.get(session_key=key, timeout=10)["session_key"] == key
    with registry.queue.mailbox(session_key="other") as mailbox:
        mailbox.add_key(key)
        assert mailbox.session_keys == ("other", key)
        mailbox.remove_key(key)


def test_f42_keys_that_look_the_same_are_two_owners() -> None:
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    boxes = {key: inbox.mailbox(session_key=key) for key in KEYS}
    for key in KEYS:
        inbox.put({"session_key": key})
    assert [box.pending() for box in boxes.values()] == [1] * len(KEYS)
    for key, box in boxes.items():
        assert box.get_nowait().event["session_key"] == key
    twins = [key for key in KEYS if unicodedata.normalize("NFC", key) != key]
    assert twins


class Sly(str):
    """A str that says it is every other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_f42_a_str_of_another_type_is_its_text() -> None:
    class Word(enum.StrEnum):
        ROOM = "room"

    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    box = inbox.mailbox(session_key=[Sly("a"), Sly("b"), Word.ROOM])
    assert box.session_keys == ("a", "b", "room")
    assert [type(key) for key in box.session_keys or ()] == [str] * 3
    for key in ("a", Sly("c"), Sly("b"), Word.ROOM):
        inbox.put({"session_key": key})
    assert box.pending() == 3


NO_KEYS = (12345, 0, True, 1.5, b"room", ["room"], ("room",), {"room": 1}, object())


@pytest.mark.parametrize("key", NO_KEYS, ids=repr)
def test_f42_what_is_no_key_is_a_type_error_at_the_call(tmp_path: Path, key: Any) -> None:
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    box = inbox.mailbox(session_key="room")
    registry = hc.DelegationRegistry(inbox, ledger=tmp_path / "l.db")
    calls = {
        "get": lambda: inbox.get(session_key=key, timeout=0),
        "get_nowait": lambda: inbox.get_nowait(session_key=key),
        "pending": lambda: inbox.pending(session_key=key),
        "new_epoch": lambda: inbox.new_epoch(key),
        "mailbox of a list": lambda: inbox.mailbox(session_key=[key]),
        "add_key": lambda: box.add_key(key),
        "remove_key": lambda: box.remove_key(key),
        "dispatch": lambda: registry.dispatch(goal="g", runner=dict, session_key=key),
        "dispatch of a window": lambda: registry.dispatch(
            goal="g", runner=dict, origin_ui_session_id=key
        ),
        "dispatch of a parent": lambda: registry.dispatch(
            goal="g", runner=dict, parent_session_id=key
        ),
        "live_work": lambda: registry.live_work(session_key=key),
        "cancel": lambda: registry.cancel(session_key=key or 1),
        "restore": lambda: registry.restore(session_keys=[key]),
    }
    if not isinstance(key, list | tuple | dict):
        calls["mailbox"] = lambda: inbox.mailbox(session_key=key)
        calls["restore of one"] = lambda: registry.restore(session_keys=key)
    for name, call in calls.items():
        with pytest.raises(TypeError):
            pytest.fail(f"{name} took {call()!r}")
    assert box.session_keys == ("room",)
    assert registry.list() == []


@pytest.mark.parametrize("key", NO_KEYS, ids=repr)
def test_f42_an_event_with_no_key_waits_for_a_consumer_of_everything(key: Any) -> None:
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    asked: list[Any] = []

    def owns(event: Any) -> bool:
        asked.append(event)
        return True

    boxes = [
        inbox.mailbox(session_key="12345"),
        inbox.mailbox(unaddressed={"completion", "async_delegation"}),
        inbox.mailbox(owns=owns),
    ]
    event = {"session_key": key, "origin_ui_session_id": "ui", "parent_session_id": "p"}
    inbox.put(event)
    inbox.put_nowait({**event, "type": "async_delegation", "delegation_id": "d"})
    boxes.append(inbox.mailbox(owns=owns))
    for box in boxes:
        with pytest.raises(queue.Empty):
            box.get_nowait()
    for wanted in ({"session_key": "12345"}, {"unaddressed": True}):
        with pytest.raises(queue.Empty):
            inbox.get_nowait(**wanted)
    assert asked == []
    inbox.put_back(inbox.get())
    assert inbox.get_nowait() is event
    with inbox.mailbox() as everything:
        assert everything.get_nowait().event["delegation_id"] == "d"


def test_f42_a_key_that_is_none_is_none() -> None:
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    for event in ({"session_key": None}, {"session_key": ""}, {}):
        inbox.put(event)
        assert inbox.get_nowait(unaddressed=True) is event


#: What a disk may make of a field.
DAMAGED = (None, 5, ["x"], "other")
OWNER = ("session_key", "origin_ui_session_id", "parent_session_id", "delegation_id", "type")


@pytest.mark.parametrize("column", ["event", "record"])
def test_f42_a_damaged_field_keeps_an_event_from_nobody(tmp_path: Path, column: str) -> None:
    stored = _row(left_by_another(tmp_path, ["room"]), column)
    fields = json.loads(stored)
    for field in {**fields, "more": 1}:
        for number, value in enumerate([*DAMAGED, "missing"]):
            changed = {**fields, field: value}
            if value == "missing":
                del changed[field]
            folder = tmp_path / f"{field}-{number}"
            folder.mkdir()
            _check(tmp_path, folder, column, json.dumps(changed))


@pytest.mark.parametrize("column", ["event", "record"])
@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "5", '"x"', "{", "\x00", '{"status": 3}'])
def test_f42_a_damaged_text_keeps_an_event_from_nobody(
    tmp_path: Path, column: str, text: str
) -> None:
    left_by_another(tmp_path, ["room"])
    folder = tmp_path / "damaged"
    folder.mkdir()
    _check(tmp_path, folder, column, text)


def _row(path: Path, column: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute(f"SELECT {column} FROM delegations").fetchone()[0])


def _check(whole: Path, folder: Path, column: str, text: str) -> None:
    """The event of a row with this text comes to the owner in its columns, and to nobody else."""
    path = folder / "l.db"
    with closing(sqlite3.connect(whole / "l.db")) as source, closing(sqlite3.connect(path)) as copy:
        source.backup(copy)
        copy.execute(f"UPDATE delegations SET {column} = ?", (text,))
        copy.commit()
    registry = hc.DelegationRegistry(ledger=path)
    other = registry.queue.mailbox(session_key="other")
    room = registry.queue.mailbox(session_key="room")
    with room.get(timeout=10) as delivery:
        assert all(delivery.event[field] == "room" for field in OWNER[:3])
        assert delivery.event["type"] == "async_delegation"
        assert delivery.text
    assert other.pending() == 0
    assert registry.list()[0]["session_key"] == "room"
