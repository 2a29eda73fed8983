//! The order of what is done and what is written down.

use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::Duration;

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::ledger::{Hold, Home, Outcome, Write};
use hermes_core::queue::{Acked, DeliveryObserver, Mailbox, Return, Selection};
use hermes_core::registry::{DelegationRegistry, Delivery, Dispatched, Request, State};

use super::queue::{ANY, Queue};
use super::scripted::{Scripted, home};

type Registry = DelegationRegistry<u32>;

const ENDS: Route<'static> = Route {
    session_key: Some("a"),
    kind: Some("async_delegation"),
    delegation_id: Some("d"),
    full: None,
    epoch: None,
};

fn registry(queue: &Queue) -> Arc<Registry> {
    let registry = Arc::new(Registry::new(50));
    let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(&registry) as _;
    queue.observe(observer);
    registry
}

fn dispatch(
    registry: &Registry,
    ledger: &Arc<Scripted>,
    id: &str,
    key: Option<&str>,
) -> Dispatched {
    let owner = Owner { session_key: "a".into(), ..Owner::default() };
    let request = Request {
        id: Some(id),
        limit: 9,
        owner,
        idempotency_key: key,
        ledger: Some(ledger.clone()),
        ..Request::default()
    };
    registry.begin_dispatch(request, 0).unwrap()
}

fn finish(registry: &Registry, queue: &Queue, ledger: &Scripted) {
    let ending = registry.end("d", State::Completed, |_| true).unwrap();
    ledger.told();
    registry.publish(ending, |home| queue.publish(7, ENDS, home));
}

#[test]
fn a_dispatch_asks_for_its_row_and_a_withdrawn_one_takes_it_back() {
    let (queue, ledger) = (Queue::new(0), Scripted::prompt());
    let registry = registry(&queue);
    let Dispatched::New { row: Some((_, row)), .. } = dispatch(&registry, &ledger, "d", None)
    else {
        panic!("it has a row")
    };
    assert_eq!(&*row.id, "d");
    assert_eq!(registry.withdraw(|_| true), Some(0));
    assert_eq!(ledger.told(), ["withdraw d"]);
    assert_eq!(registry.running(), 0);
}

#[test]
fn f7_an_end_frees_its_permit_before_it_is_written_and_shows_its_event_after() {
    let (queue, ledger) = (Queue::new(0), Scripted::prompt());
    let registry = registry(&queue);
    dispatch(&registry, &ledger, "d", None);
    let ending = registry.end("d", State::Completed, |_| true).unwrap();
    assert_eq!((registry.running(), registry.stats().finalizing, queue.len()), (0, 1, 0));
    assert!(registry.end("d", State::Error, |_| true).is_none(), "there is one end");
    registry.publish(ending, |home| queue.publish(7, ENDS, home));
    assert_eq!((registry.stats().finalizing, registry.stats().undelivered), (0, 1));
    assert_eq!(queue.len(), 1);
}

#[test]
fn f11_an_end_that_another_process_has_for_lost_is_not_published() {
    let (queue, ledger) = (Queue::new(0), Scripted::prompt());
    let registry = registry(&queue);
    dispatch(&registry, &ledger, "d", None);
    let ending = registry.end("d", State::Completed, |_| true).unwrap();
    let signal = registry.ended_signal("d").unwrap();
    registry.supersede(ending);
    assert!(signal.take(), "whoever waits is told");
    let seen = registry.with("d", |record| (record.state, record.delivery));
    assert_eq!(seen, Some((State::Lost, Delivery::Dropped)));
    let stats = registry.stats();
    assert_eq!((stats.finalizing, stats.undelivered, stats.discarded), (0, 0, 1));
}

#[test]
fn f12_an_ack_keeps_the_event_until_it_is_written() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    let mailbox = Mailbox::open(&queue, Selection::default(), None);
    let leased = mailbox.collect(|&item| item).unwrap();
    let Acked::Writing { id, home } = queue.begin_ack(leased.id) else { panic!("it is held") };
    let receipt = home.submit(Write::Ack);
    assert_eq!(ledger.told(), ["attempts d 1", "ack d"]);
    assert_eq!(receipt.answer(), None);
    assert!(!queue.give_back(leased.id, Return::Nack, Duration::ZERO), "it is settled");
    assert!(matches!(queue.begin_ack(leased.id), Acked::NotHeld));
    assert_eq!((queue.unfinished(), queue.try_take(ANY)), (1, Err(Error::Empty)));
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(receipt.answer(), Some(Ok(Outcome::Done)));
    assert_eq!((queue.finish_ack(id), queue.finish_ack(id)), (Some(7), None));
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn f11_an_ack_of_what_is_another_processs_says_so_and_lets_the_event_go() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    let mailbox = Mailbox::open(&queue, Selection::default(), None);
    let leased = mailbox.collect(|&item| item).unwrap();
    let acking = {
        let (queue, id) = (queue.clone(), leased.id);
        thread::spawn(move || queue.ack(id))
    };
    while !ledger.told().contains(&"ack d".to_owned()) {
        thread::yield_now();
    }
    ledger.answer(&Ok(Outcome::Fenced));
    assert_eq!(acking.join().unwrap(), None);
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn f9_a_failed_write_does_not_keep_an_acked_event() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    let taking = {
        let queue = queue.clone();
        thread::spawn(move || queue.try_take(ANY))
    };
    while !ledger.told().contains(&"ack d".to_owned()) {
        thread::yield_now();
    }
    ledger.answer(&Err(Error::LedgerFull { path: "p".into(), reason: "r".into() }));
    assert_eq!(taking.join().unwrap(), Ok(7));
}

#[test]
fn a_take_without_a_lease_is_written_before_the_taker_has_the_event() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    let (send, received) = mpsc::channel();
    let taking = {
        let queue = queue.clone();
        thread::spawn(move || send.send(queue.take(ANY, None)).unwrap())
    };
    while ledger.told() != ["ack d"] {
        thread::yield_now();
    }
    assert!(received.try_recv().is_err());
    ledger.answer(&Ok(Outcome::Done));
    assert_eq!(received.recv().unwrap(), Ok(7));
    taking.join().unwrap();
}

#[test]
fn f11_a_take_passes_over_what_is_another_processs() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Arc::new(Scripted::default()));
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    queue.publish(8, ENDS, Some(home(&Scripted::prompt(), "e")));
    let taking = {
        let queue = queue.clone();
        thread::spawn(move || queue.try_take(ANY))
    };
    while ledger.told() != ["ack d"] {
        thread::yield_now();
    }
    ledger.answer(&Ok(Outcome::Fenced));
    assert_eq!(taking.join().unwrap(), Ok(8));
}

#[test]
fn f4_what_was_taken_and_is_put_back_waits_on_disk_before_anybody_can_take_it_again() {
    let (queue, ledger) = (Queue::new(1), Scripted::prompt());
    let registry = registry(&queue);
    dispatch(&registry, &ledger, "d", None);
    finish(&registry, &queue, &ledger);
    for put in [Queue::put_back, |queue: &Queue, item, route: Route<'_>| {
        queue.try_put(item, route).unwrap();
    }] {
        assert_eq!(queue.try_take(ANY), Ok(7));
        assert_eq!(ledger.told(), ["ack d"]);
        put(&queue, 7, ENDS);
        assert_eq!(ledger.told(), ["reopen d"]);
        assert_eq!(registry.stats().undelivered, 1);
    }
    // A put that is refused leaves it with whoever has it.
    let taken = queue.try_take(ANY).unwrap();
    queue.try_put(1, Route::default()).unwrap();
    assert_eq!(ledger.told(), ["ack d"]);
    assert!(queue.try_put(taken, ENDS).is_err());
    assert_eq!(ledger.told(), ["reopen d", "ack d"]);
}

#[test]
fn f10_the_ledger_counts_what_was_tried_and_not_what_was_put_off() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    queue.publish(7, ENDS, Some(home(&ledger, "d")));
    let mailbox = Mailbox::open(&queue, Selection::default(), None);
    for how in [Return::Nack, Return::Defer, Return::Nack] {
        let leased = mailbox.collect(|&item| item).unwrap();
        assert!(queue.give_back(leased.id, how, Duration::ZERO));
    }
    assert_eq!(ledger.told(), ["attempts d 1", "attempts d 2", "attempts d 1", "attempts d 2"]);
}

#[test]
fn f32_the_same_key_of_the_same_owner_is_the_same_delegation() {
    let (queue, ledger) = (Queue::new(0), Scripted::prompt());
    let registry = registry(&queue);
    dispatch(&registry, &ledger, "d", Some("k"));
    let second = dispatch(&registry, &ledger, "e", Some("k"));
    assert!(matches!(&second, Dispatched::Existing { id, .. } if &**id == "d"));
    assert_eq!(registry.running(), 1);
    let other = dispatch(&registry, &ledger, "f", Some("j"));
    assert!(matches!(other, Dispatched::New { .. }));
    // One that was withdrawn was never there.
    registry.withdraw(|record| &*record.id == "d").unwrap();
    assert!(matches!(dispatch(&registry, &ledger, "g", Some("k")), Dispatched::New { .. }));
}

#[test]
fn f32_who_comes_second_waits_for_the_firsts_row() {
    let (queue, ledger) = (Queue::new(0), Arc::new(Scripted::default()));
    let registry = registry(&queue);
    let Dispatched::New { promise, .. } = dispatch(&registry, &ledger, "d", Some("k")) else {
        panic!("it is new")
    };
    let Dispatched::Existing { receipt: second, .. } = dispatch(&registry, &ledger, "e", Some("k"))
    else {
        panic!("it is known")
    };
    let second = second.unwrap();
    assert_eq!(second.answer(), None);
    promise.unwrap().answer(Ok(Outcome::Done));
    assert_eq!(second.answer(), Some(Ok(Outcome::Done)));
}

#[test]
fn what_is_restored_takes_the_place_of_what_was_delivered_and_not_of_what_waits() {
    let (queue, ledger) = (Queue::new(0), Scripted::prompt());
    let registry = registry(&queue);
    let put = |item| {
        let rehome = |home: &_| queue.rehome("d", home);
        let put = |home| queue.restore(item, ENDS, home, 0, false);
        registry.restore(home(&ledger, "d"), Owner::default(), State::Lost, item, rehome, put)
    };
    assert_eq!(put(1), Ok(None));
    assert_eq!(put(2), Err(2), "its event waits");
    assert_eq!(registry.stats().undelivered, 1);
    assert_eq!(queue.try_take(ANY), Ok(1));
    assert_eq!(put(3), Ok(Some(1)));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    assert_eq!(registry.with("d", |record| record.state), Some(State::Lost));
    assert_eq!(registry.end("d", State::Completed, |_| true).map(drop), None);
    assert_eq!(queue.try_take(ANY), Ok(3));
    assert_eq!(registry.stats().retained, 1);
}

#[test]
fn what_is_restored_while_it_waits_is_ours_under_the_new_hold() {
    let (queue, ledger) = (Arc::new(Queue::new(0)), Scripted::prompt());
    let registry = registry(&queue);
    let restore = |item, fence| {
        let home = Arc::new(Home::new(ledger.clone(), Hold { id: "d".into(), fence }));
        let rehome = |home: &_| queue.rehome("d", home);
        let put = |home| queue.restore(item, ENDS, home, 0, false);
        registry.restore(home, Owner::default(), State::Lost, item, rehome, put)
    };
    assert_eq!(restore(1, 1), Ok(None));
    assert_eq!(restore(2, 2), Err(2), "it waits");
    let mailbox = Mailbox::open(&queue, Selection::default(), None);
    let leased = mailbox.collect(|&item| item).unwrap();
    assert_eq!(restore(3, 3), Err(3), "a consumer has it");
    let Acked::Writing { id, home } = queue.begin_ack(leased.id) else { panic!("it is held") };
    assert_eq!(home.hold().fence, 3);
    assert_eq!(restore(4, 4), Ok(Some(4)), "it is leaving, under a hold that is over");
    assert_eq!(queue.finish_ack(id), Some(1));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    let departed = queue.begin_take(ANY).unwrap();
    assert_eq!((departed.item, departed.home.unwrap().hold().fence), (4, 4));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (0, 1));
}

#[test]
fn a_dispatch_whose_id_is_anothers_takes_no_row_back() {
    let (queue, ledger) = (Queue::new(0), Arc::new(Scripted::default()));
    let registry = registry(&queue);
    dispatch(&registry, &ledger, "d", None);
    assert_eq!(registry.withdraw_unwritten(|_| true), Some(0));
    assert!(ledger.told().is_empty());
    assert_eq!(registry.running(), 0);
}
