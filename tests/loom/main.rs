//! Models of the queue, the hand-off, capacity and the end of a delegation, in every interleaving.
//!
//! `make loom` runs them. Each states what must hold whatever the order in which threads run; loom
//! tries the orders. A lost wake shows as a deadlock.
#![cfg(loom)]

use std::sync::Arc;

use hermes_core::capacity::Capacity;
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::handoff::{Handoff, Worker};
use hermes_core::queue::{CompletionQueue, Wanted};
use hermes_core::registry::{DelegationRegistry, State};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

mod broken;

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // More switches than a lost wake or a doubled event needs; LOOM_MAX_PREEMPTIONS asks for more.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(body);
}

fn route(key: &'static str) -> Route<'static> {
    Route { session_key: Some(key), kind: Some("k"), delegation_id: None }
}

fn wanted(key: &'static str) -> Wanted<'static> {
    Wanted { session_key: Some(key), types: None }
}

#[test]
fn a_put_wakes_a_waiting_take() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(0));
        let taker = {
            let queue = queue.clone();
            thread::spawn(move || queue.take(Wanted::default(), None))
        };
        queue.publish(7, route("a"));
        assert_eq!(taker.join().unwrap(), Ok(7));
    });
}

#[test]
fn two_takers_get_one_event_each() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || queue.take(Wanted::default(), None).unwrap())
            })
            .collect();
        queue.publish(1, route("a"));
        queue.publish(2, route("b"));
        let mut got: Vec<_> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn an_owner_is_woken_for_its_own_event_only() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(0));
        let owner = {
            let queue = queue.clone();
            thread::spawn(move || queue.take(wanted("a"), None))
        };
        queue.publish(1, route("b"));
        queue.publish(2, route("a"));
        assert_eq!(owner.join().unwrap(), Ok(2));
        assert_eq!(queue.try_take(Wanted::default()), Ok(1));
    });
}

#[test]
fn a_taker_that_gives_up_hands_its_wake_on() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(0));
        let patient = {
            let queue = queue.clone();
            thread::spawn(move || queue.take(Wanted::default(), None))
        };
        let impatient = {
            let queue = queue.clone();
            thread::spawn(move || {
                // Registers, may be woken, and leaves without looking again: a Ctrl-C.
                let mut taker = queue.taker(Wanted::default());
                taker.poll()
            })
        };
        queue.publish(1, route("a"));
        match impatient.join().unwrap() {
            Ok(1) => queue.publish(2, route("a")),
            other => assert_eq!(other, Err(Error::Empty)),
        }
        patient.join().unwrap().unwrap();
    });
}

#[test]
fn room_lets_a_waiting_put_in() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(1));
        queue.try_put(1, route("a")).unwrap();
        let putter = {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut putter = queue.putter();
                while queue.try_put(2, route("a")).is_err() {
                    if putter.enter() {
                        putter.signal().wait_until(None);
                    }
                }
            })
        };
        assert_eq!(queue.take(Wanted::default(), None), Ok(1));
        assert_eq!(queue.take(Wanted::default(), None), Ok(2));
        putter.join().unwrap();
    });
}

#[test]
fn a_shutdown_ends_every_wait() {
    model(|| {
        let queue = Arc::new(CompletionQueue::<u8>::new(0));
        let taker = {
            let queue = queue.clone();
            thread::spawn(move || queue.take(wanted("a"), None))
        };
        queue.shutdown(false);
        assert_eq!(taker.join().unwrap(), Err(Error::ShutDown));
    });
}

#[test]
fn a_join_ends_with_the_last_task() {
    model(|| {
        let queue = Arc::new(CompletionQueue::new(0));
        queue.try_put(1, route("a")).unwrap();
        let joiner = {
            let queue = queue.clone();
            thread::spawn(move || {
                while let Some(signal) = queue.joiner() {
                    signal.wait_until(None);
                }
            })
        };
        queue.try_take(Wanted::default()).unwrap();
        queue.task_done().unwrap();
        joiner.join().unwrap();
    });
}

#[test]
fn a_permit_is_never_given_twice() {
    model(|| {
        let capacity = Capacity::new();
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let capacity = capacity.clone();
                thread::spawn(move || capacity.try_acquire(1, 0).ok())
            })
            .collect();
        let permits: Vec<_> = takers.into_iter().map(|taker| taker.join().unwrap()).collect();
        assert_eq!(permits.iter().flatten().count(), 1);
        drop(permits);
        assert_eq!(capacity.running(), 0);
    });
}

#[test]
fn a_delegation_ends_once_and_its_waiter_hears_of_it() {
    model(|| {
        let registry = Arc::new(DelegationRegistry::new(1));
        registry.dispatch(Some("d"), 1, 0, Owner::default(), ()).unwrap();
        let published = Arc::new(AtomicUsize::new(0));
        let enders: Vec<_> = [State::Completed, State::Interrupted]
            .map(|state| {
                let (registry, published) = (registry.clone(), published.clone());
                thread::spawn(move || {
                    registry.finish("d", state, || {
                        published.fetch_add(1, Ordering::SeqCst);
                    })
                })
            })
            .into();
        if let Some(signal) = registry.ended_signal("d") {
            signal.wait_until(None);
        }
        assert_eq!(published.load(Ordering::SeqCst), 1);
        let won = enders.into_iter().map(|ender| ender.join().unwrap());
        assert_eq!(won.filter(|&won| won).count(), 1);
        assert_eq!(registry.running(), 0);
    });
}

/// A worker as the host runs it: takes jobs until none is left, and starts its successor first.
fn work(handoff: Arc<Handoff<u8>>, number: u64, done: Arc<AtomicUsize>) {
    let numbers = Worker { number, successor: number + 1 };
    let mut successors = Vec::new();
    while let Some(next) = handoff.take(numbers, std::time::Instant::now()) {
        if next.needs_worker {
            let (handoff, done) = (handoff.clone(), done.clone());
            successors.push(thread::spawn(move || work(handoff, number + 1, done)));
        }
        done.fetch_add(1, Ordering::SeqCst);
        if next.job == 0 {
            // It never comes back: the rest is for others.
            break;
        }
    }
    for successor in successors {
        successor.join().unwrap();
    }
}

#[test]
fn a_job_always_finds_a_worker() {
    model(|| {
        let (handoff, done) = (Arc::new(Handoff::default()), Arc::new(AtomicUsize::new(0)));
        let worker = {
            let (handoff, done) = (handoff.clone(), done.clone());
            // One idle worker, which may be on its way out when the job comes.
            thread::spawn(move || work(handoff, 10, done))
        };
        if handoff.submit(7, 0) {
            work(handoff, 0, done.clone());
        }
        worker.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_job_behind_one_that_never_ends_finds_a_worker() {
    model(|| {
        let (handoff, done) = (Arc::new(Handoff::default()), Arc::new(AtomicUsize::new(0)));
        assert!(handoff.submit(0, 0));
        let worker = {
            let (handoff, done) = (handoff.clone(), done.clone());
            thread::spawn(move || work(handoff, 0, done))
        };
        // It counts on the worker on its way, or asks for one of its own.
        if handoff.submit(0, 20) {
            work(handoff, 20, done.clone());
        }
        worker.join().unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 2);
    });
}
