//! The one end of a delegation, and who waits for it.

use std::sync::Arc;

use hermes_core::event::Owner;
use hermes_core::queue::DeliveryObserver;
use hermes_core::registry::{DelegationRegistry, State};
use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{join_all, model, spawn};

type Registry = DelegationRegistry<u8>;

/// A registry that keeps nothing delivered, in which `d` runs, and how often its end was published.
fn running() -> Arc<(Registry, AtomicUsize)> {
    let registry = Registry::new(0);
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 1).unwrap();
    Arc::new((registry, AtomicUsize::new(0)))
}

fn finish((registry, published): &(Registry, AtomicUsize), state: State) -> bool {
    registry.finish("d", state, || {
        published.fetch_add(1, Ordering::SeqCst);
    })
}

fn wait(registry: &Registry) {
    if let Some(signal) = registry.ended_signal("d") {
        signal.wait_until(None);
    }
}

#[test]
fn f11_a_delegation_ends_once_and_its_waiter_hears_of_it() {
    model(|| {
        let shared = running();
        let enders = [State::Completed, State::Interrupted]
            .map(|state| spawn(&shared, move |shared| finish(shared, state)));
        wait(&shared.0);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1, "published before the waiter is woken");
        assert_eq!(shared.0.running(), 0);
        let won = join_all(enders);
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!(shared.0.stats().discarded, 1);
    });
}

#[test]
fn every_waiter_hears_of_the_end() {
    model(|| {
        let shared = running();
        let waiters = [(); 2].map(|()| {
            spawn(&shared, |(registry, published)| {
                wait(registry);
                published.load(Ordering::SeqCst)
            })
        });
        assert!(finish(&shared, State::Completed));
        assert_eq!(join_all(waiters), [1, 1]);
    });
}

#[test]
fn f33_a_dispatch_is_begun_or_withdrawn() {
    model(|| {
        let shared = running();
        let worker = spawn(&shared, |(registry, _)| registry.begin("d", |_| true));
        let withdrawn = shared.0.withdraw(|_| true);
        let begun = worker.join().unwrap();
        assert_eq!(begun.is_some(), withdrawn.is_none());
        assert_eq!(shared.0.stats().dispatched, u64::from(begun.is_some()));
    });
}

#[test]
fn f32_one_of_two_workers_is_the_first_to_begin() {
    model(|| {
        let shared = running();
        let workers =
            [(); 2].map(|()| spawn(&shared, |(registry, _)| registry.begin("d", |_| true)));
        let ended = finish(&shared, State::Interrupted);
        let begun = join_all(workers);
        assert!(begun.iter().filter(|begun| **begun == Some(true)).count() <= 1);
        assert!(!begun.contains(&Some(false)) || begun.contains(&Some(true)));
        assert!(ended);
    });
}

#[test]
fn f11_a_withdrawn_dispatch_has_no_end() {
    model(|| {
        let shared = running();
        let ender = spawn(&shared, |shared| finish(shared, State::Completed));
        let waiter = spawn(&shared, |(registry, _)| wait(registry));
        let withdrawn = shared.0.withdraw(|_| true);
        let ended = ender.join().unwrap();
        assert_ne!(ended, withdrawn.is_some());
        assert_eq!(shared.1.load(Ordering::SeqCst), usize::from(ended));
        waiter.join().unwrap();
    });
}

#[test]
fn whoever_waits_is_woken_when_the_record_goes() {
    model(|| {
        let shared = running();
        let waiter = spawn(&shared, |(registry, _)| wait(registry));
        let ender = spawn(&shared, |shared| finish(shared, State::Completed));
        assert_eq!(shared.0.clear(), [1]);
        ender.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(shared.0.running(), 0);
    });
}

#[test]
fn whoever_waits_is_woken_when_the_end_is_pruned_as_it_comes() {
    model(|| {
        let shared = running();
        let waiter = spawn(&shared, |(registry, _)| wait(registry));
        // The consumer is so fast that the record goes before the end of the call.
        assert!(shared.0.finish("d", State::Completed, || {
            shared.0.taken("d");
            assert_eq!(shared.0.prune(), [1]);
        }));
        waiter.join().unwrap();
    });
}

#[test]
fn f32_the_end_of_one_is_not_the_end_of_the_next_with_its_id() {
    model(|| {
        let shared = running();
        let ender = spawn(&shared, |(registry, _)| {
            registry.finish_if("d", State::Completed, |record| record.payload == 1, || ())
        });
        shared.0.clear();
        shared.0.dispatch(Some("d"), 1, 0, Owner::default(), 2).unwrap();
        ender.join().unwrap();
        assert_eq!(shared.0.with("d", |record| record.state), Some(State::Running));
        assert!(shared.0.ended_signal("d").is_some(), "the next one has not ended");
        assert_eq!(shared.0.running(), 1);
    });
}
