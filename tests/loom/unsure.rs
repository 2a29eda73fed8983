//! What a process does not surely hold: acks that are not written, results that come late, and drops
//! that are asked for by hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::delegation::Restored;
use hermes_core::error::Error;
use hermes_core::ledger::receipt::Promise;
use hermes_core::ledger::{
    Claim, Health, Ledger, Millis, NewDelegation, Notice, Outcome, Receipt, Row, RowHandle, Which,
    Write,
};
use hermes_core::queue::{LeaseId, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;
use loom::sync::Mutex;

use super::rows::Rows;
use super::{ANY, EVENT, Queue, Registry, counts, ended, finish, model, of, owner, running, spawn};

/// Rows that are written at once, but for the acks that come before [`Self::settle`].
#[derive(Default)]
struct SlowAcks {
    rows: Rows,
    // Whether it has come.
    acks: Mutex<(Vec<(Claim, Promise)>, bool)>,
}

impl SlowAcks {
    /// Writes the acks that wait, or says that they will not be: the lease was over first.
    fn settle(&self, writes: bool) {
        let (acks, _) = std::mem::replace(&mut *self.acks.lock().unwrap(), (Vec::new(), true));
        for (claim, promise) in acks {
            promise.answer(match writes {
                true => self.rows.submit(Write::Ack(claim)).wait(None),
                false => Ok(Outcome::Unwritten),
            });
        }
    }
}

impl Ledger for SlowAcks {
    fn submit(&self, write: Write) -> Receipt {
        let Write::Ack(claim) = write else { return self.rows.submit(write) };
        let mut acks = self.acks.lock().unwrap();
        if acks.1 {
            drop(acks);
            return self.rows.submit(Write::Ack(claim));
        }
        let (receipt, promise) = Receipt::pending();
        acks.0.push((claim, promise));
        receipt
    }

    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        self.rows.read(which)
    }

    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error> {
        self.rows.adopt(ids)
    }

    fn is_surely_ours(&self) -> bool {
        true
    }

    fn look_again(&self, _: Millis) {}

    fn notice(&self, _: &Arc<Signal>) -> Option<Notice> {
        None
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn flush(&self, _: Instant) -> bool {
        true
    }

    fn release(&self, _: Instant) -> bool {
        true
    }
}

struct Shared {
    registry: Arc<Registry>,
    ledger: Arc<SlowAcks>,
    mailbox: Mailbox<u8>,
    id: LeaseId,
}

/// With the event of `d` at a consumer, whose lease is over at once if that is said.
fn shared(ends: bool) -> Arc<Shared> {
    let ledger = Arc::new(SlowAcks::default());
    let registry = ended(1, Some(ledger.clone()));
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
    let mailbox =
        Mailbox::open(registry.queue(), selection, ends.then_some(Duration::ZERO)).unwrap();
    let id = mailbox.collect(|&item| item).unwrap().id;
    Arc::new(Shared { registry, ledger, mailbox, id })
}

impl Shared {
    fn queue(&self) -> &Arc<Queue> {
        self.registry.queue()
    }

    /// Begins an ack that nobody waits for.
    fn leave_ack(&self) {
        let acking = self.queue().begin_ack(self.id).unwrap();
        self.queue().leave_ack(acking);
    }

    /// Takes what waits, and counts it as dealt with.
    fn take(&self) -> Result<u8, Error> {
        let taken = self.queue().try_take(&Blocking, ANY)?;
        self.queue().task_done().map(|()| taken)
    }

    /// Does what the timer does.
    fn due(&self) {
        self.queue().due(Instant::now());
    }

    /// A person has asked for the event to be dropped.
    fn drop_as_asked(&self) -> Vec<u8> {
        self.registry.drop_as_asked("d", NewDelegation::FENCE)
    }

    /// Everybody says the same of the event.
    fn is_at(&self, stage: Stage) {
        assert_eq!(self.registry.stage("d"), Some(stage));
        assert_eq!(self.ledger.rows.delivery("d"), Some(Delivery::from(Some(stage))));
        let left = usize::from(stage.has_left());
        assert_eq!(counts(&self.registry), (1 - left, left));
        assert_eq!(self.queue().unfinished(), 1 - left);
    }

    /// So many of it have left by now; whoever comes next takes what is left.
    fn is_delivered_once(&self, so_far: usize) {
        let left = std::iter::from_fn(|| self.take().ok()).count();
        assert_eq!(so_far + left, 1);
        self.is_at(Stage::Delivered);
    }
}

/// It comes back, and whoever waits gets it; nobody gets it twice.
#[test]
fn f12_an_ack_that_is_not_written_beside_a_take_gives_its_event_to_one() {
    for writes in [false, true] {
        model(move || {
            let shared = shared(false);
            let writer = spawn(&shared, move |shared| shared.ledger.settle(writes));
            let taker = spawn(&shared, |shared| shared.take().is_ok());
            shared.leave_ack();
            writer.join().unwrap();
            let taken = taker.join().unwrap();
            // As its ack was not there yet, or was written by then.
            shared.ledger.settle(writes);
            shared.due();
            let swept = shared.queue().sweep().len();
            assert!(!(taken && swept > 0));
            shared.is_delivered_once(usize::from(taken) + swept);
        });
    }
}

/// The timer and whoever left the ack end it, one of them, however the write ends.
#[test]
fn f12_an_ack_that_is_left_alone_beside_the_timer_ends_once() {
    for writes in [false, true] {
        model(move || {
            let shared = shared(false);
            let timer = spawn(&shared, move |shared| {
                shared.ledger.settle(writes);
                shared.due();
            });
            shared.leave_ack();
            timer.join().unwrap();
            shared.ledger.settle(writes);
            shared.due();
            let swept = shared.queue().sweep().len();
            assert!(shared.queue().sweep().is_empty());
            shared.is_delivered_once(swept);
        });
    }
}

/// Another process had it, and gave it back: it is here under a new claim, and comes once.
#[test]
fn f12_an_ack_that_is_not_written_beside_a_restoration_delivers_once() {
    for writes in [false, true] {
        model(move || {
            let shared = shared(false);
            shared.leave_ack();
            shared.ledger.rows.lose("d");
            let writer = spawn(&shared, move |shared| {
                shared.ledger.settle(writes);
                shared.due();
            });
            let claim = shared.ledger.rows.adopt_one("d").unwrap();
            let restored = Restored {
                id: "d".into(),
                row: Some(RowHandle::new(shared.ledger.clone(), claim)),
                owner: owner(),
                state: State::Completed,
                attempts: 0,
                is_exclusive: false,
                payload: 2,
                event: EVENT,
            };
            let _ = shared.registry.restore(restored);
            writer.join().unwrap();
            // What left under the former claim was delivered by nobody here.
            shared.queue().sweep();
            shared.is_delivered_once(0);
        });
    }
}

/// What was acknowledged is delivered; what was not is dropped as it comes back, or where it waits.
#[test]
fn f40_an_ack_beside_an_asked_drop_delivers_or_drops() {
    for writes in [false, true] {
        model(move || {
            let shared = shared(false);
            let asker = spawn(&shared, Shared::drop_as_asked);
            let writer = spawn(&shared, move |shared| shared.ledger.settle(writes));
            shared.leave_ack();
            writer.join().unwrap();
            let mut gone = asker.join().unwrap();
            shared.ledger.settle(writes);
            shared.due();
            gone.extend(shared.queue().sweep());
            assert_eq!(gone, [EVENT]);
            let is_acked = shared.ledger.rows.delivery("d") == Some(Delivery::Delivered);
            shared.is_at(if is_acked { Stage::Delivered } else { Stage::Dropped });
        });
    }
}

#[test]
fn f40_what_is_given_back_beside_an_asked_drop_is_dropped() {
    for how in [Return::Nack, Return::Defer, Return::Drop] {
        model(move || {
            let shared = shared(false);
            let asker = spawn(&shared, Shared::drop_as_asked);
            assert!(shared.queue().give_back(shared.id, how, Duration::ZERO));
            let mut gone = asker.join().unwrap();
            gone.extend(shared.queue().sweep());
            assert_eq!(gone, [EVENT]);
            shared.is_at(Stage::Dropped);
        });
    }
}

#[test]
fn f40_the_end_of_a_lease_beside_an_asked_drop_drops() {
    model(|| {
        let shared = shared(true);
        let asker = spawn(&shared, Shared::drop_as_asked);
        shared.due();
        let mut gone = asker.join().unwrap();
        gone.extend(shared.queue().sweep());
        assert_eq!(gone, [EVENT]);
        shared.is_at(Stage::Dropped);
        assert!(shared.mailbox.collect(|_| ()).is_err());
    });
}

/// What runs here, and was taken for lost by another process, which tells of that.
struct Late {
    registry: Arc<Registry>,
    /// The other process's.
    other: Arc<Registry>,
    rows: Arc<Rows>,
}

fn late() -> Arc<Late> {
    let rows = Arc::new(Rows::default());
    let registry = running(1, Some(rows.clone()));
    rows.lose("d");
    let claim = rows.adopt_one("d").unwrap();
    let other = Registry::new(Arc::new(Queue::new(0)), 1);
    let lost = Restored {
        id: "d".into(),
        row: Some(RowHandle::new(rows.clone(), claim)),
        owner: owner(),
        state: State::Lost,
        attempts: 0,
        is_exclusive: false,
        payload: 2,
        event: EVENT,
    };
    assert!(other.restore(lost).is_ok());
    Arc::new(Late { registry, other, rows })
}

/// Its result comes, whether or not it was told as lost; the row is its, and waits for its ack.
#[test]
fn f38_a_late_result_beside_the_ack_of_its_loss_is_delivered() {
    model(|| {
        let late = late();
        let told = spawn(&late, |late| late.other.queue().try_take(&Blocking, of("a")));
        assert!(finish(&late.registry, State::Completed).is_some());
        // It was told before, or is no more.
        let _ = told.join().unwrap();
        assert_eq!(late.other.queue().try_take(&Blocking, ANY), Err(Error::Empty));
        assert_eq!(late.rows.delivery("d"), Some(Delivery::Pending));
        assert_eq!(late.registry.queue().try_take(&Blocking, of("a")), Ok(EVENT));
        assert_eq!(late.rows.delivery("d"), Some(Delivery::Delivered));
        assert_eq!(late.registry.stage("d"), Some(Stage::Delivered));
        assert_eq!(counts(&late.registry), (0, 1));
    });
}

/// A drop by hand of the loss is one of the result, if it comes first; else the result comes.
#[test]
fn f38_a_late_result_beside_a_drop_of_its_loss_comes_or_is_dropped() {
    model(|| {
        let late = late();
        let dropper = spawn(&late, |late| late.other.drop_event(&Blocking, "d"));
        let finished = finish(&late.registry, State::Completed).is_some();
        let (event, was_ours) = dropper.join().unwrap().unwrap();
        assert_eq!((event, was_ours), (Some(EVENT), !finished));
        let taken = late.registry.queue().try_take(&Blocking, ANY).is_ok();
        assert_eq!(taken, finished);
        let expected = if finished { Delivery::Delivered } else { Delivery::Dropped };
        assert_eq!(late.rows.delivery("d"), Some(expected));
        assert_eq!(
            late.registry.stage("d"),
            Some(if finished { Stage::Delivered } else { Stage::Dropped })
        );
    });
}
