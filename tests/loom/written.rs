//! Events whose delegation is in a ledger: acks in two steps, restored ones, keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::ledger::memory::MemoryLedger;
use hermes_core::ledger::{Hold, Home, Ledger, NewDelegation, Outcome, Retention, Write};
use hermes_core::queue::{Acked, CompletionQueue, Mailbox, Selection};
use hermes_core::registry::{DelegationRegistry, Dispatched, Request, State};
use hermes_core::timer::Due;

use super::{ANY, model, spawn, to};

struct Shared {
    queue: Arc<CompletionQueue<u8>>,
    mailbox: Arc<Mailbox<u8>>,
    registry: DelegationRegistry<u8>,
    ledger: Arc<MemoryLedger>,
}

const ENDS: Route<'static> = Route {
    session_key: Some("a"),
    kind: Some("async_delegation"),
    delegation_id: Some("d"),
    full: None,
    epoch: None,
};

fn shared() -> Arc<Shared> {
    let queue = Arc::new(CompletionQueue::new(0));
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
    let mailbox = Arc::new(Mailbox::open(&queue, selection, Some(Duration::ZERO)));
    let ledger = MemoryLedger::new(Retention::default());
    Arc::new(Shared { queue, mailbox, registry: DelegationRegistry::new(50), ledger })
}

/// A row whose event waits, as the queue knows it.
fn pending(shared: &Shared) -> Arc<Home> {
    let hold = Hold { id: "d".into(), fence: NewDelegation::FENCE };
    let home = Arc::new(Home::new(shared.ledger.clone(), hold));
    let new = NewDelegation {
        id: "d".into(),
        owner: Arc::default(),
        idempotency_key: None,
        record: "".into(),
        dispatched_at: 0,
    };
    shared.ledger.submit(Write::Dispatch(new));
    let (state, event) = (State::Completed, "".into());
    home.submit(|hold| Write::Finish { hold, state, event, completed_at: 0 });
    home
}

#[test]
fn f12_an_ack_that_has_begun_keeps_its_event_from_the_end_of_the_lease() {
    model(|| {
        let shared = shared();
        shared.queue.publish(1, ENDS, Some(pending(&shared)));
        let leased = shared.mailbox.collect(|&item| item).unwrap();
        let timer = spawn(&shared, |shared| shared.queue.due(Instant::now()));
        match shared.queue.begin_ack(leased.id) {
            Acked::Writing { id, home } => {
                assert_eq!(home.write(Write::Ack), Ok(Outcome::Done));
                assert_eq!(shared.queue.finish_ack(id), Some(1));
                timer.join().unwrap();
                assert_eq!((shared.queue.len(), shared.queue.unfinished()), (0, 0));
            }
            Acked::NotHeld => {
                timer.join().unwrap();
                assert_eq!(shared.queue.try_take(ANY), Ok(1));
            }
            Acked::Gone(_) => panic!("it has a home"),
        }
    });
}

#[test]
fn f11_two_that_take_one_event_write_one_ack() {
    model(|| {
        let shared = shared();
        shared.queue.publish(1, ENDS, Some(pending(&shared)));
        let other = spawn(&shared, |shared| shared.queue.try_take(ANY));
        let own = shared.mailbox.collect(|&item| item).map(|leased| shared.queue.ack(leased.id));
        match (own, other.join().unwrap()) {
            (Ok(Some(1)), Err(Error::Empty)) | (Err(Error::Empty), Ok(1)) => {}
            both => panic!("{both:?}"),
        }
    });
}

#[test]
fn f2_a_restored_event_comes_to_its_owner_while_anybody_looks() {
    model(|| {
        let shared = shared();
        let anybody = spawn(&shared, |shared| shared.queue.try_take(ANY));
        let home = pending(&shared);
        let owner = spawn(&shared, |shared| shared.queue.take(super::of("a"), None));
        shared.queue.restore(1, ENDS, home, 0, true);
        assert_eq!(anybody.join().unwrap(), Err(Error::Empty));
        assert_eq!(owner.join().unwrap(), Ok(1));
    });
}

#[test]
fn a_discard_and_a_take_exclude_each_other() {
    model(|| {
        let shared = shared();
        shared.queue.restore(1, ENDS, pending(&shared), 0, false);
        let taker = spawn(&shared, |shared| shared.queue.try_take(ANY));
        let discarded = shared.queue.discard("d", true);
        assert_eq!(taker.join().unwrap().is_ok(), discarded.is_none());
        assert_eq!(shared.queue.len(), 0);
    });
}

fn dispatch(shared: &Shared, payload: u8) -> Dispatched {
    let request = Request {
        limit: 9,
        owner: Owner::default(),
        idempotency_key: Some("k"),
        ledger: Some(shared.ledger.clone()),
        ..Request::default()
    };
    let Ok(dispatched) = shared.registry.begin_dispatch(request, payload) else {
        panic!("there is room")
    };
    dispatched
}

/// Whether it is the one that runs; the other has waited for its row.
fn runs(dispatched: Dispatched) -> bool {
    match dispatched {
        Dispatched::New { row, promise, .. } => {
            let (ledger, row) = row.unwrap();
            let answer = ledger.write(Write::Dispatch(row)).answer().unwrap();
            promise.unwrap().answer(answer);
            true
        }
        Dispatched::Existing { receipt, .. } => {
            assert_eq!(receipt.unwrap().wait(None), Ok(Outcome::Done));
            false
        }
    }
}

#[test]
fn f32_of_two_with_the_same_key_one_runs_and_the_other_waits_for_its_row() {
    model(|| {
        let shared = shared();
        let other = spawn(&shared, |shared| runs(dispatch(shared, 2)));
        let own = runs(dispatch(&shared, 1));
        assert_ne!(own, other.join().unwrap());
        assert_eq!(shared.registry.running(), 1);
    });
}

#[test]
fn f7_an_end_beside_a_dispatch_leaves_its_permit() {
    model(|| {
        let shared = shared();
        shared.registry.dispatch(Some("d"), 1, 0, Owner::default(), 1).unwrap();
        let ender = spawn(&shared, |shared| {
            let ending = shared.registry.end("d", State::Completed, |_| true).unwrap();
            shared.registry.publish(ending, |home| shared.queue.publish(1, to("a", "k"), home));
        });
        let second = shared.registry.dispatch(Some("e"), 1, 0, Owner::default(), 2).is_ok();
        ender.join().unwrap();
        assert_eq!(shared.registry.running(), usize::from(second));
        assert_eq!(shared.registry.stats().undelivered, 1);
    });
}
