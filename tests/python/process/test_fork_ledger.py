"""F39: ``fork`` beside a ledger waits for no disk with the interpreter; every child works."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from process.conftest import HUNG, RunMany
from process.slow_disk import gate

PRELUDE = """
import os, sys, tempfile, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
path = os.path.join(tempfile.mkdtemp(), "l.db")

def fork(child):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def run(script: str, env: dict[str, str] | None = None) -> None:
    """Run a script in a process of its own, which must end in order."""
    code = PRELUDE + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        capture_output=True,
        text=True,
        env=env,
        timeout=HUNG,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_f39_the_interpreter_is_free_while_a_fork_waits_for_the_disk(tmp_path: Path) -> None:
    """Only another Python thread lets the disk go on, once the fork waits for it."""
    run(
        """
        import hermes_core as hc
        gate = os.environ["DISK_GATE"]
        forks, waits = threading.Event(), threading.Event()
        # Registered after ours, so called before it.
        os.register_at_fork(before=forks.set)
        registry = hc.DelegationRegistry(ledger=path)
        registry.dispatch(goal="warm", runner=dict).result(30)
        registry.ledger.flush(30)
        os.mkfifo(gate)

        def dispatch():
            registry.dispatch(goal="slow", runner=dict)

        def open_gate():
            # Succeeds when the disk stands still.
            writer = os.open(gate, os.O_WRONLY)
            waits.set()
            forks.wait()
            # Nothing says when the fork waits; the thread that it would stop is this one.
            for _ in range(100):
                os.sched_yield()
            os.unlink(gate)
            os.close(writer)

        threads = [threading.Thread(target=one) for one in (dispatch, open_gate)]
        for thread in threads:
            thread.start()
        waits.wait()
        fork(lambda: registry.dispatch(goal="child", runner=dict).result(30))
        for thread in threads:
            thread.join()
        print("fine")
        """,
        gate(tmp_path),
    )


def test_f39_what_runs_before_a_fork_may_use_a_ledger() -> None:
    """Hooks between ours and the fork dispatch, flush, read, open, and wait for threads that do."""
    run(
        """
        registries = []

        def use():
            for registry in registries:
                registry.dispatch(goal="hook", runner=dict, session_key="a").result(30)
                assert registry.ledger.flush(30)
                assert len(registry.ledger.rows()) > 0
                registry.queue.mailbox(session_key="a")

        def look():
            # Nothing that logs: logging's own hook has its lock by now.
            for registry in registries:
                assert registry.ledger.flush(30)
                len(registry.ledger.rows())

        def have_used():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

        # Registered before ours, so called after it.
        os.register_at_fork(before=use)
        os.register_at_fork(before=have_used)
        import hermes_core as hc
        first, second = (hc.DelegationRegistry(ledger=path + str(n), capacity=99) for n in (1, 2))
        registries += first, second
        for _ in range(2):
            fork(lambda: first.dispatch(goal="child", runner=dict, session_key="b").result(30))
            use()
        print("fine")
        """
    )


def test_f39_a_fork_beside_a_first_dispatch(run_many: RunMany) -> None:
    """Nothing of a first use is half done in the child: no import, no file, no initialisation."""
    script = PRELUDE + textwrap.dedent(
        """
        import random, time
        import hermes_core as hc
        rng = random.Random(int(sys.argv[1]))
        registry = hc.DelegationRegistry(ledger=path, capacity=99)
        memory = hc.DelegationRegistry(capacity=99)

        async def later():
            return {}

        def first():
            for runner in (dict, later, lambda: later()):
                registry.dispatch(goal="g", runner=runner, session_key="a")
                memory.dispatch(goal="g", runner=runner, session_key="a")

        def child():
            for one in (registry, memory):
                for runner in (dict, later, lambda: later()):
                    one.dispatch(goal="c", runner=runner, session_key="c").result(30)
            assert registry.ledger.flush(30)

        thread = threading.Thread(target=first)
        thread.start()
        for _ in range(3):
            time.sleep(rng.random() * 0.004)
            fork(child)
        thread.join()
        """
    )
    run_many(script, share=0.3)


def test_f39_a_fork_with_thousands_of_mailboxes() -> None:
    """While other threads open and close them, and results come in."""
    run(
        """
        import hermes_core as hc
        registry = hc.DelegationRegistry(ledger=path, capacity=99)
        queue = registry.queue
        boxes = [queue.mailbox(session_key=f"k{n}") for n in range(5000)]
        stop = threading.Event()

        def open_some():
            while not stop.is_set():
                queue.mailbox(session_key="a").close()
                boxes[0].add_key("more")

        def dispatch():
            while not stop.is_set():
                registry.dispatch(goal="g", runner=dict, session_key="k1").result(30)
                boxes[1].get(timeout=30).ack()

        def child():
            box = queue.mailbox(session_key="a")
            registry.dispatch(goal="c", runner=dict, session_key="a")
            box.get(timeout=30).ack()
            boxes[2].add_key("x")

        threads = [threading.Thread(target=one) for one in (open_some, dispatch)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            fork(child)
        stop.set()
        for thread in threads:
            thread.join()
        print("fine")
        """
    )
