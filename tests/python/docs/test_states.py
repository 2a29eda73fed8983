"""The pictures of states and stages are the tables in `src/state.rs`; the operations are there."""

from __future__ import annotations

import os
import re
import sys

import pytest

sys.path.append(os.path.dirname(__file__))

from pages import ROOT, blocks, text_of

Edges = set[tuple[str, str]]


def section(name: str) -> str:
    """The `impl` of an enum in the file of the states."""
    text = text_of("src/state.rs")
    return re.split(r"\n}\n", text[text.index(f"\nimpl {name} {{") :])[0]


def table(name: str) -> Edges:
    """What may follow what, as `may_become` says."""
    text = section(name)
    names = dict(re.findall(r"Self::(\w+) => \"(\w+)\"", text))
    body = text[text.index("fn may_become") : text.index("fn name")]
    terminal = {"queued", "running"}
    edges: Edges = set()
    for left, right in re.findall(
        r"^ {12}([\w:| ]+) => (?:\{\s+)?([^\n]+?),?$", body, re.MULTILINE
    ):
        if left == "_":
            continue
        followers = [names[word] for word in re.findall(r"(\w+)(?= \||\))", right) if word in names]
        if "is_terminal" in right:
            followers = [state for state in names.values() if state not in terminal]
        edges |= {
            (names[word.split("::")[-1]], after)
            for word in left.split(" | ")
            for after in followers
        }
    assert edges, name
    return edges


def picture(page: str, about: str) -> Edges:
    """The arrows of the page's picture that begins with one to `about`; those from outside not."""
    (drawn,) = [
        block.text
        for block in blocks(page)
        if block.language == "mermaid" and re.search(rf"\[\*\] --> {about}\b", block.text)
    ]
    edges = re.findall(r"^ *(\S+) --> (\S+?)(?::|$)", drawn, re.MULTILINE)
    return {edge for edge in edges if "[*]" not in edge}


def test_the_picture_of_the_states_is_the_table() -> None:
    assert picture("docs/guide.md", "queued") == table("State")


def test_the_picture_of_the_stages_is_the_table() -> None:
    assert picture("docs/guide.md", "waiting") == table("Stage")


def test_the_picture_of_the_rows_follows_from_the_table() -> None:
    text = text_of("src/state.rs")
    body = text[text.index("impl From<Option<Stage>> for Delivery") :].split("\n}\n")[0]
    delivery = {
        stage.lower(): after.lower()
        for stages, after in re.findall(r"Some\(([^)]*)\) => Self::(\w+)", body)
        for stage in re.findall(r"Stage::(\w+)", stages)
    }
    stages = {(delivery[before], delivery[after]) for before, after in table("Stage")}
    drawn = picture("docs/ledger.md", "running")
    assert {edge for edge in drawn if not {"queued", "running", "lost"} & set(edge)} == {
        (before, after) for before, after in stages if before != after
    }


def operations() -> list[tuple[str, list[tuple[str, str]], list[str]]]:
    """Each operation of the page, with its functions and their files, and its models."""
    rows = re.findall(
        r"^\| ([a-z, ]+) \| (`.* in `src/.*`) \| (.*) \|$", text_of("docs/promises.md"), re.M
    )
    found = []
    for operation, functions, models in rows:
        *names, file = re.findall(r"`([^`]+)`", functions)
        found.append((operation, [(name, file) for name in names], re.findall(r"`(\w+)`", models)))
    return found


def test_every_operation_is_on_the_page() -> None:
    named = {word for row in operations() for word in row[0].split(", ")}
    assert named >= {
        *("dispatch", "finish", "put", "take", "put back", "ack", "nack", "defer", "shutdown"),
        *("restore", "new epoch", "redeliver", "drop"),
    }


@pytest.mark.parametrize("row", operations(), ids=lambda row: row[0])
def test_an_operation_is_one_function_that_ships_and_that_models_run(
    row: tuple[str, list[tuple[str, str]], list[str]],
) -> None:
    _, functions, models = row
    loom = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests/loom").rglob("*.rs"))
    binding = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/python").glob("*.rs"))
    for name, file in functions:
        # The timer calls this one, and nobody else.
        public = "" if name == "due" else "pub "
        definition = rf"^    {public}fn {name}(?:<[^(]*>)?\("
        assert len(re.findall(definition, text_of(file), re.MULTILINE)) == 1, f"{name} in {file}"
        assert not public or f".{name}(" in binding, f"{name} is not what the binding calls"
    assert models
    for model in models:
        assert re.search(rf"\bfn {model}\(\)", loom), f"{model} is no model"
