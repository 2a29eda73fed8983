//! The one end of a delegation, and who waits for it.

use std::sync::Arc;

use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::wait::Blocking;

use super::rows::Rows;
use super::{
    ANY, EVENT, Registry, dispatch, ended, finish, finish_if, join_all, model, running, spawn,
};

fn wait(registry: &Registry) {
    if let Some(signal) = registry.ended_signal("d") {
        signal.wait_until(None);
    }
}

#[test]
fn f11_a_delegation_ends_once_and_its_waiter_hears_of_it() {
    model(|| {
        let registry = running(0, None);
        let enders = [State::Completed, State::Interrupted]
            .map(|state| spawn(&registry, move |registry| finish(registry, state).is_some()));
        wait(&registry);
        assert_eq!(registry.queue().len(), 1, "published before the waiter is woken");
        assert_eq!(registry.running(), 0);
        let won = join_all(enders);
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!((registry.queue().len(), registry.stats().discarded), (1, 1));
    });
}

#[test]
fn every_waiter_hears_of_the_end() {
    model(|| {
        let registry = running(0, None);
        let waiters = [(); 2].map(|()| {
            spawn(&registry, |registry| {
                wait(registry);
                registry.queue().len()
            })
        });
        assert!(finish(&registry, State::Completed).is_some());
        assert_eq!(join_all(waiters), [1, 1]);
    });
}

#[test]
fn f33_a_dispatch_is_begun_or_withdrawn() {
    model(|| {
        let registry = running(0, None);
        let worker = spawn(&registry, |registry| registry.begin("d", |_| true));
        let withdrawn = registry.withdraw(|_| true);
        let begun = worker.join().unwrap();
        assert_eq!(begun.is_some(), withdrawn.is_none());
        assert_eq!(registry.stats().dispatched, u64::from(begun.is_some()));
    });
}

#[test]
fn f32_one_of_two_workers_is_the_first_to_begin() {
    model(|| {
        let registry = running(0, None);
        let workers = [(); 2].map(|()| spawn(&registry, |registry| registry.begin("d", |_| true)));
        let ended = finish(&registry, State::Interrupted).is_some();
        let begun = join_all(workers);
        assert!(begun.iter().filter(|begun| **begun == Some(true)).count() <= 1);
        assert!(!begun.contains(&Some(false)) || begun.contains(&Some(true)));
        assert!(ended);
    });
}

#[test]
fn f11_a_withdrawn_dispatch_has_no_end() {
    model(|| {
        let registry = running(0, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        let waiter = spawn(&registry, wait);
        let withdrawn = registry.withdraw(|_| true);
        let ended = ender.join().unwrap();
        assert_ne!(ended, withdrawn.is_some());
        assert_eq!(registry.queue().len(), usize::from(ended));
        waiter.join().unwrap();
    });
}

/// Its row, too, says that it ended or is gone.
#[test]
fn f11_the_row_of_a_withdrawn_dispatch_goes_and_that_of_an_end_stays() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = running(0, Some(rows.clone()));
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        let withdrawn = registry.withdraw(|_| true);
        assert_ne!(ender.join().unwrap(), withdrawn.is_some());
        assert_eq!(rows.len(), usize::from(withdrawn.is_none()));
        assert_eq!(registry.queue().len(), rows.len());
    });
}

#[test]
fn whoever_waits_is_woken_when_the_record_goes() {
    model(|| {
        let registry = running(0, None);
        let waiter = spawn(&registry, wait);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        assert_eq!(registry.clear(), [1]);
        ender.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(registry.running(), 0);
    });
}

/// The consumer may be so fast that the record goes before the end of the call.
#[test]
fn whoever_waits_is_woken_when_the_end_is_pruned_as_it_comes() {
    model(|| {
        let registry = running(0, None);
        let waiter = spawn(&registry, wait);
        let consumer = spawn(&registry, |registry| {
            assert_eq!(registry.queue().take(&Blocking, ANY, None), Ok(EVENT));
            registry.prune()
        });
        let dropped = finish(&registry, State::Completed).unwrap().dropped;
        let pruned = consumer.join().unwrap();
        assert_eq!([dropped, pruned].concat(), [1], "once");
        waiter.join().unwrap();
    });
}

#[test]
fn f32_the_end_of_one_is_not_the_end_of_the_next_with_its_id() {
    model(|| {
        let registry = running(0, None);
        let ender = spawn(&registry, |registry| {
            finish_if(registry, State::Completed, |payload| *payload == 1).is_some()
        });
        registry.clear();
        dispatch(&registry, "d", 2, None).unwrap();
        ender.join().unwrap();
        assert_eq!(registry.with("d", |record| record.state), Some(State::Running));
        assert!(registry.ended_signal("d").is_some(), "the next one has not ended");
        assert_eq!(registry.running(), 1);
    });
}

/// Another process has found it lost, or finds it so as it ends.
#[test]
fn f12_an_end_that_is_another_process_s_is_published_by_one() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = running(0, Some(rows.clone()));
        let waiter = spawn(&registry, wait);
        let other = spawn(&rows, |rows| rows.lose("d"));
        let is_ours = finish(&registry, State::Completed).is_some();
        let had_ended = other.join().unwrap() == Delivery::Pending;
        waiter.join().unwrap();
        assert_eq!(is_ours, had_ended);
        assert_eq!(registry.queue().len(), usize::from(is_ours));
        let stage = if is_ours { Stage::Waiting } else { Stage::Dropped };
        assert_eq!(registry.stage("d"), Some(stage));
        assert_eq!(registry.running(), 0);
    });
}

/// A listing says the same of the record as the counts, whenever it is asked.
#[test]
fn a_listing_and_the_counts_agree_on_what_waits() {
    model(|| {
        let registry = ended(1, None);
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        let live = registry.live_work(&hermes_core::event::Selector::default());
        assert_eq!(taker.join().unwrap(), Ok(EVENT));
        assert!(live.undelivered <= 1);
        let live = registry.live_work(&hermes_core::event::Selector::default());
        assert_eq!((live.undelivered, registry.stats().undelivered), (0, 0));
        assert_eq!(registry.stats().retained, 1);
    });
}
