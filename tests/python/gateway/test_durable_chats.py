"""The messaging gateway is killed, or ends, and starts again; another front end is beside it."""

from __future__ import annotations

from pathlib import Path

from durable_support import FOREVER, Held, Home, model, results

from measure.model import Model

__all__ = ["model"]

STAY = "Stay in this turn"


def test_killed_beside_a_tui(tmp_path: Path, model: Model) -> None:
    """F2, F3, F11: each chat and each session gets its own, once, though all share one ledger."""
    home, held = Home(tmp_path, model), Held(model)
    held.hold("Child ended", "Child ran", "Child session", STAY)
    with home.tui() as tui, home.chats() as chats:
        sid, key = tui.open()
        tui.ask(sid, "Delegate session")
        chats.ask("a", "Delegate ended")
        chats.ask("b", "Delegate ran")
        chats.say("a", STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        home.until_delivery("Child ended", "pending")
        chats.kill()
        tui.kill()
    held.let_go()
    assert results(model) == []

    with home.tui() as tui, home.chats() as chats:
        sid = tui.resume(key)
        came = model.wait_for("result", "Result of ended")
        assert "Delegate ended" in came.conversation
        lost = model.wait_for("result", "Child ran")
        assert "lost" in lost.text
        assert "Delegate ran" in lost.conversation
        own = model.wait_for("result", "Child session")
        assert "Delegate session" in own.conversation
        tui.until_ended(sid, 1)
        for goal in ("Child ended", "Child ran", "Child session"):
            home.until_delivery(goal, "delivered")

    with home.chats() as chats:
        chats.ask("a", "Anything else?")
    assert len(results(model)) == 3


def test_restarted_orderly(tmp_path: Path, model: Model) -> None:
    """F3, F22: a child that the gateway stops as it ends says so after the restart, at once."""
    home, held = Home(tmp_path, model, FOREVER), Held(model)
    held.hold("Child one")
    with home.chats() as chats:
        chats.ask("a", "Delegate one")
        model.wait_for("child", "Child one")
    held.let_go()
    with home.chats() as chats:
        result = model.wait_for("result", "Child one")
        assert "Delegate one" in result.conversation
        home.until_delivery("Child one", "delivered")
    assert len(results(model)) == 1
