"""The CLI's input queue: inputs first, completions one by one, each wakes the loop, nothing polls.

The loop here is what the gateway's is to the queue: takes with a timeout of a tenth of a second,
drains when that passes and after each turn. The real one runs in `test_cli_loop.py`.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from adapter_support import WAIT, Child, Host, dispatch, until

from hermes_core import gateway
from hermes_core.gateway import replacements
from hermes_core.gateway.cli import session
from hermes_core.gateway.cli.input_queue import InputQueue

LOOK = 0.1
"""The timeout of the gateway's loop."""


class CLI:
    """What the input queue sees of the gateway's CLI, with the loop around it."""

    def __init__(self, host: Host) -> None:
        self._pending_input: Any = queue.Queue()
        self._interrupt_queue: queue.Queue[Any] = queue.Queue()
        self._last_config_check = float("-inf")
        self._host = host
        self._loop = threading.Thread(target=self._process_loop, daemon=True)
        self._should_exit = False
        self.native_id = 0
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.turns: list[Any] = []
        self.waits_that_timed_out = 0

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._should_exit = True
        self.go_on.set()
        self._pending_input.put("")
        self._loop.join(WAIT)
        assert not self._loop.is_alive()

    def _process_loop(self) -> None:
        self.native_id = threading.get_native_id()
        while not self._should_exit:
            try:
                text = self._pending_input.get(timeout=LOOK)
            except queue.Empty:
                self.waits_that_timed_out += 1
                self._drain()
                continue
            if text:
                self.busy.set()
                assert self.go_on.wait(WAIT)
                self.turns.append(text)
                self.busy.clear()
                self._drain()

    def _drain(self) -> None:
        for _event, text in self._host.processes.process_registry.drain_notifications():
            self._pending_input.put(text)

    def wake_ups(self) -> int:
        """How often the loop's thread has given the processor away."""
        with open(f"/proc/self/task/{self.native_id}/status", encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["voluntary_ctxt_switches"])


@pytest.fixture
def cli(installed: Host) -> Iterator[CLI]:
    """A CLI whose loop runs on a queue of ours."""
    cli = served(installed)
    assert isinstance(cli._pending_input, InputQueue)
    cli.start()
    yield cli
    cli.stop()


@pytest.fixture(autouse=True)
def retired() -> Iterator[None]:
    """A thread that once took from a queue of ours takes from none in the next test."""
    made_by_now = len(_made)
    yield
    for inputs in _made[made_by_now:]:
        inputs.retire()


_made: list[InputQueue] = []


def made(host: Host, plain: Any, cli: Any) -> InputQueue:
    """An input queue, as the adapter makes it."""

    def text_of(event: Any) -> str | None:
        return replacements.notification(host.processes.process_registry, host.processes, event)

    _made.append(InputQueue(plain, cli, host.queue, text_of, lambda *_: None))
    return _made[-1]


def served(host: Host) -> CLI:
    cli = CLI(host)
    cli._pending_input = made(host, cli._pending_input, cli)
    return cli


def event(number: int) -> dict[str, Any]:
    return {"type": "async_delegation", "delegation_id": f"deleg_{number}", "session_key": ""}


def ids(turns: list[Any]) -> list[str]:
    """The delegations that the turns are of, and the inputs as they are."""
    return [
        text.partition("— ")[2].partition("]")[0] if text.startswith("[ASYNC") else text
        for text in turns
    ]


def test_every_result_becomes_a_turn_and_every_input_is_answered(installed: Host, cli: CLI) -> None:
    """F1, F4, F35: 300 delegations, and an input after each tenth."""
    inputs = [f"input {number}" for number in range(30)]
    for number in range(300):
        child = Child(str(number))
        child.go.set()
        answer = dispatch(installed.registry.dispatch_async_delegation, child, cap=1000)
        assert answer["status"] == "dispatched"
        if number % 10 == 0:
            cli._pending_input.put(inputs[number // 10])
    until(lambda: len(cli.turns) == 330, "330 turns")
    found = ids(cli.turns)
    assert [text for text in found if text.startswith("input")] == inputs
    assert len({text for text in found if text.startswith("deleg_")}) == 300
    assert installed.queue.empty()


def test_an_input_goes_before_what_completed_earlier(installed: Host, cli: CLI) -> None:
    """F35: what ends during a turn waits for the end of it, and behind the user."""
    cli.go_on.clear()
    cli._pending_input.put("first")
    assert cli.busy.wait(WAIT)
    for number in range(3):
        installed.queue.put(event(number))
    cli._pending_input.put("second")
    assert installed.queue.qsize() == 3
    cli.go_on.set()
    until(lambda: len(cli.turns) == 5, "five turns")
    assert ids(cli.turns) == ["first", "second", "deleg_0", "deleg_1", "deleg_2"]


def test_what_lines_up_goes_behind_a_later_input(installed: Host, cli: CLI) -> None:
    """The gateway puts what it drains before what the user types next; the user waits then."""
    cli.go_on.clear()
    cli._pending_input.put("first")
    assert cli.busy.wait(WAIT)
    for number in range(3):
        installed.queue.put(event(number))
    cli.go_on.set()
    until(lambda: len(cli.turns) >= 2, "the first completion's turn")
    cli._pending_input.put("second")
    until(lambda: len(cli.turns) == 5, "five turns")
    assert sorted(ids(cli.turns)) == ["deleg_0", "deleg_1", "deleg_2", "first", "second"]
    assert [text for text in ids(cli.turns) if text.startswith("deleg")] == [
        "deleg_0",
        "deleg_1",
        "deleg_2",
    ]


def test_an_interrupt_that_came_too_late_is_an_input(installed: Host, cli: CLI) -> None:
    """F35: typed while a turn ends, it waited in the gateway until the next turn, to end that."""
    cli.go_on.clear()
    cli._pending_input.put("first")
    assert cli.busy.wait(WAIT)
    cli._interrupt_queue.put("late")
    installed.queue.put(event(1))
    cli.go_on.set()
    until(lambda: len(cli.turns) == 3, "three turns")
    assert ids(cli.turns) == ["first", "late", "deleg_1"]
    assert cli._interrupt_queue.empty()


def test_events_leave_the_queue_one_by_one(installed: Host) -> None:
    """F4: what no turn has begun for is given back by an uninstall, in its place."""
    cli = served(installed)
    inputs = cli._pending_input
    for number in range(3):
        installed.queue.put(event(number))
    assert ids([inputs.get()]) == ["deleg_0"]
    inputs.collect()
    assert ids(list(inputs.queue)) == ["deleg_1", "deleg_2"]
    plain = inputs.retire()
    assert (plain.qsize(), installed.queue.qsize()) == (0, 2)
    assert [installed.queue.get()["delegation_id"] for _ in range(2)] == ["deleg_1", "deleg_2"]


def test_what_lines_up_is_seen_by_whoever_looks_for_inputs(installed: Host) -> None:
    """The goal loop defers its next prompt while something waits, and only then."""
    inputs = served(installed)._pending_input
    installed.queue.put(event(1))
    assert inputs.empty()
    assert inputs.qsize() == 0
    inputs.collect()
    assert not inputs.empty()
    inputs.put("input")
    assert ids(list(inputs.queue)) == ["input", "deleg_1"]
    assert ids([inputs.get(), inputs.get(timeout=LOOK)]) == ["input", "deleg_1"]
    assert inputs.empty()


def test_a_completion_that_was_read_meanwhile_makes_no_turn(host: Host) -> None:
    """F27"""
    gateway.install()
    registry = host.processes.process_registry
    consumed = {"type": "completion", "session_id": "proc_1", "command": "x", "exit_code": 0}
    swap = session.InputSwap(CLI, "test", lambda plain, cli: made(host, plain, cli))
    cli = CLI(host)
    swap.do()
    try:
        host.queue.put(consumed)
        cli._pending_input.collect()
        assert not cli._pending_input.empty()
        registry._completion_consumed.add("proc_1")
        assert cli._pending_input.empty()
        with pytest.raises(queue.Empty):
            cli._pending_input.get(timeout=0)
        assert host.queue.empty()
    finally:
        registry._completion_consumed.discard("proc_1")
        assert swap.undo()


def test_the_exchange_and_back_loses_nothing(installed: Host) -> None:
    """Inputs wait on both sides of it, and producers hold what they read before."""
    swap = session.InputSwap(CLI, "test", lambda plain, cli: made(installed, plain, cli))
    cli = CLI(installed)
    plain = cli._pending_input
    plain.put("before")
    swap.do()
    ours = cli._pending_input
    assert isinstance(ours, InputQueue)
    assert cli._pending_input is ours
    plain.put("to the old one")
    ours.put("to the new one")
    assert ours.get() == "before"
    assert (plain.qsize(), ours.qsize()) == (0, 2)
    assert swap.undo()
    assert cli._pending_input is plain
    ours.put("too late")
    assert [plain.get_nowait() for _ in range(3)] == [
        "to the old one",
        "to the new one",
        "too late",
    ]
    assert plain.unfinished_tasks == 4
    assert "_put" not in vars(plain)
    assert "_pending_input" not in vars(CLI)


def test_a_queue_of_another_plugin_is_left_alone(installed: Host) -> None:
    class Theirs(queue.Queue[Any]):
        pass

    swap = session.InputSwap(CLI, "test", lambda plain, cli: made(installed, plain, cli))
    cli = CLI(installed)
    cli._pending_input = theirs = Theirs()
    swap.do()
    assert cli._pending_input is theirs
    assert swap.undo()
    assert cli._pending_input is theirs


def test_an_uninstall_wakes_a_loop_that_waits(installed: Host) -> None:
    swap = session.InputSwap(CLI, "test", lambda plain, cli: made(installed, plain, cli))
    cli = CLI(installed)
    cli._last_config_check = float("inf")
    swap.do()
    cli.start()
    until(lambda: cli._pending_input._waiting is not None, "the loop waits")
    assert swap.undo()
    cli._pending_input.put("after")
    until(lambda: cli.turns == ["after"], "the loop reads the plain queue")
    cli.stop()


def test_producers_race_with_install_and_uninstall(installed: Host) -> None:
    """Whatever moves meanwhile: each input and each completion makes one turn."""
    cli = CLI(installed)
    cli.start()
    stop = threading.Event()
    put = 0

    def produce() -> None:
        nonlocal put
        while not stop.is_set():
            target = cli._pending_input
            stop.wait(0.0005)
            target.put(f"input {put}")
            put += 1

    producer = threading.Thread(target=produce)
    producer.start()
    for number in range(40):
        swap = session.InputSwap(CLI, "test", lambda plain, cli: made(installed, plain, cli))
        swap.do()
        installed.queue.put(event(number))
        until(lambda number=number: f"deleg_{number}" in ids(cli.turns), "the completion's turn")
        assert swap.undo()
    stop.set()
    producer.join()
    until(lambda: len(cli.turns) == put + 40, "all turns")
    assert sorted(text for text in cli.turns if text.startswith("input")) == sorted(
        f"input {number}" for number in range(put)
    )
    cli.stop()


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux")
def test_an_idle_loop_is_not_woken(installed: Host, cli: CLI) -> None:
    """F15: between two looks at the config file, a loop that waits gives no sign of life."""
    cli._pending_input.put("one")
    until(lambda: cli.turns == ["one"], "a turn")
    until(lambda: cli._pending_input._waiting is not None, "the loop waits")
    before, timed_out = cli.wake_ups(), cli.waits_that_timed_out
    cli._last_config_check = float("inf")  # it has just looked
    installed.queue.put(event(1))
    until(lambda: len(cli.turns) == 2, "a completion's turn")
    until(lambda: cli._pending_input._waiting is not None, "the loop waits")
    before, timed_out = cli.wake_ups(), cli.waits_that_timed_out
    threading.Event().wait(10 * LOOK)
    assert cli.wake_ups() - before <= 1  # the step into the wait may be counted late
    assert cli.waits_that_timed_out == timed_out


def test_the_gateway_looks_at_its_config_file_as_often_as_before(installed: Host) -> None:
    cli = served(installed)
    cli._last_config_check = 0.0  # long ago: at once, as without the core
    with pytest.raises(queue.Empty):
        cli._pending_input.get(timeout=0.01)
    now = time.monotonic()
    cli._last_config_check = now - 4.9
    with pytest.raises(queue.Empty):
        cli._pending_input.get(timeout=0.01)
    assert time.monotonic() >= cli._last_config_check + 5.0


def test_the_namespace_has_no_cli_of_its_own() -> None:
    """An instance without a queue fails as before."""
    swap = session.InputSwap(CLI, "test", lambda plain, cli: None)  # type: ignore[arg-type,return-value]
    swap.do()
    try:
        cli = CLI.__new__(CLI)
        assert not hasattr(cli, "_pending_input")
        assert SimpleNamespace(cli=CLI).cli._pending_input is vars(CLI)["_pending_input"]
    finally:
        assert swap.undo()
