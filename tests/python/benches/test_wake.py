"""The comparison of two wakes works; no figure is judged."""

from __future__ import annotations

import pytest

import wake


def test_both_ways_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wake, "ROUNDS", 3)
    monkeypatch.setattr(wake, "REPETITIONS", 1)
    wake.main()
    assert capsys.readouterr().out.count("µs a round") == 2
