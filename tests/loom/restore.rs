//! A delegation that is ours under a new claim, while its event leaves under the former one.

use std::sync::Arc;
use std::time::Duration;

use hermes_core::delegation::Restored;
use hermes_core::error::Error;
use hermes_core::ledger::RowHandle;
use hermes_core::queue::{LeaseId, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::wait::Blocking;

use super::rows::Rows;
use super::{ANY, EVENT, Queue, Registry, counts, ended, model, of, owner, spawn};

struct Shared {
    registry: Arc<Registry>,
    rows: Arc<Rows>,
}

/// With the event of `d` in the queue.
fn shared() -> Arc<Shared> {
    let rows = Arc::new(Rows::default());
    let registry = ended(1, Some(rows.clone()));
    Arc::new(Shared { registry, rows })
}

impl Shared {
    fn lease(&self) -> LeaseId {
        let keys = ["a".to_owned()];
        let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
        let mailbox = Mailbox::open(self.registry.queue(), selection, None).unwrap();
        mailbox.collect(|&item| item).unwrap().id
    }

    /// Takes the row over, and its event back, if it is still to be delivered.
    fn restore(&self, is_exclusive: bool) -> bool {
        let Some(claim) = self.rows.adopt_one("d") else { return false };
        let restored = Restored {
            id: "d".into(),
            row: Some(RowHandle::new(self.rows.clone(), claim)),
            owner: owner(),
            state: State::Completed,
            attempts: 0,
            is_exclusive,
            payload: 2,
            event: EVENT,
        };
        self.registry.restore(restored).is_ok()
    }

    /// Whoever delivered it so often: what is left comes to one more, under the claim of now.
    fn is_delivered_once(&self, so_far: usize) {
        let left = std::iter::from_fn(|| self.registry.queue().try_take(&Blocking, ANY).ok());
        assert_eq!(so_far + left.count(), 1);
        assert_eq!(self.rows.delivery("d"), Some(Delivery::Delivered));
        assert_eq!(self.registry.stage("d"), Some(Stage::Delivered));
        assert_eq!(counts(&self.registry), (0, 1));
    }
}

#[test]
fn f2_a_restored_event_comes_to_its_owner_while_anybody_looks() {
    model(|| {
        let before = shared();
        before.rows.lose("d");
        // A process that comes after: it has the ledger, and nothing else.
        let registry = Registry::new(Arc::new(Queue::new(0)), 1);
        let shared = Arc::new(Shared { registry, rows: before.rows.clone() });
        let anybody = spawn(&shared, |shared| shared.registry.queue().try_take(&Blocking, ANY));
        let owner = spawn(&shared, |shared| shared.registry.queue().take(&Blocking, of("a"), None));
        assert!(shared.restore(true));
        assert_eq!(anybody.join().unwrap(), Err(Error::Empty));
        assert_eq!(owner.join().unwrap(), Ok(EVENT));
        shared.is_delivered_once(1);
    });
}

#[test]
fn f12_an_ack_under_the_former_claim_beside_a_restoration_delivers_once() {
    model(|| {
        let shared = shared();
        let id = shared.lease();
        shared.rows.lose("d");
        let acker = spawn(&shared, move |shared| shared.registry.queue().ack(&Blocking, id).held);
        shared.restore(false);
        let held = acker.join().unwrap();
        shared.is_delivered_once(usize::from(held));
    });
}

#[test]
fn f12_a_take_under_the_former_claim_beside_a_restoration_delivers_once() {
    model(|| {
        let shared = shared();
        shared.rows.lose("d");
        let taker = spawn(&shared, |shared| shared.registry.queue().try_take(&Blocking, ANY));
        shared.restore(false);
        let taken = taker.join().unwrap();
        shared.is_delivered_once(usize::from(taken.is_ok()));
    });
}

#[test]
fn f12_what_is_given_back_beside_a_restoration_waits_once() {
    model(|| {
        let shared = shared();
        let id = shared.lease();
        shared.rows.lose("d");
        let giver = spawn(&shared, move |shared| {
            shared.registry.queue().give_back(id, Return::Nack, Duration::ZERO)
        });
        shared.restore(false);
        assert!(giver.join().unwrap());
        assert_eq!(shared.registry.queue().len(), 1);
        shared.is_delivered_once(0);
    });
}

#[test]
fn f12_an_event_that_comes_back_beside_a_restoration_delivers_once() {
    model(|| {
        let shared = shared();
        let event = shared.registry.queue().try_take(&Blocking, ANY).unwrap();
        let returner = spawn(&shared, move |shared| {
            drop(shared.registry.queue().put_back(event, super::ENDS).unwrap());
            // Its lease ends as soon as it waits.
            shared.rows.lose("d");
        });
        let taker = spawn(&shared, |shared| shared.restore(false));
        returner.join().unwrap();
        taker.join().unwrap();
        shared.restore(false);
        shared.is_delivered_once(0);
    });
}

/// Dropped under the former claim, the row is not: it is the other's, and comes back.
#[test]
fn f12_a_drop_beside_a_restoration_delivers_once_or_never() {
    model(|| {
        let shared = shared();
        shared.rows.lose("d");
        let dropper = spawn(&shared, |shared| shared.registry.drop_event(&Blocking, "d"));
        let restored = shared.restore(false);
        match dropper.join().unwrap() {
            Some((Some(EVENT), true)) => {
                assert_eq!(shared.rows.delivery("d"), Some(Delivery::Dropped));
                assert!(shared.registry.queue().is_empty());
            }
            Some(_) => {
                assert!(restored);
                shared.is_delivered_once(0);
            }
            None => shared.is_delivered_once(0),
        }
    });
}

#[test]
fn f14_a_restoration_beside_a_new_epoch_is_of_one_of_them() {
    model(|| {
        let shared = shared();
        shared.rows.lose("d");
        let other = spawn(&shared, |shared| shared.registry.queue().new_epoch("a").unwrap());
        shared.restore(false);
        let epoch = other.join().unwrap();
        let is_former = shared.registry.with("d", |record| record.owner().epoch).flatten();
        let stage = match is_former < Some(epoch) {
            true => Stage::Parked,
            false => Stage::Waiting,
        };
        assert_eq!(shared.registry.stage("d"), Some(stage));
    });
}
