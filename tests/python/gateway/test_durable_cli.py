"""The CLI is killed, and its session resumed: it has its results, and no other session has them."""

from __future__ import annotations

from pathlib import Path

from durable_support import SHORT, Held, Home, blocks
from real_cli import Terminal

from measure.model import Model

STAY = "Stay in this turn"
NEW, END = "Anything new?", "Anything else?"


def test_killed_and_resumed(tmp_path: Path) -> None:
    """F2, F3, F11: by `/resume` in a session that got nothing, and by `--resume`."""
    with Model() as model:
        home, held = Home(tmp_path, model), Held(model)
        held.hold("Child ended", "Child ran", "Child third", STAY)
        with home.cli(SHORT) as terminal:
            delegate(terminal, model, "ended", 0)
            delegate(terminal, model, "ran", 1)
            terminal.type(STAY)
            model.wait_for("user", STAY)
            held.let_go("Child ended")
            home.until_delivery("Child ended", "pending")
            terminal.kill()
        held.let_go(STAY, "Child ran")
        (session,) = {row["session_key"] for row in home.rows().values()}

        with home.cli(SHORT) as terminal:
            terminal.type(NEW)
            assert blocks(model.wait_answered("user", NEW).conversation) == []
            terminal.type(f"/resume {session}")
            for goal in ("ended", "ran"):
                model.wait_answered("result", f"Child {goal}")
                home.until_delivery(f"Child {goal}", "delivered")
            delegate(terminal, model, "third", 2)
            terminal.kill()
        held.let_go()

        with home.cli(SHORT, "--resume", session) as terminal:
            model.wait_answered("result", "Child third")
            home.until_delivery("Child third", "delivered")
            terminal.type(END)
            found = blocks(model.wait_answered("user", END).conversation)
        rows = home.rows()
    assert sorted(found) == sorted(row["delegation_id"] for row in rows.values())
    assert "Result of ended" in model.wait_for("result", "Child ended").text
    assert [rows[f"Child {goal}"]["state"] for goal in ("ran", "third")] == ["lost", "lost"]


def delegate(terminal: Terminal, model: Model, name: str, nth: int) -> None:
    """Have the model delegate, and wait until the child runs and the turn is over."""
    terminal.type(f"Delegate {name}")
    model.wait_answered("tool", "dispatched", nth)
    model.wait_for("child", f"Child {name}")
