"""`text.json`: any value becomes strict JSON, plain data comes back as it was."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import OrderedDict, deque, namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum, StrEnum
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_core._core import to_json
from hermes_core.text import json as _json

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text() | st.text(st.characters(categories=["Cs", "Cc", "So"]), max_size=4)
plain = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=30,
)


def refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def strict(text: str) -> Any:
    """What a strict reader makes of a text."""
    assert type(text) is str
    # No surrogate is in it, not even one that was alone.
    text.encode()

    def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key is there twice"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=no_key_twice)


def stored(value: object) -> Any:
    return strict(_json.dumps(value))


def paired(value: Any) -> Any:
    """A value with each high surrogate and low surrogate that meet made the character they mean."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if isinstance(value, list):
        return [paired(item) for item in value]
    if isinstance(value, dict):
        return {paired(key): paired(item) for key, item in value.items()}
    return value


@given(plain)
def test_plain_data_comes_back(value: Any) -> None:
    text = _json.dumps(value)
    assert strict(text) == paired(value)
    assert _json.loads(text) == paired(value)


@given(plain)
def test_by_hand_it_is_what_the_library_makes(value: Any) -> None:
    """The walk over what the library refuses makes the same of what it takes."""
    assert _json._Walk().write(value) == json.dumps(value, separators=(",", ":"))
    assert _json.plain(value, "deep") == paired(value)


@given(plain)
def test_the_leaf_makes_what_the_library_makes(value: Any) -> None:
    text = to_json(value)
    if text is None:
        # Ints of more than 64 bits, and lone surrogates.
        text = _json.dumps(value)
        assert re.search(r"\d{19}|\\ud[89a-f]", text)
    assert json.loads(text) == json.loads(json.dumps(value))


class Raises:
    """Nothing can be asked of it."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise ValueError("no")

    def __repr__(self) -> NoReturn:
        raise ValueError("no")

    __str__ = __hash__ = __iter__ = __len__ = __bool__ = __eq__ = __repr__  # type: ignore[assignment]


class Exits:
    def __repr__(self) -> NoReturn:
        raise SystemExit(3)


class NoText:
    def __repr__(self) -> str:
        return 7  # type: ignore[return-value]


class Liar:
    """It is no bytes, whatever it says."""

    @property
    def __class__(self) -> Any:
        return bytes

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise ValueError("no")

    def __repr__(self) -> str:
        return "a liar"


class Items(dict):  # type: ignore[type-arg]
    def items(self) -> NoReturn:
        raise ValueError("no")

    __iter__ = keys = values = items


class Sequence(list):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        raise SystemExit(3)


class Text(str):
    def __str__(self) -> NoReturn:
        raise ValueError("no")

    __repr__ = encode = __str__  # type: ignore[assignment]


class Bytes(bytes):
    def __bytes__(self) -> NoReturn:
        raise ValueError("no")


class Float(float):
    def __ne__(self, other: object) -> NoReturn:
        raise ValueError("no")

    __eq__ = __repr__ = __float__ = __ne__  # type: ignore[assignment]


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


Pair = namedtuple("Pair", "left right")


def released() -> memoryview:
    view = memoryview(b"gone")
    view.release()
    return view


NOT_PLAIN = [
    (Raises(), "<Raises>"),
    (Exits(), "<Exits>"),
    (NoText(), "<NoText>"),
    (Liar(), "a liar"),
    (Text("text"), "text"),
    (Items(a=1), {"a": 1}),
    (Sequence([1]), [1]),
    (Bytes(b"bytes"), "bytes"),
    (Float(1.5), 1.5),
    (Float("nan"), "NaN"),
    (Level.HIGH, 3),
    (Word.YES, "yes"),
    (Pair(1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (deque([1]), [1]),
    ({1}, [1]),
    (frozenset({"a"}), ["a"]),
    (b"caf\xc3\xa9\xff", "café\\xff"),
    (bytearray(b"a"), "a"),
    (memoryview(b"abc")[::2], "ac"),
    (released(), "<released memory at 0x…>"),
    (1j, "1j"),
    (float("nan"), "NaN"),
    (float("inf"), "Infinity"),
    (-math.inf, "-Infinity"),
    (range(2), "range(0, 2)"),
    (len, "<built-in function len>"),
    (Exception("no"), "Exception('no')"),
]


@pytest.mark.parametrize(
    ("value", "shown"), NOT_PLAIN, ids=[type(v).__name__ for v, _ in NOT_PLAIN]
)
@pytest.mark.parametrize("where", ["alone", "in a list", "in a dict", "as a neighbour"])
def test_what_json_cannot_carry_is_text(value: object, shown: Any, where: str) -> None:
    if isinstance(shown, str) and shown.endswith("0x…>"):
        shown = repr(value)
    if where == "alone":
        assert stored(value) == shown
    elif where == "in a list":
        assert stored([value, "and"]) == [shown, "and"]
    elif where == "in a dict":
        assert stored({"a": value, "b": [value]}) == {"a": shown, "b": [shown]}
    else:
        # Beside something that the library refuses: what it would take is not lost with it.
        assert stored([{2}, value]) == [[2], shown]


NO_PLAIN_DATA = [float("nan"), -math.inf, 2**64, -(2**63) - 1, "\ud800", {1}, b"", 1j, ...]
NO_PLAIN_DATA += [Text("a"), Level.HIGH, Float(1.5), Pair(1, 2), Sequence(), Items(), OrderedDict()]


@pytest.mark.parametrize("value", NO_PLAIN_DATA, ids=lambda value: type(value).__name__)
def test_the_leaf_refuses_what_is_not_plain(value: object) -> None:
    for refused in (value, [value], (value,), {"a": value}, {"a": [{"b": value}]}):
        assert to_json(refused) is None


OTHER_KEYS = [1, None, True, 1.5, b"a", (1,), "\ud800", Text("a"), Word.YES]


@pytest.mark.parametrize("key", OTHER_KEYS, ids=lambda key: type(key).__name__)
def test_the_leaf_refuses_keys_that_are_no_texts(key: object) -> None:
    inside: dict[Any, int] = {key: 1}
    for refused in (inside, [{"a": inside}]):
        assert to_json(refused) is None


@pytest.mark.parametrize("text", ["é" * 100_000, "日" * 100_000, "x" * 100_000 + "😀"])
def test_no_copy_of_a_long_text_stays_behind(text: str) -> None:
    size = sys.getsizeof(text)
    assert _json.loads(_json.dumps({"a": [text], "b": text})) == {"a": [text], "b": text}
    assert sys.getsizeof(text) == size


def test_numbers_of_any_size() -> None:
    assert stored(10**4000) == 10**4000
    huge = 10 ** (sys.get_int_max_str_digits() + 10)
    assert int(stored([huge])[0], 16) == huge
    assert int(stored({"a": -huge})["a"], 16) == -huge


@pytest.mark.parametrize("depth", [_json.DEPTH - 1, _json.DEPTH, _json.DEPTH + 1, 20_000])
@pytest.mark.parametrize("kind", [list, dict])
def test_depth(depth: int, kind: type) -> None:
    """What is nested deeper than readers follow is the text of its JSON, and is all there."""
    value: Any = "core"
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    text = _json.dumps(value)
    assert "core" in text
    found = json.loads(text)
    followed = 0
    while not isinstance(found, str):
        found = found[0 if kind is list else "a"]
        followed += 1
    if depth <= _json.DEPTH:
        assert (found, followed) == ("core", depth)
    elif followed < depth:
        opening = "[" if kind is list else '{"a":'
        assert found.count(opening) == depth - followed


def test_circles() -> None:
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    assert stored(ring) == [1, {"ring": "<circular reference>"}]
    shared = [1]
    # Twice beside one another is no circle.
    assert stored([shared, shared, {2}]) == [[1], [1], [2]]


@pytest.mark.parametrize("others", [{}, {"set": {1}}])
def test_keys_that_are_no_texts_stay_apart(others: dict[str, Any]) -> None:
    """F9: nothing of a result is lost because two of its keys look alike."""
    value = {
        1: "a",
        "1": "b",
        None: "c",
        "null": "d",
        False: "e",
        (1, 2): "f",
        Exits(): "g",
        1.5: "h",
    }
    found = stored({**value, **others})
    assert sorted(map(str, found.values())) == sorted(
        [*value.values(), *(str([1]) for _ in others)]
    )
    assert stored({"deep": [{1: "a", "1": "b"}]}) == {"deep": [{"1": "a", "1 (2)": "b"}]}


def test_a_dict_that_changes_meanwhile() -> None:
    inside: dict[str, Any] = {}

    class Grows:
        def __repr__(self) -> str:
            for number in range(100):
                inside[f"new {number}"] = number
                beside.append(number)
            return "grown"

    beside: list[Any] = [Grows(), 2]
    inside |= {"a": Grows(), "b": beside, "c": 3}
    found = stored(inside)
    assert (found["a"], found["b"][0], found["c"]) == ("grown", "grown", 3)


def test_surrogates_are_kept_as_escapes() -> None:
    assert _json.dumps("\ud800") == '"\\ud800"'
    assert _json.loads(_json.dumps({"\udfff": ["\ud800", {1}]})) == {"\udfff": ["\ud800", [1]]}


class Interrupted:
    def __repr__(self) -> NoReturn:
        raise KeyboardInterrupt


def test_ctrl_c_is_the_users_and_nothing_else_is() -> None:
    """It comes to the main thread alone; elsewhere it is what a value raised."""
    with pytest.raises(KeyboardInterrupt):
        _json.dumps(Interrupted())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_json.dumps, Interrupted()).result(30) == '"<Interrupted>"'
