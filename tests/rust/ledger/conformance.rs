//! What every ledger promises; each test runs on each kind.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use hermes_core::ledger::Holder;
use hermes_core::state::Delivery;

use super::*;

/// Each of these on each kind of ledger.
macro_rules! on_each {
    ($($test:ident,)*) => {
        mod memory {
            $(#[test]
            fn $test() {
                super::$test(super::in_memory);
            })*
        }

        mod sqlite {
            $(#[test]
            fn $test() {
                super::$test(super::in_a_file);
            })*
        }
    };
}

on_each! {
    a_delegation_goes_from_dispatch_to_delivery,
    rows_are_read_in_the_order_of_dispatch,
    an_id_is_given_once,
    a_key_is_one_delegation_of_its_owner,
    of_many_at_once_with_one_key_one_is_dispatched,
    a_withdrawn_delegation_was_never_there,
    a_hold_that_was_taken_over_changes_nothing,
    what_was_delivered_is_over,
    a_new_epoch_parks_what_its_key_has_not_got_yet,
    an_empty_key_has_no_epochs,
    a_dead_letter_is_listed_and_comes_back_when_asked,
    attempts_are_counted_when_somebody_looks,
    what_is_held_is_dropped_by_its_holder,
    what_its_holder_lets_go_of_is_dropped_as_was_asked,
    what_runs_and_is_given_back_is_lost,
    retention_takes_the_oldest_settled_rows_alone,
    retention_takes_what_is_too_old,
    whoever_runs_it_is_told_to_stop,
    what_is_flushed_is_there,
    nothing_is_left_out_of_a_text,
}

type Open = fn(Retention) -> Opened;

fn a_delegation_goes_from_dispatch_to_delivery(open: Open) {
    let ledger = open(KEEPS_ALL);
    let mut asked = new("d");
    asked.owner = Arc::new(Owner {
        session_key: "agent:main".into(),
        origin_ui_session_id: "tab".into(),
        parent_session_id: "parent".into(),
        epoch: std::num::NonZeroU32::new(7),
    });
    asked.idempotency_key = Some("once".into());
    done(&*ledger, Write::Dispatch(asked.clone()));
    let running = row(&*ledger, "d");
    assert_eq!(running.claim, claim("d", NewDelegation::FENCE));
    assert_eq!(running.owner, asked.owner);
    assert_eq!(running.idempotency_key.as_deref(), Some("once"));
    assert_eq!((running.state, running.delivery), (State::Running, Delivery::NotYet));
    assert_eq!((running.holder, running.attempts), (Holder::Us, 0));
    assert_eq!((running.dispatched_at, running.completed_at, running.settled_at), (1, None, None));
    assert_eq!((&*running.record, running.event), (&*asked.record, None));

    done(&*ledger, finish("d"));
    let pending = row(&*ledger, "d");
    assert_eq!((pending.state, pending.delivery), (State::Completed, Delivery::Pending));
    assert_eq!((pending.holder, pending.completed_at), (Holder::Us, Some(2)));
    assert_eq!(pending.event.as_deref(), Some("{\"summary\":\"d\"}"));

    done(&*ledger, Write::Ack(claim("d", 1)));
    let delivered = row(&*ledger, "d");
    assert_eq!((delivered.state, delivered.delivery), (State::Completed, Delivery::Delivered));
    assert_eq!(delivered.holder, Holder::Nobody);
    assert!(delivered.settled_at.is_some());
}

fn rows_are_read_in_the_order_of_dispatch(open: Open) {
    let ledger = open(KEEPS_ALL);
    for id in ["d", "b", "c", "a"] {
        dispatch(&*ledger, id);
    }
    done(&*ledger, finish("b"));
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d", "b", "c", "a"]);
    assert_eq!(ids(&*ledger, Which::Newest(2)), ["c", "a"]);
    assert!(ids(&*ledger, Which::Newest(0)).is_empty());
    assert_eq!(ids(&*ledger, Which::Running), ["d", "c", "a"]);
    assert_eq!(ids(&*ledger, Which::One("c")), ["c"]);
    assert!(ids(&*ledger, Which::One("x")).is_empty());
    assert!(ids(&*ledger, Which::Elsewhere).is_empty());
}

fn an_id_is_given_once(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    let again = write(&*ledger, Write::Dispatch(new("d")));
    assert_eq!(again, Err(Error::DuplicateId { id: "d".into() }));
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["d"]);
}

fn keyed(id: &str, key: &str, owner: Owner) -> Write {
    Write::Dispatch(NewDelegation {
        idempotency_key: Some(key.into()),
        owner: owner.into(),
        ..new(id)
    })
}

/// F32: the same task is not dispatched twice.
fn a_key_is_one_delegation_of_its_owner(open: Open) {
    let ledger = open(KEEPS_ALL);
    done(&*ledger, keyed("d", "once", owner("a")));
    assert_eq!(write(&*ledger, keyed("e", "once", owner("a"))), Ok(Outcome::Exists("d".into())));
    let later = Owner { epoch: std::num::NonZeroU32::new(2), ..owner("a") };
    assert_eq!(write(&*ledger, keyed("e", "once", later)), Ok(Outcome::Exists("d".into())));
    assert_eq!(find(&*ledger, "e"), None);
    done(&*ledger, keyed("f", "once", owner("b")));
    let tab = Owner { origin_ui_session_id: "tab".into(), ..owner("a") };
    done(&*ledger, keyed("g", "once", tab));
    done(&*ledger, keyed("h", "twice", owner("a")));
    done(&*ledger, finish("d"));
    done(&*ledger, Write::Ack(claim("d", 1)));
    assert_eq!(write(&*ledger, keyed("e", "once", owner("a"))), Ok(Outcome::Exists("d".into())));
}

/// F32, by many at once.
fn of_many_at_once_with_one_key_one_is_dispatched(open: Open) {
    let ledger = open(KEEPS_ALL);
    let start = Barrier::new(8);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (ledger, start) = (&ledger, &start);
                scope.spawn(move || {
                    start.wait();
                    write(&**ledger, keyed(&format!("d{number}"), "once", owner("a"))).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let there = ids(&*ledger, Which::Newest(9));
    assert_eq!(there.len(), 1);
    let first = Outcome::Exists(there[0].as_str().into());
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == first).count(), 7);
}

fn a_withdrawn_delegation_was_never_there(open: Open) {
    let ledger = open(KEEPS_ALL);
    done(&*ledger, keyed("d", "once", owner("a")));
    done(&*ledger, Write::Withdraw(claim("d", 1)));
    assert_eq!(find(&*ledger, "d"), None);
    fenced(&*ledger, finish("d"));
    done(&*ledger, keyed("e", "once", owner("a")));
    done(&*ledger, finish("e"));
    fenced(&*ledger, Write::Withdraw(claim("e", 1)));
}

/// F11: whoever lost a claim cannot change what its successor has.
fn a_hold_that_was_taken_over_changes_nothing(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    done(&*ledger, finish("d"));
    done(&*ledger, Write::Bury { claim: claim("d", 1), attempts: 3 });
    done(&*ledger, Write::Redeliver("d".into()));
    let adopted = adopt(&*ledger, "d").unwrap();
    assert!(adopted.claim.fence > 1);
    let before = row(&*ledger, "d");
    assert_eq!(before, adopted);
    let late = || claim("d", 1);
    fenced(&*ledger, Write::Withdraw(late()));
    fenced(&*ledger, finish("d"));
    fenced(&*ledger, Write::Attempts { claim: late(), attempts: 9 });
    fenced(&*ledger, Write::Ack(late()));
    fenced(&*ledger, Write::Reopen(late()));
    fenced(&*ledger, Write::Bury { claim: late(), attempts: 9 });
    fenced(&*ledger, Write::Drop(late()));
    assert_eq!(row(&*ledger, "d"), before);
    done(&*ledger, Write::Ack(adopted.claim));
    fenced(&*ledger, Write::Reopen(late()));
}

/// F11: a delivered event does not come back, unless whoever took it gives it back.
fn what_was_delivered_is_over(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    done(&*ledger, finish("d"));
    done(&*ledger, Write::Ack(claim("d", 1)));
    // Under the same claim it is the same ack.
    done(&*ledger, Write::Ack(claim("d", 1)));
    fenced(&*ledger, Write::Ack(claim("d", 2)));
    fenced(&*ledger, Write::Drop(claim("d", 1)));
    assert_eq!(adopt(&*ledger, "d"), None);
    assert!(ids(&*ledger, Which::Elsewhere).is_empty());
    done(&*ledger, Write::Reopen(claim("d", 1)));
    let back = row(&*ledger, "d");
    assert_eq!((back.delivery, back.holder), (Delivery::Pending, Holder::Us));
    assert_eq!(back.settled_at, None);
    done(&*ledger, Write::Ack(claim("d", 1)));
}

fn a_new_epoch_parks_what_its_key_has_not_got_yet(open: Open) {
    let ledger = open(KEEPS_ALL);
    for id in ["running", "pending", "delivered", "dead"] {
        dispatch(&*ledger, id);
    }
    for id in ["pending", "delivered", "dead"] {
        done(&*ledger, finish(id));
    }
    done(&*ledger, Write::Ack(claim("delivered", 1)));
    done(&*ledger, Write::Bury { claim: claim("dead", 1), attempts: 1 });
    done(&*ledger, Write::Dispatch(NewDelegation { owner: owner("b").into(), ..new("other") }));
    done(&*ledger, Write::NewEpoch("a".into()));
    dispatch(&*ledger, "next");

    let delivery = |id| row(&*ledger, id).delivery;
    assert_eq!(delivery("running"), Delivery::Parked);
    assert_eq!(row(&*ledger, "running").state, State::Running);
    assert_eq!(delivery("pending"), Delivery::Parked);
    assert_eq!(delivery("delivered"), Delivery::Delivered);
    assert_eq!(delivery("dead"), Delivery::Dead);
    assert_eq!(delivery("other"), Delivery::NotYet);
    assert_eq!(delivery("next"), Delivery::NotYet);
    assert_eq!(ids(&*ledger, Which::Running), ["running", "other", "next"]);

    assert_eq!(write(&*ledger, finish("running")), Ok(Outcome::Parked));
    let parked = row(&*ledger, "running");
    assert_eq!((parked.state, parked.delivery), (State::Completed, Delivery::Parked));
    assert_eq!(parked.holder, Holder::Nobody);
    assert!(parked.event.is_some());
    assert_eq!(adopt(&*ledger, "running"), None);
    assert!(ids(&*ledger, Which::Elsewhere).is_empty());
    // Its consumer had it by then.
    done(&*ledger, Write::Ack(claim("pending", 1)));
    done(&*ledger, Write::Redeliver("running".into()));
    assert_eq!(ids(&*ledger, Which::Elsewhere), ["running"]);
}

fn an_empty_key_has_no_epochs(open: Open) {
    let ledger = open(KEEPS_ALL);
    done(&*ledger, Write::Dispatch(NewDelegation { owner: owner("").into(), ..new("d") }));
    done(&*ledger, finish("d"));
    done(&*ledger, Write::NewEpoch("".into()));
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Pending);
}

/// F10: what had all its attempts is listed, and can be sent out again or dropped.
fn a_dead_letter_is_listed_and_comes_back_when_asked(open: Open) {
    let ledger = open(KEEPS_ALL);
    for id in ["d", "e"] {
        dispatch(&*ledger, id);
        done(&*ledger, finish(id));
        done(&*ledger, Write::Bury { claim: claim(id, 1), attempts: 5 });
    }
    assert_eq!(ids(&*ledger, Which::Dead), ["d", "e"]);
    let dead = row(&*ledger, "d");
    assert_eq!((dead.holder, dead.attempts, dead.settled_at), (Holder::Nobody, 5, None));
    assert_eq!(adopt(&*ledger, "d"), None);

    notices(&*ledger);
    done(&*ledger, Write::Redeliver("d".into()));
    assert_eq!(notice(&*ledger), Notice::Look);
    fenced(&*ledger, Write::Redeliver("d".into()));
    assert_eq!(ids(&*ledger, Which::Elsewhere), ["d"]);
    let adopted = adopt(&*ledger, "d").unwrap();
    assert_eq!((adopted.delivery, adopted.attempts), (Delivery::Pending, 0));
    assert_eq!((adopted.state, adopted.holder), (State::Completed, Holder::Us));
    // A live instance holds it now.
    fenced(&*ledger, Write::Redeliver("d".into()));

    done(&*ledger, Write::Discard("e".into()));
    assert_eq!(row(&*ledger, "e").delivery, Delivery::Dropped);
    assert!(ids(&*ledger, Which::Dead).is_empty());
    fenced(&*ledger, Write::Discard("e".into()));
    done(&*ledger, Write::Redeliver("e".into()));
    fenced(&*ledger, Write::Redeliver("nothing".into()));
    fenced(&*ledger, Write::Discard("nothing".into()));
}

/// An event that waits, and that its holder is asked to drop.
fn asked_to_drop(ledger: &dyn Ledger, id: &str) {
    dispatch(ledger, id);
    done(ledger, finish(id));
    notices(ledger);
    assert_eq!(write(ledger, Write::Discard(id.into())), Ok(Outcome::Asked));
    assert_eq!(notices(ledger), [Notice::Drop(claim(id, 1))]);
    let asked = row(ledger, id);
    assert_eq!((asked.delivery, asked.holder), (Delivery::Pending, Holder::Us));
}

/// F40: a drop by hand of what is held is asked of whoever holds it.
fn what_is_held_is_dropped_by_its_holder(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "runs");
    fenced(&*ledger, Write::Discard("runs".into()));
    asked_to_drop(&*ledger, "d");
    done(&*ledger, Write::Drop(claim("d", 1)));
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Dropped);
    fenced(&*ledger, Write::Discard("d".into()));
    // It comes back as any other that was dropped, and is asked nothing.
    done(&*ledger, Write::Redeliver("d".into()));
    let adopted = adopt(&*ledger, "d").unwrap();
    done(&*ledger, Write::GiveBack(adopted.claim));
    assert_eq!(row(&*ledger, "d").delivery, Delivery::Pending);

    // Whoever has it may deliver it first.
    asked_to_drop(&*ledger, "e");
    done(&*ledger, Write::Ack(claim("e", 1)));
    assert_eq!(row(&*ledger, "e").delivery, Delivery::Delivered);
    // But not take that back.
    done(&*ledger, Write::Reopen(claim("e", 1)));
    done(&*ledger, Write::GiveBack(claim("e", 1)));
    assert_eq!(row(&*ledger, "e").delivery, Delivery::Dropped);
}

/// F40: nobody will hear of its end; whoever wants it has it at once.
fn what_runs_and_is_given_back_is_lost(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    fenced(&*ledger, Write::GiveBack(claim("d", 2)));
    done(&*ledger, Write::GiveBack(claim("d", 1)));
    let lost = row(&*ledger, "d");
    assert_eq!((lost.state, lost.delivery, lost.holder), LOST);
    assert!(lost.completed_at.is_some() && lost.event.is_none());
    for late in [Write::GiveBack(claim("d", 1)), Write::Withdraw(claim("d", 1))] {
        fenced(&*ledger, late);
    }
    assert_eq!(adopt(&*ledger, "d").unwrap().state, State::Lost);

    dispatch(&*ledger, "parked");
    done(&*ledger, Write::NewEpoch("a".into()));
    done(&*ledger, Write::GiveBack(claim("parked", 1)));
    assert_eq!(row(&*ledger, "parked").delivery, Delivery::Parked);
    assert_eq!(adopt(&*ledger, "parked"), None);
}

const LOST: (State, Delivery, Holder) = (State::Lost, Delivery::Pending, Holder::Nobody);

/// F40: it is nobody's then, and nobody gets it.
fn what_its_holder_lets_go_of_is_dropped_as_was_asked(open: Open) {
    let ways = [
        Write::Bury { claim: claim("d", 1), attempts: 1 },
        Write::Park(claim("d", 1)),
        Write::GiveBack(claim("d", 1)),
        Write::NewEpoch("a".into()),
    ];
    for way in ways {
        let ledger = open(KEEPS_ALL);
        asked_to_drop(&*ledger, "d");
        done(&*ledger, way.clone());
        let dropped = row(&*ledger, "d");
        assert_eq!((dropped.delivery, dropped.holder), (Delivery::Dropped, Holder::Nobody));
        assert!(dropped.settled_at.is_some());
        // Whoever still has it in memory hears that it is gone, and delivers it no more.
        assert!(notices(&*ledger).contains(&Notice::Drop(claim("d", 1))), "{way:?}");
        fenced(&*ledger, Write::Ack(claim("d", 1)));
        done(&*ledger, Write::Redeliver("d".into()));
        assert!(adopt(&*ledger, "d").is_some());
    }
}

fn attempts_are_counted_when_somebody_looks(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    done(&*ledger, finish("d"));
    let receipt = ledger.submit(Write::Attempts { claim: claim("d", 1), attempts: 2 });
    // Read after what was submitted before.
    assert_eq!(row(&*ledger, "d").attempts, 2);
    assert_eq!(receipt.wait(Some(soon())), Ok(Outcome::Done));
}

/// F8: pruning never touches what was not delivered.
fn retention_takes_the_oldest_settled_rows_alone(open: Open) {
    let ledger = open(Retention { count: 5, ..KEEPS_ALL });
    for number in 0..60 {
        dispatch(&*ledger, &format!("kept{number}"));
        done(&*ledger, finish(&format!("kept{number}")));
    }
    done(&*ledger, Write::Bury { claim: claim("kept1", 1), attempts: 1 });
    done(&*ledger, Write::Dispatch(NewDelegation { owner: owner("b").into(), ..new("parked") }));
    done(&*ledger, Write::NewEpoch("b".into()));
    dispatch(&*ledger, "running");
    for number in 0..500 {
        let id = format!("gone{number}");
        done(&*ledger, keyed(&id, &id, owner("c")));
        done(&*ledger, finish(&id));
        done(&*ledger, Write::Ack(claim(&id, 1)));
    }
    let rows = ids(&*ledger, Which::Newest(usize::MAX));
    assert_eq!(rows.iter().filter(|id| id.starts_with("kept")).count(), 60);
    assert!(rows.iter().any(|id| id == "parked") && rows.iter().any(|id| id == "running"));
    let settled: Vec<_> = rows.iter().filter(|id| id.starts_with("gone")).collect();
    assert!((5..100).contains(&settled.len()), "{}", settled.len());
    assert_eq!(settled.last().unwrap().as_str(), "gone499");
    // A row that is gone has no key either.
    done(&*ledger, keyed("again", "gone0", owner("c")));
}

fn retention_takes_what_is_too_old(open: Open) {
    let ledger = open(Retention { age: Duration::ZERO, ..KEEPS_ALL });
    dispatch(&*ledger, "pending");
    done(&*ledger, finish("pending"));
    dispatch(&*ledger, "gone");
    done(&*ledger, finish("gone"));
    done(&*ledger, Write::Ack(claim("gone", 1)));
    let gone_by = soon();
    while find(&*ledger, "gone").is_some() {
        assert!(Instant::now() < gone_by);
        write(&*ledger, Write::Attempts { claim: claim("pending", 1), attempts: 1 }).unwrap();
    }
    assert_eq!(ids(&*ledger, Which::Newest(9)), ["pending"]);
}

fn whoever_runs_it_is_told_to_stop(open: Open) {
    let ledger = open(KEEPS_ALL);
    dispatch(&*ledger, "d");
    assert!(notices(&*ledger).is_empty());
    done(&*ledger, Write::Cancel("d".into()));
    assert_eq!(notice(&*ledger), Notice::Cancel("d".into()));
    done(&*ledger, finish("d"));
    fenced(&*ledger, Write::Cancel("d".into()));
    fenced(&*ledger, Write::Cancel("nothing".into()));
    assert!(notices(&*ledger).is_empty());
}

fn what_is_flushed_is_there(open: Open) {
    let ledger = open(KEEPS_ALL);
    assert!(ledger.flush(soon()));
    let receipts: Vec<_> =
        (0..2_000).map(|number| ledger.submit(Write::Dispatch(new(&number.to_string())))).collect();
    assert!(ledger.flush(soon()));
    let signal = Arc::new(Signal::for_this_thread());
    for receipt in receipts {
        assert_eq!(receipt.poll(&signal), Some(Ok(Outcome::Done)));
    }
    let health = ledger.health();
    assert_eq!((health.state, health.waiting, health.failed), ("ok", 0, 0));
    assert!(health.writes >= 2_000 && health.commits <= health.writes);
    assert!(ledger.release(soon()));
}

fn nothing_is_left_out_of_a_text(open: Open) {
    let ledger = open(KEEPS_ALL);
    let text = "a\0b\u{fffd}\u{1f600}\n'\"--";
    let mut asked = new(text);
    asked.owner = owner(text).into();
    asked.record = text.into();
    done(&*ledger, keyed_as(asked, text));
    let read = row(&*ledger, text);
    assert_eq!((&*read.claim.id, &*read.owner.session_key, &*read.record), (text, text, text));
    assert_eq!(read.idempotency_key.as_deref(), Some(text));
    done(&*ledger, Write::NewEpoch(text.into()));
    assert_eq!(row(&*ledger, text).delivery, Delivery::Parked);
}

fn keyed_as(new: NewDelegation, key: &str) -> Write {
    Write::Dispatch(NewDelegation { idempotency_key: Some(key.into()), ..new })
}
