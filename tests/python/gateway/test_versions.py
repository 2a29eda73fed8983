"""What is known of each version of the gateway, against the version itself."""

from __future__ import annotations

import ast
import functools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import later
import pytest

import hermes_core
from hermes_core.gateway import versions
from hermes_core.gateway.install import fingerprint, installation, source
from hermes_core.gateway.versions import Function, Version

KNOWN = [version.name for version in versions.shipped()]
Definition = ast.FunctionDef | ast.AsyncFunctionDef


def known(name: str) -> Version:
    (version,) = (each for each in versions.shipped() if each.name == name)
    return version


@functools.cache
def text_of(version: str, module: str) -> str | None:
    path = later.tree(version) / f"{module.replace('.', '/')}.py"
    return path.read_text(encoding="utf-8") if path.exists() else None


@functools.cache
def reader_of(version: str, module: str) -> source.Text:
    return source.Text(text_of(version, module) or "")


@functools.cache
def tree_of(version: str, module: str) -> ast.Module:
    return ast.parse(text_of(version, module) or "")


def defined(version: str, function: Function) -> Definition | None:
    """A function as the version's file defines it, found in another way than the core finds it."""
    found: Any = tree_of(version, function.module)
    for step in function.name.split("."):
        inner = (node for node in ast.walk(found) if getattr(node, "name", None) == step)
        if (found := next(inner, None)) is None:
            return None
    return found  # type: ignore[no-any-return]


def parameters(node: Definition) -> tuple[list[str], list[str]]:
    """The names of a function's parameters, and of those that have no default."""
    given = node.args
    positional = [each.arg for each in (*given.posonlyargs, *given.args)]
    named = [each.arg for each in given.kwonlyargs]
    needed = positional[: len(positional) - len(given.defaults)]
    needed += [name for name, value in zip(named, given.kw_defaults, strict=True) if value is None]
    return positional + named, needed


@pytest.mark.parametrize("version", KNOWN)
def test_every_function_reads_as_its_file_says(version: str) -> None:
    digests = known(version).digests
    there = set()
    for function in versions.functions():
        node = defined(version, function)
        if node is None:
            assert function.optional, f"{function} is not in {version}"
            continue
        there.add((function.module, function.name))
        found = reader_of(version, function.module).definition(function.name.split("."))
        assert found is not None
        assert found.doubt == ""
        assert ast.dump(found.node) == ast.dump(node), function
        assert fingerprint.digest(found.text) == digests[function.module, function.name], function
    assert digests.keys() == there


@pytest.mark.parametrize(
    "module", ["tools.async_delegation", "tools.process_registry", "gateway.session"]
)
def test_any_function_is_found_as_the_syntax_tree_has_it(module: str) -> None:
    """Methods, static ones, properties, functions in functions: by their own lines."""
    nodes: dict[str, list[Definition]] = {}

    def collect(scope: ast.AST, path: str) -> None:
        for node in ast.iter_child_nodes(scope):
            if isinstance(node, Definition | ast.ClassDef):
                if isinstance(node, Definition):
                    nodes.setdefault(f"{path}{node.name}", []).append(node)
                collect(node, f"{path}{node.name}.")
            else:
                collect(node, path)

    collect(tree_of("0.19.0", module), "")
    assert len(nodes) > 30
    for name, found in nodes.items():
        definition = reader_of("0.19.0", module).definition(name.split("."))
        assert definition is not None, name
        assert ast.dump(definition.node) == ast.dump(found[-1]), name
        first = min([found[-1].lineno, *(each.lineno for each in found[-1].decorator_list)])
        assert definition.line == first
        assert len(found) == 1 or definition.doubt, name


@pytest.mark.parametrize("function", versions.functions(), ids=str)
def test_the_parameters_are_those_of_all_versions_together(function: Function) -> None:
    nodes = [node for name in KNOWN if (node := defined(name, function)) is not None]
    assert function.optional == (len(nodes) < len(KNOWN))
    taken = [parameters(node) for node in nodes]
    all_names = set().union(*(names for names, _ in taken))
    always_needed = set.intersection(*(set(needed) for _, needed in taken))
    assert set(function.required) == always_needed
    assert set(function.required) | set(function.tolerated) == all_names
    assert not set(function.required) & set(function.tolerated)
    if function.role in ("wrapped", "called"):
        for names, _ in taken:
            assert tuple(names[: len(function.required)]) == function.required
    for node in nodes:
        is_coroutine = isinstance(node, ast.AsyncFunctionDef)
        assert (function.kind == "coroutine") == is_coroutine
        assert (function.kind == "function") == (not is_coroutine and not node.decorator_list)


def test_what_front_ends_have_replaced_is_what_the_data_says() -> None:
    stand_ins = {
        (module, name)
        for module, functions in installation.FRONT_ENDS.items()
        for name, stand_in in functions.items()
        if stand_in is not None
    }
    assert stand_ins == {
        (function.module, function.name)
        for function in versions.functions()
        if function.module in installation.FRONT_ENDS and function.role in ("replaced", "wrapped")
    }


REPLACED = """
    import json, sys
    from hermes_core import gateway
    from hermes_core.gateway.install import installation
    import tools.async_delegation, tools.process_registry
    before = {"tools.async_delegation": dict(vars(tools.async_delegation)),
              "tools.process_registry": dict(vars(tools.process_registry)),
              "tools.process_registry.ProcessRegistry":
                  dict(vars(tools.process_registry.ProcessRegistry))}
    report = gateway.install()
    changed = []
    for owner, names in before.items():
        now = vars(eval(owner))
        changed += [f"{owner}.{name}" for name, value in names.items()
                    if callable(value) and now[name] is not value]
    gateway.uninstall()
    print(json.dumps([report.replaced, changed]))
"""


@pytest.mark.parametrize("version", KNOWN)
def test_what_the_core_has_replaced_is_what_the_data_says(version: str, tmp_path: Path) -> None:
    replaced, changed = json.loads(later.run(version, REPLACED, tmp_path))
    core = (versions.REGISTRY, versions.PROCESSES)
    wanted = {
        str(function)
        for function in versions.functions()
        if function.module in core
        and function.role in ("replaced", "wrapped")
        and defined(version, function) is not None
    }
    assert set(replaced) - {installation.QUEUE} == wanted
    assert set(changed) == wanted


def test_what_is_called_is_called() -> None:
    folder = Path(installation.__file__).parents[1]
    code = "".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.py"))
    called = [function for function in versions.functions() if function.role == "called"]
    assert [str(each) for each in called if each.name.rpartition(".")[2] not in code] == []


# -- facts ----------------------------------------------------------------------------------------

RUN = """
    import json, sys
    from tools import async_delegation as host
    from tools.process_registry import process_registry
    task = {"context": None, "toolsets": None, "role": "leaf", "model": None, "session_key": "k"}
    def taken():
        return list(process_registry.completion_queue.get(timeout=60))
    host.dispatch_async_delegation(goal="one", runner=dict, **task)
    found = {"event_keys": taken(), "batch_event_keys": []}
    if hasattr(host, "dispatch_async_delegation_batch"):
        runner = lambda: {"results": []}
        host.dispatch_async_delegation_batch(goals=["one", "two"], runner=runner, **task)
        found["batch_event_keys"] = taken()
    live = []
    words = ["queued", "running", "finalizing", "stalling", "completed", "success", "error",
             "interrupted", "timeout", "stalled", "lost", "unknown"]
    for word in words:
        host._records.clear()
        host._records["x"] = {"status": word}
        if host.active_count():
            live.append(word)
    found["live_statuses"] = live
    print(json.dumps(found))
"""


@pytest.mark.parametrize("version", KNOWN)
def test_the_facts_that_can_be_run(version: str, tmp_path: Path) -> None:
    """By the version's own registry, in a process without the core."""
    facts = known(version).facts
    for name, value in json.loads(later.run(version, RUN, tmp_path)).items():
        assert list(getattr(facts, name)) == value, name


@pytest.mark.parametrize("version", KNOWN)
def test_the_facts_that_can_be_read(version: str) -> None:
    facts = known(version).facts
    by_name = {str(function): function for function in versions.functions()}

    def taken(name: str) -> list[str]:
        node = defined(version, by_name[name])
        assert node is not None
        return parameters(node)[0]

    drain = taken("tools.process_registry.ProcessRegistry.drain_notifications")
    assert list(facts.drain_arguments) == drain[1:]
    turn = taken("tui_gateway.server._run_prompt_submit")
    assert [*turn[:4], *facts.turn_keywords] == turn
    claims = [function for function in versions.functions() if function.together == "claims"]
    there = [function.name for function in claims if defined(version, function) is not None]
    assert list(facts.claims) == there
    assert len(there) in (0, len(claims))
    assert facts.watcher == ("supervised" if "_spawn_supervised" in starters(version) else "task")
    owner = Function(versions.TUI, "_session_owns_notification_event", "leaned on", ())
    is_by_session = defined(version, owner) is not None
    assert facts.ownership == ("sid and lineage" if is_by_session else "key")
    delegate = defined(version, by_name["tools.delegate_tool.delegate_task"])
    assert delegate is not None
    assert facts.refusal == ("inline" if runs_inline(delegate) else "error")


def starters(version: str) -> set[str]:
    """What is called with the messaging gateway's watcher, or with a coroutine of it."""
    found = set()
    for call in ast.walk(tree_of(version, versions.MESSAGING)):
        if isinstance(call, ast.Call) and any(
            isinstance(part, ast.Attribute) and part.attr == "_async_delegation_watcher"
            for argument in call.args
            for part in ast.walk(argument)
        ):
            found.add(getattr(call.func, "attr", ""))
    assert found & {"_spawn_supervised", "create_task"}
    return found


def runs_inline(delegate: Definition) -> bool:
    """Whether the subagents are run on the turn after a dispatch was refused."""
    calls = [
        (call.lineno, call.func.id)
        for call in ast.walk(delegate)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    ]
    dispatched = max(line for line, name in calls if name.startswith("dispatch_async_delegation"))
    return any(name == "_execute_and_aggregate" and line > dispatched for line, name in calls)


# -- another one ----------------------------------------------------------------------------------


def otherwise(text: str) -> str:
    """Change the body of every function, and no signature."""
    lines = text.split("\n")
    for node in sorted(
        (node for node in ast.walk(ast.parse(text)) if isinstance(node, Definition)),
        key=lambda node: -node.body[0].lineno,
    ):
        first = node.body[0]
        if first.lineno > node.lineno:
            lines.insert(first.lineno - 1, f"{' ' * first.col_offset}'another version'")
    return "\n".join(lines)


EDITED = {
    "tools.async_delegation": "tools/async_delegation.py",
    "tools.process_registry": "tools/process_registry.py",
    "gateway.session_context": "gateway/session_context.py",
}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 0.20.0."""
    folder = tmp_path_factory.mktemp("made-up") / "0.20.0"
    edits = dict.fromkeys(EDITED.values(), otherwise)
    return later.copy("0.19.0", folder, edits, called="0.20.0")


COMMAND = "import sys; from hermes_core.cli.main import main; sys.exit(main(sys.argv[1:]))"


def drafted(gateway: Path, home: Path) -> str:
    return later.run(gateway, COMMAND, home, "doctor", "--fingerprint")


def served(gateway: Path, home: Path, *packages: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, [*packages, gateway]))
    done = later.python(gateway, COMMAND, home, "status", "--json", PYTHONPATH=path)
    facts = json.loads(done.stdout)
    assert facts["hermes_agent"] == "0.20.0"
    assert facts["ignored"] == ""
    return {each["module"]: each["served"] for each in facts["modules"]}


def test_adding_a_version_is_adding_a_file(made_up: Path, tmp_path: Path) -> None:
    before = served(made_up, tmp_path)
    assert {module for module, rung in before.items() if rung == "by shape"} == set(EDITED)
    package = tmp_path / "site" / "hermes_core"
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(Path(hermes_core.__file__).parent, package, ignore=left_out)
    native = Path(str(sys.modules["hermes_core._core"].__file__))
    (package / native.name).symlink_to(native)
    file = package / "gateway" / "versions" / "0.20.0.toml"
    file.write_text(drafted(made_up, tmp_path), encoding="utf-8")
    after = served(made_up, tmp_path, package.parent)
    assert after == {
        module: "exact" if module in known("0.19.0").served or rung == "exact" else rung
        for module, rung in before.items()
    }


def test_a_file_in_the_home_makes_it_known_too(made_up: Path, tmp_path: Path) -> None:
    before = served(made_up, tmp_path)
    draft = drafted(made_up, tmp_path)
    (tmp_path / versions.OWN_FILE).write_text(draft, encoding="utf-8")
    after = served(made_up, tmp_path)
    assert {module for module in after if after[module] != before[module]} == set(EDITED)
    assert all(after[module] == "exact" for module in EDITED)
    assert drafted(made_up, tmp_path).splitlines()[1:] == draft.splitlines()[1:]
