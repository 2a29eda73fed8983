"""Gateways of today, which keep their own loops, are killed and end, and start again (F3, F50).

As `test_durable_gateways` and `test_durable_cli`: real processes, and a model on loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from durable_support import FOREVER, SHORT, Held, Home, blocks
from real_cli import Terminal

from measure.model import Model

VERSION = "0.19.0"
STAY = "Stay in this turn"


class Life:
    def __init__(self, folder: Path, model: Model) -> None:
        self.model = model
        self.home = Home(folder, model, VERSION)
        self.held = Held(model)

    def found(self, text: str) -> list[str]:
        """The goals of the results that a conversation holds, by one of its questions."""
        goals = {row["delegation_id"]: goal for goal, row in self.home.rows().items()}
        conversation = self.model.wait_answered("user", text).conversation
        return sorted(goals[name] for name in blocks(conversation))


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    with Model() as model:
        yield Life(tmp_path, model)


def test_a_session_of_the_tui_has_its_own_again(life: Life) -> None:
    home, held, model = life.home, life.held, life.model
    held.hold(STAY, "Child ran", "Child ended")
    with home.tui(SHORT) as tui:
        sid, session = tui.open()
        tui.ask(sid, "Delegate ended")
        tui.ask(sid, "Delegate ran")
        tui.say(sid, STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        home.until_delivery("Child ended", "pending")
        tui.kill()
    held.let_go()
    with home.tui(FOREVER) as tui:
        other, _ = tui.open()
        tui.ask(other, "Anything new?")
        sid = tui.resume(session)
        for goal in ("ended", "ran"):
            model.wait_answered("result", f"Child {goal}")
            home.until_delivery(f"Child {goal}", "delivered")
        tui.ask(other, "Is there nothing?")
        tui.until_ended(sid, 2)
        tui.ask(sid, "What came?")
    assert life.found("Is there nothing?") == []
    assert life.found("What came?") == ["Child ended", "Child ran"]


def test_f50_a_session_of_the_tui_has_what_the_gateways_own_ledger_kept(life: Life) -> None:
    """Every session that starts before it would have dropped it, or had it."""
    home, held, model = life.home, life.held, life.model
    home.enable(plugin=False)
    held.hold(STAY, "Child ended")
    with home.tui(SHORT) as tui:
        sid, session = tui.open()
        tui.ask(sid, "Delegate ended")
        tui.say(sid, STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        tui.until_shown(sid, "Result of ended")
        tui.kill()
    assert home.rows() == {}
    held.let_go()
    home.enable(plugin=True)
    with home.tui(FOREVER) as tui:
        other, _ = tui.open()
        tui.ask(other, "Anything new?")
        sid = tui.resume(session)
        model.wait_answered("result", "Child ended")
        tui.ask(other, "Is there nothing?")
        tui.until_ended(sid, 1)
        tui.ask(sid, "What came?")
    assert blocks(model.wait_answered("user", "Is there nothing?").conversation) == []
    assert len(blocks(model.wait_answered("user", "What came?").conversation)) == 1


def test_chats_have_their_own_again(life: Life) -> None:
    home, held, model = life.home, life.held, life.model
    held.hold("Child in", "Child out")
    with home.chats(SHORT) as chats:
        chats.ask("a", "Delegate in")
        chats.ask("b", "Delegate out")
        chats.kill()
    held.let_go()
    with home.chats(FOREVER) as chats:
        for goal in ("in", "out"):
            model.wait_answered("result", f"Child {goal}")
            home.until_delivery(f"Child {goal}", "delivered")
        # A restarted gateway also sends answers again, and resumes turns.
        for chat in ("a", "b"):
            chats.say(chat, f"What came to {chat}?")
            model.wait_answered("user", f"What came to {chat}?")
    assert life.found("What came to a?") == ["Child in"]
    assert life.found("What came to b?") == ["Child out"]


def test_the_clis_session_has_its_own_again(life: Life) -> None:
    home, held, model = life.home, life.held, life.model
    held.hold("Child ended", "Child ran", STAY)
    with home.cli(SHORT) as terminal:
        delegate(terminal, model, "ended", 0)
        delegate(terminal, model, "ran", 1)
        terminal.type(STAY)
        model.wait_for("user", STAY)
        held.let_go("Child ended")
        home.until_delivery("Child ended", "pending")
        terminal.kill()
    held.let_go()
    (session,) = {row["session_key"] for row in home.rows().values()}
    with home.cli(FOREVER) as terminal:
        terminal.type("Anything new?")
        model.wait_answered("user", "Anything new?")
    with home.cli(FOREVER, "--resume", session) as terminal:
        for goal in ("ended", "ran"):
            model.wait_answered("result", f"Child {goal}")
            home.until_delivery(f"Child {goal}", "delivered")
        terminal.type("What came?")
        model.wait_answered("user", "What came?")
    assert life.found("Anything new?") == []
    assert life.found("What came?") == ["Child ended", "Child ran"]


def delegate(terminal: Terminal, model: Model, name: str, nth: int) -> None:
    """Have the model delegate, and wait until the child runs and the turn is over."""
    terminal.type(f"Delegate {name}")
    model.wait_answered("tool", "dispatched", nth)
    model.wait_for("child", f"Child {name}")
