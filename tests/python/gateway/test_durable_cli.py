"""The CLI is killed, and its session resumed: it has its results, and no other session has them."""

from __future__ import annotations

from pathlib import Path

from durable_support import Held, Home, model, results
from real_cli import Terminal

from measure.model import Model

__all__ = ["model"]

STAY = "Stay in this turn"


def test_killed_and_resumed(tmp_path: Path, model: Model) -> None:
    """F3, F11: a new session beside it does not get what the resumed one is owed."""
    home, held = Home(tmp_path, model), Held(model)
    held.hold("Child ended", "Child ran", STAY)
    with home.cli() as terminal:
        delegate(terminal, model, "ended", 0)
        delegate(terminal, model, "ran", 1)
        terminal.type(STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        home.until_delivery("Child ended", "pending")
        terminal.kill()
    held.let_go()
    (session,) = {row["session_key"] for row in home.rows().values()}

    with home.cli() as terminal:
        terminal.type("Anything new?")
        model.wait_answered("user", "Anything new?")
        assert results(model) == []

    with home.cli("--resume", session) as terminal:
        came = model.wait_for("result", "Result of ended")
        assert "Delegate ended" in came.conversation
        assert "lost" in model.wait_for("result", "Child ran").text
        for goal in ("Child ended", "Child ran"):
            home.until_delivery(goal, "delivered")

    with home.cli("--resume", session) as terminal:
        terminal.type("Anything else?")
        model.wait_answered("user", "Anything else?")
    assert len(results(model)) == 2


def delegate(terminal: Terminal, model: Model, name: str, nth: int) -> None:
    """Have the model delegate, and wait until the turn is over."""
    terminal.type(f"Delegate {name}")
    model.wait_answered("tool", "dispatched", nth)
    model.wait_for("child", f"Child {name}")
