//! Permits: never more than the limit, each given back once, and before its event is seen.

use std::sync::Arc;

use hermes_core::delegation::capacity::Capacity;
use hermes_core::error::Error;
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;
use loom::sync::atomic::{AtomicUsize, Ordering};

use super::{ANY, EVENT, Registry, dispatch, finish, join_all, model, running, spawn};

fn live(registry: &Registry) -> usize {
    registry.select(|record| (!record.state.is_terminal()).then_some(())).len()
}

fn retained(registry: &Registry) -> usize {
    registry.select(|record| record.state.is_terminal().then_some(())).len()
}

fn dispatch_more(registry: &Registry, id: &str) -> Result<(), Error> {
    dispatch(registry, id, 2, None)
}

#[test]
fn f7_a_permit_is_never_given_twice() {
    model(|| {
        let capacity = Arc::new(Capacity::new());
        let takers =
            [(); 3].map(|()| spawn(&capacity, |capacity| capacity.try_acquire(1, 0, 1).ok()));
        let permits = join_all(takers);
        assert_eq!(permits.iter().flatten().count(), 1);
        drop(permits);
        assert_eq!(capacity.running(), 0);
    });
}

#[test]
fn f7_what_runs_elsewhere_takes_its_place() {
    model(|| {
        let capacity = Arc::new(Capacity::new());
        let takers = [(); 2].map(|()| spawn(&capacity, |capacity| capacity.try_acquire(3, 2, 1)));
        let mut permits = join_all(takers);
        permits.sort_by_key(Result::is_err);
        let [won, lost] = permits;
        assert_eq!(lost.unwrap_err(), Error::AtCapacity { limit: 3, running: 3, queued: 0 });
        drop(won.unwrap());
        assert_eq!(capacity.running(), 0);
    });
}

#[test]
fn f7_holders_that_come_and_go_never_pass_the_limit() {
    model(|| {
        let shared = Arc::new((Capacity::new(), AtomicUsize::new(0)));
        let holders = [(); 3].map(|()| {
            spawn(&shared, |(capacity, inside)| {
                if let Ok(permit) = capacity.try_acquire(2, 1, 1) {
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            })
        });
        join_all(holders);
        assert_eq!(shared.0.running(), 0);
    });
}

#[test]
fn f7_a_dispatch_gets_the_place_of_one_that_ended_and_no_other() {
    model(|| {
        let registry = running(1, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        let other = spawn(&registry, |registry| dispatch_more(registry, "other"));
        let own = dispatch_more(&registry, "own");
        let dispatched = [own, other.join().unwrap()];
        assert!(dispatched.iter().flatten().count() <= 1);
        for refusal in dispatched.iter().filter_map(|end| end.as_ref().err()) {
            assert_eq!(*refusal, Error::AtCapacity { limit: 1, running: 1, queued: 0 });
        }
        assert!(ender.join().unwrap());
        assert_eq!(registry.running(), live(&registry));
        assert_eq!(
            registry.stats().refused,
            dispatched.iter().filter(|d| d.is_err()).count() as u64
        );
    });
}

#[test]
fn f7_while_a_permit_is_out_its_delegation_runs() {
    model(|| {
        let registry = running(1, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        if dispatch_more(&registry, "next").is_ok() {
            let state = registry.with("d", |record| record.state);
            assert_eq!(state, Some(State::Completed), "its place was given away");
        }
        assert!(ender.join().unwrap());
        assert_eq!(registry.running(), live(&registry));
    });
}

#[test]
fn f6_whoever_sees_the_event_finds_the_place_free() {
    model(|| {
        let registry = running(1, None);
        let consumer = spawn(&registry, |registry| {
            let event = registry.queue().take(&Blocking, ANY, None).unwrap();
            dispatch_more(registry, "next").map(|()| event)
        });
        assert!(finish(&registry, State::Completed).is_some());
        assert_eq!(consumer.join().unwrap(), Ok(EVENT));
    });
}

#[test]
fn a_permit_goes_back_once_whoever_ends_withdraws_or_forgets() {
    model(|| {
        let registry = running(1, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        let withdrawer = spawn(&registry, |registry| registry.withdraw(|_| true));
        let forgotten = registry.clear().len();
        let withdrawn = withdrawer.join().unwrap().is_some();
        let ended = ender.join().unwrap();
        assert!(!(withdrawn && ended), "one of them at most");
        assert_eq!(forgotten + usize::from(withdrawn) + live(&registry), 1 - retained(&registry));
        assert_eq!(registry.running(), 0);
    });
}
