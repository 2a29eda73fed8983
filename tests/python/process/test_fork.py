"""``fork`` with consumers blocked and children running: both processes go on."""

from __future__ import annotations

from collections.abc import Callable

RunMany = Callable[..., None]


def test_fork_with_everything_in_motion(run_many: RunMany) -> None:
    """F11: the child starts empty, so nothing is delivered twice; and it works."""
    script = """
    import os, queue as stdlib_queue, random, sys, threading, time, warnings
    import hermes_core as hc

    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
    rng = random.Random(int(sys.argv[1]))
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=20)
    idle = hc.CompletionQueue()
    never = registry.dispatch(goal="never", runner=threading.Event().wait)
    stop = False

    def consume():
        while not stop:
            try:
                queue.get(timeout=0.0005)
            except stdlib_queue.Empty:
                pass

    def produce():
        while not stop:
            queue.put({"type": "completion", "session_key": "a"})

    def dispatch():
        while not stop:
            try:
                registry.dispatch(goal="g", runner=dict)
            except hc.AtCapacity:
                pass

    threads = [threading.Thread(target=one, daemon=True) for one in (consume, produce, dispatch)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        threading.Thread(target=idle.get, daemon=True).start()
    for _ in range(5):
        time.sleep(rng.random() * 0.002)
        pid = os.fork()
        if pid == 0:
            # The child: empty, and every part of it works.
            assert queue.empty() and queue.unfinished_tasks == 0
            assert registry.active_count() == 0 and registry.list() == []
            assert never.state != "completed"
            handle = registry.dispatch(goal="child", runner=lambda: {"summary": "s"})
            assert handle.result(60)["summary"] == "s"
            assert queue.get(timeout=60)["delegation_id"] == handle.id
            thread = threading.Thread(target=lambda: idle.put(queue.get()))
            thread.start()
            queue.put(1)
            thread.join(60)
            assert idle.get_nowait() == 1
            os._exit(11)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    stop = True
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert registry.active_count() >= 1
    for _ in range(3):
        idle.put("on with it")
    sys.exit(4)
    """
    run_many(script, 4)


def test_a_child_forked_by_a_runner_discards_its_late_end(run_many: RunMany) -> None:
    """F11: the runner's end belongs to the parent alone."""
    script = """
    import os, sys, warnings
    import hermes_core as hc

    warnings.simplefilter("ignore", DeprecationWarning)
    registry = hc.DelegationRegistry()
    pids = []

    def runner():
        pid = os.fork()
        if pid == 0:
            assert registry.active_count() == 0
            ended = ("completed", {}, "", 1.0)
            assert registry._core.finish(handle.id, handle._delegation, *ended) is None
            os._exit(0 if registry.queue.empty() else 1)
        pids.append(pid)
        return {"summary": "the parent's"}

    import threading
    ready = threading.Event()
    handle = registry.dispatch(goal="g", runner=lambda: (ready.wait(), runner())[1])
    ready.set()
    assert handle.result(60)["summary"] == "the parent's"
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert registry.queue.qsize() == 1
    """
    run_many(script, 0, share=0.3)


def test_fork_from_a_signal_handler_in_a_blocked_get(run_many: RunMany) -> None:
    script = """
    import os, signal, sys, threading, warnings
    import hermes_core as hc

    warnings.simplefilter("ignore", DeprecationWarning)
    queue = hc.CompletionQueue()
    pids = []
    reader, writer = os.pipe()

    def handler(*_):
        pids.append(os.fork())
        if pids[-1]:
            queue.put("for the parent")
        else:
            os.write(writer, b".")  # Python's own after-fork work is done

    signal.signal(signal.SIGUSR1, handler)
    # A bare lock: an interrupt within threading's own waits could break those.
    go = threading.Lock()
    go.acquire()

    def send():
        with go:
            os.kill(os.getpid(), signal.SIGUSR1)

    threading.Thread(target=send).start()
    try:
        go.release()
        event = queue.get()
        assert pids[0] and event == "for the parent"
    except KeyboardInterrupt:
        # The child: in it the same call went on, on an empty queue, until Ctrl-C.
        os._exit(12 if pids == [0] and queue.empty() else 13)
    os.read(reader, 1)
    os.kill(pids[0], signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 12
    """
    run_many(script, 0, share=0.3)


def test_fork_while_other_hooks_run_python(run_many: RunMany) -> None:
    """F30: a hook that gives the interpreter to a thread that uses the core stops nobody."""
    script = """
    import os, sys, threading, time, warnings

    def give_way():
        time.sleep(0.002)

    # As logging's hooks may: before ours when the process forks, and after them.
    os.register_at_fork(before=give_way, after_in_parent=give_way, after_in_child=give_way)
    import hermes_core as hc

    warnings.simplefilter("ignore", DeprecationWarning)
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=20)
    stop = False

    def use():
        while not stop:
            queue.put(1)
            queue.get()
            registry.active_count()

    thread = threading.Thread(target=use)
    thread.start()
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if queue.empty() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    stop = True
    thread.join()
    """
    run_many(script, 0, share=0.1)
