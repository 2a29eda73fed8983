"""A front end that is not the gateway's: it embeds the gateway and speaks to the names that it has.

Started as a script beside a gateway, with the core in place or without. A thread for each of its
users blocks in a `get` of the shared queue, puts back a copy of what is another's or cannot be
delivered now, claims, begins a turn, and completes. What a turn gets is appended to a journal,
which outlives the process. Where a claim is refused and the result is undelivered all the same, and
where a turn cannot begin, it asks on a timer for what is undelivered.

    python front_end.py JOURNAL USER... [key=value...]

start=N     delegate N tasks for each user first
die=STAGE   be killed there: taken, claimed, completed or running
exit=STAGE  end there at once, with no clean-up
end=STAGE   end there in order, with what it has
fail=N      the first N turns fail to begin
core=0      leave the gateway as it is
until=N     end once the journal has so many lines; without it, when all that was started is there
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

Event = dict[str, Any]

RETRY_SECONDS = 0.2


class FrontEnd:
    """The consumers of one process."""

    def __init__(self, journal: str, users: list[str], options: dict[str, str]) -> None:
        from tools import async_delegation
        from tools.process_registry import process_registry

        self._api = async_delegation
        self._registry = process_registry
        self._journal = journal
        self._users = users
        self._ends = {options[how]: how for how in ("die", "exit", "end") if how in options}
        self._fails = int(options.get("fail", "0"))
        self._busy = dict.fromkeys(users, 3)  # so often it is in a turn of its own
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.stop = threading.Event()

    def delegate(self, user: str, number: int) -> str:
        """Have a task done in the background."""
        summary = f"{user} {number}"
        answer: Event = self._api.dispatch_async_delegation_batch(
            goals=[summary],
            context=None,
            toolsets=None,
            role="leaf",
            model=None,
            session_key=user,
            runner=lambda: {"results": [{"status": "completed", "summary": summary}]},
            max_async_children=1000,
        )
        assert answer["status"] == "dispatched", answer
        return str(answer["delegation_id"])

    def consume(self, user: str) -> None:
        """Take what comes, as long as the process lives."""
        while not self.stop.is_set():
            shared = self._registry.completion_queue
            try:
                event = shared.get(timeout=1.0)
            except queue.Empty:
                continue
            if event.get("type") != "async_delegation":
                continue
            self._end_at("taken")
            if event.get("session_key") != user:
                shared.put(dict(event))
                self.stop.wait(0.002)  # for the other to take it
            elif self._busy[user]:
                self._busy[user] -= 1
                if self._busy[user] % 2:
                    shared.put(dict(event))
                else:
                    self._retry(event)  # left lying
            else:
                self._deliver(user, event)

    def _deliver(self, user: str, event: Event) -> None:
        claim = self._api.claim_event_delivery(event, f"{user}'s window")
        if claim is None:
            self._retry(event)
            return
        self._end_at("claimed")
        try:
            if self._fails:
                self._fails -= 1
                raise RuntimeError("the turn cannot begin")
            self._turn(event)
        except RuntimeError:
            self._api.release_event_delivery(event, claim)
            self._registry.completion_queue.put(dict(event))
            return
        if hasattr(self._api, "complete_event_delivery"):
            self._api.complete_event_delivery(event, claim)
        else:
            self._api.mark_completion_delivered(event["delegation_id"])
        self._end_at("completed")

    def _turn(self, event: Event) -> None:
        line = {
            "id": event["delegation_id"],
            "key": event["session_key"],
            "summary": (event.get("results") or [{}])[0].get("summary"),
            "restored": bool(event.get("restored")),
        }
        with self._lock, open(self._journal, "a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def _retry(self, event: Event) -> None:
        """Ask for what is undelivered in a while, if this one is."""
        row = self._api.get_durable_delegation(event["delegation_id"])
        if row is None or row["delivery_state"] != "pending":
            return
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(RETRY_SECONDS, self._restore)
                self._timer.daemon = True
                self._timer.start()

    def _restore(self) -> None:
        with self._lock:
            self._timer = None
        self._api.restore_undelivered_completions(self._registry.completion_queue)

    def _end_at(self, stage: str) -> None:
        how = self._ends.get(stage)
        if how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "exit":
            os._exit(0)
        if how == "end":
            self.stop.set()
            raise SystemExit


def lines(journal: str) -> list[Event]:
    """What turns got so far."""
    if not os.path.exists(journal):
        return []
    with open(journal, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main(journal: str, arguments: list[str]) -> None:
    """Run as told on the command line."""
    options = dict(one.split("=", 1) for one in arguments if "=" in one)
    users = [one for one in arguments if "=" not in one]
    if options.get("core") != "0":
        from hermes_core import gateway

        gateway.install()
    front_end = FrontEnd(journal, users, options)
    wanted = int(options.get("until", "0"))
    if options.get("die") == "running":
        begun = threading.Event()

        def run() -> Event:
            begun.set()
            threading.Event().wait()
            return {}

        front_end._api.dispatch_async_delegation_batch(
            goals=["never ends"], context=None, toolsets=None, role="leaf", model=None,
            session_key=users[0], runner=run, max_async_children=1000,
        )  # fmt: skip
        begun.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    started = [
        front_end.delegate(user, number)
        for number in range(int(options.get("start", "0")))
        for user in users
    ]
    print(json.dumps(started), flush=True)
    threads = [threading.Thread(target=front_end.consume, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    while not front_end.stop.is_set() and len(lines(journal)) < (wanted or len(started)):
        pause.wait(0.01)
    front_end.stop.set()
    for thread in threads:
        thread.join()


def fail(raised: threading.ExceptHookArgs) -> None:
    """End the process where a thread raises; a thread may end by itself."""
    if raised.exc_type is SystemExit:
        return
    sys.__excepthook__(raised.exc_type, raised.exc_value or Exception(), raised.exc_traceback)
    os._exit(1)


if __name__ == "__main__":
    threading.excepthook = fail
    main(sys.argv[1], sys.argv[2:])
