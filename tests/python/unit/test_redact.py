"""`text.redact`, and the hook in a registry: no text of a task or of its result gets past it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hermes_core as hc
from hermes_core._core import list_texts, replace_texts
from hermes_core.delegation.delegation import Delegation, new_record
from hermes_core.text import json as _json
from hermes_core.text import redact as _redact

CANARY = "sk-canary-0123456789"

texts = st.text(max_size=5) | st.just(CANARY) | st.text(max_size=3).map(lambda t: t + CANARY)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def hide(text: str) -> str:
    return text.replace(CANARY, "***")


def is_clean(value: object) -> bool:
    return CANARY not in _json.dumps(value) and CANARY not in repr(value)


@given(plain)
def test_no_text_of_a_value_is_left_out(value: Any) -> None:
    """F34."""
    before = _json.dumps(value)
    found = _redact.redacted(value, hide)
    assert is_clean(found)
    if CANARY not in before:
        assert found == value
    assert _json.dumps(value) == before


class Secret:
    def __repr__(self) -> str:
        return f"<Secret {CANARY}>"


class SecretText(str):
    def __str__(self) -> str:
        return "nothing to see"

    def replace(self, *args: Any) -> NoReturn:
        raise ValueError("no")


class SecretDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return []

    __iter__ = keys = values = items


@pytest.mark.parametrize(
    "value",
    [
        Secret(),
        SecretText(CANARY),
        SecretDict(a=CANARY),
        {Secret(): 1},
        {(CANARY, 1): 1},
        {CANARY},
        CANARY.encode(),
        [(CANARY,)],
        Exception(CANARY),
        {"deep": [{"deeper": (b"x", {Secret()})}]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_plain_data_is_not_left_out(value: object) -> None:
    """F34."""
    found = _redact.redacted(value, hide)
    assert is_clean(found)
    assert "***" in _json.dumps(found)


def test_depth_and_circles_are_withheld() -> None:
    """F34: also of what is nested deeper than Python follows."""
    deep: Any = CANARY
    for _ in range(100_000):
        deep = [deep]
    ring: list[Any] = [CANARY]
    ring.append(ring)
    ring.append(ring)
    for value in (deep, {"a": deep}):
        assert _redact.TOO_DEEP in _json.dumps(_redact.redacted(value, hide))
        assert CANARY not in _json.dumps(_redact.redacted(value, hide))
    assert _redact.redacted(ring, hide) == ["***", *["<circular reference>"] * 2]


def test_keys_that_become_alike_stay_apart() -> None:
    found = _redact.redacted({f"{CANARY}1": 1, f"{CANARY}2": 2, "a": 3}, lambda text: text[:3])
    assert found == {"sk-": 1, "sk- (2)": 2, "a": 3}
    inside = {"a": 1, "b": {"c": 2, "d": 3}, "summary": 4, "e": 5}
    assert _redact.redacted([inside], lambda text: "summary") == [
        {"summary": 1, "summary (2)": {"summary": 2, "summary (2)": 3}}
        | {"summary (3)": 4, "summary (4)": 5}
    ]
    many = _redact.redacted(dict.fromkeys(map(str, range(5_000)), 0), lambda text: "\ud800")
    assert len(many) == 5_000


@given(plain)
def test_a_hook_that_changes_nothing_makes_a_copy(value: Any) -> None:
    found = _redact.redacted(value, str)
    assert found == value
    assert not isinstance(value, list | dict) or found is not value


def test_what_is_no_text_stays() -> None:
    """Also beside something that is no plain data."""
    huge = 10**5000
    found = _redact.redacted([1, 2.5, True, None, float("inf"), 2**70, huge], hide)
    assert found == [1, 2.5, True, None, float("inf"), 2**70, huge]
    found = _redact.redacted([1, 2.5, True, None, float("inf"), 2**70, {7}], hide)
    assert found == [1, 2.5, True, None, float("inf"), 2**70, [7]]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_hook_that_changes_the_values_meanwhile(more: int) -> None:
    """F34: what comes or goes meanwhile is not let through."""
    inside = ["a", {"key": "b"}, "c"]
    value = {"a": inside, "status": "completed"}
    calls = 0

    def changes(text: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            inside[1:2] = [CANARY, {CANARY: CANARY}][: 1 + more]
            value["status"] = CANARY
        return hide(text)

    assert is_clean(_redact.redacted(value, changes))
    assert is_clean(_redact.fields({"more": value}, hide))


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "b", "c"], ["a", 7], [SecretText("a"), "b"]])
def test_the_leaf_takes_as_many_texts_as_there_are(texts: list[Any]) -> None:
    statuses: frozenset[str] = frozenset()
    assert list_texts([["a", 1], {"status": "b"}], statuses) == ["a", "b"]
    assert replace_texts([["a", 1], {"status": "b"}], texts, statuses) is None


def test_what_is_no_ascii_is_seen_by_the_hook_as_it_is() -> None:
    """F34: not as the escapes that JSON has for it."""

    class Odd:
        def __repr__(self) -> str:
            return 'naïve "pässwörd"'

    for value in (Odd(), {Odd(): 1}, "pässwörd".encode(), {frozenset(["pässwörd"])}):
        found = _redact.redacted(value, lambda text: text.replace("pässwörd", "***"))
        assert "pässwörd" not in str(found)
        assert "***" in str(found)


def test_a_status_of_its_own_is_a_text() -> None:
    """F34: the words that mean a state stay, whatever the hook does."""
    assert _redact.fields({"status": f"failed: {CANARY}"}, hide) == {"status": "failed: ***"}
    for word in ("completed", "error", "failed", "interrupted", "timeout", "lost"):
        assert _redact.fields({"status": word}, lambda text: "") == {"status": word}


def test_f29_a_batch_says_how_each_of_its_tasks_ended() -> None:
    """F29, F34: also under a hook that hides every text, the fields of its results included."""
    one = {"task_index": 0, "status": "completed", "summary": CANARY, "error": None}
    two = {"task_index": 1, "status": "failed", "summary": None, "error": CANARY}
    event = {"delegation_id": "deleg_1", "is_batch": True, "goals": [CANARY] * 2}
    event |= {"type": "async_delegation", "results": [one, two], CANARY: CANARY}
    hidden = _redact.fields(event, lambda text: "*")
    assert hidden["results"] == [{**one, "summary": "*"}, {**two, "error": "*"}]
    text = hc.format_process_notification(hidden) or ""
    assert "--- ✓ TASK 1/2: *  (status=completed) ---" in text
    assert "--- ✗ TASK 2/2: *  (status=failed) ---" in text


def raises(text: str) -> NoReturn:
    raise ValueError(text)


def exits(text: str) -> NoReturn:
    raise SystemExit(text)


def test_ctrl_c_in_a_hook_is_the_users() -> None:
    """On the main thread; a worker, which ends a delegation, hears of none."""

    def interrupted(text: str) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _redact.redacted("a", interrupted)

    def on_a_worker(text: str) -> str:
        if threading.current_thread() is threading.main_thread():
            return text
        raise KeyboardInterrupt

    registry = hc.DelegationRegistry(redact=on_a_worker)
    registry.dispatch(goal="a", runner=lambda: {"summary": CANARY})
    event = registry.queue.get(timeout=10)
    assert (event["status"], event["summary"]) == ("completed", _redact.WITHHELD)
    assert registry.active_count() == 0


def gives_none(text: str) -> Any:
    return None


def gives_bytes(text: str) -> Any:
    return text.encode()


@pytest.mark.parametrize("hook", [raises, exits, gives_none, gives_bytes])
def test_a_hook_that_fails_withholds_the_text(
    hook: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    """F34: it neither lets the text through nor says it in the log."""
    with caplog.at_level(logging.DEBUG):
        found = _redact.redacted({"a": [CANARY, 1]}, hook)
    assert list(found.values()) == [[_redact.WITHHELD, 1]]
    assert "the redaction hook" in caplog.text
    assert CANARY not in caplog.text


# -- in a registry --------------------------------------------------------------------------------

TEXT_FIELDS = ("goal", "context", "role", "model")
RESULT = {
    "status": f"completed {CANARY}",
    "summary": f"It is {CANARY}.",
    "error": CANARY,
    "model": CANARY,
    "exit_reason": CANARY,
    "api_calls": CANARY,
    "duration_seconds": [CANARY],
}


def everything(registry: hc.DelegationRegistry, file: Path, id: str) -> list[object]:
    """All that is stored and shown of a delegation."""
    assert registry.ledger.flush()
    event = registry.queue.get(timeout=10)
    stored = b"".join(path.read_bytes() for path in file.parent.iterdir())
    return [
        event,
        hc.format_process_notification(event),
        registry.event(id),
        registry.get(id),
        registry.list(),
        registry.ledger.get(id),
        stored.decode("utf-8", "replace"),
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


def test_a_canary_in_every_field_of_one_task(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """F34."""
    registry = hc.DelegationRegistry(ledger=file, redact=hide)
    task: dict[str, Any] = {name: f"{name} {CANARY}" for name in TEXT_FIELDS}
    with caplog.at_level(logging.DEBUG):
        handle = registry.dispatch(
            **task, toolsets=[CANARY], session_key="tui:1", runner=lambda: dict(RESULT)
        )
        handle.result(timeout=10)
        found = everything(registry, file, handle.id)
    assert all(CANARY not in str(shown) for shown in found)
    assert found[0]["summary"] == "It is ***."  # type: ignore[index]
    assert found[5]["record"]["goal"] == "goal ***"  # type: ignore[index]
    assert CANARY not in caplog.text


def test_a_canary_in_every_field_of_a_batch(file: Path) -> None:
    """F34."""
    registry = hc.DelegationRegistry(ledger=file, redact=hide)
    record = new_record(
        **dict.fromkeys(TEXT_FIELDS, CANARY),
        toolsets=[CANARY],
        session_key="tui:1",
    )
    record |= {"goals": [CANARY, f"Two {CANARY}"], "is_batch": True}
    result = {
        "results": [RESULT, {"status": CANARY, "tool_trace": [{CANARY: CANARY}]}, CANARY],
        "live_transcripts": {CANARY: [CANARY]},
        "error": CANARY,
    }
    delegation = registry.start(Delegation(record, lambda: result), capacity=3)
    handle = hc.DelegationHandle(registry, delegation)
    handle.result(timeout=10)
    found = everything(registry, file, handle.id)
    assert all(CANARY not in str(shown) for shown in found)
    assert found[0]["results"][0]["summary"] == "It is ***."  # type: ignore[index]


def test_a_canary_in_an_exception(file: Path) -> None:
    """F34."""

    def fail() -> NoReturn:
        raise ValueError(CANARY)

    registry = hc.DelegationRegistry(ledger=file, redact=hide)
    handle = registry.dispatch(goal="Fail", session_key="tui:1", runner=fail)
    handle.result(timeout=10)
    found = everything(registry, file, handle.id)
    assert all(CANARY not in str(shown) for shown in found)
    assert found[0]["error"] == "ValueError: ***"  # type: ignore[index]


@pytest.mark.parametrize("hook", [raises, exits, gives_none])
def test_a_hook_that_fails_keeps_no_delegation_from_its_end(
    hook: Callable[[str], str], file: Path
) -> None:
    """F34, F9: the event comes, its address is its own, its texts are withheld."""
    registry = hc.DelegationRegistry(ledger=file, redact=hook, capacity=1)
    for _ in range(3):
        handle = registry.dispatch(
            goal=CANARY, session_key="tui:1", runner=lambda: {"summary": CANARY}
        )
        handle.result(timeout=10)
        event = registry.queue.get(timeout=10)
        assert (event["session_key"], event["status"]) == ("tui:1", "completed")
        assert (event["goal"], event["summary"]) == (_redact.WITHHELD, _redact.WITHHELD)
    assert registry.active_count() == 0
    assert all(CANARY.encode() not in path.read_bytes() for path in file.parent.iterdir())


def test_the_address_stays() -> None:
    """A key that looks like a secret is still whose it is."""
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, redact=lambda text: "")
    handle = registry.dispatch(
        goal="a", session_key="b", parent_session_id="c", origin_ui_session_id="d", runner=dict
    )
    event = queue.get(timeout=10)
    assert (event["session_key"], event["parent_session_id"]) == ("b", "c")
    assert (event["origin_ui_session_id"], event["delegation_id"]) == ("d", handle.id)


def test_f9_an_end_that_cannot_be_redacted_for_want_of_memory_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """F9, F34: without its result, which nobody has made safe."""
    whole = _redact.replace_texts

    def replace(values: list[Any], *arguments: Any) -> Any:
        if any(type(value) is str and len(value) > 1_000 for value in values):
            raise MemoryError
        return whole(values, *arguments)

    monkeypatch.setattr(_redact, "replace_texts", replace)
    registry = hc.DelegationRegistry(redact=hide)
    registry.dispatch(goal="g", runner=lambda: {"summary": CANARY + "x" * 2_000}, session_key="a")
    event = registry.queue.get(timeout=50)
    assert (event["summary"], event["session_key"]) == (None, "a")
    assert "no memory" in event["error"]
    assert is_clean(event)
