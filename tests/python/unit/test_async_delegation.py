"""The gateway's function surface: what the commit that started this promises, and hostile ends."""

from __future__ import annotations

import contextvars
import ctypes
import inspect
import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hermes_core as hc
from hermes_core.ledger.lost import lost

Dispatch = Callable[..., dict[str, Any]]

RECORD_KEYS = [
    "delegation_id",
    "goal",
    "context",
    "toolsets",
    "role",
    "model",
    "session_key",
    "origin_ui_session_id",
    "parent_session_id",
    "status",
    "dispatched_at",
    "completed_at",
]


def test_dispatch_does_not_wait_and_the_event_stands_on_its_own(
    core: Any, dispatch: Dispatch
) -> None:
    go = threading.Event()

    def runner() -> dict[str, Any]:
        assert go.wait(30)
        return {"status": "completed", "summary": "Nothing wrong", "api_calls": 3, "model": "m2"}

    answer = dispatch(runner, origin_ui_session_id="tab-1", parent_session_id="db-1")
    assert answer["status"] == "dispatched"
    assert set(answer) == {"status", "delegation_id"}
    assert core.active_count() == 1
    [record] = core.list_async_delegations()
    assert list(record) == RECORD_KEYS
    assert (record["status"], record["completed_at"]) == ("running", None)
    go.set()
    event = core.completion_queue.get(timeout=30)
    assert event.pop("completed_at") >= event.pop("dispatched_at")
    assert event.pop("duration_seconds") >= 0
    assert event == {
        "type": "async_delegation",
        "delegation_id": answer["delegation_id"],
        "session_key": "agent:main:telegram:dm:7",
        "origin_ui_session_id": "tab-1",
        "parent_session_id": "db-1",
        "goal": "Read the logs",
        "context": "They are in /var/log",
        "toolsets": ["terminal"],
        "role": "leaf",
        "model": "m2",
        "status": "completed",
        "summary": "Nothing wrong",
        "error": None,
        "api_calls": 3,
        "exit_reason": None,
    }
    assert core.active_count() == 0
    [record] = core.list_async_delegations()
    assert record["status"] == "completed"
    assert record["completed_at"] is not None


def test_the_id_has_64_random_bits(core: Any, dispatch: Dispatch) -> None:
    ids = set()
    for _ in range(200):
        ids.add(dispatch()["delegation_id"])
        core.completion_queue.get(timeout=30)
    assert len(ids) == 200
    for one in ids:
        prefix, _, digits = one.partition("_")
        assert prefix == "deleg"
        assert len(digits) == 16
        assert int(digits, 16) >= 0


def test_refused_at_the_cap_with_the_numbers(core: Any, dispatch: Dispatch) -> None:
    """F6: the refusal is machine-readable, and nothing runs inline."""
    go = threading.Event()
    for _ in range(2):
        dispatch(go.wait, max_async_children=2)
    ran: list[int] = []
    refused = dispatch(lambda: ran.append(1), max_async_children=2)
    assert refused["status"] == "rejected"
    assert "capacity reached" in refused["error"]
    assert "background=false" in refused["error"]
    assert (refused["reason"], refused["limit"], refused["running"]) == ("capacity", 2, 2)
    assert ran == []
    assert core.active_count() == 2
    go.set()
    for _ in range(2):
        core.completion_queue.get(timeout=30)
    assert dispatch(max_async_children=2)["status"] == "dispatched"
    core.completion_queue.get(timeout=30)


@pytest.mark.parametrize("goals", [None, ["one", "two"]])
@pytest.mark.parametrize("kept", ["memory", "file"])
def test_what_a_later_gateway_dispatches_with_is_kept(
    core: Any,
    dispatch: Dispatch,
    goals: list[str] | None,
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values are on the record, the event and the row; what can be called as long as it runs."""
    if kept == "file":
        ledger = hc.Ledger(tmp_path / "delegations.db")
        monkeypatch.setattr(core, "_ledger_for", lambda record: ledger)
    go = threading.Event()
    progress = go.is_set
    further = {
        "origin_session_id": "s-1",
        "limits": {"turns": 3},
        "summary": "not the result's",
        "status": "not the record's",
        "is_batch": "no",
        "progress_fn": progress,
        "stall_fn": None,
        "watcher": progress,
    }
    if goals is None:
        answer = dispatch(lambda: {"summary": str(go.wait(30))}, **further)
    else:
        task = dict.fromkeys(("context", "toolsets", "model"))
        answer = core.dispatch_async_delegation_batch(
            goals=goals,
            **task,
            role="leaf",
            session_key="agent:main:telegram:dm:7",
            runner=lambda: {"results": [], "go": go.wait(30)},
            **further,
        )
    assert answer["status"] == "dispatched"
    [record] = core.list_async_delegations()
    assert record["status"] == "running"
    assert (record["origin_session_id"], record["limits"]) == ("s-1", {"turns": 3})
    assert not {"progress_fn", "stall_fn", "watcher"} & record.keys()
    assert ("is_batch" in record) == (goals is not None)
    [live] = core._live_records()
    assert (live["progress_fn"], live["stall_fn"], live["watcher"]) == (progress, None, progress)
    go.set()
    event = core.completion_queue.get(timeout=30)
    assert (event["origin_session_id"], event["limits"]) == ("s-1", {"turns": 3})
    assert event["status"] == "completed"
    assert event.get("summary") == ("True" if goals is None else "not the result's")
    assert not {"progress_fn", "stall_fn", "watcher"} & event.keys()
    [record] = core.list_async_delegations()
    assert record["origin_session_id"] == "s-1"
    if kept == "file":
        row = ledger.get(answer["delegation_id"])
        assert row is not None
        assert row["record"]["origin_session_id"] == row["event"]["origin_session_id"] == "s-1"
        lost_event = lost(row["record"], row)
        assert (lost_event["status"], lost_event["limits"]) == ("lost", {"turns": 3})


def test_one_too_may_be_given_its_id(core: Any, dispatch: Dispatch) -> None:
    assert dispatch(delegation_id="deleg_mine")["delegation_id"] == "deleg_mine"
    assert core.completion_queue.get(timeout=30)["delegation_id"] == "deleg_mine"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_none_refuses_all(dispatch: Dispatch, limit: int) -> None:
    assert dispatch(max_async_children=limit)["status"] == "rejected"


def test_the_defaults_are_the_gateways(core: Any) -> None:
    assert core._DEFAULT_MAX_ASYNC_CHILDREN == 3
    assert core._MAX_RETAINED_COMPLETED == 50
    signature = inspect.signature(core.dispatch_async_delegation)
    *named, further = signature.parameters.values()
    assert all(one.kind is one.KEYWORD_ONLY for one in named)
    assert further.kind is further.VAR_KEYWORD
    assert signature.parameters["max_async_children"].default == 3


@pytest.mark.parametrize(("threads", "cap", "rounds"), [(2, 1, 300), (32, 7, 100)])
def test_racing_dispatches_fill_the_cap_exactly(
    core: Any, dispatch: Dispatch, threads: int, cap: int, rounds: int
) -> None:
    """F7: check and insert are one step."""
    for _ in range(rounds):
        go, barrier = threading.Event(), threading.Barrier(threads)
        answers: list[str] = []

        def racer(
            go: threading.Event = go,
            barrier: threading.Barrier = barrier,
            answers: list[str] = answers,
        ) -> None:
            barrier.wait(30)
            answers.append(dispatch(go.wait, max_async_children=cap)["status"])

        racers = [threading.Thread(target=racer) for _ in range(threads)]
        for thread in racers:
            thread.start()
        for thread in racers:
            thread.join(30)
        assert answers.count("dispatched") == cap
        assert answers.count("rejected") == threads - cap
        assert core.active_count() == cap
        go.set()
        for _ in range(cap):
            core.completion_queue.get(timeout=30)
        assert core.active_count() == 0


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Rude:
    """Truthy only by raising."""

    def __bool__(self) -> bool:
        raise RuntimeError("bool")


def cyclic() -> dict[str, Any]:
    result: dict[str, Any] = {"summary": "round and round"}
    result["self"] = result
    return result


class Classless:
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("class")


class Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError("name")


class Anonymous(Exception, metaclass=Nameless):
    pass


class Sly(dict[str, Any]):
    def get(self, *_: Any) -> Any:
        raise AssertionError("a subclass's get is not called")


def raising(exc: BaseException) -> Callable[[], Any]:
    def runner() -> Any:
        raise exc

    return runner


@pytest.mark.parametrize(
    ("runner", "status", "error"),
    [
        (lambda: None, "completed", None),
        (dict, "completed", None),
        (lambda: {"status": "failed", "error": "no key"}, "failed", "no key"),
        (lambda: {"status": "interrupted", "summary": "half"}, "interrupted", None),
        (lambda: {"status": "timeout"}, "timeout", None),
        (lambda: {"summary": object()}, "completed", None),
        (cyclic, "completed", None),
        (lambda: Sly(summary="fine"), "completed", None),
        (lambda: "done", "error", "TypeError: the runner returned str, not a dict"),
        (lambda: [], "error", "TypeError: the runner returned list, not a dict"),
        (lambda: {"status": Rude()}, "error", "RuntimeError: bool"),
        (raising(ValueError("bad")), "error", "ValueError: bad"),
        (raising(SystemExit(3)), "error", "SystemExit: 3"),
        (raising(KeyboardInterrupt()), "error", "KeyboardInterrupt: "),
        (raising(GeneratorExit()), "error", "GeneratorExit: "),
        (raising(Unprintable()), "error", "Unprintable: <its message cannot be printed>"),
        (raising(Anonymous("x")), "error", "Anonymous: x"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_every_kind_of_end_publishes_exactly_one_event(
    core: Any, dispatch: Dispatch, runner: Any, status: str, error: str | None
) -> None:
    """F9, F29: one end, one event, the permit back, and the worker lives."""
    answer = dispatch(runner, max_async_children=1)
    event = core.completion_queue.get(timeout=30)
    assert event["delegation_id"] == answer["delegation_id"]
    assert (event["status"], event["error"]) == (status, error)
    assert core.active_count() == 0
    assert dispatch(lambda: {"summary": "next"}, max_async_children=1)["status"] == "dispatched"
    assert core.completion_queue.get(timeout=30)["summary"] == "next"
    assert core.completion_queue.empty()


def test_a_status_that_can_be_nothing_is_an_error(core: Any, dispatch: Dispatch) -> None:
    """F9, F29"""
    status = Classless()
    answer = dispatch(lambda: {"status": status})
    assert core.completion_queue.get(timeout=30)["status"] is status
    assert core._registry.get(answer["delegation_id"])["state"] == "error"
    assert core.active_count() == 0


def test_a_late_end_does_not_end_a_later_delegation_with_its_id(core: Any) -> None:
    """F29: ids may be given by the caller."""
    batch = {
        "goals": ["a"],
        "context": None,
        "toolsets": None,
        "role": "leaf",
        "model": None,
        "session_key": "k",
        "delegation_id": "mine \ud800",
    }
    go, stay, begun = threading.Event(), threading.Event(), threading.Event()

    def runner(word: str, until: threading.Event) -> Callable[[], dict[str, Any]]:
        return lambda: {"results": [begun.set()], "error": word, "ok": until.wait(30)}

    core.dispatch_async_delegation_batch(**batch, runner=runner("old", go))
    assert begun.wait(30)
    core._reset_for_tests()
    answer = core.dispatch_async_delegation_batch(**batch, runner=runner("new", stay))
    assert answer["delegation_id"] == "mine \ud800"
    go.set()
    while not core._registry.stats()["discarded"]:
        threading.Event().wait(0.001)
    stay.set()
    assert core.completion_queue.get(timeout=30)["error"] == "new"
    assert core.completion_queue.empty()
    assert core._registry.get("mine \ud800")["delivery"] == "delivered"


def test_a_failed_run_is_never_listed_as_completed(core: Any, dispatch: Dispatch) -> None:
    """F29: the state is a closed enum beside the runner's own word."""
    words = {
        "completed": "completed",
        "success": "completed",
        "failed": "error",
        "interrupted": "interrupted",
        "timeout": "timeout",
        "something new": "error",
    }
    for word, state in words.items():
        answer = dispatch(lambda word=word: {"status": word})
        core.completion_queue.get(timeout=30)
        record = core._registry.get(answer["delegation_id"])
        assert (record["status"], record["state"]) == (word, state)


def test_the_runner_has_the_dispatchers_context(core: Any, dispatch: Dispatch) -> None:
    """F18: ambient context is the dispatcher's, not the worker's last one."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def runner() -> dict[str, Any]:
        seen = variable.get()
        variable.set("left behind")
        return {"summary": seen}

    for value in ("one", "two"):
        variable.set(value)
        dispatch(runner)
        assert core.completion_queue.get(timeout=30)["summary"] == value
        assert variable.get() == value
    contextvars.Context().run(dispatch, runner)
    assert core.completion_queue.get(timeout=30)["summary"] == "unset"


def delegate_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("async-delegate_")]


def test_workers_are_daemons_that_python_knows_and_are_reused(
    core: Any, dispatch: Dispatch
) -> None:
    """F30: our own threads; nothing joins them at exit."""
    names: set[str] = set()

    def runner() -> dict[str, Any]:
        names.add(threading.current_thread().name)
        assert threading.current_thread().daemon
        return {}

    before = len(delegate_threads())
    for _ in range(50):
        dispatch(runner)
        core.completion_queue.get(timeout=30)
    assert all(name.startswith("async-delegate") for name in names)
    # Workers that have published may not be idle yet when the next job comes: a few alternate.
    assert len(delegate_threads()) <= before + 4


def test_a_batch_is_one_delegation_with_one_event(core: Any) -> None:
    batch = {
        "goals": ["Read a", "Read b"],
        "context": None,
        "toolsets": None,
        "role": "leaf",
        "model": None,
        "session_key": "k",
    }
    results = [
        {"task_index": 0, "status": "completed", "summary": "A"},
        {"task_index": 1, "status": "failed", "error": "no"},
    ]
    go = threading.Event()

    def runner() -> dict[str, Any]:
        assert go.wait(30)
        return {"results": results, "total_duration_seconds": 2.5, "live_transcripts": ["t"]}

    answer = core.dispatch_async_delegation_batch(
        **batch, runner=runner, delegation_id="deleg_mine", max_async_children=1
    )
    assert answer == {"status": "dispatched", "delegation_id": "deleg_mine"}
    [record] = core.list_async_delegations()
    assert record["goal"] == "2 parallel subagents: Read a; Read b"
    assert (record["goals"], record["is_batch"]) == (["Read a", "Read b"], True)
    again = core.dispatch_async_delegation_batch(
        **batch, runner=dict, delegation_id="deleg_mine", max_async_children=5
    )
    assert again["status"] == "rejected"
    assert "in use" in again["error"]
    go.set()
    event = core.completion_queue.get(timeout=30)
    assert event["status"] == "completed"
    assert (event["results"], event["total_duration_seconds"]) == (results, 2.5)
    assert (event["goals"], event["is_batch"]) == (["Read a", "Read b"], True)
    assert event["live_transcripts"] == ["t"]


@pytest.mark.parametrize(
    ("combined", "status"),
    [
        ({"results": [{"status": "failed"}, {"status": "error"}]}, "error"),
        ({"results": [{"status": "failed"}, {"status": "success"}]}, "completed"),
        ({"results": ["not a dict"]}, "error"),
        ({"results": []}, "completed"),
        (None, "completed"),
        ("text", "error"),
    ],
)
def test_a_batch_failed_if_none_of_it_succeeded(core: Any, combined: Any, status: str) -> None:
    answer = core.dispatch_async_delegation_batch(
        goals=["a"],
        context=None,
        toolsets=None,
        role="leaf",
        model=None,
        session_key="",
        runner=lambda: combined,
    )
    assert answer["status"] == "dispatched"
    event = core.completion_queue.get(timeout=30)
    assert event["status"] == status
    assert core._registry.get(answer["delegation_id"])["state"] == status


def test_the_list_shows_50_ended_and_the_registry_all_that_wait(
    core: Any, dispatch: Dispatch
) -> None:
    """F8: retention never touches an event that nobody took."""
    ids = []
    for _ in range(60):
        ids.append(dispatch(max_async_children=100)["delegation_id"])
        assert core._registry._core.wait(ids[-1], 30)
    listed = [record["delegation_id"] for record in core.list_async_delegations()]
    assert listed == ids[-50:]
    assert [record["delegation_id"] for record in core._registry.list()] == ids
    for _ in range(60):
        core.completion_queue.get(timeout=30)
    last = dispatch()["delegation_id"]
    core.completion_queue.get(timeout=30)
    assert core._registry._core.wait(last, 30)
    kept = [record["delegation_id"] for record in core._registry.list()]
    assert len(kept) <= 51
    assert kept == [*ids, last][-len(kept) :]


def test_a_put_back_event_waits_again(core: Any, dispatch: Dispatch) -> None:
    """F8: a drain that puts back what it took has not delivered it."""
    one = dispatch()["delegation_id"]
    event = core.completion_queue.get(timeout=30)
    assert core._registry.get(one)["delivery"] == "delivered"
    core.completion_queue.put(event)
    assert core._registry.get(one)["delivery"] == "pending"
    assert core._registry.stats()["undelivered"] == 1
    for _ in range(1000):
        core.completion_queue.put(core.completion_queue.get())
    core.completion_queue.get()
    assert core._registry.get(one)["delivery"] == "delivered"


@pytest.mark.parametrize(
    ("field", "value"),
    [("session_key", 5), ("session_key", b"k"), ("runner", None), ("toolsets", 7)],
)
def test_a_wrong_type_is_a_clear_error_at_the_call(
    core: Any, dispatch: Dispatch, field: str, value: Any
) -> None:
    with pytest.raises(TypeError):
        dispatch(**{field: value})
    assert core.active_count() == 0


def test_any_text_is_carried(core: Any, dispatch: Dispatch) -> None:
    huge = "x" * 10_000_000
    dispatch(lambda: {"summary": huge, "error": "\ud800"}, goal="\udfff" * 10, context=huge)
    event = core.completion_queue.get(timeout=30)
    assert event["summary"] is huge
    assert event["context"] is huge
    assert event["error"] == "\ud800"
    dispatch(session_key=None)
    assert core.completion_queue.get(timeout=30)["session_key"] is None


class NoThreads:
    """Threads that cannot be started, while this is on."""

    def __init__(self, core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        # A pool of its own, without idle workers.
        pool = core._registry._workers
        self.fresh = type(pool)("async-delegate", pool._run, pool._orphaned)
        self.core, self.monkeypatch = core, monkeypatch
        self.start = threading.Thread.start

    def __enter__(self) -> None:
        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.monkeypatch.setattr(self.core._registry, "_workers", self.fresh)
        self.monkeypatch.setattr(threading.Thread, "start", fail)

    def __exit__(self, *_: object) -> None:
        self.monkeypatch.setattr(threading.Thread, "start", self.start)


def test_a_thread_that_cannot_start_is_a_refusal_that_leaks_nothing(
    core: Any, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: accepted and started are not one."""
    with NoThreads(core, monkeypatch):
        refused = dispatch()
    assert refused["status"] == "rejected"
    assert "can't start new thread" in refused["error"]
    assert core.active_count() == 0
    assert core.list_async_delegations() == []
    assert dispatch()["status"] == "dispatched"
    core.completion_queue.get(timeout=30)
    assert core.completion_queue.empty()


def test_a_job_that_counted_on_a_thread_that_cannot_start_ends_with_an_error(
    core: Any, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: it was accepted, so it ends with an event, once."""
    second: list[dict[str, Any]] = []
    no_threads = NoThreads(core, monkeypatch)

    def fail(thread: threading.Thread) -> None:
        if not second:
            # Meanwhile another worker has taken the first job, and a second one comes.
            hand: list[Any] = []
            assert handoff.take(0.0, hand, 1_000_000, 1_000_001) is False
            registry, delegation, _ = hand[0]
            assert registry._begin(delegation)
            second.append(dispatch())
        raise RuntimeError("can't start new thread")

    handoff = no_threads.fresh._handoff
    with no_threads:
        monkeypatch.setattr(threading.Thread, "start", fail)
        first = dispatch()
    assert first["status"] == "dispatched"
    event = core.completion_queue.get(timeout=30)
    assert event["delegation_id"] == second[0]["delegation_id"]
    assert (event["status"], event["error"]) == ("error", "RuntimeError: can't start new thread")
    assert core.active_count() == 1


def test_what_another_thread_throws_into_a_worker_loses_no_end(
    core: Any, dispatch: Dispatch
) -> None:
    """F9: an asynchronous exception finds the worker anywhere, in its idle loop, too.

    But not in logging: between a handler's acquire and its try it would leave the lock taken.
    """
    logging.disable(logging.CRITICAL)
    try:
        dispatch()
        core.completion_queue.get(timeout=30)
        throw_into_workers(core, dispatch)
    finally:
        logging.disable(logging.NOTSET)


def throw_into_workers(core: Any, dispatch: Dispatch) -> None:
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    idents: hc.CompletionQueue[int] = hc.CompletionQueue()
    for n in range(200):

        def runner(n: int = n) -> dict[str, Any]:
            idents.put(threading.get_ident())
            return {"summary": str(sum(range(n * 20)))}

        dispatch(runner, max_async_children=1)
        event = None
        while event is None:
            try:
                throw(ctypes.c_ulong(idents.get_nowait()), ctypes.py_object(RuntimeError))
            except queue.Empty:
                event = core.completion_queue.get(timeout=30)
        assert event["status"] in ("completed", "error")
        assert core.active_count() == 0
    assert core.completion_queue.empty()
