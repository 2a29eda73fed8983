//! Models of the core in every interleaving.
//!
//! `make loom` runs them, `make loom-long` with more switches between threads. Each states what must
//! hold whatever the order in which threads run; loom tries the orders. A lost wake shows as a
//! deadlock. The operations are those that ship, and wait as [`Blocking`] does. [`broken`] holds the
//! same ideas done wrong, which loom must tell from the right ones.
#![cfg(loom)]

use std::sync::Arc;

use hermes_core::delegation::{DelegationRegistry, Dispatched, End, Finished, Request};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route, kind};
use hermes_core::ledger::Ledger;
use hermes_core::queue::{CompletionQueue, Wanted};
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;
use loom::thread::{self, JoinHandle};

mod acknowledge;
mod broken;
mod capacity;
mod delivery;
mod dispatch;
mod epoch;
mod handoff;
mod mailbox;
mod queue;
mod queued;
mod registry;
mod restore;
mod rows;
mod shutdown;
mod unsure;
mod wake;
mod write_queue;

type Queue = CompletionQueue<u8>;
/// Its payloads are numbers, too.
type Registry = DelegationRegistry<u8, u8>;

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
    spawn_shared(shared, |shared| job(shared))
}

/// The same for a job that shares on what it shares.
fn spawn_shared<S: 'static, R: 'static>(
    shared: &Arc<S>,
    job: impl FnOnce(&Arc<S>) -> R + 'static,
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

fn put(queue: &Queue, item: u8, key: &'static str) {
    queue.try_put(item, to(key, "k")).unwrap();
}

/// The event of the delegation `d`.
const EVENT: u8 = 7;

/// Where it goes, for those who put it themselves.
const ENDS: Route<'static> = Route {
    session_key: Some("a"),
    kind: Some(kind::ASYNC_DELEGATION),
    delegation_id: Some("d"),
    full: None,
};

fn owner() -> Owner {
    Owner { session_key: "a".into(), ..Owner::default() }
}

/// Dispatches a delegation of `a`, where one may run.
fn dispatch(
    registry: &Registry,
    id: &str,
    payload: u8,
    ledger: Option<Arc<dyn Ledger>>,
) -> Result<(), Error> {
    let request = Request { id: Some(id), limit: 1, owner: owner(), ledger, ..Request::default() };
    let dispatched = registry.dispatch(&Blocking, request, payload);
    let dispatched = dispatched.map_err(|refused| refused.error)?;
    assert_eq!(dispatched, Dispatched::New(id.into()));
    Ok(())
}

/// A registry that keeps so many delivered, in which `d` runs.
fn running(retention: usize, ledger: Option<Arc<dyn Ledger>>) -> Arc<Registry> {
    let registry = Registry::new(Arc::new(Queue::new(0)), retention);
    dispatch(&registry, "d", 1, ledger).unwrap();
    registry
}

/// The same with the event of `d` in the queue.
fn ended(retention: usize, ledger: Option<Arc<dyn Ledger>>) -> Arc<Registry> {
    let registry = running(retention, ledger);
    assert!(finish(&registry, State::Completed).is_some());
    registry
}

/// Ends `d`.
fn finish(registry: &Registry, state: State) -> Option<Finished<u8>> {
    finish_if(registry, state, |_| true)
}

fn finish_if(
    registry: &Registry,
    state: State,
    is_it: impl FnOnce(&u8) -> bool,
) -> Option<Finished<u8>> {
    let end = End { id: "d", state, event: EVENT, text: "".into(), completed_at: 0 };
    registry.finish(&Blocking, end, is_it, |_| ())
}

/// Takes the event that waits, if one does, and puts it back.
fn detour(registry: &Registry) {
    let queue = registry.queue();
    if let Ok(event) = queue.try_take(&Blocking, ANY) {
        queue.put_back(event, ENDS).unwrap();
    }
}

/// How many ended delegations have an event under way, and how many are only kept for listing.
fn counts(registry: &Registry) -> (usize, usize) {
    let stats = registry.stats();
    (stats.undelivered, stats.retained)
}
