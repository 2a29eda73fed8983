//! Models of the core in every interleaving.
//!
//! `make loom` runs them, `make loom-long` with more switches between threads. Each states what must
//! hold whatever the order in which threads run; loom tries the orders. A lost wake shows as a
//! deadlock. [`broken`] holds the same ideas done wrong, which loom must tell from the right ones.
#![cfg(loom)]

use std::sync::Arc;

use hermes_core::event::Route;
use hermes_core::queue::Wanted;
use loom::thread::{self, JoinHandle};

mod broken;
mod capacity;
mod delivery;
mod handoff;
mod ledger;
mod mailbox;
mod queue;
mod registry;
mod shutdown;
mod wake;
mod written;

const ANY: Wanted<'static> = Wanted { session_key: None, types: None };

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // More switches than a lost wake or a doubled event needs; LOOM_MAX_PREEMPTIONS asks for more.
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(body);
}

/// Runs `job` in a thread of its own.
fn spawn<S: 'static, R: 'static>(
    shared: &Arc<S>,
    job: impl FnOnce(&S) -> R + 'static,
) -> JoinHandle<R> {
    let shared = shared.clone();
    thread::spawn(move || job(&shared))
}

/// What the threads return, once all have ended.
fn join_all<R, const N: usize>(threads: [JoinHandle<R>; N]) -> [R; N] {
    threads.map(|thread| thread.join().unwrap())
}

fn to(key: &'static str, kind: &'static str) -> Route<'static> {
    Route { session_key: Some(key), kind: Some(kind), ..Route::default() }
}

fn of(key: &'static str) -> Wanted<'static> {
    Wanted { session_key: Some(key), types: None }
}
