"""What `make instructions` makes of counts; counting itself is its own word."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from instructions import __main__ as instructions
from instructions import conditions, leaf


def test_a_count_may_move_by_three_percent() -> None:
    kept = {"a": 1000.0, "b": 1000.0, "c": 1000.0, "d": 1000.0}
    counted = {"a": 1029.0, "b": 971.0, "c": 1031.0, "d": 969.0}
    more, fewer = instructions._compare(kept, counted)
    assert more.startswith("c: +3.1% (1,000.0 to 1,031.0): explain it")
    assert fewer.startswith("d: -3.1% (1,000.0 to 969.0): record the improvement")


def test_scenarios_that_come_or_go_must_be_recorded() -> None:
    assert instructions._compare({"a": 1.0}, {"b": 1.0}) == ["a: is gone", "b: not recorded"]


def test_counts_for_another_compiler_are_not_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layer = {"hold for": {**conditions.python(), "rustc": "rustc 1.0.0"}, "counts": {}}
    kept = tmp_path / "counts.json"
    kept.write_text(json.dumps({"core": layer, "python": layer}), encoding="utf-8")
    monkeypatch.setattr(instructions, "KEPT", kept)
    monkeypatch.setattr(sys, "argv", ["instructions"])
    assert instructions.main() == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("core: not compared: rustc is rustc ")
    assert first.endswith(", the counts are for rustc 1.0.0")
    assert second.startswith("python: not compared: ")


def test_the_recorded_counts_are_of_the_scenarios_there_are() -> None:
    kept = json.loads(instructions.KEPT.read_text(encoding="utf-8"))
    assert list(kept["python"]["counts"]) == list(leaf.SCENARIOS)
    source = (instructions.ROOT / "benches/core/main.rs").read_text(encoding="utf-8")
    assert all(f'("{name}"' in source for name in kept["core"]["counts"])
    assert all(count > 0 for layer in kept.values() for count in layer["counts"].values())


@pytest.mark.parametrize("scenario", leaf.SCENARIOS)
def test_a_leaf_scenario_runs(scenario: str) -> None:
    leaf.SCENARIOS[scenario](2)
