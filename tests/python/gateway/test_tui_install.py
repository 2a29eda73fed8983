"""The core comes and goes while the TUI's sessions are open: one or the other serves each."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from adapter_support import Host, until
from tui_support import TWO_POLLS, Session, Tui, at_rest, load_server, switches

from hermes_core import gateway
from hermes_core.gateway.queue_swap import USES_PER_LOOK, GatewayQueue
from hermes_core.gateway.tui.watched_lock import WatchedLock


@pytest.fixture
def tui(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tui]:
    tui = Tui(load_server(), host, monkeypatch)
    yield tui
    tui.end()


def is_ours(session: Session) -> bool:
    return isinstance(session.state["history_lock"], WatchedLock)


def served_by_us(session: Session) -> None:
    until(lambda: is_ours(session), "our poller has taken over")


def test_a_session_from_before_the_install_is_served(tui: Tui) -> None:
    """F15, F16: as one that was opened later, order and quiet included."""
    session, other = tui.open(), tui.open()
    gateway.install()
    served_by_us(session)
    tui.ask(session, children=3, stay=True)
    for number in reversed(tui.children):
        tui.end_children(number)
        tui.wait(lambda number=number: number in session.shown)
    before = at_rest([session.poller])
    threading.Event().wait(TWO_POLLS)
    assert [switches(session.poller)] == before
    tui.end_turn(session)
    tui.wait_for_results(3)
    assert session.results == list(tui.children)[::-1]
    assert (other.results, other.shown) == ([], [])


def test_the_queue_is_watched_until_every_session_from_before_is_served(
    tui: Tui, host: Host
) -> None:
    """Their threads stay, each in the gateway's loop; across an uninstall, too."""
    sessions = [tui.open(), tui.open()]
    for _ in range(2):
        gateway.install()
        tui.open()  # one that is ours from the first
        for session in sessions:
            served_by_us(session)
        until(lambda: settles(host), "no loop is at large")
        gateway.uninstall()
        until(lambda: not any(is_ours(session) for session in sessions), "ours have ended")


def settles(host: Host) -> bool:
    """Use the queue as often as it takes for it to look; say whether it need not be watched."""
    gc.collect()  # the sessions of earlier tests, which these keep in circles
    for _ in range(USES_PER_LOOK):
        host.queue.empty()
    return type(host.queue) is GatewayQueue


def test_a_session_from_before_the_install_leaves_what_is_others(tui: Tui, host: Host) -> None:
    """F2, F4: the gateway's loop would go through the whole queue when its session is closed."""
    session, other = tui.open(), tui.open()
    gateway.install()
    served_by_us(session)
    served_by_us(other)
    tui.ask(other, children=2, stay=True)
    tui.end_children()
    tui.wait(lambda: len(other.shown) == 2)
    tui.ask(session, children=1)
    tui.close(session)
    session.poller.join()
    tui.end_children()
    until(lambda: len(host.queue.pending()) == 1, "the result waits")
    tui.end_turn(other)
    tui.wait_for_results(2)
    assert sorted(other.results) == tui.owned_by(other)
    assert [event["session_key"] for event in host.queue.pending()] == [session.key]


def test_an_uninstall_leaves_the_session_to_the_gateways_loop(tui: Tui, host: Host) -> None:
    """F1: with all that waited for the end of its turn."""
    gateway.install()
    session = tui.open()
    tui.ask(session, children=2, stay=True)
    for number in tui.children:
        tui.end_children(number)
        tui.wait(lambda number=number: number in session.shown)
    plain = session.state["history_lock"].plain
    assert gateway.uninstall().moved_events == 2
    until(lambda: session.state["history_lock"] is plain, "the session's own lock is back")
    tui.end_turn(session)
    tui.wait_for_results(2)
    gateway.install()
    served_by_us(session)
    tui.ask(session, children=1)
    tui.end_children()
    tui.wait_for_results(3)
    assert sorted(session.results) == list(tui.children)
    tui.close(session)
    session.poller.join()
    assert session.state["history_lock"] is plain


def test_earlier_keys_and_what_was_shown_outlive_an_uninstall(tui: Tui) -> None:
    """F13"""
    gateway.install()
    session = tui.open()
    tui.ask(session, children=2, stay=True)
    tui.rotate(session)
    first, second = tui.children
    tui.ask(session, stay=True)
    tui.end_children(first)
    tui.wait(lambda: session.shown == [first])
    gateway.uninstall()
    gateway.install()
    until(lambda: is_ours(session), "our poller is back")
    tui.end_children(second)
    tui.end_turn(session)
    tui.wait_for_results(2)
    assert session.results == [first, second]


def test_every_result_comes_while_the_core_comes_and_goes(tui: Tui) -> None:
    """F1, F11"""
    session = tui.open()
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            gateway.install()
            gateway.uninstall()

    toggling = threading.Thread(target=come_and_go)
    toggling.start()
    try:
        # One at a time: of several at once the gateway's own drain loses some.
        for count in range(1, 21):
            tui.ask(session, children=1)
            tui.end_children()
            tui.wait_for_results(count)
    finally:
        done.set()
        toggling.join()
    assert session.results == list(tui.children)


def test_a_silent_end_of_a_turn_is_seen_after_it(tui: Tui) -> None:
    """F16: whoever got hold of the lock before it was watched releases it without a notice."""
    gateway.install()
    session = tui.open()
    tui.ask(session, children=1, stay=True)
    tui.end_children()
    tui.wait(lambda: len(session.shown) == 1)
    with session.state["history_lock"].plain:
        session.state["running"] = False
    # What the server calls after each turn.
    drain = "from tools.process_registry import process_registry as registry\n"
    drain += "assert registry.drain_notifications() == []"
    exec(drain, {**vars(tui.server)})
    tui.wait_for_results(1)
