"""The TUI's and the messaging gateway share a home, are killed, end, and start again.

One story, played once: real processes, and a model on loopback. The tests look at what the
conversations and the ledger hold in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from durable_support import FOREVER, SHORT, Chats, Held, Home, Tui, blocks

from measure.model import Model

STAY, STAY_AGAIN = "Stay in this turn", "Do not go yet"
END = "Anything else?"


class Story:
    """What happened to one session, and in the chats `a` and `b`."""

    def __init__(self, home: Home, model: Model) -> None:
        self._home = home
        self._model = model
        self._held = Held(model)
        self._session = ""
        self._conversations: dict[str, str] = {}
        self.rows: dict[str, dict[str, Any]] = {}

    def play(self) -> None:
        """Go through three lives of both gateways."""
        home, held = self._home, self._held
        held.hold(STAY, "Child ran", "Child ended", "Child out", "Child in")
        with home.tui(SHORT) as tui, home.chats(SHORT) as chats:
            self._first_life(tui, chats)
            tui.kill()
            chats.kill()
        held.let_go()
        # Not the same words: a gateway that was killed in a turn asks the model about it again.
        held.hold(STAY_AGAIN, "Child later", "Child stopped")
        with home.tui(FOREVER) as tui, home.chats(FOREVER) as chats:
            self._second_life(tui, chats)
        held.let_go()
        with home.tui(FOREVER) as tui, home.chats(FOREVER) as chats:
            self._third_life(tui, chats)
        self.rows = home.rows()

    def _first_life(self, tui: Tui, chats: Chats) -> None:
        """Two results wait for the turns that go on, and two children run."""
        sid, self._session = tui.open()
        tui.ask(sid, "Delegate ended")
        tui.ask(sid, "Delegate ran")
        chats.ask("a", "Delegate in")
        chats.ask("b", "Delegate out")
        tui.say(sid, f"{STAY}, session")
        chats.say("a", f"{STAY}, chat")
        for who in ("session", "chat"):
            self._model.wait_for("user", f"{STAY}, {who}")
        self._held.let_go("Child ended", "Child in")
        tui.until_shown(sid, "Result of ended")
        self._home.until_delivery("Child in", "pending")

    def _second_life(self, tui: Tui, chats: Chats) -> None:
        """All four are told of; then one result waits again, and a child is stopped at the end."""
        other, _ = tui.open()
        sid = tui.resume(self._session)
        for goal in ("ended", "ran", "in", "out"):
            self._model.wait_answered("result", f"Child {goal}")
        tui.until_ended(sid, 2)
        chats.until_sent("b", 1)
        self._ask(other, tui, "other", "Anything new?")
        tui.ask(sid, "Delegate later")
        chats.ask("b", "Delegate stopped")
        tui.say(sid, STAY_AGAIN)
        self._model.wait_for("user", STAY_AGAIN)
        self._held.let_go("Child later")
        tui.until_shown(sid, "Result of later")

    def _third_life(self, tui: Tui, chats: Chats) -> None:
        """Both come at once, for no lease would end soon; nothing comes a second time."""
        sid = tui.resume(self._session)
        for goal in ("later", "stopped"):
            self._model.wait_answered("result", f"Child {goal}")
        tui.until_ended(sid, 1)
        chats.until_sent("b", 1)
        self._ask(sid, tui, "session", END)
        for chat in ("a", "b"):
            self._ask(chat, chats, chat, END)

    def _ask(self, where: str, front: Tui | Chats, name: str, text: str) -> None:
        text = f"{text} {name}"
        front.ask(where, text)
        self._conversations[name] = self._model.wait_for("user", text).conversation

    def results(self, name: str) -> list[str]:
        """The goals of the delegations whose results a conversation holds."""
        goals = {row["delegation_id"]: goal for goal, row in self.rows.items()}
        return sorted(goals[found] for found in blocks(self._conversations[name]))

    def result(self, goal: str) -> str:
        """The text in which a result came."""
        return self._model.wait_for("result", goal).text


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with Model() as model:
        story = Story(Home(tmp_path_factory.mktemp("home"), model), model)
        story.play()
        yield story


def test_each_result_comes_once_to_its_session(story: Story) -> None:
    """F2, F3, F11: through a kill and an end, with two front ends on one ledger."""
    assert story.results("session") == ["Child ended", "Child later", "Child ran"]
    assert story.results("other") == []


def test_each_result_comes_once_to_its_chat(story: Story) -> None:
    """F2, F3, F11"""
    assert story.results("a") == ["Child in"]
    assert story.results("b") == ["Child out", "Child stopped"]


def test_what_was_there_comes_whole(story: Story) -> None:
    """F12: it waited for a turn to end when the process was killed, or went."""
    for name in ("ended", "in", "later"):
        assert f"Result of {name}" in story.result(f"Child {name}")
        assert story.rows[f"Child {name}"]["state"] == "completed"


def test_what_ran_is_told_of_with_its_task(story: Story) -> None:
    """F3: killed with its process, it is lost, and one event says so."""
    for goal in ("Child ran", "Child out"):
        assert story.rows[goal]["state"] == "lost"
        assert "status=lost" in story.result(goal)


def test_what_ran_as_the_gateway_ended_is_told_of(story: Story) -> None:
    """F3, F22: it was interrupted, or it went with its process, whichever came first."""
    assert story.rows["Child stopped"]["state"] in ("interrupted", "lost")


def test_all_is_delivered(story: Story) -> None:
    assert {row["delivery"] for row in story.rows.values()} == {"delivered"}
