"""The measuring harness works, and what is kept of it fits together; no figure is judged."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from measure import page, table
from measure.figures import Figure, Goal, Measurements, Spread
from measure.peers import gateway_version
from measure.runner import Case, measure, with_growth

ROOT = Path(__file__).resolve().parents[3]
BENCHES = ROOT / "benches"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What `--quick` prints, and its JSON."""
    file = tmp_path_factory.mktemp("bench") / "quick.json"
    done = subprocess.run(
        [sys.executable, "-m", "measure", "--quick", "--json", str(file)],
        env={**os.environ, "PYTHONPATH": str(BENCHES)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


def test_every_figure_is_a_row(quick: tuple[str, dict[str, Any]]) -> None:
    printed, data = quick
    measured = Measurements.from_json(data)
    (run,) = measured.runs
    rows = [table.line(table.cells(figure)) for figure in run.figures]
    lines = printed.splitlines()
    assert [line for line in lines if line in rows] == rows
    assert lines[1].startswith(table.title(run))
    assert re.fullmatch(r"\d+ of \d+ goals met", lines[-1])


def test_every_group_is_measured(quick: tuple[str, dict[str, Any]]) -> None:
    groups = {figure["group"] for figure in quick[1]["runs"][0]["figures"]}
    expected = {"queue", "depth", "mailboxes", "stages", "plain data"}
    expected |= {"ledger", "stored", "process"}
    if gateway_version() is not None:
        expected |= {"delegation", "active_count", "notification"}
        expected |= {"arrival", "turn", "processor"}
    assert groups == expected


def test_the_json_names_the_conditions_and_no_place(quick: tuple[str, dict[str, Any]]) -> None:
    data = quick[1]
    assert set(data) == {"hermes_core", "cpu", "cores", "filesystem", "repetitions", "runs"}
    assert data["repetitions"] == 1
    (run,) = data["runs"]
    assert set(run) == {"python", "gateway", "figures"}
    assert run["python"] == platform.python_version()
    for text in (json.dumps(data), page.JSON.read_text(encoding="utf-8")):
        assert "/" not in text


def test_sides_are_measured_in_turn_behind_a_pair_that_warms_up() -> None:
    order: list[str] = []
    values = iter((100.0, 200.0, 1.0, 2.0, 3.0, 6.0))

    def side(name: str) -> float:
        order.append(name)
        return next(values)

    case = Case("g", "c", "peer", lambda: side("ours"), lambda: side("theirs"))
    (figure,) = measure([[case]], repetitions=2)
    assert order == ["ours", "theirs"] * 3
    assert (figure.ours, figure.theirs) == (Spread(2, 1.5, 2.5), Spread(4, 3, 5))
    assert figure.ratio == 2


def test_growth_is_the_last_size_over_the_first() -> None:
    def figure(size: int, ours: float, theirs: float) -> Figure:
        sides = Spread.of([ours]), Spread.of([theirs])
        return Figure("depth", "cycle", size, "queue.Queue", "s", *sides, None)

    *_, growth = with_growth([figure(10, 2, 8), figure(100, 2, 9), figure(1000, 4, 10)])
    assert growth.case == "cycle, 10 to 1,000: growth"
    assert (growth.ours.median, growth.theirs and growth.theirs.median) == (2, 1.25)
    assert growth.is_met is False


@pytest.mark.parametrize(
    ("goal", "ours", "theirs", "met"),
    [
        (Goal("ratio", 2), 1, 2, True),
        (Goal("ratio", 2), 1, 1.9, False),
        (Goal("ratio", 0.25), 4, 1, True),
        (Goal("ours", 1.5), 1.5, 9, True),
        (Goal("ours", 1.5), 1.6, 9, False),
        (Goal("more", 0.5), 2.5, 2, True),
        (Goal("more", 0.5), 2.6, 2, False),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal, ours: float, theirs: float, met: bool) -> None:
    sides = Spread.of([ours]), Spread.of([theirs])
    figure = Figure("g", "c", None, "peer", "x", *sides, goal)
    assert figure.is_met is met
    assert table.cells(figure)[-1] == ("yes" if met else "no")
