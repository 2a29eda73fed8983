"""What is stored of a value reads back as what the encoder of 0.1.0 stored of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hermes_core.text import json as _json
from unit.golden.values import STORED, VALUES

#: What the encoder of 0.1.0 stored of each value.
GOLDEN: dict[str, str] = {}
with STORED.open(encoding="ascii") as file:
    for line in file:
        entry = json.loads(line)
        GOLDEN[entry["name"]] = entry["text"]


def exactly(text: str) -> str:
    """What a text reads back as, to its types, its signs and the order of its keys."""
    value: Any = json.loads(text)
    return json.dumps(value)


def test_each_value_has_its_text() -> None:
    assert list(GOLDEN) == list(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_it_reads_back_as_before(name: str) -> None:
    text = _json.dumps(VALUES[name]())
    assert exactly(text) == exactly(GOLDEN[name])
    assert exactly(json.dumps(_json.loads(text))) == exactly(GOLDEN[name])


def spelled(text: str) -> str:
    """A text with what may be spelled in two ways spelled in one."""
    escaped = "".join(each if " " <= each <= "~" else json.dumps(each)[1:-1] for each in text)
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", lambda number: str(float(number[0])), escaped)


@pytest.mark.parametrize("name", VALUES)
def test_only_two_things_are_spelled_otherwise(name: str) -> None:
    """Exponents of floats; characters that are no ASCII, or are DEL, which were escapes."""
    assert spelled(_json.dumps(VALUES[name]())) == spelled(GOLDEN[name])


@pytest.mark.parametrize(
    ("value", "before", "now"),
    [
        (1e-7, "1e-07", "1e-7"),
        (-1.5e-5, "-1.5e-05", "-0.000015"),
        (1e16, "1e+16", "1e+16"),
        ("größer", r'"gr\u00f6\u00dfer"', '"größer"'),
        ("\x7f", r'"\u007f"', '"\x7f"'),
        ({"日": "😀"}, r'{"\u65e5":"\ud83d\ude00"}', '{"日":"😀"}'),
    ],
)
def test_how_these_are_spelled(value: object, before: str, now: str) -> None:
    """As docs/ledger.md says it."""
    assert json.dumps(value, separators=(",", ":")) == before
    assert _json.dumps(value) == now
    assert _json.loads(before) == _json.loads(now) == value
