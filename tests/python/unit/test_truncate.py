"""F24: summaries are cut in the event, between characters, and are whole in the ledger."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hermes_core as hc
from hermes_core.delegation.delegation import Delegation, new_record
from hermes_core.text import truncate

#: What people see as one character.
WHOLE = [
    "a",
    "日",
    "e\u0301",
    "a\u0308\u0323",
    "👍🏽",
    "👨\u200d👩\u200d👧\u200d👦",
    "🇩🇪",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "नि",
    "\u1112\u1161\u11ab",
    "\r\n",
]
NOTE = re.compile(
    r"\n\[([\d,]+) of ([\d,]+) characters are cut here; the whole text: hermes-core show deleg_1\]"
)
MEGABYTE = 1_000_000

wide = st.lists(st.sampled_from(WHOLE), max_size=30).map("".join)


def single(summary: object) -> dict[str, Any]:
    return {"delegation_id": "deleg_1", "summary": summary, "goal": "Say a lot"}


def batch(*summaries: object) -> dict[str, Any]:
    results = [{"status": "completed", "summary": summary} for summary in summaries]
    return {"delegation_id": "deleg_1", "is_batch": True, "results": results}


def kept(text: str, whole: str) -> str:
    """What is left of a summary, with what it says of the rest checked."""
    note = NOTE.search(text)
    if note is None:
        assert text == whole
        return text
    left = text[: note.start()]
    assert note.end() == len(text)
    assert whole.startswith(left)
    numbers = [int(number.replace(",", "")) for number in note.groups()]
    assert numbers == [len(whole) - len(left), len(whole)]
    return left


def pieces(text: str) -> list[str]:
    """A text of `WHOLE` taken apart again; fails if the last of them is not all there."""
    found = []
    longest_first = sorted(WHOLE, key=len, reverse=True)
    while text:
        piece = next((piece for piece in longest_first if text.startswith(piece)), None)
        assert piece is not None, f"split: {text[:10]!r}"
        found.append(piece)
        text = text[len(piece) :]
    return found


@given(wide, st.integers(0, 40))
def test_no_character_is_split(summary: str, limit: int) -> None:
    event = single(summary)
    shown = truncate.truncated(event, limit, None)
    left = kept(shown["summary"], summary)
    assert len(left) <= limit
    assert "".join(pieces(left)) == left
    # Nor is what follows cut off from it: all of a character is here, or none.
    assert pieces(summary)[: len(pieces(left))] == pieces(left)
    assert (shown is event) == (len(summary) <= limit)


@given(st.lists(wide, max_size=6), st.integers(0, 50) | st.none(), st.integers(0, 120) | st.none())
def test_each_and_all_together(
    summaries: list[str], max_each: int | None, max_total: int | None
) -> None:
    event = batch(*summaries)
    before = copy.deepcopy(event)
    shown = truncate.truncated(event, max_each, max_total)
    assert event == before
    left = [
        kept(result["summary"], whole)
        for result, whole in zip(shown["results"], summaries, strict=True)
    ]
    if max_each is not None:
        assert all(len(text) <= max_each for text in left)
    if max_total is not None:
        assert sum(map(len, left)) <= max_total
    fits = all(len(text) <= (max_each or 0) for text in summaries) or max_each is None
    if fits and (max_total is None or sum(map(len, summaries)) <= max_total):
        assert shown is event


def test_ten_megabytes() -> None:
    """F24: ten results of a megabyte each, under a total of ten thousand characters."""
    summaries = [character * MEGABYTE for character in "abcdefghij"]
    shown = truncate.truncated(batch(*summaries), None, 10_000)
    texts = [result["summary"] for result in shown["results"]]
    left = [kept(text, whole) for text, whole in zip(texts, summaries, strict=True)]
    assert [len(text) for text in left] == [1000] * 10
    assert sum(map(len, texts)) < 12_000


@pytest.mark.parametrize("unit", ["e\u0301", "👩\u200d", "🇩🇪", "\u0301"])
def test_a_megabyte_of_what_belongs_together(unit: str) -> None:
    """F24."""
    summary = unit * (MEGABYTE // len(unit))
    left = kept(truncate.truncated(single(summary), 5_001, None)["summary"], summary)
    assert len(left) <= 5_001
    assert len(left) % len(unit) == 0


def test_short_ones_stay_whole() -> None:
    summaries = ["x" * 1000, "short", "y" * 1000, ""]
    shown = truncate.truncated(batch(*summaries), None, 105)
    left = [
        kept(result["summary"], whole)
        for result, whole in zip(shown["results"], summaries, strict=True)
    ]
    assert left == ["x" * 50, "short", "y" * 50, ""]


class Text(str):
    def __len__(self) -> NoReturn:
        raise ValueError("no")

    __getitem__ = __str__ = __iter__ = __len__  # type: ignore[assignment]


class Result(dict):  # type: ignore[type-arg]
    def get(self, *args: Any) -> NoReturn:
        raise ValueError("no")

    __iter__ = keys = items = __getitem__ = get  # type: ignore[assignment]


class Results(list):  # type: ignore[type-arg]
    def __iter__(self) -> NoReturn:
        raise ValueError("no")


@pytest.mark.parametrize("value", [None, 7, b"bytes", ["a"], {"a": 1}])
def test_what_is_no_text_is_left(value: object) -> None:
    for event in (single(value), batch(value), {"results": value}, {}):
        assert truncate.truncated(event, 1, 1) is event


def test_a_runners_code_is_not_called() -> None:
    """F9: it might raise, and keep the delegation from its end."""
    event = batch()
    event["results"] = Results([Result(summary=Text("a long text")), 3, Result(error="no")])
    shown = truncate.truncated(event, 3, None)
    assert kept(shown["results"][0]["summary"], "a long text") == "a l"
    assert shown["results"][1] == 3
    assert kept(truncate.truncated(single(Text("a long text")), 3, None)["summary"], "a long text")


def test_the_same_result_twice() -> None:
    result = {"summary": "x" * 100}
    shown = truncate.truncated({"delegation_id": "deleg_1", "results": [result, result]}, 50, 60)
    assert [kept(r["summary"], "x" * 100) for r in shown["results"]] == ["x" * 30] * 2


# -- in a registry --------------------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True])
def test_the_whole_is_kept(tmp_path: Path, in_file: bool) -> None:
    """F24: in the ledger, or in memory where that is one; the conversation gets the short one."""
    ledger = tmp_path / "delegations.db" if in_file else "memory"
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, ledger=ledger, max_summary=100, max_total=150)
    summaries = ["日" * MEGABYTE, "b" * MEGABYTE]
    record = new_record(
        goal="Two",
        context=None,
        toolsets=None,
        role="leaf",
        model=None,
        session_key="tui:1",
    )
    record |= {"goals": ["a", "b"], "is_batch": True}
    results = [{"status": "completed", "summary": summary} for summary in summaries]
    delegation = registry.start(Delegation(record, lambda: {"results": results}), capacity=3)
    handle = hc.DelegationHandle(registry, delegation)
    assert handle.result(timeout=30)["results"] == results
    event = queue.get(timeout=30)
    assert [text["summary"][:76].count(text["summary"][0]) for text in event["results"]] == [75, 75]
    assert len(hc.format_process_notification(event) or "") < 2_000
    whole = registry.event(handle.id)
    assert whole is not None
    assert [result["summary"] for result in whole["results"]] == summaries
    if in_file:
        row = registry.ledger.get(handle.id)
        assert row is not None
        assert [result["summary"] for result in row["event"]["results"]] == summaries


def test_no_cap_is_set_by_default() -> None:
    registry = hc.DelegationRegistry()
    registry.dispatch(goal="a", runner=lambda: {"summary": "x" * MEGABYTE})
    assert len(registry.queue.get(timeout=10)["summary"]) == MEGABYTE


@pytest.mark.parametrize("unit", ["\ud83d\ude00", "ｶﾞ", "กำ", "a\u200c", "가\u11a8"])
def test_what_no_category_tells_stays_together(unit: str) -> None:
    """Halves of a character, voicing marks of half width, Thai AM, a joiner, a last consonant."""
    assert truncate.boundary(f"xy{unit}", 3) == 2
    assert truncate.boundary(f"{unit}xy", 2) == 2


def test_results_in_a_tuple_are_cut_too() -> None:
    """The formatter shows those of a tuple as well."""
    event = batch("x" * 99, "short")
    event["results"] = tuple(event["results"])
    first, second = truncate.truncated(event, 10, None)["results"]
    assert kept(first["summary"], "x" * 99) == "x" * 10
    assert second["summary"] == "short"
