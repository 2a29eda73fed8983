"""The cases of ``surface`` for ledgers, in memory and in a file."""

from __future__ import annotations

from typing import Any

import hermes_core as hc
from hermes_core import _core
from leaks.surface import Tracked, case, refused

#: A row of a native ledger.
Row = dict[str, Any]


def ended(t: Tracked, ledger: _core.Ledger, core: _core.Registry[Any]) -> Row:
    """A delegation that ended and whose event was delivered, as its row is then."""
    answer = core.dispatch(None, 9, 0, t.owner, t.thing, None, ledger, t.text, 1.0)
    assert isinstance(answer, str)
    event = {**t.end, "delegation_id": answer}
    assert core.finish(answer, t.thing, t.ended, event, t.text, 2.0) is not None
    assert t.queue.get() is event
    row = ledger.row(answer)
    assert row is not None
    return row


@case("_core.Ledger.__new__", "_core.Ledger.row")
@case("_core.Ledger.check")
@case("_core.Ledger.newest", "_core.Ledger.running", "_core.Ledger.dead", "_core.Ledger.elsewhere")
@case("_core.Ledger.adopt", "_core.Ledger.redeliver", "_core.Ledger.discard")
@case("_core.Adopted.rows", "_core.Adopted.give_back", "_core.Ledger.free")
@case("_core.Ledger.set_interest", "_core.Ledger.another", "_core.Ledger.leave")
@case("_core.release_all")
@case("_core.Ledger.cancel", "_core.Ledger.new_epoch", "_core.Ledger.look_again")
@case("_core.Ledger.notice", "_core.Ledger.health", "_core.Ledger.flush", "_core.Ledger.release")
@case(
    "_core.Registry.restore",
    "_core.Registry.take_out",
    "_core.Registry.drop_event",
    "_core.Registry.drop_as_asked",
    "_core.Registry.park",
)
@case("_core.Registry.live_work", "_core.CompletionQueue._dead_letters")
def native_ledgers(t: Tracked) -> None:
    ledger = t.file
    core: _core.Registry[Any] = _core.Registry(t.queue, 2)
    row = ended(t, ledger, core)
    name = row["delegation_id"]
    assert row["delivery"] == "delivered"
    assert ledger.newest(1)[0]["delegation_id"] == name
    ledger.check()
    assert ledger.running() == ledger.dead() == ledger.elsewhere(None, looks=True) == []
    assert ledger.adopt([name]).rows() == []
    assert core.live_work(t.owner) == (0, 0, 0, 0)
    assert ledger.redeliver(name)
    assert [row["delegation_id"] for row in ledger.elsewhere(None)] == [name]
    unused = ledger.adopt([name])
    assert len(unused.rows()) == 1
    unused.give_back()
    adopted = ledger.adopt([name])
    (row,) = adopted.rows()
    event = {**t.end, "delegation_id": name}
    again = (adopted, name, t.owner, "completed", 0, t.other, event, False)
    assert core.restore(*again) == (True, t.thing)
    assert core.restore(*again) == (False, t.other)
    assert core.live_work(t.owner) == (0, 0, 0, 1)
    core.park("another")
    assert core.take_out(name, False) is None
    assert core.drop_as_asked(name, 0) == []
    assert core.drop_event(name) == (event, True)
    assert core.drop_event(name) == (None, False)
    assert core.take_out(name, True) is None
    assert t.queue._dead_letters() == []
    assert not ledger.discard(name)
    assert not ledger.cancel(name)
    ledger.new_epoch(t.key)
    ledger.look_again(0.0)
    assert ledger.flush(30.0)
    hand: list[tuple[str, str, int]] = []
    while ledger.notice(t.soon, hand):
        hand.clear()
    assert ledger.health()["failed"] == 0
    ledger.set_interest(True)
    other = ledger.another()
    assert ledger.free() == other.free() == []
    other.leave()
    ledger.set_interest(False)
    _core.release_all(0.0)
    assert ledger.release(30.0)
    refused(TypeError, ledger.row, t.thing)
    refused(TypeError, ledger.adopt, [t.thing])
    refused(TypeError, ledger.redeliver, t.thing)
    refused(TypeError, ledger.new_epoch, t.thing)
    refused(ValueError, ledger.notice, t.bad_timeout, hand)
    refused(ValueError, ledger.flush, t.bad_timeout)
    refused(TypeError, core.restore, *again[:-2], t.thing, False)
    refused(TypeError, core.take_out, t.thing, True)
    refused(ValueError, _core.Ledger, t.folder, t.key, 30.0, None, None)
    refused(ValueError, _core.Ledger, t.folder, "full", t.bad_timeout, None, None)
    assert ledger.elsewhere(t.key) == []
    refused(TypeError, ledger.elsewhere, t.thing)
    refused(TypeError, _core.Ledger, t.thing, "full", 30.0, None, None)


@case("_core.HermesCoreError", "HermesCoreError", "_core.LedgerError", "LedgerError")
@case("_core.LedgerFull", "LedgerFull", "_core.LedgerBusy", "LedgerBusy")
@case("_core.LedgerNewerSchema", "LedgerNewerSchema", "_core.NotALedger", "NotALedger")
def ledgers_that_cannot_be_opened(t: Tracked) -> None:
    ledger = _core.Ledger(t.folder, "full", 30.0, None, None)
    refused(_core.LedgerError, ledger.row, t.id)
    refused(_core.NotALedger, ledger.check)
    core: _core.Registry[Any] = _core.Registry(t.queue, 2)
    refused(hc.LedgerError, core.dispatch, t.id, 9, 0, t.owner, t.thing, None, ledger, t.text, 1.0)
    assert core.running() == 0


@case("Ledger.__init__", "Ledger.__repr__", "Ledger.__del__", "Ledger.keeps_texts")
@case("Ledger.exists", "Ledger.open", "Ledger.get", "Ledger.rows")
@case("Ledger.running", "Ledger.dead_letters")
@case("Ledger.elsewhere", "Ledger.redeliver", "Ledger.drop", "Ledger.cancel", "Ledger.health")
@case("Ledger.unclaimed", "Ledger.stored", "Ledger.stored_dead_letters")
@case("Ledger.look_again", "Ledger.keeps_texts", "Ledger._instances")
@case("Ledger.flush", "Ledger.follow", "Ledger.is_followed_by", "Ledger.path")
@case("Ledger._core", "CompletionQueue.dead_letters")
@case("DelegationRegistry.ledger", "DelegationRegistry.ledgers", "DelegationRegistry.live_work")
@case("DelegationRegistry.dead_letters", "DelegationRegistry.redeliver", "DelegationRegistry.drop")
@case("DelegationRegistry.event", "DelegationRegistry.restore")
def ledgers(t: Tracked) -> None:
    for registry in (t.registry, t.durable):
        handle = registry.dispatch(goal=t.wide, runner=t.runner, session_key=t.key)
        handle.result(30)
        ledger = registry.ledger
        assert ledger.exists()
        row = ledger.get(handle.id)
        assert row is not None
        assert row["state"] == "completed"
        assert registry.live_work(session_key=t.key)["undelivered"] == 1
        assert registry.event(handle.id) is not None
        box = t.queue.mailbox(session_key=t.key, max_attempts=1)
        box.get(timeout=30).nack()
        assert len(t.queue.dead_letters()) == len(registry.dead_letters()) == 1
        assert registry.redeliver(handle.id)
        box.get(timeout=30).nack()
        assert registry.drop(handle.id)
        assert not ledger.redeliver("deleg_unknown")
        assert not ledger.drop(handle.id)
        assert not ledger.cancel(handle.id)
        assert ledger.rows(1)[0]["delegation_id"] == handle.id
        assert ledger.running() == ledger.dead_letters() == ledger.elsewhere() == []
        # An owner that stays: what nobody is interested in any more goes at the next look.
        assert registry.restore(session_keys=[t.key], owner=t.queue) == 0
        assert registry.restore(owns=lambda event: False) == 0
        assert ledger.unclaimed() == ledger.stored_dead_letters() == []
        instance = ledger.follow(registry)
        assert instance.unclaimed() == instance.free() == []
        if ledger.keeps_texts:
            assert instance.claim([handle.id]).rows() == []
        else:
            refused(ValueError, instance.claim, [handle.id])
        assert (ledger.stored(handle.id) is not None) is ledger.keeps_texts
        instance.new_epoch(t.key)
        instance.expect()
        instance.expect_no_more()
        ledger.look_again(0.0)
        assert ledger.health()["failed"] == 0
        assert ledger.flush()
        assert ledger.is_followed_by(registry)
        assert registry.ledgers() == ((ledger,) if ledger.path else ())
        assert repr(ledger)
        registry.clear()
