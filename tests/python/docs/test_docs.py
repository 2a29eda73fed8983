"""Everything that the pages show is so: code, output, commands, links, words of make.

Blocks are marked behind their language, where a reader does not see it:

    ```python            runs here; the blocks of a page share one namespace, in order
    ```python gateway    runs with a gateway: a page's blocks together, in a process of their own;
                         `gateway 0.19.0` with that version of it
    ```python no-run: …  does not run, for the reason given
    ```text output       all that the block before it prints; ids and times may differ
    ```console           lines after `$ hermes-core …` are what that command prints; in the
                         gateway's home, or in what the Python blocks before it call `home`
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.metadata
import inspect
import io
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hermes_core

sys.path.append(os.path.dirname(__file__))
sys.path.append(str(Path(__file__).parents[1] / "gateway"))

import later
from pages import PAGES, ROOT, Block, blocks, links, text_of, words_of_make

VARYING = (
    (r"deleg_[0-9a-f]{16}", "deleg_…"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+s ago\)", "(… ago)"),
    (r"Duration: [\d.]+s", "Duration: …s"),
    (r"\d+ (?:s|min) ago", "… ago"),
)


def python_blocks(page: str, mark: str = "") -> list[Block]:
    return [b for b in blocks(page) if b.language == "python" and b.info == mark]


def expected_output(block: Block) -> str | None:
    """What the page says that a block prints."""
    following = next((b for b in blocks(block.page) if b.line > block.line), None)
    if following is None or (following.language, following.info) != ("text", "output"):
        return None
    return following.text


def same(printed: str, shown: str) -> None:
    for pattern, word in VARYING:
        printed, shown = re.sub(pattern, word, printed), re.sub(pattern, word, shown)
    assert printed == shown


def requires_gateway() -> None:
    try:
        found = importlib.metadata.version("hermes-agent")
    except importlib.metadata.PackageNotFoundError:
        found = "none"
    if found != "0.17.0":
        pytest.skip(f"needs hermes-agent==0.17.0 installed, found {found}")


class Session:
    """A page's blocks, run in order in one namespace, each once."""

    def __init__(self, page: str) -> None:
        self._waiting = python_blocks(page)
        self.namespace: dict[str, Any] = {"__name__": page}
        self._printed: dict[int, str] = {}

    def printed(self, block: Block) -> str:
        """Run the page up to a block; return what the block printed."""
        while block.line not in self._printed:
            following = self._waiting.pop(0)
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(following.padded, following.page, "exec"), self.namespace)
            self._printed[following.line] = output.getvalue()
        return self._printed[block.line]


SESSIONS = {page: Session(page) for page in PAGES}


@pytest.mark.parametrize("block", [b for page in PAGES for b in python_blocks(page)], ids=str)
def test_a_block_runs_and_prints_what_the_page_shows(block: Block) -> None:
    printed = SESSIONS[block.page].printed(block)
    shown = expected_output(block)
    if shown is not None:
        same(printed, shown)


#: The versions of the gateway that blocks run with, by their marks.
GATEWAYS = {"gateway": later.INSTALLED} | {f"gateway {name}": name for name in later.LATER}


@pytest.mark.parametrize(
    ("page", "mark"),
    [(page, mark) for page in PAGES for mark in GATEWAYS if python_blocks(page, mark)],
)
def test_blocks_with_a_gateway_run_and_print_what_the_page_shows(
    page: str, mark: str, tmp_path: Path
) -> None:
    requires_gateway()
    script, shown = "", ""
    for block in python_blocks(page, mark):
        script += block.padded[script.count("\n") :]
        shown += expected_output(block) or ""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=later.environment(GATEWAYS[mark], tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if shown:
        same(done.stdout, shown)


def test_no_block_is_overlooked() -> None:
    for page in PAGES:
        fences = re.findall(r"^ *```", text_of(page), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page
    assert all(python_blocks(page) for page in ("README.md", "docs/direct.md", "docs/guide.md"))


def test_a_block_that_does_not_run_has_a_reason() -> None:
    known = ("", *GATEWAYS)
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("python", "py") and block.info not in known:
                assert re.search(r"(^| )no-run: \S", block.info), block
                ast.parse(block.text)


# -- the command line -----------------------------------------------------------------------------


def command(arguments: list[str], home: Path) -> str:
    """What `hermes-core` prints, with the gateway's home shown as its usual place."""
    done = subprocess.run(
        [sys.executable, "-m", "hermes_core", *arguments],
        env={**os.environ, "HERMES_HOME": str(home), "COLUMNS": "80", "NO_COLOR": "1"},
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.replace(str(home), "~/.hermes")


def commands(page: str) -> list[tuple[Block, str, str]]:
    """Return the page's `hermes-core` commands, each with its block and the output shown."""
    found = []
    for block in blocks(page):
        if block.language == "console":
            for shown in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                line, _, output = shown.partition("\n")
                if line.split()[0] == "hermes-core":
                    found.append((block, line, output))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_print_what_the_page_shows(page: str, tmp_path: Path) -> None:
    requires_gateway()
    for block, line, output in commands(page):
        home = tmp_path
        before = [b for b in python_blocks(page) if b.line < block.line]
        if before:
            SESSIONS[page].printed(before[-1])
            home = Path(SESSIONS[page].namespace.get("home", tmp_path))
        printed = command(shlex.split(line)[1:], home)
        # Columns are as wide as what is in them.
        same(
            f"$ {line}\n{re.sub(' {2,}', '  ', printed)}",
            f"$ {line}\n{re.sub(' {2,}', '  ', output)}",
        )


def words_of_the_command(home: Path) -> list[str]:
    """What `hermes-core` takes, as its help lists it."""
    return re.findall(r"^    ([a-z]+)\b", command(["--help"], home), re.MULTILINE)


def test_the_help_is_the_committed_one(tmp_path: Path) -> None:
    """After a change of the command line, its help goes into the file as it is shown here."""
    shown = (ROOT / "docs" / "cli-help.txt").read_text(encoding="utf-8")
    parts = re.split(r"^\$ hermes-core ", shown, flags=re.MULTILINE)[1:]
    lines = [part.partition("\n")[0] for part in parts]
    assert lines == ["--help", *(f"{word} --help" for word in words_of_the_command(tmp_path))]
    printed = [f"$ hermes-core {line}\n{command(line.split(), tmp_path)}" for line in lines]
    assert "\n".join(printed) == shown


# -- what else a page says ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for link in links(page):
        if not link.startswith(("https://", "#")):
            target = (ROOT / page).parent / link.partition("#")[0]
            assert target.exists(), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_words_of_make_are_there(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert words_of_make(page) <= words


@pytest.mark.parametrize("page", PAGES)
def test_named_files_are_there(page: str) -> None:
    """A path in code that begins with a folder of the repository."""
    folders = "src|python|tests|docs|examples|scripts|requirements|benches|fuzz"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", text_of(page)):
        assert (ROOT / path).exists(), f"{page} names {path}"


def examples() -> list[tuple[str, str]]:
    """Return the indented or prompted examples in docstrings, as (where, code)."""
    found = []
    for module in modules():
        things = {module.__name__: module, **members(module)}
        for name, thing in things.items():
            lines = (inspect.getdoc(thing) or "").splitlines()
            prompted = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
            if prompted:
                found.append((name, "\n".join(prompted)))
    return found


def modules() -> list[Any]:
    """Return the package's modules, but for those that do their work as they are imported."""
    names = [info.name for info in pkgutil.walk_packages(hermes_core.__path__, "hermes_core.")]
    at_work = ("hermes_core.__main__", "hermes_core.gateway.direct")
    return [
        hermes_core,
        *(importlib.import_module(name) for name in names if name not in at_work),
    ]


def members(module: Any) -> dict[str, Any]:
    """Return the classes, functions and methods that a module defines."""
    found: dict[str, Any] = {}
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        found[f"{module.__name__}.{name}"] = thing
        if inspect.isclass(thing):
            for inner, method in vars(thing).items():
                if inspect.isfunction(method):
                    found[f"{module.__name__}.{name}.{inner}"] = method
    return found


def test_the_example_of_the_package_runs() -> None:
    """The package's docstring has one, as an indented block."""
    lines = (hermes_core.__doc__ or "").splitlines()
    code = "\n".join(line[4:] for line in lines if line.startswith("    "))
    namespace = {**vars(hermes_core), "read_the_logs": lambda: {"summary": "Nothing."}}
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "hermes_core.__doc__", "exec"), namespace)
    assert "Original goal: Read the logs" in output.getvalue()


def test_prompted_examples_run(tmp_path: Path) -> None:
    """Those in docstrings; all of them are about the adapter, so far."""
    requires_gateway()
    found = examples()
    assert [name for name, _ in found] == ["hermes_core.gateway"]
    for name, code in found:
        code = re.sub(r"#\s*doctest:.*", "", code)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HERMES_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (name, done.returncode, done.stderr) == (name, 0, "")
        assert "replaced: " in done.stdout
