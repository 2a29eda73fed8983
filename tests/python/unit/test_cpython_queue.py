"""CPython's own queue tests, of the interpreter that runs, against ``CompletionQueue``.

From ``Lib/test/test_queue.py``: the mixin that ``Queue`` passes (from 3.13 on with ``shutdown``)
and the tests of ``SimpleQueue``: order, many threads, references, re-entrancy. Left out is what
tests the hooks ``_put`` and ``_get``, which the queue does not have.
"""

from __future__ import annotations

import queue
import sys
import unittest

import pytest

import hermes_core

cpython = pytest.importorskip("test.test_queue", reason="this Python comes without its tests")


# CPython's tests look up the expected order by the class's name.
Queue = type("Queue", (hermes_core.CompletionQueue,), {})


class _Names:
    """The ``queue`` module as CPython's tests name it, with our class."""

    Empty = queue.Empty
    Full = queue.Full
    ShutDown = hermes_core.ShutDown


class TestQueue(cpython.BaseQueueTestMixin, unittest.TestCase):
    queue = _Names

    def setUp(self) -> None:
        self.type2test = Queue
        super().setUp()


class TestSimpleQueue(cpython.CSimpleQueueTest):
    queue = _Names

    def setUp(self) -> None:
        self.type2test = Queue
        cpython.BaseSimpleQueueTest.setUp(self)

    # Asks whether the class is the stdlib's own.
    test_is_default = None


def test_these_are_the_interpreters_own_tests() -> None:
    names = [name for name in dir(TestQueue) if name.startswith("test_")]
    assert {"test_basic", "test_nowait", "test_queue_join", "test_shrinking_queue"} <= set(names)
    assert ("test_shutdown_pending_get" in names) == (sys.version_info >= (3, 13))
    assert {"test_reentrancy", "test_references", "test_many_threads"} <= set(dir(TestSimpleQueue))
