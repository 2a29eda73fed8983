"""The functions by which consumers claim and settle, generated, against the gateway's own.

Each side is a process: 0.19.0 as it is, and 0.19.0 with the core in its place. What they return and
raise is equal, and so is what is known of each delegation. Two things differ, on purpose: a result
waits once and not as often as it was put, and what is released counts no attempt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from differential import reference

Event = dict[str, Any]
Step = tuple[Any, ...]

WORKER = Path(__file__).with_name("delivery_worker.py")


class Side:
    """One of the two processes."""

    def __init__(self, kind: str) -> None:
        folder = tempfile.mkdtemp(prefix="hermes-home-")
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HERMES_HOME": folder, "HERMES_CORE_DURABILITY": "process"},
        )

    def __call__(self, *step: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def sides() -> Iterator[tuple[Side, Side]]:
    if not hasattr(reference.delegations(), "claim_event_delivery"):
        pytest.skip("this gateway has no claims")
    both = Side("core"), Side("gateway")
    yield both
    for side in both:
        side.close()


TEXTS = st.text(max_size=20)
SINGLE = st.fixed_dictionaries(
    {},
    optional={"status": st.sampled_from(["completed", "error"]), "summary": TEXTS, "error": TEXTS},
)
BATCH = st.fixed_dictionaries(
    {"results": st.lists(SINGLE, max_size=3)}, optional={"total_duration_seconds": st.integers()}
)
NUMBERS = st.integers(0, 2)
TOKENS = st.integers(0, 3)
SETTLING = (
    "complete_event_delivery",
    "release_event_delivery",
    "complete_completion_delivery",
    "release_completion_delivery",
)
STEPS = st.one_of(
    st.tuples(st.just("take"), NUMBERS),
    st.tuples(st.just("put"), NUMBERS),
    st.tuples(st.just("claim"), NUMBERS, TOKENS),
    st.tuples(st.just("claim_by"), NUMBERS, TOKENS),
    st.tuples(st.just("settle"), st.sampled_from(SETTLING), NUMBERS, TOKENS),
    st.tuples(st.just("mark"), NUMBERS),
    st.tuples(st.just("durable"), NUMBERS),
    st.tuples(st.just("restore"), st.sampled_from(["shared", "other"])),
    st.tuples(st.just("later"), st.sampled_from([100.0, 301.0])),
)


@settings(max_examples=settings.default.max_examples // 10)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.booleans(), SINGLE, BATCH), min_size=3, max_size=3
    ),
    st.lists(STEPS, max_size=30),
)
def test_f10_f11_claims_are_the_gateways(
    sides: tuple[Side, Side], tasks: list[tuple[str, bool, Event, Event]], steps: list[Step]
) -> None:
    for side in sides:
        side("begin", tempfile.mkdtemp(prefix="hermes-home-"))
    for number, (key, is_batch, single, batch) in enumerate(tasks):
        result = batch if is_batch else single
        both(sides, "start", number, key, result, is_batch)
        both(sides, "durable", number)
        both(sides, "end", number)
    for step in steps:
        if step[0] in ("take", "restore"):
            # How often it waits is the gateway's own affair.
            for side in sides:
                assert side(*step)[1] is None
        else:
            both(sides, *step)
        waiting = sides[0]("waiting")[0]
        assert len(waiting) == len(set(waiting)), "each waits once"
    for number in range(3):
        both(sides, "durable", number)
    undelivered(sides)


def both(sides: tuple[Side, Side], *step: Any) -> None:
    """Do a step on each side, and compare."""
    ours, theirs = (side(*step) for side in sides)
    for answer in (ours, theirs):
        if step[0] == "durable" and answer[0] is not None:
            attempts = answer[0].pop("delivery_attempts")
            assert answer is theirs or attempts in (0, 1)
    if step[0] == "durable" and not theirs[0]["result"]:
        # Of nothing ours says nothing, or what it made of it.
        ours[0]["result"] = theirs[0]["result"]
    assert ours == theirs, step


def undelivered(sides: tuple[Side, Side]) -> None:
    """What can be claimed once every claim is old is the same, and comes."""
    for side in sides:
        side("later", 301.0)
        side("restore", "shared")
    waiting = [set(side("waiting")[0]) for side in sides]
    claimed = [{number for number in range(3) if side("claim_by", number, 9)[0]} for side in sides]
    assert claimed[0] == claimed[1]
    assert waiting[0] == claimed[0]
    assert waiting[1] >= claimed[1]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("claim_event_delivery", ({}, "c")),
        ("claim_event_delivery", ({"type": "completion", "delegation_id": "x"}, "c")),
        ("claim_event_delivery", ({"type": "async_delegation"}, "c")),
        ("claim_event_delivery", ({"type": "async_delegation", "delegation_id": ""}, "c")),
        ("claim_event_delivery", ({"type": "async_delegation", "delegation_id": None}, "c")),
        ("claim_event_delivery", ({"type": "async_delegation", "delegation_id": "x"}, "c")),
        ("claim_event_delivery", ({"type": "async_delegation", "delegation_id": 5}, None)),
        ("claim_event_delivery", ("no event", "c")),
        ("claim_event_delivery", (None, "c")),
        ("claim_event_delivery", ({},)),
        ("complete_event_delivery", ({}, "t")),
        ("complete_event_delivery", ({"type": "async_delegation", "delegation_id": "x"}, "t")),
        ("complete_event_delivery", ({"type": "async_delegation", "delegation_id": "x"}, "")),
        ("complete_event_delivery", ({"type": "async_delegation"}, None)),
        ("complete_event_delivery", (None, "")),
        ("complete_event_delivery", (None, "t")),
        ("release_event_delivery", ({"type": "async_delegation", "delegation_id": "x"}, "t")),
        ("release_event_delivery", ({"type": "async_delegation"}, "t")),
        ("release_event_delivery", (None, "t")),
        ("claim_completion_delivery", ("x", "t")),
        ("claim_completion_delivery", ("", "t")),
        ("claim_completion_delivery", (None, "t")),
        ("claim_completion_delivery", (5, "t")),
        ("claim_completion_delivery", ([], "t")),
        ("claim_completion_delivery", ("x",)),
        ("complete_completion_delivery", ("x", "t")),
        ("complete_completion_delivery", (None, None)),
        ("complete_completion_delivery", ({}, "t")),
        ("release_completion_delivery", ("x", "t")),
        ("release_completion_delivery", (["x"], "t")),
        ("mark_completion_delivered", ("x",)),
        ("mark_completion_delivered", (None,)),
        ("mark_completion_delivered", ({},)),
        ("mark_completion_delivered", ()),
        ("get_durable_delegation", ("x",)),
        ("get_durable_delegation", (None,)),
        ("get_durable_delegation", (5,)),
        ("get_durable_delegation", ({},)),
        ("recover_abandoned_delegations", ()),
        ("recover_abandoned_delegations", ("x",)),
        ("restore_undelivered_completions", ()),
    ],
)
def test_what_nobody_knows_is_answered_alike(
    sides: tuple[Side, Side], function: str, arguments: tuple[Any, ...]
) -> None:
    for side in sides:
        side("begin", tempfile.mkdtemp(prefix="hermes-home-"))
    both(sides, "call", function, *arguments)


def test_their_parameters_are_the_gateways() -> None:
    import inspect

    from hermes_core.gateway.deliveries import Deliveries

    if not hasattr(theirs := reference.delegations(), "claim_event_delivery"):
        pytest.skip("this gateway has no claims")
    for name in (*SETTLING, "claim_event_delivery", "claim_completion_delivery",
                 "mark_completion_delivered", "get_durable_delegation",
                 "restore_undelivered_completions"):  # fmt: skip
        own = list(inspect.signature(getattr(Deliveries, name)).parameters)[1:]
        assert own == list(inspect.signature(getattr(theirs, name)).parameters), name
