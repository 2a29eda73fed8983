//! The order of what is done and what is written down.

use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hermes_core::delegation::{
    Begun, DelegationRegistry, Dispatched, Dispatching, End, Refused, Request, Restored,
};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::ledger::Outcome;
use hermes_core::queue::{Acknowledged, Handle, LeaseId, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::{Blocking, Wait};

use super::queue::{ANY, Queue};
use super::scripted::{Scripted, row};

type Registry = DelegationRegistry<u32, u32>;

const HOUR: Duration = Duration::from_secs(3600);

const ENDS: Route<'static> = Route {
    session_key: Some("a"),
    kind: Some("async_delegation"),
    delegation_id: Some("d"),
    full: None,
};

fn owner() -> Owner {
    Owner { session_key: "a".into(), ..Owner::default() }
}

fn registry() -> (Arc<Queue>, Arc<Registry>) {
    let queue = Arc::new(Queue::new(0));
    (queue.clone(), Registry::new(queue, 50))
}

fn dispatch(
    registry: &Registry,
    ledger: &Arc<Scripted>,
    id: &str,
    key: Option<&str>,
) -> Result<Dispatched, Refused<u32, Error>> {
    let request = Request {
        id: Some(id),
        limit: 9,
        owner: owner(),
        idempotency_key: key,
        ledger: Some(ledger.clone()),
        ..Request::default()
    };
    registry.dispatch(&Blocking, request, 0)
}

fn new(id: &str) -> Dispatched {
    Dispatched::New(id.into())
}

/// Ends "d" with the event 7; whether it was its end.
fn finish(registry: &Registry) -> bool {
    let (state, text) = (State::Completed, "".into());
    let end = End { id: "d", state, event: 7, text, completed_at: 0 };
    registry.finish(&Blocking, end, |_| true, |_| ()).is_some()
}

/// Puts the event of a delegation that is written down; its handle.
fn publish(queue: &Queue, ledger: &Arc<Scripted>, item: u32) -> Arc<Handle> {
    let row = Some(row(ledger, "d", 1));
    let handle = Handle::new("d".into(), Arc::new(owner()), None, row, Arc::default());
    let handle = Arc::new(handle);
    queue.publish(item, &handle, 0, false);
    handle
}

/// Has something done by another thread, which waits for the ledger; once that was told `line`.
fn told<R: Send + 'static>(
    ledger: &Scripted,
    line: &str,
    work: impl FnOnce() -> R + Send + 'static,
) -> JoinHandle<R> {
    let working = thread::spawn(work);
    while !ledger.told().contains(&line.to_owned()) {
        thread::yield_now();
    }
    working
}

#[test]
fn f3_a_dispatch_is_written_before_it_may_run_and_a_withdrawn_one_takes_its_row_back() {
    let (_queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let dispatching = {
        let (registry, ledger) = (registry.clone(), ledger.clone());
        move || dispatch(&registry, &ledger, "d", None).unwrap()
    };
    let dispatching = told(&ledger, "dispatch d", dispatching);
    assert!(!dispatching.is_finished());
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(dispatching.join().unwrap(), new("d"));
    assert_eq!(registry.withdraw(|_| true), Some(0));
    assert_eq!(ledger.told(), ["withdraw d"]);
    assert_eq!(registry.running(), 0);
}

#[test]
fn f9_a_dispatch_that_cannot_be_written_is_refused_and_leaves_nothing_behind() {
    let (_queue, registry) = registry();
    let full = Error::LedgerFull { path: "p".into(), reason: "r".into() };
    let taken = Error::DuplicateId { id: "d".into() };
    for (error, told_after) in [(full, vec!["withdraw d"]), (taken, vec![])] {
        let ledger = Arc::new(Scripted::default());
        let dispatching = {
            let (registry, ledger) = (registry.clone(), ledger.clone());
            move || dispatch(&registry, &ledger, "d", None)
        };
        let dispatching = told(&ledger, "dispatch d", dispatching);
        ledger.answer(&Err(error.clone()));
        let refused = dispatching.join().unwrap().unwrap_err();
        assert_eq!((refused.payload, refused.error), (Some(0), error));
        assert_eq!(ledger.told(), told_after, "a row of that id is another's");
        assert_eq!((registry.running(), registry.stats().dispatched), (0, 0));
    }
}

#[test]
fn f7_an_end_frees_its_permit_before_it_is_written_and_shows_its_event_after() {
    let (queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let dispatching = {
        let (registry, ledger) = (registry.clone(), ledger.clone());
        move || dispatch(&registry, &ledger, "d", None).unwrap()
    };
    let dispatching = told(&ledger, "dispatch d", dispatching);
    ledger.answer(&Ok(Outcome::Done));
    dispatching.join().unwrap();
    let finishing = {
        let registry = registry.clone();
        told(&ledger, "finish d completed ", move || finish(&registry))
    };
    assert_eq!((registry.running(), registry.stats().finalizing, queue.len()), (0, 1, 0));
    assert!(!finish(&registry), "there is one end");
    ledger.answer(&Ok(Outcome::Done));
    assert!(finishing.join().unwrap());
    assert_eq!((registry.stats().finalizing, registry.stats().undelivered), (0, 1));
    assert_eq!(queue.len(), 1);
}

#[test]
fn f11_an_end_that_another_process_has_for_lost_is_not_published() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    assert_eq!(dispatch(&registry, &ledger, "d", None).unwrap(), new("d"));
    let signal = registry.ended_signal("d").unwrap();
    ledger.answers(Ok(Outcome::Fenced));
    assert!(!finish(&registry));
    assert!(signal.take(), "whoever waits is told");
    let seen = registry.with("d", |record| (record.state, record.delivery()));
    assert_eq!(seen, Some((State::Lost, Delivery::Dropped)));
    let stats = registry.stats();
    assert_eq!((stats.finalizing, stats.undelivered, stats.discarded), (0, 0, 1));
    assert!(queue.is_empty());
}

/// F38: what was taken for lost is told all the same, marked, and acknowledged under its new claim.
#[test]
fn f38_a_late_end_is_published_marked_under_a_new_claim() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    let signal = registry.ended_signal("d").unwrap();
    ledger.answers(Ok(Outcome::Late { fence: 4, is_parked: false }));
    let end = End { id: "d", state: State::Completed, event: 7, text: "".into(), completed_at: 0 };
    let mut marked = None;
    assert!(registry.finish(&Blocking, end, |_| true, |&item| marked = Some(item)).is_some());
    assert_eq!(marked, Some(7));
    assert!(signal.take(), "whoever waits is told");
    let seen = registry.with("d", |record| (record.state, record.delivery()));
    assert_eq!(seen, Some((State::Completed, Delivery::Pending)));
    let stats = registry.stats();
    assert_eq!((stats.finalizing, stats.undelivered, stats.discarded), (0, 1, 0));
    ledger.told();
    ledger.answers(Ok(Outcome::Done));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(7));
    assert_eq!(ledger.told(), ["ack d 4"]);
    let stats = registry.stats();
    assert_eq!((stats.finalizing, stats.undelivered, stats.retained), (0, 0, 1));
}

#[test]
fn f9_an_end_that_cannot_be_written_is_delivered_from_memory() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    ledger.answers(Err(Error::LedgerFull { path: "p".into(), reason: "r".into() }));
    assert!(finish(&registry));
    assert_eq!(queue.len(), 1);
}

#[test]
fn f12_an_ack_keeps_the_event_until_it_is_written() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    let handle = publish(&queue, &ledger, 7);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    let acking = {
        let (queue, id) = (queue.clone(), leased.id);
        told(&ledger, "ack d", move || queue.ack(&Blocking, id))
    };
    assert_eq!(handle.stage(), Some(Stage::Acking));
    assert!(!queue.give_back(leased.id, Return::Nack, Duration::ZERO), "it is acknowledged");
    assert!(!queue.ack(&Blocking, leased.id).held);
    assert_eq!((queue.unfinished(), queue.try_take(&Blocking, ANY)), (1, Err(Error::Empty)));
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(acking.join().unwrap(), Acknowledged { held: true, item: Some(7) });
    assert_eq!((queue.unfinished(), handle.stage()), (0, Some(Stage::Delivered)));
}

/// An ack that nobody waits for here: it ends by itself, by whoever comes, or when it is asked for.
#[test]
fn f12_an_ack_that_is_begun_ends_when_it_is_written() {
    for left in [false, true] {
        let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
        let handle = publish(&queue, &ledger, 7);
        let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
        let id = mailbox.collect(|&item| item).unwrap().id;
        assert_eq!(queue.ack_unwritten(id), None, "it is written down");
        assert!(queue.is_held(id));
        let acking = queue.begin_ack(id).unwrap();
        assert!(!queue.is_held(id));
        assert_eq!(queue.begin_ack(id).unwrap_err(), Acknowledged { held: false, item: None });
        let signal = Arc::new(Signal::for_this_thread());
        assert!(!acking.poll(&signal));
        assert_eq!((handle.stage(), queue.unfinished()), (Some(Stage::Acking), 1));
        if left {
            queue.leave_ack(acking);
            ledger.answer(&Ok(Outcome::Done));
            let joiner = queue.joiner();
            // The timer ends it.
            joiner.inspect(|joiner| assert!(joiner.wait_until(None)));
            assert_eq!(queue.sweep(), [7]);
        } else {
            ledger.answer(&Ok(Outcome::Done));
            assert!(signal.take() && acking.poll(&signal));
            assert_eq!(queue.end_ack(acking), Acknowledged { held: true, item: Some(7) });
        }
        assert_eq!((handle.stage(), queue.unfinished()), (Some(Stage::Delivered), 0));
        assert_eq!(ledger.told(), ["attempts d 1", "ack d"]);
    }
}

/// One that is written down nowhere is done at once.
#[test]
fn an_ack_of_what_is_not_written_down_waits_for_nothing() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let lease = || {
        queue.try_put(1, Route::default()).unwrap();
        mailbox.collect(|&item| item).unwrap().id
    };
    let id = lease();
    let acknowledged = Acknowledged { held: true, item: Some(1) };
    assert_eq!(queue.ack_unwritten(id), Some(acknowledged));
    assert_eq!(queue.ack_unwritten(id), Some(Acknowledged { held: false, item: None }));
    assert_eq!(queue.begin_ack(lease()).unwrap_err(), acknowledged);
}

/// A delegation that somebody was told of before its row was written, and could not be: it ends
/// without one, its event is delivered from memory, and its key is free.
#[test]
fn f9_a_dispatch_that_is_kept_without_a_row_ends_from_memory() {
    let (queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let dispatching = begin(&registry, &ledger, "d");
    let full = Error::LedgerFull { path: "p".into(), reason: "r".into() };
    ledger.answer(&Err(full.clone()));
    let answer = dispatching.receipt().answer().unwrap();
    let kept = registry.keep_dispatch(dispatching, answer).unwrap_err();
    assert_eq!((kept.payload, kept.error), (None, full));
    assert_eq!(ledger.told(), ["dispatch d", "withdraw d"]);
    assert_eq!(registry.running(), 1);
    assert!(finish(&registry));
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    assert!(queue.ack(&Blocking, leased.id).held);
    assert!(ledger.told().is_empty(), "there is nothing to write to");
    assert_eq!(registry.with("d", |record| record.delivery()), Some(Delivery::Delivered));
    assert!(begin(&registry, &ledger, "e").is_own());
}

/// Begins a dispatch with the key "k" that nobody waits for.
fn begin(registry: &Registry, ledger: &Arc<Scripted>, id: &str) -> Dispatching<u32> {
    let request = Request {
        id: Some(id),
        limit: 9,
        owner: owner(),
        idempotency_key: Some("k"),
        ledger: Some(ledger.clone()),
        ..Request::default()
    };
    match registry.begin_dispatch(request, 0, |ledger, write| ledger.submit(write)).unwrap() {
        Begun::Writing(dispatching) => dispatching,
        done => panic!("{done:?}"),
    }
}

/// F32: where the owner dispatched with the key before, nothing is kept; one that comes with the same
/// key meanwhile is told the same.
#[test]
fn f32_a_dispatch_that_is_kept_may_be_another() {
    let (_, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let dispatching = begin(&registry, &ledger, "d");
    let second = begin(&registry, &ledger, "e");
    assert!(dispatching.is_own() && !second.is_own());
    assert_eq!(&**second.id(), "d");
    ledger.answer(&Ok(Outcome::Exists("first".into())));
    let answer = dispatching.receipt().answer().unwrap();
    let existing = Dispatched::Existing("first".into());
    assert_eq!(registry.keep_dispatch(dispatching, answer).unwrap(), existing);
    let answer = second.receipt().answer().unwrap();
    assert_eq!(registry.keep_dispatch(second, answer).unwrap(), existing);
    assert_eq!(registry.running(), 0);
}

#[test]
fn f11_an_ack_of_what_is_another_processs_says_so_and_lets_the_event_go() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    publish(&queue, &ledger, 7);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    ledger.answers(Ok(Outcome::Fenced));
    let acked = queue.ack(&Blocking, leased.id);
    assert_eq!(acked, Acknowledged { held: false, item: Some(7) });
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn f9_a_failed_write_does_not_keep_an_acked_event() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    publish(&queue, &ledger, 7);
    ledger.answers(Err(Error::LedgerFull { path: "p".into(), reason: "r".into() }));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(7));
}

/// F38: it is neither written nor surely ours.
#[test]
fn f38_what_an_ack_could_not_write_waits_again_and_was_no_attempt() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    let handle = publish(&queue, &ledger, 7);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    for stage in [Stage::Waiting, Stage::Delayed] {
        ledger.answers(Ok(Outcome::Unwritten));
        let leased = mailbox.collect(|&item| item).unwrap();
        assert_eq!(leased.attempt, 1);
        let acked = queue.ack(&Blocking, leased.id);
        assert_eq!(acked, Acknowledged { held: false, item: None });
        assert_eq!((queue.unfinished(), handle.stage()), (1, Some(stage)));
    }
    // It pauses, as after any failure.
    queue.due(Instant::now() + Duration::from_secs(1));
    ledger.answers(Ok(Outcome::Done));
    let leased = mailbox.collect(|&item| item).unwrap();
    assert!(queue.ack(&Blocking, leased.id).held);
    assert_eq!((queue.unfinished(), handle.stage()), (0, Some(Stage::Delivered)));
}

/// F38, for whoever takes without a lease: the event is not theirs, and pauses.
#[test]
fn f38_what_a_take_could_not_write_waits_again() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    let handle = publish(&queue, &ledger, 7);
    ledger.answers(Ok(Outcome::Unwritten));
    assert_eq!(queue.try_take(&Blocking, ANY), Err(Error::Empty));
    assert_eq!((queue.unfinished(), handle.stage()), (1, Some(Stage::Delayed)));
    queue.due(Instant::now() + Duration::from_secs(1));
    ledger.answers(Ok(Outcome::Done));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(7));
    assert_eq!((queue.unfinished(), handle.stage()), (1, Some(Stage::Delivered)));
}

/// F38: a restoration under a new claim has put it already.
#[test]
fn f38_what_an_ack_could_not_write_does_not_wait_beside_its_new_claim() {
    let (queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    assert_eq!(restore(&registry, &ledger, 1, 1), Ok(None));
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    let acking = {
        let queue = queue.clone();
        told(&ledger, "ack d", move || queue.ack(&Blocking, leased.id))
    };
    assert_eq!(restore(&registry, &ledger, 2, 2), Ok(Some(2)));
    ledger.answer(&Ok(Outcome::Unwritten));
    assert_eq!(acking.join().unwrap(), Acknowledged { held: false, item: Some(1) });
    assert_eq!((queue.len(), registry.stats().undelivered), (1, 1));
}

#[test]
fn a_take_without_a_lease_is_written_before_the_taker_has_the_event() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    publish(&queue, &ledger, 7);
    let (send, received) = mpsc::channel();
    let taking = {
        let queue = queue.clone();
        let take = move || send.send(queue.take(&Blocking, ANY, None)).unwrap();
        told(&ledger, "ack d", take)
    };
    assert!(received.try_recv().is_err());
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(received.recv().unwrap(), Ok(7));
    taking.join().unwrap();
}

#[test]
fn f11_a_take_passes_over_what_is_another_processs() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    publish(&queue, &ledger, 7);
    publish(&queue, &Scripted::prompt(), 8);
    ledger.answers(Ok(Outcome::Fenced));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(8));
}

#[test]
fn f4_what_was_taken_and_is_put_back_waits_on_disk_before_anybody_can_take_it_again() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    finish(&registry);
    ledger.told();
    for put in [
        |queue: &Queue, item| queue.put_back(item, ENDS).unwrap(),
        |queue: &Queue, item| queue.try_put(item, ENDS).unwrap(),
    ] {
        assert_eq!(queue.try_take(&Blocking, ANY), Ok(7));
        assert_eq!(ledger.told(), ["ack d"]);
        assert!(put(&queue, 7).is_some());
        assert_eq!(ledger.told(), ["reopen d"]);
        assert_eq!(registry.stats().undelivered, 1);
    }
    // A put that is refused leaves it with whoever has it.
    let taken = queue.try_take(&Blocking, ANY).unwrap();
    queue.set_maxsize(1);
    queue.try_put(1, Route::default()).unwrap();
    assert_eq!(ledger.told(), ["ack d"]);
    assert!(queue.try_put(taken, ENDS).is_err());
    assert_eq!(ledger.told(), ["reopen d", "ack d"]);
    assert_eq!(registry.stage("d"), Some(Stage::Delivered));
}

/// F45: the row says what the queue says.
#[test]
fn f45_what_comes_back_after_a_new_epoch_is_parked_on_disk_too() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    finish(&registry);
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(7));
    queue.new_epoch("a").unwrap();
    ledger.told();
    queue.put_back(7, ENDS).unwrap();
    assert_eq!(ledger.told(), ["reopen d", "park d"]);
    assert_eq!(registry.stage("d"), Some(Stage::Parked));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
}

#[test]
fn f10_the_ledger_counts_what_was_tried_and_not_what_was_put_off() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    publish(&queue, &ledger, 7);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    for how in [Return::Nack, Return::Defer, Return::Nack] {
        let leased = mailbox.collect(|&item| item).unwrap();
        assert!(queue.give_back(leased.id, how, Duration::ZERO));
    }
    assert_eq!(ledger.told(), ["attempts d 1", "attempts d 2", "attempts d 1", "attempts d 2"]);
}

#[test]
fn f32_the_same_key_of_the_same_owner_is_the_same_delegation() {
    for ledger in [Some(Scripted::prompt()), None] {
        let (_queue, registry) = registry();
        let dispatch = |id, key, payload| {
            let ledger = ledger.clone().map(|ledger| ledger as _);
            let idempotency_key = Some(key);
            let (id, limit, owner) = (Some(id), 9, owner());
            let request =
                Request { id, limit, owner, idempotency_key, ledger, ..Request::default() };
            registry.dispatch(&Blocking, request, payload).unwrap()
        };
        assert_eq!(dispatch("d", "k", 1), new("d"));
        assert_eq!(dispatch("e", "k", 2), Dispatched::Existing("d".into()));
        assert_eq!(registry.running(), 1);
        assert_eq!(dispatch("f", "j", 3), new("f"));
        // One that was withdrawn was never there.
        registry.withdraw(|&payload| payload == 1).unwrap();
        assert_eq!(dispatch("g", "k", 4), new("g"));
    }
}

#[test]
fn f32_who_comes_second_waits_for_the_firsts_row() {
    let (_queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let start = |id: &'static str| {
        let (registry, ledger) = (registry.clone(), ledger.clone());
        move || dispatch(&registry, &ledger, id, Some("k")).unwrap()
    };
    let first = told(&ledger, "dispatch d", start("d"));
    let second = thread::spawn(start("e"));
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(first.join().unwrap(), new("d"));
    assert_eq!(second.join().unwrap(), Dispatched::Existing("d".into()));
    assert!(ledger.told().is_empty(), "there is one row");
}

/// F45: the ledger heard of the new epoch before it had the row.
#[test]
fn f45_what_is_parked_at_its_end_is_parked_on_disk_too() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    queue.new_epoch("a").unwrap();
    ledger.told();
    assert!(finish(&registry));
    assert_eq!(ledger.told(), ["finish d completed ", "park d"]);
    assert_eq!(registry.stage("d"), Some(Stage::Parked));
}

/// F45: another process began the new epoch, and the ledger says so.
#[test]
fn f45_what_the_ledger_says_is_parked_is_parked_here() {
    for outcome in [Outcome::Parked, Outcome::Late { fence: 4, is_parked: true }] {
        let (_queue, registry) = registry();
        let ledger = Scripted::prompt();
        dispatch(&registry, &ledger, "d", None).unwrap();
        ledger.answers(Ok(outcome));
        assert!(finish(&registry));
        assert_eq!(registry.stage("d"), Some(Stage::Parked));
    }
}

/// F45: the same of what waits, of what a consumer has, and of what is not put yet.
#[test]
fn f45_what_another_process_parks_comes_to_nobody_any_more() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    assert!(finish(&registry));
    ledger.told();
    registry.park("d");
    assert_eq!(ledger.told(), ["park d"]);
    assert_eq!(registry.stage("d"), Some(Stage::Parked));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));

    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    let handle = publish(&queue, &ledger, 7);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    ledger.told();
    queue.park(&handle);
    assert_eq!(ledger.told(), ["park d"]);
    assert_eq!(handle.stage(), Some(Stage::Leased));
    assert!(queue.give_back(leased.id, Return::Nack, None));
    assert_eq!(handle.stage(), Some(Stage::Parked));

    let row = Some(row(&ledger, "d", 1));
    let handle = Arc::new(Handle::new("d".into(), owner().into(), None, row, Arc::default()));
    queue.park(&handle);
    assert!(ledger.told().is_empty());
    queue.publish(8, &handle, 0, false);
    assert_eq!(ledger.told(), ["park d"]);
    assert_eq!(handle.stage(), Some(Stage::Parked));
    registry.park("nothing");
}

/// What a test does instead of waiting; then it waits, or is interrupted.
struct Scene<F>(F, bool);

impl<F: Fn()> Wait for Scene<F> {
    type Error = Option<Error>;

    fn error(&self, error: Error) -> Option<Error> {
        Some(error)
    }

    fn wait(&self, signal: &Signal, _: Option<Instant>) -> Result<bool, Option<Error>> {
        self.0();
        if self.1 { Err(None) } else { Ok(signal.wait_until(None)) }
    }

    fn block<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}

#[test]
fn f32_who_waits_for_a_dispatch_that_is_interrupted_is_told_to_dispatch_again() {
    let (_queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    let request = |id| Request {
        id: Some(id),
        limit: 9,
        owner: owner(),
        idempotency_key: Some("k"),
        ledger: Some(ledger.clone()),
        ..Request::default()
    };
    let (waits, waiting) = mpsc::channel();
    let second = Scene(move || waits.send(()).unwrap(), false);
    thread::scope(|scope| {
        let (started, thread) = mpsc::channel();
        let registry = &registry;
        let second = Mutex::new(Some((second, request("e"))));
        let first = || {
            let (scene, request) = second.lock().unwrap().take().unwrap();
            let dispatch = move || registry.dispatch(&scene, request, 1).unwrap_err();
            started.send(scope.spawn(dispatch)).unwrap();
            waiting.recv().unwrap();
        };
        let refused = registry.dispatch(&Scene(first, true), request("d"), 0).unwrap_err();
        assert_eq!((refused.payload, refused.error), (Some(0), None));
        let refused = thread.recv().unwrap().join().unwrap();
        assert_eq!((refused.payload, refused.error), (Some(1), Some(Error::Withdrawn)));
    });
    assert_eq!(registry.running(), 0);
}

fn restore(
    registry: &Registry,
    ledger: &Arc<Scripted>,
    fence: u64,
    item: u32,
) -> Result<Option<u32>, u32> {
    let restored = registry.restore(Restored {
        id: "d".into(),
        row: Some(row(ledger, "d", fence)),
        owner: owner(),
        state: State::Lost,
        attempts: 0,
        is_exclusive: false,
        payload: item,
        event: item,
    });
    restored.map_err(|refused| refused.payload)
}

#[test]
fn what_is_restored_takes_the_place_of_what_was_delivered_and_not_of_what_waits() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    assert_eq!(restore(&registry, &ledger, 1, 1), Ok(None));
    assert_eq!(restore(&registry, &ledger, 1, 2), Err(2), "its event waits");
    assert_eq!(registry.stats().undelivered, 1);
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(1));
    assert_eq!(restore(&registry, &ledger, 1, 3), Ok(Some(1)));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    assert_eq!(registry.with("d", |record| record.state), Some(State::Lost));
    assert!(!finish(&registry));
    assert_eq!(queue.try_take(&Blocking, ANY), Ok(3));
    assert_eq!(registry.stats().retained, 1);
}

#[test]
fn what_is_restored_while_it_waits_is_ours_under_the_new_claim() {
    let (queue, registry) = registry();
    let ledger = Arc::new(Scripted::default());
    assert_eq!(restore(&registry, &ledger, 1, 1), Ok(None));
    assert_eq!(restore(&registry, &ledger, 2, 2), Err(2), "it waits");
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leased = mailbox.collect(|&item| item).unwrap();
    assert_eq!(restore(&registry, &ledger, 3, 3), Err(3), "a consumer has it");
    let acking = {
        let queue = queue.clone();
        told(&ledger, "ack d 3", move || queue.ack(&Blocking, leased.id))
    };
    let again = restore(&registry, &ledger, 4, 4);
    assert_eq!(again, Ok(Some(4)), "it is leaving, under a claim that is over");
    ledger.answer(&Ok(Outcome::Fenced));
    assert_eq!(acking.join().unwrap().item, Some(1));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    let taking = {
        let queue = queue.clone();
        told(&ledger, "ack d 4", move || queue.try_take(&Blocking, ANY))
    };
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(taking.join().unwrap(), Ok(4));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (0, 1));
}

#[test]
fn what_is_dropped_goes_before_that_is_written_down() {
    let (queue, registry) = registry();
    let ledger = Scripted::prompt();
    dispatch(&registry, &ledger, "d", None).unwrap();
    assert_eq!(registry.drop_event(&Blocking, "d"), None, "it runs");
    finish(&registry);
    ledger.told();
    assert_eq!(registry.drop_event(&Blocking, "d"), Some((Some(7), true)));
    assert_eq!(ledger.told(), ["drop d"]);
    assert_eq!((queue.unfinished(), registry.stage("d")), (0, Some(Stage::Dropped)));
    assert_eq!(registry.drop_event(&Blocking, "d"), Some((None, true)), "that is said again");
}

/// F45: what went with its queue is still in the row.
#[test]
fn what_a_shutdown_dropped_is_given_up_in_its_row_too() {
    for is_asked in [false, true] {
        let (queue, registry) = registry();
        let ledger = Scripted::prompt();
        dispatch(&registry, &ledger, "d", None).unwrap();
        finish(&registry);
        assert_eq!(queue.shutdown(true), [7]);
        ledger.told();
        match is_asked {
            true => assert!(registry.drop_as_asked("d", 1).is_empty()),
            false => assert_eq!(registry.drop_event(&Blocking, "d"), Some((None, true))),
        }
        assert_eq!(ledger.told(), ["drop d"]);
    }
}

/// F40: a drop that is asked for by hand, at each stage where the event is in nobody's hands.
#[test]
fn f40_what_nobody_has_is_dropped_as_is_asked() {
    type Reach = fn(&Arc<Queue>, &Mailbox<u32>);
    let stages: [(Stage, Reach); 4] = [
        (Stage::Waiting, |_, _| ()),
        (Stage::Delayed, |queue, mailbox| {
            let leased = mailbox.collect(|&item| item).unwrap();
            assert!(queue.give_back(leased.id, Return::Defer, HOUR));
        }),
        (Stage::Dead, |queue, mailbox| {
            let leased = mailbox.collect(|&item| item).unwrap();
            assert!(queue.give_back(leased.id, Return::Nack, None));
        }),
        (Stage::Parked, |queue, _| assert_eq!(queue.new_epoch("a").unwrap().get(), 2)),
    ];
    for (stage, reach) in stages {
        let (queue, registry) = registry();
        let ledger = Scripted::prompt();
        let selection = Selection { max_attempts: Some(1), ..Selection::default() };
        let mailbox = Mailbox::open(&queue, selection, None).unwrap();
        dispatch(&registry, &ledger, "d", None).unwrap();
        assert!(registry.drop_as_asked("d", 1).is_empty(), "it runs");
        finish(&registry);
        reach(&queue, &mailbox);
        assert_eq!(registry.stage("d"), Some(stage));
        ledger.told();
        assert!(registry.drop_as_asked("d", 2).is_empty(), "that is another claim");
        assert!(registry.drop_as_asked("e", 1).is_empty(), "that is another delegation");
        assert_eq!(registry.drop_as_asked("d", 1), [7]);
        assert_eq!(ledger.told(), ["drop d"]);
        assert_eq!((queue.unfinished(), registry.stage("d")), (0, Some(Stage::Dropped)));
        assert_eq!(queue.due(Instant::now() + 2 * HOUR), None, "nothing comes back later");
    }
}

/// F40: what a consumer has at that moment is his, and comes to nobody after him.
#[test]
fn f40_what_a_consumer_has_is_dropped_should_it_come_back() {
    type Back = fn(&Arc<Queue>, LeaseId);
    let ways: [(&str, Back); 6] = [
        ("nack", |queue, id| assert!(queue.give_back(id, Return::Nack, None))),
        ("nack, with a delay", |queue, id| assert!(queue.give_back(id, Return::Nack, HOUR))),
        ("defer", |queue, id| assert!(queue.give_back(id, Return::Defer, None))),
        ("dropped", |queue, id| assert!(queue.give_back(id, Return::Drop, None))),
        ("its lease is over", |queue, _| assert_eq!(queue.due(Instant::now() + 2 * HOUR), None)),
        ("a new epoch, then a nack", |queue, id| {
            queue.new_epoch("a").unwrap();
            assert!(queue.give_back(id, Return::Nack, None));
        }),
    ];
    for max_attempts in [None, Some(1)] {
        for (how, come_back) in ways {
            let (queue, registry) = registry();
            let ledger = Scripted::prompt();
            dispatch(&registry, &ledger, "d", None).unwrap();
            finish(&registry);
            let selection = Selection { max_attempts, ..Selection::default() };
            let mailbox = Mailbox::open(&queue, selection, Some(HOUR)).unwrap();
            let leased = mailbox.collect(|&item| item).unwrap();
            // Once or twice is the same.
            assert!(registry.drop_as_asked("d", 1).is_empty(), "{how}");
            assert!(registry.drop_as_asked("d", 1).is_empty(), "{how}");
            assert_eq!(registry.stage("d"), Some(Stage::Leased), "{how}");
            ledger.told();
            come_back(&queue, leased.id);
            assert_eq!(
                (queue.unfinished(), registry.stage("d")),
                (0, Some(Stage::Dropped)),
                "{how}"
            );
            assert_eq!(ledger.told(), ["drop d"], "{how}");
            assert_eq!(mailbox.collect(|&item| item).unwrap_err(), Error::Empty);
            assert_eq!(queue.sweep(), [7], "it is for somebody to drop");
            assert!(!queue.ack(&Blocking, leased.id).held, "{how}");
        }
    }
}

/// F40, of one that is acknowledged meanwhile: delivered, or, where that cannot be written, dropped.
#[test]
fn f40_what_is_acknowledged_while_a_drop_is_asked_for_is_delivered_or_comes_to_nobody() {
    for (answer, stage, told_after) in [
        (Outcome::Done, Stage::Delivered, vec![]),
        (Outcome::Unwritten, Stage::Dropped, vec!["drop d"]),
    ] {
        let (queue, registry) = registry();
        let ledger = Arc::new(Scripted::default());
        assert_eq!(restore(&registry, &ledger, 1, 1), Ok(None));
        let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
        let leased = mailbox.collect(|&item| item).unwrap();
        let acking = {
            let queue = queue.clone();
            told(&ledger, "ack d", move || queue.ack(&Blocking, leased.id))
        };
        assert!(registry.drop_as_asked("d", 1).is_empty());
        ledger.answer(&Ok(answer.clone()));
        assert_eq!(acking.join().unwrap().held, answer == Outcome::Done);
        assert_eq!((queue.unfinished(), registry.stage("d")), (0, Some(stage)));
        assert_eq!(ledger.told(), told_after);
    }
}
