"""Results that survive their process: exits, kills, and who gets what back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import hermes_core as hc
from process.lives import Life, live

#: Everything that a keyed mailbox gives at once.
TAKE_ALL = """
box = queue.mailbox(session_key="a")
for delivery in box.take_all(timeout=30):
    say(delivery.event)
    delivery.ack()
"""

NOTHING_WAITS = """
box = queue.mailbox(session_key="a")
say(box.pending())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "delegations.db"


def states(path: Path) -> list[tuple[Any, ...]]:
    """Each row's id, state and where its event stands."""
    ledger = hc.Ledger(path)
    return [(row["delegation_id"], row["state"], row["delivery"]) for row in ledger.rows()]


def test_f3_a_result_that_was_not_delivered_comes_back_once(path: Path) -> None:
    """F3, F11: with its task, marked as restored, and never again once it was acknowledged."""
    (name,) = live(path, "handle = dispatch(); handle.result(30); say(handle.id)")
    (event,) = live(path, TAKE_ALL)
    assert (event["delegation_id"], event["restored"]) == (name, True)
    assert (event["goal"], event["summary"], event["status"]) == (
        "a task",
        "a result",
        "completed",
    )
    assert live(path, NOTHING_WAITS) == [0]
    assert states(path) == [(name, "completed", "delivered")]


def test_f3_what_waited_in_a_killed_process_never_began(path: Path) -> None:
    """F3: one event each, which says so, with the task; not of one that waited and then ran."""
    ended, waited, *waiting = live(
        path,
        """
        go, begun = threading.Event(), threading.Event()
        registry.capacity = 1

        def run():
            begun.set()
            forever()

        say(dispatch("ends", runner=lambda: {"summary": str(go.wait(30))}).id)
        say(dispatch("waited", runner=run, on_capacity="queue").id)
        for number in range(2):
            say(dispatch("waits", runner=forever, on_capacity="queue", context="some").id)
        go.set()
        begun.wait(30)
        die()
        """,
        lease=0.2,
        killed=True,
    )
    (told,) = live(
        path,
        """
        box = queue.mailbox(session_key="a")
        told = {}
        for _ in range(4):
            delivery = box.get(timeout=30)
            told[delivery.event["delegation_id"]] = [delivery.event, delivery.text]
            delivery.ack()
        say(told)
        """,
    )
    assert told[ended][0]["status"] == "completed"
    assert "may have taken effect" in told[waited][0]["error"]
    for name in waiting:
        event, text = told[name]
        assert (event["status"], event["goal"], event["context"]) == ("lost", "waits", "some")
        assert event["error"].startswith("it never began: it was waiting for capacity")
        assert "it never began" in text
        assert "may have taken effect" not in text
    assert live(path, NOTHING_WAITS) == [0]
    has_begun = {row["delegation_id"]: row["has_begun"] for row in hc.Ledger(path).rows()}
    assert has_begun == {ended: True, waited: True, **dict.fromkeys(waiting, False)}


def test_f3_what_a_killed_process_ran_is_reported_lost(path: Path) -> None:
    """F3: one event each, once the lease is over, with the task's source."""
    dispatched = live(
        path,
        """
        for number in range(3):
            say(dispatch(f"task {number}", runner=forever, context="some").id)
        die()
        """,
        lease=0.2,
        killed=True,
    )
    lost = live(
        path,
        """
        box = queue.mailbox(session_key="a")
        for _ in range(3):
            delivery = box.get(timeout=30)
            say(delivery.event)
            delivery.ack()
        """,
    )
    assert [event["delegation_id"] for event in lost] == dispatched
    assert {(event["status"], event["context"], event["restored"]) for event in lost} == {
        ("lost", "some", True)
    }
    assert [event["goal"] for event in lost] == ["task 0", "task 1", "task 2"]
    assert live(path, NOTHING_WAITS) == [0]


def test_f12_what_was_on_lease_at_the_kill_comes_back(path: Path) -> None:
    """F4, F12: accepted is not delivered."""
    live(
        path,
        """
        dispatch().result(30)
        held = queue.mailbox(session_key="a").get(timeout=30)
        die()
        """,
        lease=0.2,
        killed=True,
    )
    (event,) = live(path, TAKE_ALL)
    assert event["summary"] == "a result"


def test_f2_nobody_gets_what_he_cannot_prove_to_own(path: Path) -> None:
    """F2: not a get, nor a mailbox of every owner, nor one of another; then its own does."""
    live(path, "dispatch().result(30); dispatch(key='').result(30)")
    seen = live(
        path,
        """
        other = queue.mailbox(session_key="b")
        owner = queue.mailbox(session_key="a")
        everybody = queue.mailbox(types=["async_delegation"])
        nobody = queue.mailbox(unaddressed=["async_delegation"])
        say([box.pending() for box in (other, owner, everybody, nobody)])
        say([queue.qsize(), queue.empty()])
        try:
            queue.get_nowait()
        except Exception as exc:
            say(type(exc).__name__)
        say(owner.get(timeout=30).ack())
        """,
    )
    assert seen == [[0, 1, 0, 0], [0, True], "Empty", True]


def test_who_owns_by_more_than_a_key_says_so(path: Path) -> None:
    """The single-session CLI: no key, but its own session id."""
    live(path, "dispatch(key='', parent_session_id='s1').result(30)")
    live(path, "dispatch(key='', parent_session_id='s2').result(30)")
    (event,) = live(
        path,
        """
        box = queue.mailbox(owns=lambda event: event["parent_session_id"] == "s2")
        delivery = box.get(timeout=30)
        say(delivery.event["parent_session_id"])
        delivery.ack()
        assert not box.pending()
        """,
    )
    assert event == "s2"


def test_f13_a_key_that_is_added_brings_its_own_back(path: Path) -> None:
    """F13."""
    live(path, "dispatch(key='old').result(30)")
    (goal,) = live(
        path,
        """
        box = queue.mailbox(session_key="new")
        box.add_key("old")
        say(box.get(timeout=30).event["goal"])
        """,
    )
    assert goal == "a task"


def test_an_orderly_exit_gives_up_what_it_holds_at_once(path: Path) -> None:
    """No lease of an hour is waited for; what ran is lost, what had ended is not."""
    live(
        path,
        """
        dispatch("runs", runner=forever)
        dispatch("ended").result(30)
        """,
    )
    events = live(path, TAKE_ALL)
    assert [(event["goal"], event["status"]) for event in events] == [
        ("runs", "lost"),
        ("ended", "completed"),
    ]


def test_f17_two_processes_at_once_each_deliver_their_own(path: Path) -> None:
    """F17, F2: a live process keeps what it holds, whoever asks for it."""
    script = "dispatch('mine').result(30); say(1); ask(); say(queue.get(timeout=30))"
    with Life(path, script) as first:
        first.hear()
        second = live(
            path,
            NOTHING_WAITS + "dispatch('other', key='b').result(30)\nsay(queue.get(timeout=30))",
        )
        assert (second[0], second[1]["goal"]) == (0, "other")
        first.tell()
        assert [event["goal"] for event in first.end()] == ["mine"]


def test_f19_a_late_worker_is_told_late(path: Path) -> None:
    """F19, F38: a process that stood still for longer than its lease was taken for lost."""
    script = """
        go = threading.Event()
        handle = dispatch(runner=lambda: {"ok": go.wait()})
        say(1)
        ask()
        go.set()
        try:
            handle.result(30)
        finally:
            discarded = registry.stats()["discarded"]
            say([handle.state, queue.qsize(), registry.active_count(), discarded])
    """
    with Life(path, script, lease=0.2) as first:
        first.hear()
        first.signal(signal.SIGSTOP)
        (event,) = live(path, TAKE_ALL)
        assert event["status"] == "lost"
        first.signal(signal.SIGCONT)
        first.tell()
        assert first.end() == [["completed", 1, 0, 0]]
    assert states(path)[0][1:] == ("completed", "pending")


def test_f11_a_late_consumer_changes_nothing(path: Path) -> None:
    """F11: its ack says that the event was another's by then."""
    script = """
        dispatch().result(30)
        delivery = queue.mailbox(session_key="a").get(timeout=30)
        say(1)
        ask()
        say(delivery.ack())
    """
    other = TAKE_ALL.replace("delivery.ack()", "ask(); say(delivery.ack())")
    with Life(path, script, lease=0.2) as first:
        first.hear()
        first.signal(signal.SIGSTOP)
        with Life(path, other) as second:
            second.hear()
            first.signal(signal.SIGCONT)
            first.tell()
            assert first.end() == [False]
            second.tell()
            assert second.end() == [True]


def test_a_put_of_what_was_taken_brings_it_back(path: Path) -> None:
    """Rule 3: a plain get is a delivery, and a put undoes it."""
    live(
        path,
        """
        dispatch("kept").result(30)
        dispatch("put back").result(30)
        queue.get(timeout=30)
        queue.put(queue.get(timeout=30))
        die()
        """,
        lease=0.2,
        killed=True,
    )
    events = live(path, TAKE_ALL)
    assert [event["goal"] for event in events] == ["put back"]


def test_f32_the_same_key_is_not_run_again_after_a_restart(path: Path) -> None:
    """F32: same owner and key, same delegation, also for threads that race, and in a next life."""
    script = """
    runs = []
    def runner():
        runs.append(1)
        return {"summary": "once"}
    handles = []
    def go():
        handles.append(dispatch(runner=runner, idempotency_key="k"))
    threads = [threading.Thread(target=go) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    results = {handle.result(30)["summary"] for handle in handles}
    say([sorted({handle.id for handle in handles}), sorted(results), len(runs)])
    """
    ((names, results, runs),) = live(path, script)
    assert (len(names), results, runs) == (1, ["once"], 1)
    assert live(path, script) == [[names, ["once"], 0]]


def test_f10_dead_letters_outlive_the_process_and_are_decided_by_hand(path: Path) -> None:
    """F10: attempts are counted over restarts; a defer is none."""
    live(path, "for n in range(2): dispatch(str(n)).result(30)")
    for _ in range(2):
        live(
            path,
            """
            box = queue.mailbox(session_key="a", max_attempts=3)
            for _ in range(2):
                box.get(timeout=30).nack(delay=3600)
            """,
        )
    say = """
    box = queue.mailbox(session_key="a", max_attempts=3)
    say([record["goal"] for record in registry.dead_letters()])
    """
    (dead,) = live(path, say)
    assert dead == []
    live(path, "box = queue.mailbox(session_key='a', max_attempts=3); box.get(timeout=30).nack()")
    (dead,) = live(path, say)
    assert dead == ["0"]
    (first, second) = [name for name, _, _ in states(path)]
    answers = live(
        path,
        f"""
        say([registry.redeliver("{first}"), registry.redeliver("{first}")])
        event = queue.mailbox(session_key="a").get(timeout=30)
        say([event.event["goal"], event.attempt, event.ack()])
        say([registry.drop("{second}"), registry.drop("{second}")])
        """,
    )
    assert answers == [[True, False], ["0", 1, True], [True, False]]
    assert [delivery for _, _, delivery in states(path)] == ["delivered", "dropped"]


def test_f14_what_was_asked_before_a_reset_stays_parked(path: Path) -> None:
    """F14: in this life and in the next, also where the reset comes after the restart."""
    live(path, "dispatch('before').result(30)")
    live(path, "queue.new_epoch('a'); dispatch('after').result(30)")
    events = live(path, TAKE_ALL)
    assert [event["goal"] for event in events] == ["after"]
    assert [delivery for _, _, delivery in states(path)] == ["parked", "delivered"]


def test_f14_a_reset_is_known_to_a_ledger_that_is_not_the_registrys_own(path: Path) -> None:
    """F14: one that was chosen for a look."""
    live(path, "dispatch('before').result(30)")
    script = """
    registry = hc.DelegationRegistry()
    say(registry.restore(session_keys=["a"], ledger=ledger, proven=True))
    registry.queue.new_epoch("a")
    """
    assert live(path, script) == [1]
    assert [delivery for _, _, delivery in states(path)] == ["parked"]


def test_f14_a_reset_in_another_process_parks_what_this_one_has(path: Path) -> None:
    """F11, F14: so that what is redelivered there comes from one of them."""
    holder = Life(
        path,
        """
        handle = dispatch()
        handle.result(30)
        say(handle.id)
        queue.join()
        say([len(queue.parked()), queue.qsize()])
        ask()
        say(queue.qsize())
        """,
        lease=0.3,
    )
    name = holder.hear()
    live(path, "queue.new_epoch('a')")
    assert holder.hear() == [1, 0]
    answers = live(
        path,
        f"""
        while not registry.redeliver("{name}"):
            pass  # The other is about to let go of it.
        delivery = queue.mailbox(session_key="a").get(timeout=30)
        say([delivery.event["delegation_id"], delivery.ack()])
        """,
    )
    assert answers == [[name, True]]
    holder.tell()
    assert holder.hear() == 0
    holder.end()


def test_f18_the_same_key_in_two_files_is_two_owners(path: Path) -> None:
    """F18."""
    live(path, "dispatch().result(30)")
    assert live(path.with_name("other.db"), NOTHING_WAITS) == [0]
    assert live(path, NOTHING_WAITS) == [1]


def test_f24_a_summary_that_was_cut_is_whole_in_the_ledger(path: Path) -> None:
    """F24: and after a restart the event is cut again."""
    text = "word " * 1000
    look = """
    delivery = queue.mailbox(session_key="a").get(timeout=30)
    event = delivery.event
    say([len(event["summary"]) < 300, len(registry.event(event["delegation_id"])["summary"])])
    """
    begin = f"""
    registry.max_summary = 100
    dispatch(runner=lambda: {{"summary": {text!r}}})
    """
    assert live(path, begin + look) == [[True, len(text)]]
    assert live(path, "registry.max_summary = 100" + dedent(look)) == [[True, len(text)]]


def test_f34_no_secret_reaches_the_disk_or_the_event(path: Path) -> None:
    """F34: a canary in every text of the task and of its result."""
    (event,) = live(
        path,
        """
        registry.redact = lambda text: text.replace("CANARY", "***")
        handle = dispatch(
            "goal CANARY", context="context CANARY", toolsets=["CANARY"], model="CANARY",
            runner=lambda: {
                "summary": "CANARY", "error": "CANARY", "exit_reason": ["CANARY", {"CANARY": 1}]
            },
        )
        handle.result(30)
        say(queue.get(timeout=30))
        """,
    )
    assert "CANARY" not in str(event)
    assert "***" in event["summary"]
    written = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"CANARY" not in written
    assert b"***" in written


def test_a_process_that_runs_it_hears_of_a_cancel_asked_for(path: Path) -> None:
    """By its next renewal."""
    script = """
        go = threading.Event()
        def runner():
            go.wait()
            return {"status": "interrupted"}
        handle = dispatch(runner=runner, interrupt_fn=go.set)
        say(handle.id)
        say(handle.result(30)["status"])
    """
    ledger = hc.Ledger(path)
    with Life(path, script, lease=0.2) as first:
        name = first.hear()
        assert not ledger.cancel("deleg_unknown")
        assert ledger.cancel(name)
        assert first.hear() == "interrupted"
        first.end()
    assert not ledger.cancel(name)


def test_f9_a_ledger_that_cannot_be_opened_refuses_and_holds_nothing(path: Path) -> None:
    """F9, F33: a typed error, the runner not run, the permit free."""
    ((kind, running, ran),) = live(
        path,
        """
        os.mkdir(ledger.path)
        ran = []
        try:
            dispatch(runner=lambda: ran.append(1))
        except hc.LedgerError as exc:
            say([str(exc), registry.active_count(), ran])
        """,
    )
    assert str(path) in kind
    assert (running, ran) == (0, [])


def test_a_coroutine_runner_is_written_down_like_any_other(path: Path) -> None:
    """Its end is told on a worker thread, so that its loop does not wait for the disk."""
    ((main, told, result),) = live(
        path,
        """
        import asyncio

        async def runner():
            await asyncio.sleep(0)
            return {"summary": "from a task"}

        async def main():
            handle = dispatch(runner=runner)
            registry.on_end = lambda record: names.append(threading.current_thread().name)
            result = await handle
            return threading.current_thread().name, result["summary"]

        names = []
        name, summary = asyncio.run(main())
        say([name, names[0].startswith("async-delegate"), summary])
        """,
    )
    assert (main, told, result) == ("MainThread", True, "from a task")
    assert [row[1:] for row in states(path)] == [("completed", "pending")]


def test_a_forked_child_writes_its_own_and_holds_nothing_of_its_parents(path: Path) -> None:
    """Rule 7: the child's ledger is opened anew; what the parent holds stays the parent's."""
    child, parent = live(
        path,
        """
        dispatch("of the parent").result(30)
        pid = os.fork()
        if pid == 0:
            dispatch("of the child", key="c").result(30)
            say([queue.get(timeout=30)["goal"], queue.qsize()])
            ledger.flush()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        say([queue.get(timeout=30)["goal"], registry.stats()["ledger"]["state"]])
        """,
    )
    assert child == ["of the child", 0]
    assert parent == ["of the parent", "ok"]
    assert [row[1:] for row in states(path)] == [("completed", "delivered")] * 2


def test_the_file_is_its_owners_alone(path: Path) -> None:
    """Mode 0600, whatever the umask."""
    live(path, "os.umask(0); dispatch().result(30); die()", killed=True)
    for file in path.parent.iterdir():
        assert os.stat(file).st_mode & 0o777 == 0o600, file


def test_a_look_makes_no_file(path: Path) -> None:
    """It opens at the first dispatch; a mailbox only looks."""
    live(path, NOTHING_WAITS + "queue.new_epoch('a')\nregistry.dead_letters()")
    assert not path.exists()
