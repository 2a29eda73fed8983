"""The CLI's input queue, at which its loop also waits for completions.

The gateway's loop takes an input with a timeout of a tenth of a second; when that passes, it drains
the completions into the same queue, behind what waits there. Here the loop waits for both at once
and is woken by either. What a completion is to the loop stays the same: one more input. Its event
leaves the completion queue, though, only when its turn begins, and inputs go first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

from hermes_core import ShutDown
from hermes_core.gateway import settings
from hermes_core.gateway.counters import count

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermes_core import CompletionQueue, Delivery, Mailbox
    from hermes_core.gateway.home_ledgers import Want

    Restore = Callable[[Any, str], Want | None]

#: How often the loop looks for a change of the config file, which it does when a wait times out.
CONFIG_SECONDS = 5.0

_this_thread = threading.local()


def collect() -> bool:
    """Drain for a loop of the CLI, into its input queue; say whether this thread is one."""
    inputs: InputQueue | None = getattr(_this_thread, "inputs", None)
    if inputs is None or inputs.is_retired:
        return False
    inputs.collect()
    return True


class InputQueue(Queue[Any]):
    """A `queue.Queue` of inputs whose one consumer, the CLI's loop, gets completions from it too.

    Args:
        plain: the gateway's queue, for which this one stands in until `retire`.
        cli: the gateway's CLI; read are its interrupts, and when it looked at the config file.
        events: where completions arrive.
        text_of: makes an event into the text of a turn; `None` if it gets none.
        restore: has what an earlier process left for the CLI's session come; called by the loop
            with the CLI, and the session's id, whenever that is another.
    """

    def __init__(
        self,
        plain: Queue[Any],
        cli: Any,
        events: CompletionQueue[Any],
        text_of: Callable[[Any], str | None],
        restore: Restore,
    ) -> None:
        super().__init__()
        self._plain = plain
        self._cli = cli
        self._events = events
        self._text_of = text_of
        self._restore = restore
        self._session_id = ""
        self._wanted: Want | None = None
        #: Completions that stand behind the inputs: those that the gateway's drain would have put.
        self._notices: deque[Delivery] = deque()
        #: Where the loop waits; closed by what should wake it.
        self._waiting: Mailbox | None = None
        self.is_retired = False
        with plain.mutex:
            self._inputs.extend(plain.queue)
            self.unfinished_tasks, plain.unfinished_tasks = plain.unfinished_tasks, 0
            plain.queue.clear()
            # Whoever read the attribute before may put there still; the mutex orders the two.
            plain._put = self._forward  # type: ignore[method-assign]

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an input; when there is none, the text of the next completion.

        A wait may last longer than `timeout`: until the loop has a reason to look at something.
        """
        _this_thread.inputs = self
        self._look_at_session()
        self._take_late_inputs()
        end = self._end_of_wait(timeout) if block else time.monotonic()
        while True:
            with self.mutex:
                if self.is_retired:
                    break
                if self._inputs:
                    self.not_full.notify()
                    return self._get()
            if (text := self._next_notice()) is not None:
                return text
            if not block:
                raise Empty
            if not self._wait(end):
                break
        left = None if end is None else max(0.0, end - time.monotonic())
        return (self._plain.get if self.is_retired else super().get)(block, left)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an input; after `retire` it goes on to the gateway's queue."""
        super().put(item, block, timeout)
        if self.is_retired:
            self._move_back()

    def empty(self) -> bool:
        """Whether a `get` would have to wait."""
        return not self.queue

    @property
    def queue(self) -> deque[Any]:
        """What stands here, in order: the inputs, and behind them the texts of completions."""
        texts = [self._text_of(notice.event) for notice in tuple(self._notices)]
        return deque([*tuple(self._inputs), *(text for text in texts if text)])

    def collect(self) -> None:
        """Line up behind the inputs what has completed by now, as the gateway's drain does."""
        with self._events.mailbox(**settings.terms()) as box:
            try:
                while True:
                    self._keep(box.get_nowait())
            except (Empty, ShutDown):
                pass

    def retire(self) -> Queue[Any]:
        """Give back everything: the inputs to the gateway's queue, which is returned."""
        self.is_retired = True
        self._wanted = None
        with self.mutex:
            self._wake()
        self._move_back()
        self._give_back()
        return self._plain

    # The four hooks of `queue.Queue`, called with the mutex held; they see the inputs alone.

    def _init(self, maxsize: int) -> None:
        self._inputs: deque[Any] = deque()

    def _qsize(self) -> int:
        return len(self._inputs)

    def _put(self, item: Any) -> None:
        self._inputs.append(item)
        self._wake()

    def _get(self) -> Any:
        return self._inputs.popleft()

    def _wake(self) -> None:
        """Have the loop look again; the caller holds the mutex."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()

    def _wait(self, end: float | None) -> bool:
        """Wait for an input or a completion; say whether there may be one.

        Raises `Empty` when the time is up.
        """
        # A mailbox for this wait alone: while a turn runs, nobody takes from the queue.
        box = self._events.mailbox(**settings.terms())
        with box:
            with self.mutex:
                if self._inputs or self.is_retired:
                    return True
                self._waiting = box
            try:
                left = None if end is None else max(0.0, end - time.monotonic())
                self._keep(box.get(timeout=left))
            except ShutDown:
                with self.mutex:
                    woken, self._waiting = self._waiting is None, None
                return woken  # else the completion queue was shut down: inputs alone are left
            finally:
                with self.mutex:
                    self._waiting = None
        return True

    def _look_at_session(self) -> None:
        # Only the loop comes here. Other processes make a CLI, too, for its commands alone, and
        # must not take what belongs to the session.
        session_id = str(getattr(self._cli, "session_id", None) or "")
        if session_id and session_id != self._session_id:
            self._session_id = session_id
            self._wanted = self._restore(self._cli, session_id)

    def _take_late_inputs(self) -> None:
        """Take what was meant for a turn that ended just then, and would hit the next one."""
        late: Queue[Any] | None = getattr(self._cli, "_interrupt_queue", None)
        while late is not None:
            try:
                self.put(late.get_nowait())
            except Empty:
                return

    def _keep(self, delivery: Delivery) -> None:
        self._notices.append(delivery)
        if self.is_retired:
            self._give_back()

    def _next_notice(self) -> str | None:
        """Take the text of the first completion that has one."""
        while True:
            try:
                notice = self._notices.popleft()
            except IndexError:
                return None
            with notice:
                text = self._text_of(notice.event)
                # One that was held for too long has come anew, or will.
                if text and notice.ack():
                    return text
            if not text:
                count("events without a notification")

    def _give_back(self) -> None:
        while True:
            try:
                self._notices.popleft().defer()
            except IndexError:
                return

    def _move_back(self) -> None:
        plain = self._plain
        with plain.mutex, self.mutex:
            vars(plain).pop("_put", None)
            moved = len(self._inputs)
            plain.queue.extend(self._inputs)
            self._inputs.clear()
            plain.unfinished_tasks += self.unfinished_tasks
            self.unfinished_tasks = 0
            plain.not_empty.notify(moved)

    def _forward(self, item: Any) -> None:
        """Stand in for the plain queue's `_put`; the caller holds its mutex and counts a task."""
        self._plain.unfinished_tasks -= 1
        super().put(item)

    def _end_of_wait(self, timeout: float | None) -> float | None:
        if timeout is None:
            return None
        now = time.monotonic()
        looked: float = getattr(self._cli, "_last_config_check", 0.0)
        return max(now + timeout, min(looked, now) + CONFIG_SECONDS)
