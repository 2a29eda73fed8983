"""Mailboxes whose host says itself what they own."""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
import threading
from types import FrameType
from typing import Any

import pytest

import hermes_core as hc

Event = dict[str, Any]


def event(tab: str, key: str = "s", **more: Any) -> Event:
    return {
        "type": "async_delegation",
        "session_key": key,
        "origin_ui_session_id": tab,
        "parent_session_id": None,
        **more,
    }


def test_each_new_address_is_asked_once_and_by_more_than_the_key() -> None:
    """F2: two tabs share a session key, and each gets its own."""
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    asked: list[tuple[str, str]] = []

    def tab(name: str) -> hc.Mailbox:
        def owns(one: Event) -> bool:
            asked.append((name, one["origin_ui_session_id"]))
            return bool(one["origin_ui_session_id"] == name)

        return inbox.mailbox(owns=owns)

    first, second = tab("first"), tab("second")
    for n in range(6):
        inbox.put(event(("first", "second", "third")[n % 3], n=n))
    got = {
        name: [one.event["n"] for one in mailbox.take_all() if one.ack()]
        for name, mailbox in (("first", first), ("second", second))
    }
    assert got == {"first": [0, 3], "second": [1, 4]}
    assert len(asked) == len(set(asked)), "nobody is asked twice of an address"
    assert [one["n"] for one in inbox.pending()] == [2, 5]


@pytest.mark.parametrize("waits_before", [False, True])
def test_what_waited_before_the_mailbox_was_opened_is_judged_too(waits_before: bool) -> None:
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    if waits_before:
        inbox.put(event("a", n=1))
    mailbox = inbox.mailbox(owns=lambda one: one["origin_ui_session_id"] == "a")
    if not waits_before:
        inbox.put(event("a", n=1))
    inbox.put("no event")
    assert mailbox.get_nowait().event["n"] == 1


def test_what_is_nobodys_is_not_asked_about() -> None:
    """F2: an event without any owner is for unfiltered consumers."""
    inbox: hc.CompletionQueue[Any] = hc.CompletionQueue()
    mailbox = inbox.mailbox(owns=lambda one: pytest.fail(f"asked about {one}"))
    for one in ({"type": "completion"}, event("", key=""), "no event", None):
        inbox.put(one)
    with pytest.raises(queue.Empty):
        mailbox.get_nowait()
    assert inbox.qsize() == 4


def test_a_callback_that_raises_owns_nothing(caplog: pytest.LogCaptureFixture) -> None:
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    hostile = inbox.mailbox(owns=lambda one: one["no such field"])
    friendly = inbox.mailbox(owns=lambda one: True)
    inbox.put(event("a"))
    inbox.put(event("a"))
    with caplog.at_level(logging.ERROR, "hermes_core.queue"), pytest.raises(queue.Empty):
        hostile.get_nowait()
    assert len(caplog.records) == 1, "it was asked once"
    assert len(friendly.take_all()) == 2


def test_an_interrupted_callback_is_asked_again() -> None:
    """F4: what is thrown into the callback loses no event."""
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    answers: list[BaseException | bool] = [KeyboardInterrupt(), True]

    def owns(_: Event) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    mailbox = inbox.mailbox(owns=owns)
    inbox.put(event("a", n=1))
    with pytest.raises(KeyboardInterrupt):
        mailbox.get()
    assert mailbox.get(timeout=10).event["n"] == 1


def test_what_is_thrown_in_between_question_and_answer_has_it_asked_again() -> None:
    """F4: on any line, and though the exception, and with it the frame, is kept."""
    code = hc.Mailbox._ask_owner.__code__
    lines = sorted({line for _, _, line in code.co_lines() if line} - {code.co_firstlineno})
    thrown = []
    for line in lines:
        inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
        mailbox = inbox.mailbox(owns=lambda one: True)
        inbox.put(event("a", n=1))

        def trace(frame: FrameType, what: str, _: object, line: int = line) -> Any:
            if frame.f_code is code and what == "line" and frame.f_lineno == line:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            mailbox.get_nowait().defer()
        except KeyboardInterrupt as exc:
            thrown.append(exc)
        finally:
            sys.settrace(None)
        assert mailbox.get_nowait().event["n"] == 1, line
    assert len(thrown) >= 4


def test_texts_with_separators_in_them_are_no_other_address() -> None:
    """F2: a NUL in a field moves no text to the next one."""
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    mailbox = inbox.mailbox(owns=lambda one: one["session_key"] == "a")
    inbox.put(event("b\0", key="a"))
    mailbox.get_nowait().ack()
    inbox.put(event("", key="a\0b"))
    with pytest.raises(queue.Empty):
        mailbox.get_nowait()
    assert inbox.qsize() == 1


def test_a_callback_may_use_the_queue() -> None:
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()

    def owns(one: Event) -> bool:
        if one["n"] == 1:
            inbox.put(event("b", n=2))
            assert inbox.get_nowait(session_key="other")["n"] == 0
        return True

    mailbox = inbox.mailbox(owns=owns)
    inbox.put(event("", key="other", n=0))
    inbox.put(event("a", n=1))
    mailbox.get_nowait()
    # The first address went while it was judged; nothing is wrong, nothing is lost.
    assert inbox.qsize() <= 2


def test_those_who_wait_are_woken_for_new_owners() -> None:
    """F16: in threads and in tasks."""
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    mailbox = inbox.mailbox(owns=lambda one: one["origin_ui_session_id"] == "a")
    got: queue.SimpleQueue[int] = queue.SimpleQueue()

    def consume() -> None:
        with mailbox.get(timeout=50) as delivery:
            got.put(delivery.event["n"])

    threads = [threading.Thread(target=consume, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(6):
        inbox.put(event("ab"[n % 2], n=n))
    assert sorted(got.get(timeout=50) for _ in range(3)) == [0, 2, 4]
    for thread in threads:
        thread.join(50)

    async def in_tasks() -> list[int]:
        tasks = [asyncio.create_task(mailbox.aget(50)) for _ in range(3)]
        await asyncio.sleep(0)
        for n in range(6):
            inbox.put(event("cb"[n % 2] if n < 2 else "ab"[n % 2], n=n))
        inbox.put(event("a", n=6))
        deliveries = await asyncio.gather(*tasks)
        return sorted(delivery.event["n"] for delivery in deliveries if delivery.ack())

    assert asyncio.run(in_tasks()) == [2, 4, 6]


def test_keys_and_a_callback_go_together() -> None:
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    mailbox = inbox.mailbox(session_key="mine", owns=lambda one: one["n"] == 1)
    for n, key in enumerate(("mine", "other", "third")):
        inbox.put(event("a", key=key, n=n))
    assert mailbox.pending() == 1, "the rest is not judged yet"
    assert [one.event["n"] for one in mailbox.take_all()] == [0, 1]


def test_a_closed_mailbox_gives_its_owners_events_back() -> None:
    """F1: they wait for the next one that owns them."""
    inbox: hc.CompletionQueue[Event] = hc.CompletionQueue()
    with inbox.mailbox(owns=lambda one: True) as mailbox:
        inbox.put(event("a", n=1))
        mailbox.get_nowait().nack()
    with pytest.raises(hc.ShutDown):
        mailbox.get_nowait()
    assert inbox.mailbox(owns=lambda one: True).get_nowait().event["n"] == 1
