"""Mailboxes, leases and the timer's thread in a process: exit, fork, interrupts, idleness."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from process.test_thrown_exceptions import START

RunMany = Callable[..., None]

#: Leases held and leases that end all the time, and consumers blocked in every way there is.
BUSY = """
import asyncio, random, sys, threading, time
import hermes_core as hc

rng = random.Random(int(sys.argv[1]))
queue = hc.CompletionQueue()
box = queue.mailbox(session_key="a", lease=0.0005)
lasting = queue.mailbox(session_key="b", lease=3600)
nothing = queue.mailbox(session_key="c")
for key in "aab":
    queue.put({"session_key": key})
held = lasting.get()

def churn():
    while True:
        first, second = box.get(), box.get()
        first.nack(delay=0.0005)

async def consume():
    await asyncio.gather(*(nothing.aget(timeout) for timeout in (None, 3600)))

for target in (
    churn,
    nothing.get,
    lambda: nothing.get(timeout=3600),
    lambda: nothing.take_all(1, 3600),
    lambda: lasting.take_all(3600),
    lambda: asyncio.run(consume()),
):
    threading.Thread(target=target, daemon=True).start()
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [("", 0), ("sys.exit(7)", 7), ("import os; os._exit(3)", 3)],
    ids=["return", "exit", "_exit"],
)
def test_exit_with_leases_held_and_consumers_blocked(
    run_many: RunMany, ending: str, status: int
) -> None:
    """F30: also while the timer's thread gives events back."""
    run_many(BUSY + "time.sleep(rng.random() * 0.01)\n" + ending, status, share=0.2)


def test_fork_with_leases_and_the_timer(run_many: RunMany) -> None:
    """F11: the child's core is empty and works, and its own leases end."""
    script = """
    import os, warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
    for _ in range(3):
        time.sleep(rng.random() * 0.002)
        pid = os.fork()
        if pid == 0:
            assert queue.empty() and queue.unfinished_tasks == 0 and queue.pending() == []
            assert not held.ack() and not held.nack()
            mine = queue.mailbox(session_key="mine", lease=0.001)
            queue.put({"session_key": "mine"})
            late = mine.get(timeout=50)
            again = mine.get(timeout=50)
            assert (again.event, again.attempt) == (late.event, 2)
            assert not late.ack() and again.event == {"session_key": "mine"}
            got = hc.CompletionQueue()
            other = queue.mailbox(session_key="other")
            thread = threading.Thread(target=lambda: got.put(other.get()), daemon=True)
            thread.start()
            queue.put({"session_key": "other"})
            assert got.get(timeout=50).ack()
            os._exit(11)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    # The parent's lease holds, and its short ones go on ending.
    assert held.ack()
    watched = queue.mailbox(session_key="d", lease=0.001)
    queue.put({"session_key": "d"})
    first = watched.get(timeout=50)
    assert watched.get(timeout=50).attempt == 2
    sys.exit(4)
    """
    run_many(BUSY + dedent(script), 4, share=0.2)


@pytest.mark.parametrize(
    "call", ["get()", "get(timeout=3600)", "take_all()", "take_all(3600)", "owning.get()"]
)
def test_ctrl_c_in_a_blocked_take(run_many: RunMany, call: str) -> None:
    """F4: no event goes to the interrupted call for good, and the mailbox goes on."""
    mailbox = call if "." in call else f"box.{call}"
    script = f"""
    import os, signal, sys, threading
    import hermes_core as hc

    queue = hc.CompletionQueue()
    box = queue.mailbox(session_key="a", lease=0.05)
    owning = queue.mailbox(owns=lambda event: event["session_key"] == "a", lease=0.05)

    def ctrl_c():
        # Half of the time there is something to take.
        if int(sys.argv[1]) % 2:
            queue.put({{"session_key": "a", "origin_ui_session_id": "t"}})
        os.kill(os.getpid(), signal.SIGINT)

    try:
        threading.Thread(target=ctrl_c, daemon=True).start()
        while True:
            taken = {mailbox}
            del taken
    except KeyboardInterrupt:
        pass
    queue.put({{"session_key": "a", "n": "last"}})
    while queue.unfinished_tasks:
        assert box.get(timeout=50).ack()
    assert queue.empty()
    sys.exit(9)
    """
    run_many(script, 9, share=0.1)


def test_consumers_that_are_thrown_out_lose_nothing(run_many: RunMany) -> None:
    """F4, F11: whatever was not acked comes back, and no waiter stays asleep beside an event."""
    script = """
    queue = hc.CompletionQueue()
    box = queue.mailbox(session_key="a", lease=0.02)
    owning = queue.mailbox(owns=lambda event: event["session_key"] == "a", lease=0.02)
    numbers, acked, thrown = itertools.count(), [], 300

    def produce():
        if queue.qsize() < 4:
            queue.put({"type": "x", "session_key": "a", "origin_ui_session_id": "t",
                       "n": next(numbers)})

    def settle(delivery):
        if delivery.event["n"] % 5 == delivery.attempt:
            delivery.nack()
        elif delivery.ack():
            acked.append(delivery.event["n"])

    def consume():
        settle(box.get(timeout=0.001))

    def judge():
        settle(owning.get(timeout=0.001))

    def batch():
        for delivery in box.take_all(0.0001, timeout=0.001):
            settle(delivery)

    victims = [Victim(one) for one in (produce, produce, consume, consume, judge, batch)]
    storm(victims, thrown)
    while queue.unfinished_tasks:
        with box.get(timeout=50) as delivery:
            acked.append(delivery.event["n"])
    put = next(numbers)
    # An ack whose consumer was thrown out before it noted it down is no loss.
    assert len(acked) == len(set(acked)) and put - thrown <= len(acked) <= put, (put, len(acked))
    results = hc.CompletionQueue()
    waiters = [threading.Thread(target=lambda: results.put(box.get())) for _ in range(3)]
    for thread in waiters:
        thread.start()
    for n in range(3):
        queue.put({"session_key": "a", "n": n})
    got = [results.get(timeout=50) for _ in range(3)]
    print(sorted(one.event["n"] for one in got))
    """
    run_many(START + dedent(script), 0, "[0, 1, 2]\n", share=0.1)


def test_nobody_wakes_while_nothing_happens(run_many: RunMany) -> None:
    """F15: 50 blocked threads, 50 tasks, a lease, and an event of an owner that is not there."""
    script = """
    import asyncio, os, pathlib, sys, threading, time
    import hermes_core as hc

    queue = hc.CompletionQueue()
    lasting = queue.mailbox(session_key="held", lease=300)
    queue.put({"session_key": "held"})
    held = lasting.get()
    queue.put({"session_key": "absent"})
    ready = threading.Barrier(52)

    def consume(number):
        box = queue.mailbox(session_key=f"thread {number}")
        ready.wait()
        box.get()

    async def consume_all():
        boxes = [queue.mailbox(session_key=f"task {number}") for number in range(50)]
        tasks = [asyncio.create_task(box.aget()) for box in boxes]
        await asyncio.sleep(0)
        ready.wait()
        await asyncio.gather(*tasks)

    for number in range(50):
        threading.Thread(target=consume, args=(number,), daemon=True).start()
    threading.Thread(target=lambda: asyncio.run(consume_all()), daemon=True).start()
    ready.wait()

    def switches():
        counts = {}
        for task in pathlib.Path("/proc/self/task").iterdir():
            if int(task.name) != os.getpid():
                lines = (task / "status").read_text().splitlines()
                counts[task.name] = [line for line in lines if "ctxt_switches" in line]
        return counts

    # They have all gone to sleep once nothing changes.
    before = switches()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.2)
        before, last = switches(), before
        if before == last:
            break
    # What is measured: an interval without any event.
    time.sleep(1)
    after = switches()
    assert len(after) >= 52
    print({name: (count, after[name]) for name, count in before.items() if count != after[name]})
    """
    run_many(script, 0, "{}\n", share=0.005)
