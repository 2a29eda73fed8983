"""Callbacks and objects that do their worst: the core stays whole, and each end is told."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent

import pytest

RunMany = Callable[..., None]

START = """
import gc, logging, os, queue as stdlib_queue, random, sys, threading, time, warnings
import hermes_core as hc
from hermes_core import async_delegation
from hermes_core.delegation import interrupt as _interrupt

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork with threads
quiet = logging.NullHandler()
logging.getLogger("hermes_core").addHandler(quiet)
logging.getLogger("hermes_core").propagate = False
rng = random.Random(int(sys.argv[1]))
queue = hc.CompletionQueue()
registry = hc.DelegationRegistry(queue, capacity=2)

class Worst(BaseException):
    def __str__(self):
        raise Worst
    __repr__ = __str__

def end_of(handle):
    # The one event of a delegation, whatever else waits.
    result = handle.result(50)
    event = queue.get(types=["async_delegation"], timeout=50)
    assert event["delegation_id"] == handle.id, event
    assert registry.get(handle.id)["delivery"] == "delivered"
    return event["status"], handle.state

def still_whole():
    assert registry.active_count() == 0 and queue.empty(), (registry.stats(), queue.qsize())
    handle = registry.dispatch(goal="g", runner=lambda: {"summary": "s"})
    assert end_of(handle) == ("completed", "completed")
    stats = registry.stats()
    assert (stats["running"], stats["undelivered"], stats["discarded"]) == (0, 0, 0), stats
    print("whole", flush=True)
"""

#: Runners: the body of one, and the status of its event.
RUNNERS = {
    "raises the worst": ("raise Worst", "error"),
    "raises SystemExit": ("sys.exit(3)", "error"),
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt", "error"),
    "raises GeneratorExit": ("raise GeneratorExit", "error"),
    "ends its thread": ("import _thread; _thread.exit()", "error"),
    "overflows the stack": ("return runner()", "error"),
    "returns a hostile object": ("return Hostile()", "error"),
    "returns a hostile dict": ("return HostileDict(status='failed', summary=Hostile())", "failed"),
    "returns a hostile status": ("return {'status': HostileStr('timeout')}", "error"),
    "returns a status that is no str": ("return {'status': Truthy()}", None),
    "returns itself": (
        "return {'runner': runner, 'handle': handles, 'registry': registry}",
        "completed",
    ),
    "deletes itself": ("global runner; del runner; gc.collect(); return {}", "completed"),
    "calls back": (
        "registry.list(); registry.stats(); registry.cancel(session_key='a')\n"
        "queue.put({}); queue.get(types=['completion'])\n"
        "return registry.dispatch(goal='inner', runner=dict, session_key='inner').result(50)",
        "completed",
    ),
    "clears another registry": (
        "other = hc.DelegationRegistry(queue); other.dispatch(goal='g', runner=dict).result(50)\n"
        "other.clear(); queue.get(types=['async_delegation']); return {}",
        "completed",
    ),
    "forks": (
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if queue.empty() and not registry.list() else 1)\n"
        "return {'status': 'completed' if os.waitpid(pid, 0)[1] == 0 else 'failed'}",
        "completed",
    ),
    "takes logging away": (
        "sys.modules['logging'] = None; 1 / 0",
        "error",
    ),
    "takes the modules away": (
        "for name in list(sys.modules):\n"
        "    if name.startswith('hermes_core'): del sys.modules[name]\n"
        "return {}",
        "completed",
    ),
}

HOSTILE = """
class Hostile:
    def worst(self, *args, **kwargs):
        raise Worst
    __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = __eq__ = worst
    __hash__ = __index__ = __float__ = __int__ = __getitem__ = __contains__ = __call__ = worst
    __lt__ = __gt__ = __reduce__ = __copy__ = __deepcopy__ = __getattr__ = worst

class HostileStr(str):
    __str__ = __repr__ = __format__ = __bool__ = __len__ = __iter__ = __eq__ = Hostile.worst
    __hash__ = __getitem__ = __contains__ = encode = strip = split = startswith = Hostile.worst

class HostileDict(dict):
    get = items = keys = values = __getitem__ = __contains__ = __iter__ = __len__ = Hostile.worst
    __bool__ = __eq__ = copy = __str__ = __repr__ = Hostile.worst

class CallsBack:
    # Equal to nothing, true, printable; and each of these uses the core.
    def use(self):
        queue.put({"session_key": "back"})
        queue.get(session_key="back")
        registry.list(), registry.stats()
        gc.collect(0)
    def __eq__(self, other):
        self.use()
        return False
    def __hash__(self):
        self.use()
        return hash("type")
    def __str__(self):
        self.use()
        return "printed"
    def __bool__(self):
        self.use()
        return True
    __repr__ = __str__

class Truthy:
    # No str, so that its delegation counts as failed; its event carries it.
    pass
"""


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_hostile_runner_ends_once(run_many: RunMany, kind: str) -> None:
    """F9, F29: one event, a permit that comes back, a worker that goes on."""
    body, status = RUNNERS[kind]
    state = "completed" if status == "completed" else "error"
    script = f"""{START}{HOSTILE}
handles, truthy = [], None
def runner():
{indent(body, "    ")}

run = runner
for n in range(3):
    handles.append(registry.dispatch(goal="g", runner=run))
    runner = run
    handle = handles[-1]
    handle.result(50)
    if "inner" in {body!r}:
        queue.get(session_key="inner", timeout=50)
    found = end_of(handle)
    assert type(found[0]) is Truthy or str.__eq__(found[0], {status!r}), type(found[0])
    assert found[1] == {state!r}, found
still_whole()
"""
    run_many(script, 0, "whole\n", share=0.1)


def test_hostile_events_are_carried(run_many: RunMany) -> None:
    """Design, rule 9: any object is carried, and none of its methods is called."""
    script = f"""{START}{HOSTILE}
class Colliding(str):
    def __hash__(self):
        return hash(str.__str__(self))
    def __eq__(self, other):
        raise Worst

items = [Hostile(), HostileStr("a"), HostileDict(type="x", session_key="k"), CallsBack(), Hostile]
items += [{{key: Hostile(), "n": 1}} for key in ("type", "session_key", "delegation_id", "goal")]
items += [{{"type": HostileStr("x"), "session_key": HostileStr("k")}}, {{Colliding("type"): "y"}}]
items += [{{CallsBack(): 1, "session_key": CallsBack()}}, {{"type": CallsBack(), "goal": Hostile}}]
items += [{{"type": "async_delegation", "delegation_id": HostileStr("d"), "results": [Hostile()]}}]
for _ in range(20):
    for item in items:
        queue.put(item)
    for item in items:
        queue.put_back(queue.get())
        assert queue.get() is item
    for item in items:
        queue.put(item)
    # By its text, not by its methods.
    keyed = [queue.get(session_key="k") for _ in range(2)]
    assert {{id(one) for one in keyed}} < {{id(item) for item in items}}
    assert len([queue.get() for _ in range(len(items) - 2)]) == len(items) - 2
still_whole()
"""
    run_many(script, 0, "whole\n", share=0.1)


def test_hostile_arguments_are_refused(run_many: RunMany) -> None:
    script = f"""{START}{HOSTILE}
def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except (TypeError, ValueError):
        return
    except Worst:
        raise AssertionError("its code was run") from None
    raise AssertionError((call, args, kwargs))

for bad in (Hostile(), HostileDict(), CallsBack(), Hostile):
    refused(queue.get, bad)
    refused(queue.get, True, bad)
    refused(queue.get, types=bad)
    refused(queue.get, types=[bad])
    refused(queue.get, session_key=bad)
    refused(queue.get_nowait, types=bad)
    refused(queue.get_nowait, types=(bad,))
    refused(queue.get_nowait, session_key=bad)
    refused(setattr, queue, "maxsize", bad)
    refused(registry.dispatch, goal="g", runner=dict, session_key=bad)
    refused(registry.dispatch, goal="g", runner=dict, parent_session_id=bad)
    refused(registry.get, bad)
    refused(hc.DelegationRegistry, bad)
for bad in (Hostile(), CallsBack()):
    refused(registry.dispatch, goal="g", runner=3, model=bad)
    hc.DelegationRegistry(queue).dispatch(goal=bad, runner=dict, context=bad, role=bad).result(50)
    event = queue.get(timeout=50)
    assert event["goal"] is bad
    assert "ASYNC DELEGATION COMPLETE" in hc.format_process_notification(event)
for key in HostileStr("k"), "k":
    registry.dispatch(goal="g", runner=dict, session_key=key).result(50)
assert [queue.get(session_key="k", timeout=50)["goal"] for _ in range(2)] == ["g", "g"]
still_whole()
"""
    run_many(script, 0, "whole\n", share=0.1)


def test_hostile_events_are_formatted(run_many: RunMany) -> None:
    """Design, rule 9: formatting never raises, nor does the deduplication key."""
    script = f"""{START}{HOSTILE}
keys = [*hc._core.notification_keys(), "unknown"]
values = [Hostile(), HostileStr("x"), HostileDict(), CallsBack(), Hostile, [Hostile()],
          [CallsBack()], {{"a": Hostile()}}, (HostileStr("x"),), b"x", 10**5000, float("nan"), [[]],
          Worst()]
for key in keys:
    for value in values:
        for kind in ("async_delegation", "completion", "watch_match"):
            event = {{"type": kind, "results": [{{}}], "is_batch": True, "goals": ["g"]}}
            event[key] = value
            assert type(hc.format_process_notification(event)) is str
            assert type(hc.notification_dedup_key(event)) is tuple
for value in values:
    assert type(hc.format_process_notification(value)) is str
    assert type(hc.notification_dedup_key(value)) is tuple
    assert hc.parse_session_key(value) is None
still_whole()
"""
    run_many(script, 0, "whole\n", share=0.1)


INTERRUPTS = {
    "raises the worst": "raise Worst",
    "exits": "sys.exit(3)",
    "ends its thread": "import _thread; _thread.exit()",
    "cancels": "registry.cancel(session_key='a'); raise Worst",
    "dispatches": (
        "try: registry.dispatch(goal='g', runner=dict, session_key='inner')\n"
        "except hc.AtCapacity: pass\n"
        "raise Worst"
    ),
    "drops the registry's queue": "queue.shutdown(); raise Worst",
    "hangs": "never.wait()",
}


@pytest.mark.parametrize("kind", INTERRUPTS)
def test_a_hostile_interrupt_fn_stops_no_other(run_many: RunMany, kind: str) -> None:
    """F22: the others are told, within the time; each delegation ends with its own event."""
    script = f"""{START}
_interrupt.call_all.__defaults__ = (0.5,)
never, told = threading.Event(), threading.Event()

def hostile():
    if kind == "cancels" and calls.append(0) is None and len(calls) > 3:
        return  # it has called itself often enough
{indent(INTERRUPTS[kind], "    ")}

kind, calls = {kind!r}, []
first = registry.dispatch(goal="g", runner=told.wait, session_key="a", interrupt_fn=hostile)
second = registry.dispatch(goal="g", runner=lambda: {{"told": told.wait()}}, session_key="a",
                           interrupt_fn=told.set)
count = registry.cancel(session_key="a")
assert count >= 1 and told.is_set(), count
assert [first.result(50)["status"], second.result(50)["told"]] == ["error", True]
events = [queue.get(session_key="a") for _ in range(2)]
print(sorted(event["status"] for event in events), flush=True)
"""
    run_many(script, 0, "['completed', 'error']\n", share=0.1)


HANDLERS = {
    "raises": "raise ValueError",
    "raises the worst": "raise Worst",
    "uses the core": (
        "queue.put({'session_key': 'log'}); queue.get(session_key='log')\n"
        "registry.list(); registry.cancel(session_key='x'); gc.collect(0)"
    ),
    "dispatches": (
        "if depth():\n"
        "    try: hc.DelegationRegistry().dispatch(goal='g', runner=dict).result(50)\n"
        "    except (hc.AtCapacity, RuntimeError): pass"
    ),
    "hangs": "if threading.current_thread() is not threading.main_thread(): never.wait()",
    "shuts logging down": "logging.shutdown()",
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_hostile_log_handler_keeps_no_end_from_being_told(run_many: RunMany, kind: str) -> None:
    """F9: lines are passed on after the fact, at every level there is."""
    script = f"""{START}
never, local = threading.Event(), threading.local()

def depth():
    # Its own dispatch logs, too.
    local.depth = getattr(local, "depth", 0) + 1
    return local.depth == 1

class Handler(logging.Handler):
    def createLock(self):
        self.lock = None
    def emit(self, record):
{indent(HANDLERS[kind], "        ")}

core_log = logging.getLogger("hermes_core")
core_log.removeHandler(quiet)
core_log.addHandler(Handler())
core_log.setLevel(logging.DEBUG)

def quietly(call, *args, **kwargs):
    # The caller's own handler may raise into the caller; what it was told has happened.
    try:
        call(*args, **kwargs)
    except (ValueError, Worst):
        pass

def broken():
    raise RuntimeError("as it should")

def interrupt():
    interrupted.append(None)
    raise RuntimeError("as it should")

interrupted = []
for n in range(4):
    go = threading.Event()
    quietly(registry.dispatch, goal="g", runner=broken if n % 2 else go.wait,
            interrupt_fn=interrupt, session_key="a")
    quietly(registry.cancel, session_key="a")
    go.set()
    event = queue.get(types=["async_delegation"], timeout=50)
    assert event["status"] == "error", event
# Each was told once: a worker whose logging raises does not start over.
assert 2 <= len(interrupted) <= 4, len(interrupted)
core_log.handlers[:] = [quiet]
assert queue.empty()
print(registry.stats()["dispatched"], flush=True)
"""
    run_many(script, 0, "4\n", share=0.1)
