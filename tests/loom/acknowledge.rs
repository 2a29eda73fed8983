//! Acknowledgements of events whose delegation is in a ledger: pinned, written, gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::ledger::{Claim, Ledger, NewDelegation, Outcome, RowHandle, Write};
use hermes_core::queue::{Acking, Handle, Leased, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;

use super::rows::{Rows, SlowRows};
use super::{ANY, EVENT, Queue, Registry, counts, ended, model, owner, spawn};

struct Shared {
    registry: Arc<Registry>,
    mailbox: Mailbox<u8>,
    rows: Arc<Rows>,
}

/// With the event of `d` in the queue, and its owner's mailbox, whose leases are over at once.
fn shared(max_attempts: Option<u32>) -> Arc<Shared> {
    let rows = Arc::new(Rows::default());
    let registry = ended(1, Some(rows.clone()));
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), max_attempts, ..Selection::default() };
    let mailbox = Mailbox::open(registry.queue(), selection, Some(Duration::ZERO)).unwrap();
    Arc::new(Shared { registry, mailbox, rows })
}

impl Shared {
    fn collect(&self) -> Result<Leased<u8>, Error> {
        self.mailbox.collect(|&item| item)
    }

    /// Everybody says the same of the event.
    fn is_at(&self, stage: Stage) {
        assert_eq!(self.registry.stage("d"), Some(stage));
        assert_eq!(self.rows.delivery("d"), Some(Delivery::from(Some(stage))));
        let left = usize::from(stage.has_left());
        let unfinished = usize::from(stage.is_unfinished());
        assert_eq!(counts(&self.registry), (unfinished, left));
        assert_eq!(self.registry.queue().unfinished(), unfinished);
    }
}

#[test]
fn f12_an_ack_that_has_begun_keeps_its_event_from_the_end_of_the_lease() {
    model(|| {
        let shared = shared(None);
        let leased = shared.collect().unwrap();
        let timer = spawn(&shared, |shared| shared.registry.queue().due(Instant::now()));
        let acknowledged = shared.registry.queue().ack(&Blocking, leased.id);
        timer.join().unwrap();
        assert_eq!(acknowledged.held, acknowledged.item.is_some());
        shared.is_at(if acknowledged.held { Stage::Delivered } else { Stage::Waiting });
    });
}

#[test]
fn f11_two_that_take_one_event_write_one_ack() {
    model(|| {
        let shared = shared(None);
        let other = spawn(&shared, |shared| shared.registry.queue().try_take(&Blocking, ANY));
        let own = shared.collect();
        let own = own.map(|leased| shared.registry.queue().ack(&Blocking, leased.id).item);
        match (own, other.join().unwrap()) {
            (Ok(Some(EVENT)), Err(Error::Empty)) | (Err(Error::Empty), Ok(EVENT)) => {}
            both => panic!("{both:?}"),
        }
    });
}

#[test]
fn f11_one_of_two_acks_of_a_lease_counts() {
    model(|| {
        let shared = shared(None);
        let id = shared.collect().unwrap().id;
        let other = spawn(&shared, move |shared| shared.registry.queue().ack(&Blocking, id));
        let own = shared.registry.queue().ack(&Blocking, id);
        let other = other.join().unwrap();
        assert!(own.held != other.held && own.item.is_some() == own.held);
        shared.is_at(Stage::Delivered);
    });
}

#[test]
fn f11_an_ack_and_a_nack_of_a_lease_exclude_each_other() {
    model(|| {
        let shared = shared(None);
        let id = shared.collect().unwrap().id;
        let giver = spawn(&shared, move |shared| {
            shared.registry.queue().give_back(id, Return::Nack, Duration::ZERO)
        });
        let acknowledged = shared.registry.queue().ack(&Blocking, id);
        assert_ne!(giver.join().unwrap(), acknowledged.held);
        shared.is_at(if acknowledged.held { Stage::Delivered } else { Stage::Waiting });
    });
}

#[test]
fn f12_the_last_attempt_ends_by_its_ack_or_buries_the_event() {
    model(|| {
        let shared = shared(Some(1));
        let id = shared.collect().unwrap().id;
        let timer = spawn(&shared, |shared| shared.registry.queue().due(Instant::now()));
        let acknowledged = shared.registry.queue().ack(&Blocking, id);
        timer.join().unwrap();
        shared.is_at(if acknowledged.held { Stage::Delivered } else { Stage::Dead });
        let dead = shared.registry.queue().dead_letters(|&item| item);
        assert_eq!(dead.is_empty(), acknowledged.held);
    });
}

/// The event is on its way out: an immediate shutdown does not drop it, and who joins waits for it.
#[test]
fn f12_an_ack_beside_an_immediate_shutdown_is_written() {
    model(|| {
        let shared = shared(None);
        let id = shared.collect().unwrap().id;
        let acker = spawn(&shared, move |shared| shared.registry.queue().ack(&Blocking, id));
        let dropped = shared.registry.queue().shutdown(true);
        assert_eq!(acker.join().unwrap().item, Some(EVENT));
        assert!(dropped.is_empty());
        shared.is_at(Stage::Delivered);
    });
}

/// Also where the queue is emptied meanwhile: what was written down was delivered.
#[test]
fn f12_an_ack_beside_a_drain_gives_the_event_to_one_of_them() {
    model(|| {
        let shared = shared(None);
        let id = shared.collect().unwrap().id;
        let acker = spawn(&shared, move |shared| shared.registry.queue().ack(&Blocking, id));
        let drained = shared.registry.queue().drain();
        let acknowledged = acker.join().unwrap();
        assert_eq!(drained.len() + usize::from(acknowledged.item.is_some()), 1);
        let expected = if acknowledged.held { Delivery::Delivered } else { Delivery::Pending };
        assert_eq!(shared.rows.delivery("d"), Some(expected));
    });
}

/// An event of `d` whose row is written in somebody else's time, leased, and its ack begun.
struct Begun {
    queue: Arc<Queue>,
    handle: Arc<Handle>,
    ledger: Arc<SlowRows>,
}

fn begun() -> (Arc<Begun>, Acking) {
    let ledger = Arc::new(SlowRows::default());
    let (id, owner) = (Arc::<str>::from("d"), Arc::new(owner()));
    let claim = Claim { id: id.clone(), fence: NewDelegation::FENCE };
    let (idempotency_key, record, event) = (None, "".into(), "".into());
    let owner_of_it = owner.clone();
    let new = NewDelegation {
        id,
        owner: owner_of_it,
        idempotency_key,
        record,
        dispatched_at: 0,
        is_queued: false,
    };
    let end =
        Write::Finish { claim: claim.clone(), state: State::Completed, event, completed_at: 0 };
    for write in [Write::Dispatch(new), end] {
        assert_eq!(ledger.rows.submit(write).answer(), Some(Ok(Outcome::Done)));
    }
    let row = RowHandle::new(ledger.clone(), claim.clone());
    let handle = Arc::new(Handle::new(claim.id, owner, None, Some(row), Arc::default()));
    let queue = Arc::new(Queue::new(0));
    queue.publish(EVENT, &handle, 0, false);
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let id = mailbox.collect(|_| ()).unwrap().id;
    let acking = queue.begin_ack(id).unwrap();
    (Arc::new(Begun { queue, handle, ledger }), acking)
}

/// Nobody waits for it: the timer ends it, or whoever left it if its row was written by then.
#[test]
fn f12_an_ack_that_is_left_alone_beside_its_writer_ends_once() {
    model(|| {
        let (begun, acking) = begun();
        let writer = spawn(&begun, |begun| begun.ledger.run());
        begun.queue.leave_ack(acking);
        assert!(matches!(begun.handle.stage(), Some(Stage::Acking | Stage::Delivered)));
        begun.ledger.end();
        writer.join().unwrap();
        begun.queue.due(Instant::now());
        assert_eq!(begun.handle.stage(), Some(Stage::Delivered));
        assert_eq!(begun.ledger.rows.delivery("d"), Some(Delivery::Delivered));
        assert_eq!((begun.queue.sweep(), begun.queue.unfinished()), (vec![EVENT], 0));
        assert!(begun.queue.sweep().is_empty());
    });
}

/// As above, where the queue is emptied meanwhile: the event goes to one of them.
#[test]
fn f12_an_ack_that_is_left_alone_beside_a_drain_gives_its_event_away_once() {
    model(|| {
        let (begun, acking) = begun();
        let drained = spawn(&begun, |begun| begun.queue.drain());
        begun.queue.leave_ack(acking);
        begun.ledger.end();
        begun.ledger.run();
        begun.queue.due(Instant::now());
        let mut events = drained.join().unwrap();
        events.extend(begun.queue.sweep());
        assert_eq!(events, [EVENT]);
    });
}
