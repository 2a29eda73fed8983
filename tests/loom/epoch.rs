//! A new epoch of an owner, beside everything that its earlier events may be about to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::ledger::{Ledger, Write};
use hermes_core::queue::{LeaseId, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;

use super::rows::Rows;
use super::{ANY, ENDS, EVENT, Registry, ended, finish, model, running, spawn};

/// Nobody gets the event, nobody waits for it, and everybody says so.
fn is_parked(registry: &Registry) {
    let queue = registry.queue();
    assert_eq!(registry.stage("d"), Some(Stage::Parked));
    assert_eq!((queue.len(), queue.parked(|&item| item)), (0, vec![EVENT]));
    assert_eq!(queue.unfinished(), 0);
    let stats = registry.stats();
    assert_eq!((stats.parked, stats.undelivered, stats.retained), (1, 0, 0));
}

fn lease(registry: &Registry) -> LeaseId {
    lease_of(registry, None)
}

/// A lease that is over at once.
fn lease_of(registry: &Registry, max_attempts: Option<u32>) -> LeaseId {
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), max_attempts, ..Selection::default() };
    let mailbox = Mailbox::open(registry.queue(), selection, Some(Duration::ZERO)).unwrap();
    mailbox.collect(|&item| item).unwrap().id
}

#[test]
fn f14_an_end_beside_a_new_epoch_is_parked() {
    model(|| {
        let registry = running(0, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        registry.queue().new_epoch("a").unwrap();
        assert!(ender.join().unwrap());
        is_parked(&registry);
    });
}

#[test]
fn f14_an_event_that_is_given_back_beside_a_new_epoch_is_parked() {
    model(|| {
        let registry = ended(0, None);
        let id = lease(&registry);
        let giver = spawn(&registry, move |registry| {
            registry.queue().give_back(id, Return::Nack, Duration::ZERO)
        });
        registry.queue().new_epoch("a").unwrap();
        assert!(giver.join().unwrap());
        is_parked(&registry);
    });
}

/// Parked, and no dead letter, though it was the last attempt: the epoch is asked first.
#[test]
fn f14_an_event_that_had_all_its_attempts_beside_a_new_epoch_is_dead_or_parked() {
    for is_over in [false, true] {
        model(move || {
            let registry = ended(0, None);
            let id = lease_of(&registry, Some(1));
            let giver = spawn(&registry, move |registry| match is_over {
                true => drop(registry.queue().due(Instant::now())),
                false => {
                    assert!(registry.queue().give_back(id, Return::Nack, Duration::ZERO));
                }
            });
            registry.queue().new_epoch("a").unwrap();
            giver.join().unwrap();
            let queue = registry.queue();
            match queue.dead_letters(|&item| item).is_empty() {
                true => is_parked(&registry),
                false => assert_eq!(registry.stage("d"), Some(Stage::Dead)),
            }
            assert_eq!(queue.unfinished(), 0);
        });
    }
}

#[test]
fn f14_an_event_that_is_put_back_beside_a_new_epoch_is_parked() {
    model(|| {
        let registry = ended(0, None);
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let returner =
            spawn(&registry, move |registry| drop(registry.queue().put_back(event, ENDS).unwrap()));
        registry.queue().new_epoch("a").unwrap();
        returner.join().unwrap();
        is_parked(&registry);
    });
}

/// The queue hears of the epoch first, then the ledger; the row ends as the event does.
#[test]
fn f14_the_row_of_an_event_that_is_put_back_beside_a_new_epoch_is_parked() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = ended(0, Some(rows.clone()));
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let owner = spawn(&registry, {
            let rows = rows.clone();
            move |registry| {
                registry.queue().new_epoch("a").unwrap();
                drop(rows.submit(Write::NewEpoch("a".into())));
            }
        });
        registry.queue().put_back(event, ENDS).unwrap();
        owner.join().unwrap();
        is_parked(&registry);
        assert_eq!(rows.delivery("d"), Some(Delivery::Parked));
    });
}

#[test]
fn f14_an_event_is_taken_or_parked() {
    model(|| {
        let registry = ended(1, None);
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        registry.queue().new_epoch("a").unwrap();
        match taker.join().unwrap() {
            Ok(_) => assert_eq!(registry.stage("d"), Some(Stage::Delivered)),
            Err(_) => is_parked(&registry),
        }
    });
}

#[test]
fn f14_an_event_that_is_out_is_acknowledged_beside_a_new_epoch() {
    model(|| {
        let registry = ended(1, None);
        let id = lease(&registry);
        let acker = spawn(&registry, move |registry| registry.queue().ack(&Blocking, id));
        registry.queue().new_epoch("a").unwrap();
        assert_eq!(acker.join().unwrap().item, Some(EVENT));
        assert_eq!(registry.stage("d"), Some(Stage::Delivered));
        assert_eq!(registry.queue().unfinished(), 0);
    });
}

/// The epoch is begun in another process, and the ledger says so.
#[test]
fn f14_what_another_process_parks_is_parked_beside_its_end() {
    model(|| {
        let registry = running(0, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        registry.park("d");
        assert!(ender.join().unwrap());
        is_parked(&registry);
    });
}

#[test]
fn f14_what_another_process_parks_is_parked_beside_its_return() {
    model(|| {
        let registry = ended(0, None);
        let id = lease(&registry);
        let giver = spawn(&registry, move |registry| {
            registry.queue().give_back(id, Return::Nack, Duration::ZERO)
        });
        registry.park("d");
        assert!(giver.join().unwrap());
        is_parked(&registry);
    });
    model(|| {
        let registry = ended(0, None);
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let returner =
            spawn(&registry, move |registry| drop(registry.queue().put_back(event, ENDS).unwrap()));
        registry.park("d");
        returner.join().unwrap();
        is_parked(&registry);
    });
}

#[test]
fn f14_what_another_process_parks_is_taken_or_parked() {
    model(|| {
        let registry = ended(1, None);
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        registry.park("d");
        match taker.join().unwrap() {
            Ok(_) => assert_eq!(registry.stage("d"), Some(Stage::Delivered)),
            Err(_) => is_parked(&registry),
        }
    });
}

#[test]
fn a_join_ends_with_the_epoch_of_what_it_waits_for() {
    model(|| {
        let registry = ended(0, None);
        let joiner = spawn(&registry, |registry| {
            while let Some(signal) = registry.queue().joiner() {
                signal.wait_until(None);
            }
        });
        registry.queue().new_epoch("a").unwrap();
        joiner.join().unwrap();
        is_parked(&registry);
    });
}

/// What is dispatched beside belongs to one of the two epochs, and goes where that one's events go.
#[test]
fn f14_a_dispatch_beside_a_new_epoch_is_of_one_of_them() {
    model(|| {
        let registry = Registry::new(Arc::new(super::Queue::new(0)), 0);
        let dispatcher = spawn(&registry, |registry| super::dispatch(registry, "d", 1, None));
        let epoch = registry.queue().new_epoch("a").unwrap();
        dispatcher.join().unwrap().unwrap();
        assert!(finish(&registry, State::Completed).is_some());
        let dispatched_in = registry.with("d", |record| record.owner().epoch).flatten();
        match dispatched_in < Some(epoch) {
            true => is_parked(&registry),
            false => assert_eq!(registry.queue().try_take(&Blocking, ANY), Ok(EVENT)),
        }
    });
}
