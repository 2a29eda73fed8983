"""What the command line prints: nothing that a terminal acts on, nothing wider than it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_core.cli import table, terminal

JOINERS = "\u200c\u200d"
#: Characters that take two columns, none, or belong to others.
ODD = "日本👍🏽👨‍👩‍👧🇩🇪❤️e\u0301ﷺ\t\x1b\u202e\x7f\x9b"
texts = st.text() | st.text(st.sampled_from(ODD))
COLUMNS = (
    table.Column("ID"),
    table.Column("STATE"),
    table.Column("SESSION", is_elastic=True),
    table.Column("GOAL", is_elastic=True),
)


def acts(character: str) -> bool:
    """Whether a terminal acts on a character, or hides it."""
    kind = unicodedata.category(character)
    # The last are tags, and what Unicode may make of their neighbours: never shown.
    is_tag = "\U000e0000" <= character <= "\U000e0fff"
    return (
        kind in ("Cc", "Cs", "Zl", "Zp")
        or is_tag
        or (
            kind == "Cf"
            and character not in JOINERS
            and unicodedata.bidirectional(character) not in ("AN", "L", "NSM")
        )
    )


@given(texts)
def test_nothing_that_is_acted_on_is_shown(text: str) -> None:
    shown = terminal.safe(text)
    assert not any(map(acts, shown))
    if not any(map(acts, text)):
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\r\tc\x00\x7f", "a\\x0ab\\x0d\\x09c\\x00\\x7f"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\u2066\u2069\u200f\ufeff", "\\u2066\\u2069\\u200f\\ufeff"),
        ("\u2028\ud800", "\\u2028\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("👨\u200d👩 می\u200cخواهم", "👨\u200d👩 می\u200cخواهم"),
    ],
)
def test_it_is_escaped_as_python_does(text: str, shown: str) -> None:
    assert terminal.safe(text) == shown


def test_the_lines_of_a_text() -> None:
    assert list(terminal.lines("a\tb\r\nc\rd\x1b\n")) == ["a   b", "c\\x0dd\\x1b", ""]


@given(texts, st.integers(0, 30))
def test_a_text_is_cut_to_a_width(text: str, width: int) -> None:
    text = terminal.safe(text)
    shown = terminal.fit(text, width)
    assert terminal.cells(shown) <= width
    if terminal.cells(text) <= width:
        assert shown == text
    else:
        assert text.startswith(shown.removesuffix(terminal.MORE))


def test_a_cut_splits_nothing() -> None:
    family, flag = "👨\u200d👩\u200d👧", "🇩🇪"
    for width in range(12):
        shown = terminal.fit(f"{family}{flag}e\u0301x" * 2, width)
        rest = shown.removesuffix("…").replace(family, "").replace(flag, "")
        assert rest.replace("e\u0301", "").strip("x") == "", (width, shown)


@given(
    st.lists(st.tuples(texts, texts, texts, texts), max_size=4),
    st.integers(1, 120),
)
def test_a_table_is_as_wide_as_the_terminal(rows: list[tuple[str, ...]], width: int) -> None:
    lines = list(table.lines(COLUMNS, rows, width))
    assert len(lines) == 1 + len(rows)
    assert all(terminal.cells(line) <= width for line in lines)
    assert not any(map(acts, "".join(lines)))


def test_what_is_long_is_cut_and_the_id_is_not() -> None:
    rows = [("deleg_0123456789abcdef", "completed", "agent:main:telegram:dm:4711", "goal " * 40)]
    heads, row = table.lines(COLUMNS, rows, 60)
    assert row == "deleg_0123456789abcdef  completed  agent:main…  goal goal g…"
    assert heads == "ID                      STATE      SESSION      GOAL"
    assert list(table.lines(COLUMNS, rows, 34)) == [
        "ID                      STATE",
        "deleg_0123456789abcdef  completed",
    ]
    assert list(table.lines(COLUMNS, rows, 10))[1] == "deleg_012…"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (89, "89 s"),
        (180, "3 min"),
        (2 * 3600, "2 h"),
        (5 * 86400, "5 d"),
        (400 * 86400, "400 d"),
    ],
)
def test_times_are_said_as_people_do(seconds: float, shown: str) -> None:
    assert terminal.span(seconds) == shown
