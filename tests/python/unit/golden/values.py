"""Values of every kind, and what a ledger stores of them.

``stored.jsonl`` holds the text that the encoder of 0.1.0 stored of each. Python 3.11 wrote it:
``PYTHONPATH=tests/python python -m unit.golden.values`` writes it anew, which is only right for
values that are new here.
"""

from __future__ import annotations

import array
import json
import random
import struct
import sys
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NoReturn

STORED = Path(__file__).with_name("stored.jsonl")


class Text(str):
    def __str__(self) -> NoReturn:
        raise ValueError("no")

    __repr__ = encode = __len__ = __iter__ = __str__  # type: ignore[assignment]


class LyingText(str):
    def __str__(self) -> str:
        return "something else"


class Number(int):
    def __repr__(self) -> str:
        return "something else"

    __str__ = __repr__

    def __index__(self) -> NoReturn:
        raise ValueError("no")


class Real(float):
    def __repr__(self) -> str:
        return "something else"

    def __float__(self) -> NoReturn:
        raise ValueError("no")


class Sequence(list):  # type: ignore[type-arg]
    def __iter__(self) -> NoReturn:
        raise ValueError("no")

    __len__ = __getitem__ = __iter__  # type: ignore[assignment]


class OtherSequence(list):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter(["another"])


class OtherTuple(tuple):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter(["another"])


class Items(dict):  # type: ignore[type-arg]
    def items(self) -> NoReturn:
        raise ValueError("no")

    __iter__ = keys = values = items


class OtherItems(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [("another", 1)]


class Bytes(bytes):
    def __bytes__(self) -> NoReturn:
        raise ValueError("no")


class Members(set):  # type: ignore[type-arg]
    def __iter__(self) -> NoReturn:
        raise ValueError("no")


class Level(IntEnum):
    HIGH = 3


class Flag(IntFlag):
    A = 1
    B = 2


class Word(StrEnum):
    YES = "yes"


class Colour(Enum):
    RED = "red"


class Raises:
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


class ReprText:
    def __repr__(self) -> str:
        return Text("of a subclass")


class Pretends(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        return "pretended"


class Pretended(metaclass=Pretends):
    def __repr__(self) -> NoReturn:
        raise ValueError("no")


@dataclass
class Point:
    x: int
    name: str = "naïve"


Pair = namedtuple("Pair", "left right")


def nested(depth: int, kind: type = list, core: Any = "core") -> Any:
    value = core
    for number in range(depth):
        in_dict = kind is dict or (kind is tuple and number % 2)
        value = {"a": value} if in_dict else [value]
    return value


def ring() -> list[Any]:
    found: list[Any] = [1]
    found.append({"ring": found, "again": [found]})
    return found


def dict_ring() -> dict[str, Any]:
    found: dict[str, Any] = {"a": 1}
    found["self"] = found
    return found


def shared() -> list[Any]:
    inside = [1, {"a": 2}]
    return [inside, inside, {"b": inside}]


def growing() -> dict[str, Any]:
    """A dict and a list that change while they are read."""
    inside: dict[str, Any] = {}
    beside: list[Any] = []

    class Grows:
        def __repr__(self) -> str:
            for number in range(3):
                inside[f"new {len(inside)}"] = number
                beside.append(number)
            return "grown"

    beside += [Grows(), 2]
    inside.update(a=Grows(), b=beside, c=3)
    return inside


def shrinking() -> list[Any]:
    """A list and a dict that are emptied while they are read."""
    beside: dict[str, Any] = {}
    found: list[Any] = []

    class Shrinks:
        def __repr__(self) -> str:
            found.clear()
            beside.clear()
            return "shrunk"

    beside.update(a=Shrinks(), b=2)
    found += [beside, Shrinks(), [3]]
    return found


def floats() -> list[float]:
    bits = random.Random(7)
    found = [struct.unpack("<d", bits.getrandbits(64).to_bytes(8, "little"))[0] for _ in range(800)]
    return [value for value in found if value == value] + [
        mantissa * 10.0**exponent for mantissa in (1, -3, 7.25) for exponent in range(-25, 25)
    ]


def characters() -> list[str]:
    """Every kind of character, alone and between others."""
    codes = [*range(0x100), 0x2028, 0x2029, 0x200D, 0xFEFF, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF]
    codes += [0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xE000, 0xE0041, 0x1F600]
    return [chr(code) for code in codes] + [f"a{chr(code)}é" for code in codes]


def record(number: int = 0) -> dict[str, Any]:
    """A record, as a dispatch makes it."""
    return {
        "delegation_id": f"deleg_{number:016x}",
        "goal": "Find why the nightly job failed, and say what to change.",
        "context": "The logs are in /var/log/nightly; the job is nightly.py.",
        "toolsets": ["terminal", "file"],
        "role": "leaf",
        "model": "model-1",
        "session_key": "agent:main:telegram:dm:7",
        "origin_ui_session_id": "",
        "parent_session_id": None,
        "status": "running",
        "dispatched_at": 1_700_000_000.1234567 + number,
        "completed_at": None,
    }


def event(number: int = 0) -> dict[str, Any]:
    """The event of one that ended."""
    return {
        "type": "async_delegation",
        **record(number),
        "status": "completed",
        "summary": "The disk was full: /var has 4 KB left. Remove the old archives.",
        "error": None,
        "api_calls": 7,
        "duration_seconds": 41.27,
        "completed_at": 1_700_000_041.4 + number,
        "exit_reason": "completed",
    }


def batch(tasks: int = 10, entries: int = 20, odd: str = "") -> dict[str, Any]:
    """The event of a batch whose results say what each step did."""
    steps = [
        {
            "step": step,
            "tool": "terminal",
            "input": f"grep -n 'error' /var/log/nightly/{step}.log{odd}",
            "output": f"{step}:error: no space left on device{odd}\n" * 2,
            "seconds": step / 7,
            "ok": step % 3 == 0,
        }
        for step in range(entries)
    ]
    results = [
        {
            "task_index": task,
            "status": "completed" if task % 4 else "failed",
            "summary": f"Task {task} is done.{odd} " * 5,
            "error": None if task % 4 else "gave up",
            "api_calls": task,
            "duration_seconds": task * 1.1,
            "model": "model-1",
            "tool_trace": [dict(step) for step in steps],
        }
        for task in range(tasks)
    ]
    return {
        **event(),
        "goals": [f"Goal {task}{odd}" for task in range(tasks)],
        "is_batch": True,
        "results": results,
        "live_transcripts": None,
        "total_duration_seconds": 99.5,
    }


def random_values(count: int = 60) -> list[Any]:
    """Plain values of any shape."""
    bits = random.Random(11)

    def below(limit: int) -> int:
        return bits.getrandbits(16) % limit

    def text() -> str:
        ranges = (0x80, 0x80, 0x300, 0xD800, 0xE000, 0x110000)
        limit = ranges[below(len(ranges))]
        return "".join(chr(bits.getrandbits(21) % limit) for _ in range(below(8)))

    def value(depth: int) -> Any:
        kind = below(10 if depth else 7)
        if kind < 3:
            return (None, True, False)[kind]
        if kind == 3:
            return bits.getrandbits(below(200) + 1) * (1 if below(2) else -1)
        if kind == 4:
            return (bits.getrandbits(53) / (1 << below(80))) * (1 if below(2) else -1)
        if kind < 7:
            return text()
        if kind == 7:
            return [value(depth - 1) for _ in range(below(6))]
        if kind == 8:
            return tuple(value(depth - 1) for _ in range(below(3)))
        return {text(): value(depth - 1) for _ in range(below(6))}

    return [value(5) for _ in range(count)]


LIMIT = 4300

#: How each is made: some can be read but once.
VALUES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "bools": lambda: [True, False],
    "empty": lambda: [[], {}, (), "", set(), b""],
    "ints": lambda: [0, -0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64],
    "big ints": lambda: [2**64 + 1, -(2**64), 2**127, -(2**127), 2**128, 10**300, -(10**300)],
    "ints of as many digits as Python reads": lambda: [10 ** (LIMIT - 1), -(10 ** (LIMIT - 1))],
    "longer ints": lambda: [10**LIMIT, {"a": -(10 ** (LIMIT + 50))}],
    "floats": lambda: [
        0.0,
        -0.0,
        1.0,
        1e-7,
        1e-5,
        1e-4,
        0.1,
        1e15,
        1e16,
        1e17,
        1e22,
        1e23,
        -1e-300,
    ],
    "odd floats": lambda: [5e-324, -5e-324, 2.2250738585072014e-308, sys.float_info.max, 0.1 + 0.2],
    "many floats": floats,
    "no numbers": lambda: [float("nan"), float("inf"), float("-inf"), {"a": float("nan")}],
    "no number alone": lambda: float("nan"),
    "no number beside a set": lambda: [float("inf"), {2}],
    "characters": characters,
    "quotes": lambda: {'a"b\\c/d': "\b\f\n\r\t\x00\x1f\x7f", "</script>": "<!--"},
    "lone surrogates": lambda: ["\ud800", "a\udfffb", "\udc00\ud800", "\ud83d\ude00", "é\udc80"],
    "lone surrogates as keys": lambda: {"\ud800": 1, "\udfff a": {"é\ud800": 2}},
    "lone surrogates beside a set": lambda: {"\ud800": {1}},
    "long texts": lambda: ["x" * 3000, "é" * 3000, "日" * 3000, "😀" * 3000, "x" * 3000 + "\ud800"],
    "long texts as keys": lambda: {"é" * 3000: 1, "x" * 3000: 2},
    "depth 99": lambda: nested(99),
    "depth 100": lambda: nested(100),
    "depth 101": lambda: nested(101),
    "depth 99 of dicts": lambda: nested(99, dict),
    "depth 100 of dicts": lambda: nested(100, dict),
    "depth 101 of dicts": lambda: nested(101, dict),
    "depth 250 of both": lambda: nested(250, tuple),
    "depth 100 with a set": lambda: nested(100, list, {1}),
    "depth 99 with a set": lambda: nested(99, list, {1}),
    "depth 250 with a set": lambda: nested(250, tuple, [{1}, 1e-7, "é", float("nan"), 10**5000]),
    "depth 12,000": lambda: nested(12_000, tuple, ["é", 1e-7]),
    "a circle": ring,
    "a circle of a dict": dict_ring,
    "the same twice": shared,
    "keys that are no texts": lambda: {
        1: "a",
        None: "b",
        False: "c",
        2.5: "d",
        (1, 2): "e",
        b"f": "f",
    },
    "keys that look alike": lambda: {
        1: "a",
        "1": "b",
        "null": "c",
        None: "d",
        "false": 1,
        False: 2,
    },
    "keys that look alike, deep": lambda: {"deep": [{1: "a", "1": "b", "1 (2)": "c", 1.0 + 1: 3}]},
    "keys that cannot be shown": lambda: {Exits(): "a", Pair(1, 2): "b", frozenset([1]): "c"},
    "keys of subclasses": lambda: {Text("a"): 1, "a": 2, Word.YES: 3, Level.HIGH: 4, Colour.RED: 5},
    "keys that are no numbers": lambda: {float("nan"): 1, float("inf"): 2, -0.0: 3},
    "long int as a key": lambda: {10**20: 1},
    "tuples": lambda: [(), (1,), ((2, "a"), [3])],
    "sets": lambda: [{1}, frozenset({"a"}), {(1, 2)}],
    "bytes": lambda: [b"caf\xc3\xa9\xff", bytearray(b"a"), memoryview(b"abc")[::2], Bytes(b"b")],
    "other memory": lambda: memoryview(array.array("i", [1])),
    "text that is a subclass's": lambda: [Text("text"), LyingText("text")],
    "int that is a subclass's": lambda: [Number(7), Level.HIGH, Flag.A | Flag.B, {"a": Number(-1)}],
    "float that is a subclass's": lambda: [Real(1.5), Real("nan"), Real("-inf")],
    "list that is a subclass's": lambda: [Sequence([1]), Pair(1, [2]), deque([1], 3)],
    "list that shows other things": lambda: OtherSequence([1]),
    "tuple that shows other things": lambda: [OtherTuple([1])],
    "list that shows other things beside a set": lambda: [OtherSequence([1]), {2}],
    "dict that is a subclass's": lambda: [Items(a=1), OrderedDict(b=1, a=2), Counter("aab")],
    "dict with a default": lambda: defaultdict(list, {"a": [1]}),
    "dict that shows other things": lambda: OtherItems(a=2),
    "dict that shows other things beside a set": lambda: [OtherItems(a=2), {2}],
    "set that is a subclass's": lambda: Members({1}),
    "words": lambda: [Word.YES, Colour.RED],
    "objects": lambda: [Point(1), SimpleNamespace(a=1), 1j, Decimal("1.50"), Fraction(1, 3)],
    "more objects": lambda: [
        range(2),
        len,
        Exception("no"),
        PurePosixPath("/tmp"),
        ...,
        int,
        slice(1),
    ],
    "mappings that are no dicts": lambda: [UserDict(a=1), MappingProxyType({"a": 1})],
    "objects that raise": lambda: [Raises(), Exits(), NoText(), ReprText(), Pretended()],
    "objects that raise, as values": lambda: {"a": Raises(), "b": [Exits()]},
    "what grows": growing,
    "what shrinks": shrinking,
    "a record": record,
    "an event": event,
    "a batch": lambda: batch(3, 5),
    "a batch in German": lambda: batch(3, 4, " – größer"),
    "a batch with a set": lambda: {**batch(2, 2), "seen": {7}},
    "random values": random_values,
}


def main() -> None:
    from hermes_core.text import json as plain

    with STORED.open("w", encoding="ascii") as file:
        for name, make in VALUES.items():
            file.write(json.dumps({"name": name, "text": plain.dumps(make())}) + "\n")


if __name__ == "__main__":
    main()
