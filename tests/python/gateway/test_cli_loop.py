"""The interactive CLI itself, on a terminal, with a model on loopback."""

from __future__ import annotations

import threading
from pathlib import Path

from real_cli import chat

from measure.model import Model, Request

QUESTION = "How is the weather?"
RESULTS = 5


def test_results_come_back_between_turns_and_never_into_one(tmp_path: Path) -> None:
    """F1, F16, F35: they end while the user waits for an answer, which comes first and whole."""
    answers, children = threading.Event(), threading.Event()

    def hold_back(request: Request) -> None:
        if request.kind == "child":
            children.wait(60)
        elif request.kind == "user" and request.text == QUESTION:
            answers.wait(60)

    with Model() as model, chat(tmp_path, model.base_url) as terminal:
        model.before_answer = hold_back
        try:
            for number in range(RESULTS):
                terminal.type(f"Delegate {number}")
                answer = model.wait_for("tool", "", nth=number)
                assert '"status": "dispatched"' in answer.text
                model.wait_for("child", f"Child {number}")
            terminal.type(QUESTION)
            model.wait_for("user", QUESTION)
            children.set()
            model.wait_answered("child", nth=RESULTS - 1)
            assert not [request for request in model.requests if request.kind == "result"]
        finally:
            answers.set()
            children.set()
        results = [model.wait_for("result", f"Result of {number}") for number in range(RESULTS)]
        for result in results:
            said = [(message["role"], message["content"]) for message in result.messages]
            position = said.index(("user", QUESTION))
            assert said[position + 1] == ("assistant", "Noted.")
