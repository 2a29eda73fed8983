//! Jobs on their way to workers.

use std::sync::Arc;

use hermes_core::sync::handoff::{Handoff, Worker};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::model;

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
