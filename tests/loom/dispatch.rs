//! Dispatches with a key, whose rows are written in somebody else's time.

use std::sync::Arc;

use hermes_core::delegation::{Dispatched, Refused, Request};
use hermes_core::error::Error;
use hermes_core::ledger::Ledger;
use hermes_core::state::State;
use hermes_core::sync::wait::{Blocking, Wait};

use super::rows::{Patient, Rows, SlowRows};
use super::{Queue, Registry, finish, model, owner, running, spawn};

struct Shared<L> {
    registry: Arc<Registry>,
    ledger: Arc<L>,
}

impl<L: Ledger + 'static> Shared<L> {
    fn new(ledger: L) -> Arc<Self> {
        let registry = Registry::new(Arc::new(Queue::new(0)), 0);
        Arc::new(Self { registry, ledger: Arc::new(ledger) })
    }

    fn dispatch<W: Wait>(
        &self,
        wait: &W,
        payload: u8,
    ) -> Result<Dispatched, Refused<u8, W::Error>> {
        let request = Request {
            limit: 9,
            owner: owner(),
            idempotency_key: Some("k"),
            ledger: Some(self.ledger.clone()),
            ..Request::default()
        };
        self.registry.dispatch(wait, request, payload)
    }
}

#[test]
fn f32_of_two_with_the_same_key_one_runs_and_both_know_which() {
    model(|| {
        let shared = Shared::new(Rows::default());
        let other = spawn(&shared, |shared| shared.dispatch(&Patient, 2).unwrap());
        let own = shared.dispatch(&Patient, 1).unwrap();
        let (new, existing) = match (own, other.join().unwrap()) {
            (Dispatched::New(new), Dispatched::Existing(existing)) => (new, existing),
            (Dispatched::Existing(existing), Dispatched::New(new)) => (new, existing),
            both => panic!("{both:?}"),
        };
        assert_eq!(new, existing);
        assert_eq!((shared.registry.running(), shared.ledger.len()), (1, 1));
    });
}

/// Whoever is told that it exists is told so when its row is written, not before.
#[test]
fn f32_who_comes_with_the_key_of_another_waits_for_its_row() {
    model(|| {
        let shared = Shared::new(SlowRows::default());
        let writer = spawn(&shared.ledger, |ledger| ledger.run());
        let dispatch = |shared: &Shared<SlowRows>, payload| {
            let dispatched = shared.dispatch(&Patient, payload).unwrap();
            assert_eq!(shared.ledger.rows.len(), 1, "told of before it is written");
            matches!(dispatched, Dispatched::New(_))
        };
        let other = spawn(&shared, move |shared| dispatch(shared, 2));
        let own = dispatch(&shared, 1);
        assert_ne!(own, other.join().unwrap());
        assert_eq!(shared.registry.running(), 1);
        shared.ledger.end();
        writer.join().unwrap();
    });
}

/// Where the row cannot be written, nobody runs, and nobody believes that somebody else does.
#[test]
fn f32_where_the_row_of_the_first_fails_both_are_refused() {
    model(|| {
        let shared = Shared::new(Rows::busy());
        let refused = |shared: &Shared<Rows>, payload| {
            let refused = shared.dispatch(&Patient, payload).unwrap_err();
            assert_eq!(refused.payload, Some(payload));
            assert!(matches!(refused.error, Error::LedgerBusy { .. }), "{}", refused.error);
        };
        let other = spawn(&shared, move |shared| refused(shared, 2));
        refused(&shared, 1);
        other.join().unwrap();
        assert_eq!((shared.registry.running(), shared.ledger.len()), (0, 0));
        assert_eq!(shared.registry.stats().dispatched, 0);
    });
}

/// A model's deadline is over at once: the row may come to be all the same, and is taken back then.
#[test]
fn f7_a_dispatch_that_waits_no_longer_leaves_neither_a_permit_nor_a_row() {
    model(|| {
        let shared = Shared::new(SlowRows::default());
        let writer = spawn(&shared.ledger, |ledger| ledger.run());
        let dispatched = shared.dispatch(&Blocking, 1);
        shared.ledger.end();
        writer.join().unwrap();
        let is_new = match dispatched {
            Ok(dispatched) => matches!(dispatched, Dispatched::New(_)),
            Err(refused) => {
                assert_eq!((refused.payload, refused.error), (Some(1), Error::LedgerSlow));
                false
            }
        };
        let expected = usize::from(is_new);
        assert_eq!((shared.registry.running(), shared.ledger.rows.len()), (expected, expected));
    });
}

#[test]
fn f7_an_end_beside_a_dispatch_leaves_its_permit() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = running(0, Some(rows.clone()));
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).is_some());
        let second = super::dispatch(&registry, "e", 2, Some(rows)).is_ok();
        assert!(ender.join().unwrap());
        assert_eq!(registry.running(), usize::from(second));
        assert_eq!(registry.stats().undelivered, 1);
    });
}
