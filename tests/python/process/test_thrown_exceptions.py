"""Exceptions that one thread throws into another (``PyThreadState_SetAsyncExc``).

Such an exception may come between any two steps of Python code, so what a *caller* does with a
result can be lost; what the core holds cannot. CPython's own Python code is kept out of it, for it
cannot stand such exceptions: logging leaves its lock taken when one comes between the acquire and
the ``try``, and a thread is not yet known to threading when its ``start`` returns.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

RunMany = Callable[..., None]

START = """
import ctypes, itertools, logging, queue as stdlib_queue, random, sys, threading, time
import hermes_core as hc

class NoLock:
    'In place of the lock of the logging module, which then has nothing to leave taken.'
    def acquire(self): pass
    def release(self): pass
    def __enter__(self): pass
    def __exit__(self, *exception): pass

logging._lock = NoLock()
logging.disable(logging.CRITICAL)
sys.setswitchinterval(1e-5)
rng = random.Random(int(sys.argv[1]))
stop = threading.Event()

class Thrown(BaseException):
    'A thread that this finds outside of every try ends without a word.'

threading.excepthook = lambda args: args.exc_type is Thrown or threading.__excepthook__(args)

class Victim(threading.Thread):
    # Does one thing again and again, whatever is thrown into it, until it is told to stop.
    def __init__(self, step):
        super().__init__(daemon=True)
        self.step, self.in_flight, self.runs = step, False, stdlib_queue.SimpleQueue()
        self.start()
        self.runs.get()

    def run(self):
        self.runs.put(True)
        while not stop.is_set():
            try:
                self.steps()
            # RuntimeError: what an exception inside threading.Condition makes of it.
            except (Thrown, RuntimeError):
                self.in_flight = False

    def steps(self):
        try:
            while not stop.is_set():
                self.step()
        except (stdlib_queue.Empty, stdlib_queue.Full, TimeoutError):
            pass

    def throw(self):
        # One at a time: what undoes a step when it is broken off can itself be broken off.
        if not self.in_flight:
            self.in_flight = True
            throw(self)

def unraisable(args):
    # Python drops what is thrown into a __del__ or into a weak reference's callback.
    assert args.exc_type is Thrown, args
    threading.current_thread().in_flight = False

sys.unraisablehook = unraisable

def throw(thread):
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(Thrown))

def storm(victims, times=500):
    for _ in range(times):
        rng.choice(victims).throw()
        time.sleep(0)
    stop.set()
    for victim in victims:
        victim.join()
"""


def test_consumers_and_producers_that_are_thrown_out_hand_their_wakes_on(
    run_many: RunMany,
) -> None:
    """F11, F16: nothing arrives twice, and no waiter stays asleep beside an event."""
    script = """
    queue = hc.CompletionQueue(4)
    numbers = itertools.count()
    got = []

    def produce():
        queue.put({"session_key": "a", "n": next(numbers)}, timeout=0.001)

    def consume(**wanted):
        got.append(queue.get(timeout=0.001, **wanted)["n"])

    victims = [Victim(produce) for _ in range(3)] + [Victim(consume) for _ in range(2)]
    victims.append(Victim(lambda: consume(session_key="a")))
    victims.append(Victim(lambda: consume(types=["completion"])))
    storm(victims)
    while not queue.empty():
        got.append(queue.get_nowait()["n"])
    assert len(got) == len(set(got)) <= next(numbers)
    # Everything goes on: each of these waits for an event of its own.
    results = hc.CompletionQueue()
    waiters = [threading.Thread(target=lambda: results.put(queue.get(session_key="b")))
               for _ in range(5)]
    for thread in waiters:
        thread.start()
    for n in range(5):
        queue.put({"session_key": "b", "n": n}, timeout=50)
    print(sorted(results.get(timeout=50)["n"] for _ in range(5)))
    """
    run_many(START + dedent(script), 0, "[0, 1, 2, 3, 4]\n", share=0.2)


def test_dispatchers_that_are_thrown_out_leak_no_permit(run_many: RunMany) -> None:
    """F9, F33: each dispatch either was refused by the exception, or ends with one event."""
    script = """
    from hermes_core.runtime import workers as _workers

    # A new thread's state has its starter's id at first: there the exception would hit the new
    # thread before it runs, and Thread.start would wait for it without end. So another starts it.
    start, to_start = _workers.WorkerPool._start, stdlib_queue.SimpleQueue()
    _workers.WorkerPool._start = lambda *pool_and_number: to_start.put(pool_and_number)

    def start_workers():
        while True:
            start(*to_start.get())

    threading.Thread(target=start_workers, daemon=True).start()
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=10**6)
    answered = []

    def dispatch():
        answered.append(registry.dispatch(goal="g", runner=dict).id)

    def cancel():
        registry.cancel(session_key="nobody"), registry.stats()

    storm([Victim(dispatch), Victim(dispatch), Victim(cancel)], 100)
    registry.dispatch(goal="last", runner=dict).result(50)
    deadline = time.monotonic() + 50
    while registry.active_count():
        assert time.monotonic() < deadline, registry.stats()
        time.sleep(0)
    ended = []
    while not queue.empty():
        ended.append(queue.get_nowait()["delegation_id"])
    stats = registry.stats()
    assert len(ended) == len(set(ended)) == stats["dispatched"], (len(ended), stats)
    assert set(answered) <= set(ended)
    assert stats["undelivered"] == 0, stats
    print([registry.dispatch(goal="g", runner=dict).result(50) for _ in range(3)])
    """
    run_many(START + dedent(script), 0, "[{}, {}, {}]\n", share=0.2)


def test_runners_and_waiters_that_are_thrown_out_end_all_the_same(run_many: RunMany) -> None:
    """F9: the exception ends the runner, the worker, or a wait for its result; each end is told."""
    script = """
    queue = hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue, capacity=4)
    handles, workers = [], []

    def runner():
        workers.append(threading.current_thread())
        return {"summary": sum(range(500))}

    def wait():
        if handles:
            handles[-1].result(0.001)

    waiters = [Victim(wait) for _ in range(2)]
    for n in range(120):
        handle = registry.dispatch(goal="g", runner=runner)
        handles.append(handle)
        if n % 3:
            throw(workers[-1]) if workers else None
        else:
            rng.choice(waiters).throw()
        event = queue.get(timeout=50)
        assert event["delegation_id"] == handle.id, (n, event)
        assert event["status"] in ("completed", "error"), event
    storm(waiters, 0)
    assert queue.empty() and registry.active_count() == 0
    print(registry.stats()["dispatched"])
    """
    run_many(START + dedent(script), 0, "120\n", share=0.2)


def test_a_worker_that_is_thrown_out_before_its_first_look_is_replaced(run_many: RunMany) -> None:
    """F33: whatever ends a worker on its way, each delegation ends, and so do later ones."""
    script = """
    from hermes_core.runtime import workers as _workers

    at, left = int(sys.argv[1]), int(sys.argv[1])
    starts = (_workers._work.__code__, threading.Thread.run.__code__)

    def throw_in_turn(frame, event, arg):
        # The exception comes one call or line of the start later each time.
        global left
        if event in ("call", "line"):
            left -= 1
            if left == -1:
                raise Thrown
        return throw_in_turn

    threading.settrace(lambda *call: throw_in_turn(*call) if call[0].f_code in starts else None)
    registry = hc.DelegationRegistry(capacity=10)
    handles = [registry.dispatch(goal="g", runner=dict) for _ in range(3)]
    ended = [handle.result(50) for handle in handles]
    # While it ran its job the exception is the job's end.
    assert sum(result != {} for result in ended) <= 1, ended
    print([registry.dispatch(goal="g", runner=dict).result(50) for _ in range(3)])
    """
    run_many(START + dedent(script), 0, "[{}, {}, {}]\n", share=0.25)
