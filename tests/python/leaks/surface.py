"""Every function of the public surface and of the native module, with each way it may end.

A case is called many times with the same objects; the test looks at their reference counts.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import queue as stdlib_queue
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import hermes_core as hc
from hermes_core import _core, async_delegation

#: Where the files of ledgers are.
FOLDER = tempfile.mkdtemp(prefix="hermes-core-")
atexit.register(shutil.rmtree, FOLDER)


class Thing:
    """Something of no built-in type, hashed by identity."""


class Tracked:
    """The objects that the cases pass: made at run time, so none is interned or immortal."""

    def __init__(self) -> None:
        def text(*words: str) -> str:
            return " ".join(words)

        self.key, self.kind = text("session", "key"), text("watch", "match")
        self.wide, self.lone = text("k\u20ac", "wide"), text("\udc80", "surrogate")
        self.id, self.empty_id = text("deleg", "1"), text("deleg", "2")
        self.ui, self.parent = text("ui", "session"), text("parent", "session")
        self.ended = text("comp", "leted").replace(" ", "")
        self.thing, self.other = Thing(), Thing()
        self.event = {"type": self.kind, "session_key": self.key, "thing": self.thing}
        self.nobodys = {"type": self.kind}
        self.wide_event = {"type": self.wide, "session_key": self.lone, "delegation_id": self.id}
        self.end = {
            "type": "".join(["async_", "delegation"]),
            "delegation_id": self.id,
            "session_key": self.key,
            "summary": text("done", "x" * 3000, "\u2014"),
            "goal": self.thing,
            "results": [{"summary": self.wide, "error": self.thing}],
        }
        self.kinds = [self.kind, self.wide]
        self.bad_kinds = [self.kind, self.thing]
        self.kind_set = frozenset(self.kinds)
        self.owner = (self.key, self.ui, self.parent)
        self.bad_owner = (self.key, self.ui, self.thing)
        # What an end writes.
        self.text = text("{}", "")
        self.folder = tempfile.mkdtemp(dir=FOLDER)
        file = os.path.join(self.folder, "delegations.db")
        self.file = _core.Ledger(file, "process", 30.0, None, 10)
        self.soon, self.bad_timeout = float("1e-9"), float("-1.5")
        self.number = int("1000000007")
        self.hand: list[Any] = []
        self.runner: Callable[[], Any] = lambda: {"summary": self.thing}
        self.raising: Callable[[], Any] = lambda: self.thing.nothing  # type: ignore[attr-defined]
        self.interrupt_fn: Callable[[], Any] = lambda: None
        self.queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.full: hc.CompletionQueue[Any] = hc.CompletionQueue(1)
        self.full.put(0)
        self.shut: hc.CompletionQueue[Any] = hc.CompletionQueue()
        self.shut.shutdown()
        self.registry = hc.DelegationRegistry(self.queue, capacity=4)
        other = os.path.join(self.folder, "others.db")
        ledger = hc.Ledger(other, durability="process", keep_rows=10)
        self.durable = hc.DelegationRegistry(self.queue, capacity=4, ledger=ledger)
        self.none = hc.DelegationRegistry(self.queue, capacity=0)
        self.core: _core.Registry[Any] = _core.Registry(self.queue, 2)
        self.handoff: _core.Handoff[Any] = _core.Handoff()
        self.waker = _core.LoopWaker()

    @property
    def row(self) -> tuple[None, None, str, float]:
        """What a dispatch says of its row: the same id is dispatched many times."""
        return None, None, self.text, 1.0

    def objects(self) -> dict[str, object]:
        """Everything whose references are counted: these objects, and what all calls share."""
        shared = [None, True, False, hc.ShutDown, stdlib_queue.Empty, stdlib_queue.Full]
        shared += [TypeError, ValueError, hc.CompletionQueue, _core.CompletionQueue, dict, str]
        shared += [_core.Registry, _core.Handoff, _core.Printed, "type", "session_key", ""]
        shared += [_core.LoopWaker, _core.Waiter]
        named = {name: value for name, value in vars(self).items() if name != "end"}
        named |= {f"end[{name}]": value for name, value in self.end.items()}
        return named | {"end": self.end} | {repr(one): one for one in shared}


Case = Callable[[Tracked], object]
CASES: dict[str, list[Case]] = {}


def case(*names: str) -> Callable[[Case], Case]:
    """Make the function below a case of what ``names`` name."""

    def register(function: Case) -> Case:
        for name in names:
            CASES.setdefault(name, []).append(function)
        return function

    return register


def refused(
    error: type[BaseException], call: Callable[..., object], *args: Any, **more: Any
) -> None:
    """Call what must raise just that."""
    try:
        call(*args, **more)
    except error:
        return
    raise AssertionError(f"{call} did not raise {error.__name__}")


@case("_core.CompletionQueue.put", "CompletionQueue.put")
def put(t: Tracked) -> None:
    for event in (t.event, t.wide_event, t.end, t.thing, t.key):
        t.queue.put(event)
        t.queue.put(event, True, t.soon)
        assert t.queue.get() is event
        assert t.queue.get() is event
    for event in (t.event, t.end, t.thing):
        refused(stdlib_queue.Full, t.full.put, event, timeout=t.soon)
        refused(stdlib_queue.Full, t.full.put, event, False)
        refused(ValueError, t.full.put, event, timeout=t.bad_timeout)
        refused(TypeError, t.full.put, event, t.thing)
        refused(TypeError, t.full.put, event, True, t.thing)
        refused(hc.ShutDown, t.shut.put, event)
        refused(TypeError, t.queue.put, event, bad=t.thing)


@case("_core.CompletionQueue.put_nowait", "CompletionQueue.put_nowait")
def put_nowait(t: Tracked) -> None:
    t.queue.put_nowait(t.event)
    t.queue.get()
    refused(stdlib_queue.Full, t.full.put_nowait, t.event)
    refused(hc.ShutDown, t.shut.put_nowait, t.wide_event)
    refused(TypeError, t.queue.put_nowait, t.event, t.thing)


@case("_core.CompletionQueue.put_back", "CompletionQueue.put_back")
def put_back(t: Tracked) -> None:
    for queue in (t.queue, t.shut):
        queue.put_back(t.event)
        assert queue.get() is t.event
    refused(TypeError, t.queue.put_back)


@case("_core.CompletionQueue.get", "CompletionQueue.get")
def get(t: Tracked) -> None:
    t.queue.put(t.event)
    assert t.queue.get(True, t.soon, types=t.kinds, session_key=t.key) is t.event
    t.queue.put(t.wide_event)
    refused(stdlib_queue.Empty, t.queue.get, timeout=t.soon, session_key=t.key)
    refused(stdlib_queue.Empty, t.queue.get, timeout=t.soon, types=[t.kind])
    assert t.queue.get(types=t.kind_set, session_key=t.lone) is t.wide_event
    t.queue.put(t.nobodys)
    assert t.queue.get(True, t.soon, unaddressed=True) is t.nobodys
    refused(stdlib_queue.Empty, t.queue.get, False)
    refused(stdlib_queue.Empty, t.queue.get, timeout=t.soon)
    refused(hc.ShutDown, t.shut.get, session_key=t.key)
    refused(TypeError, t.queue.get, t.thing)
    refused(TypeError, t.queue.get, True, t.thing)
    refused(TypeError, t.queue.get, types=t.bad_kinds)
    refused(TypeError, t.queue.get, types=t.key)
    refused(TypeError, t.queue.get, session_key=t.thing)
    refused(ValueError, t.queue.get, session_key="")
    refused(ValueError, t.queue.get, session_key=t.key, unaddressed=True)
    refused(ValueError, t.queue.get, timeout=t.bad_timeout)


@case("_core.CompletionQueue.get_nowait", "CompletionQueue.get_nowait")
def get_nowait(t: Tracked) -> None:
    t.queue.put(t.event)
    refused(stdlib_queue.Empty, t.queue.get_nowait, session_key=t.lone)
    assert t.queue.get_nowait(types=t.kinds, session_key=t.key) is t.event
    refused(stdlib_queue.Empty, t.queue.get_nowait)
    refused(hc.ShutDown, t.shut.get_nowait)
    refused(TypeError, t.queue.get_nowait, types=t.bad_kinds)
    refused(TypeError, t.queue.get_nowait, session_key=t.thing)
    refused(ValueError, t.queue.get_nowait, session_key="")


@case(*(f"_core.CompletionQueue.{name}" for name in ("qsize", "empty", "full", "maxsize")))
@case(*(f"CompletionQueue.{name}" for name in ("qsize", "empty", "full", "maxsize")))
@case("_core.CompletionQueue.is_shutdown", "CompletionQueue.is_shutdown")
@case("_core.CompletionQueue.unfinished_tasks", "CompletionQueue.unfinished_tasks")
def counts(t: Tracked) -> None:
    for queue in (t.queue, t.full, t.shut):
        assert (queue.qsize(), queue.empty()) == (queue.maxsize, queue is not t.full)
        assert queue.full() == (queue is t.full)
        assert (queue.is_shutdown, queue.unfinished_tasks) == (queue is t.shut, queue.qsize())
    t.queue.maxsize = t.number
    t.queue.maxsize = 0
    refused(TypeError, setattr, t.queue, "maxsize", t.thing)
    refused(OverflowError, setattr, t.queue, "maxsize", 10**30)
    refused(AttributeError, setattr, t.queue, "is_shutdown", t.thing)


@case("_core.CompletionQueue.task_done", "CompletionQueue.task_done")
@case("_core.CompletionQueue.join", "CompletionQueue.join")
def task_done(t: Tracked) -> None:
    queue: hc.CompletionQueue[Any] = hc.CompletionQueue()
    queue.put(t.event)
    queue.task_done()
    queue.join()
    refused(ValueError, queue.task_done)


@case("_core.CompletionQueue.__new__", "CompletionQueue.__init__", "CompletionQueue.__new__")
@case("CompletionQueue.shutdown", "_core.CompletionQueue._shutdown", "CompletionQueue._shutdown")
@case("_core.CompletionQueue._drain", "CompletionQueue._drain", "CompletionQueue.__del__")
def whole_queues(t: Tracked) -> None:
    for immediate in (False, True):
        queue: hc.CompletionQueue[Any] = hc.CompletionQueue(t.number)
        for event in (t.event, t.wide_event, t.end, t.thing):
            queue.put(event)
        queue.shutdown(immediate)
        assert len(queue._drain()) == (0 if immediate else 4)
    native = _core.CompletionQueue()
    native.put(t.event)
    assert native._shutdown(True) == [t.event]
    native.put_back(t.thing)
    dropped: hc.CompletionQueue[Any] = hc.CompletionQueue()
    dropped.put(t.event)
    dropped.put(t.end)
    refused(TypeError, hc.CompletionQueue, t.thing)
    refused(TypeError, hc.CompletionQueue, t.number, t.thing)
    refused(TypeError, native._shutdown, t.thing)


@case("_core.Registry.dispatch", "_core.Registry.begin", "_core.Registry.finish")
@case("_core.Registry.state", "_core.Registry.get", "_core.Registry.wait")
@case("_core.Registry.rows", "_core.Registry.running", "_core.Registry.stats")
def native_registry(t: Tracked) -> None:
    core = t.core
    assert core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row) == t.id
    refused(ValueError, core.dispatch, t.id, 9, 0, t.owner, t.other, *t.row)
    assert core.dispatch(None, 1, 0, t.owner, t.other, *t.row) == ("refused", (1, 1, 0))
    assert core.begin(t.id, t.other) is None
    assert core.begin(t.id, t.thing) is True
    assert core.begin(t.id, t.thing) is False
    assert core.get(t.id) == (t.thing, "running", None)
    assert core.get(t.empty_id) is None
    assert core.wait(t.id, t.soon) is False
    assert core.running() == 1
    assert core.finish(t.id, t.other, t.ended, t.end, t.text, 1.0) is None
    assert core.finish(t.id, t.thing, t.ended, t.end, t.text, 1.0) == ("completed", None, [], 0)
    assert core.finish(t.id, t.thing, t.ended, t.end, t.text, 1.0) is None
    assert core.wait(t.id, None) is True
    assert core.wait(t.empty_id, None) is True
    assert t.queue.get() is t.end
    assert core.rows() == [(t.thing, "completed", "delivered")]
    assert core.state(t.id) == "completed"
    assert core.state(t.empty_id) is None
    assert core.stats()["dispatched"] == 1
    assert core.clear() == [t.thing]
    refused(TypeError, core.dispatch, t.id, 1, 0, t.bad_owner, t.thing, *t.row)
    refused(TypeError, core.dispatch, t.thing, 1, 0, t.owner, t.thing, *t.row)
    refused(TypeError, core.dispatch, t.id, t.thing, 0, t.owner, t.thing, *t.row)
    refused(OverflowError, core.dispatch, t.id, 1, -1, t.owner, t.thing, *t.row)
    refused(TypeError, core.finish, t.id, t.thing, t.ended, t.thing, t.text, 1.0)
    refused(TypeError, core.finish, t.id, t.thing, t.thing, t.end, t.text, 1.0)
    refused(ValueError, core.wait, t.id, t.bad_timeout)
    refused(TypeError, core.wait, t.id, t.thing)
    for call in (core.get, core.state):
        refused(TypeError, call, t.thing)
    refused(TypeError, core.begin, t.thing, t.thing)


@case("_core.Registry.next_started", "_core.Registry.started", "_core.Registry.begin_row")
@case("_core.Registry.leave_line", "_core.Registry.position", "_core.Registry.set_limit")
def native_line(t: Tracked) -> None:
    core = t.core
    core.dispatch(None, 1, 0, t.owner, t.thing, *t.row, 1, 2)
    assert core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row, 1, 2) == ("queued", t.id)
    kind, other = core.dispatch(None, 1, 0, t.owner, t.other, *t.row, 1, 2)
    assert kind == "queued"
    assert isinstance(other, str)
    assert (core.position(t.id), core.position(t.empty_id)) == (1, None)
    hand: list[Any] = [None]
    assert (core.next_started(hand), hand, core.started()) == (None, [None], 0)
    is_out = [False]
    core.leave_line(t.id, t.other, is_out)
    assert not is_out[0]
    core.leave_line(t.id, t.thing, is_out)
    assert is_out == [True]
    assert core.set_limit(2) == 1
    assert (core.next_started(hand), hand) == (other, [t.other])
    assert core.begin_row(other) is True
    refused(TypeError, core.next_started, t.thing)
    refused(TypeError, core.leave_line, t.id, t.thing, t.thing)
    refused(TypeError, core.set_limit, t.thing)
    core.clear()


@case("_core.Registry.withdraw", "_core.Registry.running_of", "_core.Registry.running_all")
@case("_core.Registry.clear", "_core.Registry.__new__")
def native_selection(t: Tracked) -> None:
    core: _core.Registry[Any] = _core.Registry(t.queue, 1)
    core.dispatch(t.id, 9, 0, t.owner, t.thing, *t.row)
    core.dispatch(None, 9, 0, t.owner, t.other, *t.row)
    assert core.running_all() == [t.thing, t.other]
    assert core.running_of((t.key, "", ""), True) == [t.thing, t.other]
    assert core.running_of((t.lone, t.ui, ""), True) == []
    assert core.running_of((t.lone, t.ui, ""), False) == [t.thing, t.other]
    assert core.withdraw(t.thing)
    assert not core.withdraw(t.thing)
    assert core.clear() == [t.other]
    core.dispatch(t.id, 9, 0, t.owner, t.thing, *t.row)  # goes with the registry
    refused(TypeError, core.running_of, t.bad_owner, True)
    refused(TypeError, core.running_of, t.owner, t.thing)
    refused(TypeError, _core.Registry, t.thing, 1)
    refused(TypeError, _core.Registry, t.queue, t.thing)


@case("_core.LoopWaker.__new__", "_core.LoopWaker.fileno", "_core.LoopWaker.ready")
@case("_core.LoopWaker.is_inherited", "_core.Waiter.__new__", "_core.Waiter.number")
@case("_core.Waiter.take", "_core.Registry.await_end")
def wakes(t: Tracked) -> None:
    assert t.core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row) == t.id
    waker = _core.LoopWaker()
    waiters = [_core.Waiter(waker) for waker in (waker, t.waker) for _ in range(3)]
    assert all(t.core.await_end(t.id, waiter) for waiter in waiters)
    assert not t.core.await_end(t.empty_id, waiters[0])
    assert waker.fileno() != t.waker.fileno()
    assert not waker.is_inherited
    assert not waiters[0].take()
    assert t.core.finish(t.id, t.thing, t.ended, t.end, t.text, 1.0)[2:] == ([], 0)
    assert waker.ready() == [waiter.number for waiter in waiters[:3]]
    assert len(t.waker.ready()) == 3
    assert waiters[0].take()
    t.queue.get()
    t.core.clear()
    refused(TypeError, _core.Waiter, t.thing)
    refused(TypeError, t.core.await_end, t.thing, waiters[0])
    refused(TypeError, t.core.await_end, t.id, t.thing)


@case("_core.Handoff.submit", "_core.Handoff.take", "_core.Handoff.reserve", "_core.Handoff.forget")
@case("_core.Handoff.not_started", "_core.Handoff.is_awaited", "_core.Handoff.__new__")
@case("_core.Handoff.retire")
def handoff(t: Tracked) -> None:
    pool = t.handoff
    assert pool.submit(t.thing, 1)
    assert pool.is_awaited(1)
    assert pool.take(t.soon, t.hand, 1, 2) is False
    assert t.hand.pop() is t.thing
    assert pool.take(t.soon, t.hand, 1, 2) is None
    assert pool.submit(t.thing, 2)
    assert not pool.submit(t.other, 3)
    assert pool.take(t.soon, t.hand, 2, 4) is True
    assert t.hand.pop() is t.thing
    assert pool.not_started(2, t.thing) == []
    assert pool.not_started(4, t.thing) == [t.other]
    assert pool.reserve(1, 4)
    pool.retire()
    pool.forget(4)
    made: _core.Handoff[Any] = _core.Handoff()
    made.submit(t.thing, 1)
    refused(TypeError, pool.submit, t.thing, t.thing)
    refused(TypeError, pool.take, t.thing, t.hand, 1, 2)
    refused(TypeError, pool.take, t.soon, t.thing, 1, 2)
    refused(TypeError, pool.not_started, t.thing, t.thing)
    refused(TypeError, pool.reserve, t.thing, 1)
    refused(TypeError, pool.forget, t.thing)
    refused(TypeError, pool.is_awaited, t.thing)


@case("_core.Printed", "_core.Printed.__new__", "_core.format_plain", "_core.dedup_key_plain")
@case("_core.session_key_plain", "_core.format_unreadable", "_core.notification_keys")
def native_texts(t: Tracked) -> None:
    for number in (None, t.soon, t.number, t.thing):
        printed = _core.Printed(t.wide, True, number)
        plain = {"type": t.kind, "session_id": printed, "output": t.lone, "toolsets": [t.key]}
        assert _core.format_plain(plain, t.soon) is not None
        assert _core.dedup_key_plain(plain) is not None
    for foreign in (t.thing, {t.thing: t.key}, t.end, t.queue):
        _core.format_plain(foreign)
        _core.dedup_key_plain(foreign)
        _core.session_key_plain(foreign)
    for key in (t.key, t.lone, t.wide):
        _core.session_key_plain(key)
        _core.session_key_plain(f"agent:main:x:dm:{key}:{key}")
        _core.format_unreadable(t.wide)
    _core.notification_keys()
    refused(TypeError, _core.Printed, t.thing, True)
    refused(TypeError, _core.Printed, t.key, t.thing)
    refused(TypeError, _core.format_plain, t.event, t.thing)
    refused(TypeError, _core.format_unreadable, t.thing)


@case("_core.to_json", "_core.list_texts", "_core.replace_texts")
def plain_data(t: Tracked) -> None:
    statuses = frozenset([t.kind])
    long = t.end["summary"]
    for value in ({"type": t.kind, t.key: long}, [t.wide, t.soon, t.number, (t.kind,), [True]]):
        assert _core.to_json(value) is not None
        texts = _core.list_texts([value, {"status": t.kind, t.key: t.wide}], statuses)
        assert texts is not None
        assert _core.replace_texts([value, {"status": t.kind, t.key: t.wide}], texts, statuses)
        changed = [text.upper() for text in texts]
        assert _core.replace_texts([value, {"status": t.kind, t.key: t.wide}], changed, statuses)
        # Two keys that become one, too few texts, too many, and what is no text.
        assert _core.replace_texts([{t.key: 1, t.kind: 2}], [t.wide, t.wide], statuses)
        for others in ([], [t.wide] * 99, [t.thing] * 3):
            assert _core.replace_texts([{t.key: t.kind}], others, statuses) is None
    for foreign in (t.thing, {t.thing: t.key}, {t.key: t.thing}, [t.thing], (t.queue,), t.lone):
        assert _core.to_json(foreign) is None
        if foreign is not t.lone:
            assert _core.list_texts([foreign], statuses) is None
            assert _core.replace_texts([foreign], [t.key], statuses) is None
    refused(TypeError, _core.list_texts, t.thing, statuses)
    refused(TypeError, _core.list_texts, [t.key], t.thing)
    refused(TypeError, _core.replace_texts, [t.key], t.thing, statuses)


@case("_core.set_log_level", "_core.take_log", "_core._set_main_thread", "_core.ShutDown")
@case("_core._after_fork_in_child", "_core.__version__", "ShutDown", "__version__")
@case("_core._before_fork", "_core._after_fork_in_parent")
def process(t: Tracked) -> None:
    # What a forked child's parts hold goes; here they hold nothing but what fork drops.
    import threading

    t.handoff.submit(t.thing, 9)
    t.queue.put(t.event)
    t.full.put_back(t.other)
    _core._before_fork()
    _core._after_fork_in_parent()
    assert len(_core._after_fork_in_child()) >= 3
    t.full.put(0)
    _core.set_log_level(10)
    t.core.dispatch(t.id, 1, 0, t.owner, t.thing, *t.row)
    t.core.clear()
    lines = _core.take_log()
    assert lines is not None
    assert t.id in lines[-1][2]
    _core.set_log_level(30)
    _core._set_main_thread(threading.main_thread().ident or 0)
    refused(OverflowError, _core.set_log_level, t.number)
    refused(TypeError, _core._set_main_thread, t.thing)


@case("format_process_notification", "notification_dedup_key", "parse_session_key")
def texts(t: Tracked) -> None:
    for event in (t.event, t.wide_event, t.end, t.thing, {t.thing: t.thing}, [t.event]):
        hc.format_process_notification(event)  # type: ignore[arg-type]
        hc.notification_dedup_key(event)  # type: ignore[arg-type]
        hc.parse_session_key(event)  # type: ignore[arg-type]
    hc.parse_session_key(f"agent:main:telegram:dm:{t.key}")


@case("DelegationRegistry.__init__", "DelegationRegistry.dispatch", "DelegationRegistry.start")
@case("DelegationRegistry.list", "DelegationRegistry.get", "DelegationRegistry.stats")
@case("DelegationRegistry.active_count", "DelegationRegistry.clear", "DelegationRegistry.__del__")
@case("DelegationHandle.__init__", "DelegationHandle.id", "DelegationHandle.state")
@case("DelegationHandle.result", "DelegationHandle.__repr__", "AtCapacity.__init__")
@case("AtCapacity.__reduce__", "TooManyPermits.__init__", "TooManyPermits.__reduce__")
@case("DelegationHandle.position", "DelegationRegistry.capacity")
def delegations(t: Tracked) -> None:
    for runner in (t.runner, t.raising, lambda: t.thing):
        handle = t.registry.dispatch(
            goal=t.wide, runner=runner, context=t.key, toolsets=t.kinds, model=t.kind,
            session_key=t.key, origin_ui_session_id=t.ui, parent_session_id=t.parent,
            interrupt_fn=t.interrupt_fn,
        )  # fmt: skip
        handle.result()
        t.registry.list(), t.registry.get(handle.id), repr(handle), handle.state
        t.queue.get(session_key=t.key)
    refused(LookupError, _forgotten, t)
    refused(TypeError, t.registry.dispatch, goal=t.wide, runner=t.thing)
    refused(TypeError, t.registry.dispatch, goal=t.wide, runner=t.runner, session_key=t.thing)
    refused(TypeError, t.registry.dispatch, goal=t.wide, runner=t.runner, toolsets=t.thing)
    refused(TypeError, hc.DelegationRegistry, t.thing)
    try:
        t.none.dispatch(goal=t.wide, runner=t.runner, session_key=t.key)
    except hc.AtCapacity as exc:
        kind, arguments = exc.__reduce__()
        kind(*arguments)
    waiting = t.none.dispatch(goal=t.wide, runner=t.runner, session_key=t.key, on_capacity="queue")
    assert waiting.position == 1
    assert t.none.list()
    waiting.cancel(t.wide)
    t.none.queue.get()
    t.none.capacity = t.none.capacity
    t.none.clear()
    try:
        t.none.dispatch(goal=t.wide, runner=t.runner, permits=2)
    except hc.TooManyPermits as exc:
        too_many, numbers = exc.__reduce__()
        too_many(*numbers)
    refused(ValueError, t.none.dispatch, goal=t.wide, runner=t.runner, on_capacity=t.wide)
    t.registry.stats(), t.registry.active_count()
    t.registry.clear()


@case("DelegationHandle.__await__", "DelegationRegistry.dispatch", "DelegationHandle.cancel")
def coroutines(t: Tracked) -> None:
    async def runner() -> dict[str, Any]:
        return {"summary": t.thing}

    async def raising() -> dict[str, Any]:
        raise ValueError(t.wide)

    async def endless() -> dict[str, Any]:
        return {"summary": await asyncio.get_running_loop().create_future()}

    async def delegate() -> hc.DelegationHandle:
        for function in (runner, raising, lambda: runner()):
            handle = t.registry.dispatch(goal=t.wide, runner=function, session_key=t.key)
            await asyncio.gather(handle, handle)
            t.queue.get(session_key=t.key)
        cancelled = t.registry.dispatch(goal=t.wide, runner=endless, session_key=t.key)
        assert cancelled.cancel(t.key)
        await cancelled
        return t.registry.dispatch(goal=t.wide, runner=endless, session_key=t.key)

    assert asyncio.run(delegate()).result()["status"] == "interrupted"
    t.registry.dispatch(goal=t.wide, runner=runner, session_key=t.key).result()
    for _ in range(3):
        t.queue.get(session_key=t.key)
    t.registry.clear()


def _forgotten(t: Tracked) -> None:
    go: hc.CompletionQueue[Any] = hc.CompletionQueue()
    handle = t.registry.dispatch(goal=t.wide, runner=lambda: {"go": go.get(), "thing": t.thing})
    refused(TimeoutError, handle.result, t.soon)
    t.registry.clear()
    try:
        handle.result()
    finally:
        go.put(t.thing)


@case("DelegationRegistry.cancel", "DelegationRegistry.interrupt_all", "DelegationHandle.cancel")
@case("DelegationRegistry.interrupt")
def cancels(t: Tracked) -> None:
    go: hc.CompletionQueue[Any] = hc.CompletionQueue()
    handle = t.registry.dispatch(
        goal=t.wide, runner=lambda: {"go": go.get()}, interrupt_fn=t.interrupt_fn, session_key=t.key
    )
    assert handle.cancel(t.key)
    assert t.registry.cancel(session_key=t.key, reason=t.key) == 1
    assert t.registry.cancel(session_key=t.lone) == 0
    assert t.registry.interrupt_all(t.key) == 1
    go.put(t.thing)
    handle.result()
    t.queue.get(session_key=t.key)
    refused(ValueError, t.registry.cancel)
    refused(TypeError, t.registry.cancel, session_key=t.thing)


@case(*(f"async_delegation.{name}" for name in async_delegation.__all__))
def gateway_functions(t: Tracked) -> None:
    queue = async_delegation.completion_queue
    task: dict[str, Any] = {"context": t.wide, "toolsets": t.kinds, "role": t.kind, "model": t.id}
    task |= {"session_key": t.key, "runner": t.runner, "interrupt_fn": t.interrupt_fn}
    one, batch = (
        async_delegation.dispatch_async_delegation,
        async_delegation.dispatch_async_delegation_batch,
    )
    assert one(goal=t.wide, **task)["status"] == "dispatched"
    queue.get()
    assert batch(goals=[t.wide, t.key], delegation_id=t.id, **task)["status"] == "dispatched"
    assert queue.get()["is_batch"]
    assert one(goal=t.wide, max_async_children=0, **task)["status"] == "rejected"
    assert batch(goals=[t.wide], delegation_id=t.id, **task)["status"] == "rejected"
    async_delegation.list_async_delegations()
    async_delegation.active_count()
    async_delegation.interrupt_all(t.key)
    async_delegation.interrupt_for_session(t.key, t.ui, t.parent)
    refused(TypeError, one, goal=t.wide, **{**task, "runner": t.thing})
    refused(TypeError, batch, goals=t.thing, **task)
    async_delegation._reset_for_tests()
