"""Subinterpreters, and a module that is imported again."""

from __future__ import annotations

from collections.abc import Callable

RunMany = Callable[..., None]


#: ``import_in_others()``: tries to import the package in interpreters of both kinds.
OTHERS = """
import sys, threading
try:
    import _interpreters as interpreters          # 3.13
except ImportError:
    import _xxsubinterpreters as interpreters

def create(shares_gil):
    if sys.version_info >= (3, 13):
        return interpreters.create("legacy" if shares_gil else "isolated")
    return interpreters.create(isolated=not shares_gil)

def import_in_others():
    for shares_gil in (False, True, True):
        other = create(shares_gil)
        interpreters.run_string(other, '''if True:
            try:
                import hermes_core
            except ImportError:
                print("refused", flush=True)
            else:
                print("imported", flush=True)
        ''')
        interpreters.destroy(other)
"""


def test_another_interpreter_is_refused(run_many: RunMany) -> None:
    """F30: PyO3's types are one interpreter's, and a worker's own interpreter cannot end."""
    script = f"""{OTHERS}
import hermes_core as hc

queue = hc.CompletionQueue()
registry = hc.DelegationRegistry(queue)
threading.Thread(target=queue.get, daemon=True).start()
handle = registry.dispatch(goal="g", runner=lambda: queue.get(session_key="a"))
import_in_others()
queue.put("for the unfiltered consumer")
queue.put({{"session_key": "a", "summary": "s"}})
print(handle.result(50)["summary"], flush=True)
"""
    run_many(script, 0, "refused\n" * 3 + "s\n", share=0.2)


def test_a_refused_import_leaves_the_main_interpreter_free_to(run_many: RunMany) -> None:
    script = f"""{OTHERS}
import_in_others()
import hermes_core as hc
registry = hc.DelegationRegistry()
print(registry.dispatch(goal="g", runner=lambda: {{"summary": "s"}}).result(50), flush=True)
try:
    registry.queue.get(session_key="nobody", timeout=0)
except __import__("queue").Empty:
    import_in_others()
"""
    run_many(script, 0, "refused\n" * 3 + "{'summary': 's'}\n" + "refused\n" * 3, share=0.1)


def test_a_module_imported_again_works_with_what_the_first_made(run_many: RunMany) -> None:
    script = """
    import gc, importlib, sys, threading
    import hermes_core as first
    from hermes_core import async_delegation

    queue = first.CompletionQueue()
    old = first.DelegationRegistry(queue)
    go = threading.Event()
    handle = old.dispatch(goal="old", runner=lambda: (go.wait(), {"summary": "old"})[1])
    got = first.CompletionQueue()
    threading.Thread(target=lambda: got.put(queue.get(session_key="k")), daemon=True).start()

    for _ in range(3):
        for name in [name for name in sys.modules if name.split(".")[0] == "hermes_core"]:
            del sys.modules[name]
        import hermes_core as again
        assert again is not first and again._core is not None
        new = again.DelegationRegistry(queue, capacity=1)
        new.dispatch(goal="new", runner=dict).result(50)
        assert queue.get(timeout=50)["goal"] == "new"
        again.CompletionQueue().put(queue)
        importlib.reload(sys.modules["hermes_core.queue.completion_queue"])
        importlib.reload(sys.modules["hermes_core.delegation.registry"])
    gc.collect()
    go.set()
    assert handle.result(50)["summary"] == "old" and queue.get(timeout=50)["goal"] == "old"
    queue.put({"session_key": "k"})
    assert got.get(timeout=50) == {"session_key": "k"}
    try:
        queue.get(False)
    except again.ShutDown:
        print("wrong")
    except __import__("queue").Empty:
        print("works", again.ShutDown is first.ShutDown)
    """
    run_many(script, 0, "works True\n", share=0.2)


def test_a_module_deleted_in_use_stays_with_its_objects(run_many: RunMany) -> None:
    """All names gone but the objects': threads go on, and the process ends as it should."""
    script = """
    import gc, sys, threading
    import hermes_core as hc

    queue, done = hc.CompletionQueue(), hc.CompletionQueue()
    registry = hc.DelegationRegistry(queue)
    threading.Thread(target=lambda: done.put(queue.get()), daemon=True).start()
    handle = registry.dispatch(goal="g", runner=lambda: {"summary": done.get()})
    for name in [name for name in sys.modules if name.split(".")[0] == "hermes_core"]:
        sys.modules[name].__dict__.pop("_core", None)
        del sys.modules[name]
    del hc
    gc.collect()
    queue.put("passed on")
    print(handle.result(50)["summary"], flush=True)
    threading.Thread(target=queue.get, daemon=True).start()
    sys.exit(3)
    """
    run_many(script, 3, "passed on\n", share=0.2)
