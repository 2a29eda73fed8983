"""The TUI's gateway is killed, or ends, and starts again: nothing is lost, nothing comes twice."""

from __future__ import annotations

import shutil
from pathlib import Path

from durable_support import FOREVER, Held, Home, model, results

from measure.model import Model

__all__ = ["model"]

STAY = "Stay in this turn"


def test_killed_while_a_result_waits_and_a_child_runs(tmp_path: Path, model: Model) -> None:
    """F3, F11, F12: the result comes, and the child's end is told, each once, in its session."""
    home, held = Home(tmp_path, model), Held(model)
    held.hold("Child ended", "Child ran", STAY)
    with home.tui() as tui:
        sid, key = tui.open()
        tui.ask(sid, "Delegate ended")
        tui.ask(sid, "Delegate ran")
        tui.say(sid, STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        tui.until_shown(sid, "Result of ended")
        assert home.rows()["Child ended"]["delivery"] == "pending"
        tui.kill()
    held.let_go()
    assert results(model) == []

    with home.tui() as tui:
        other, _ = tui.open()
        sid = tui.resume(key)
        model.wait_for("result", "Result of ended")
        assert "lost" in model.wait_for("result", "Child ran").text
        tui.until_ended(sid, 2)
        tui.ask(other, "Anything new?")
        home.until_delivery("Child ended", "delivered")
        home.until_delivery("Child ran", "delivered")

    with home.tui() as tui:
        tui.ask(tui.resume(key), "Anything else?")
    assert len(results(model)) == 2
    assert all(
        "Delegate ended" in request.conversation
        for request in model.requests
        if request.kind == "result"
    )
    assert home.rows()["Child ran"]["state"] == "lost"


def test_restarted_orderly(tmp_path: Path, model: Model) -> None:
    """F3: what a gateway held it gives up as it ends; the next need not wait for its lease."""
    home, held = Home(tmp_path, model, FOREVER), Held(model)
    held.hold("Child one", STAY)
    with home.tui() as tui:
        sid, key = tui.open()
        tui.ask(sid, "Delegate one")
        tui.say(sid, STAY)
        model.wait_for("user", STAY)
        held.let_go("Child one")
        tui.until_shown(sid, "Result of one")
    held.let_go()
    with home.tui() as tui:
        sid = tui.resume(key)
        model.wait_for("result", "Result of one")
        tui.until_ended(sid, 1)
    assert len(results(model)) == 1


def test_one_key_in_two_homes(tmp_path: Path, model: Model) -> None:
    """F18: a session has the results of its own home, not those of another's with the same key."""
    home, held = Home(tmp_path, model), Held(model)
    profile = tmp_path / "profiles" / "work"
    home.write(profile)
    held.hold("Child here", "Child there")
    with home.tui() as tui:
        sid, key = tui.open()
        tui.ask(sid, "Delegate here")
        tui.close(sid)
        for file in tmp_path.glob("state.db*"):
            shutil.copy(file, profile)
        sid = tui.resume(key, profile="work")
        tui.ask(sid, "Delegate there")
        tui.kill()
    held.let_go()
    assert list(home.rows()) == ["Child here"]
    assert list(home.rows(profile)) == ["Child there"]

    with home.tui() as tui:
        sid = tui.resume(key, profile="work")
        model.wait_for("result", "Child there")
        tui.until_ended(sid, 1)
        tui.close(sid)
        assert len(results(model)) == 1
        sid = tui.resume(key)
        model.wait_for("result", "Child here")
        tui.until_ended(sid, 1)
    assert len(results(model)) == 2
