//! A ledger for models: rows in memory, written at once, or when a model's writer comes to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use hermes_core::error::Error;
use hermes_core::event::Owner;
use hermes_core::ledger::receipt::Promise;
use hermes_core::ledger::{
    Claim, Health, Ledger, Millis, NewDelegation, Notice, Outcome, Receipt, Row, Which, Write,
};
use hermes_core::state::Delivery;
use hermes_core::sync::signal::Signal;
use hermes_core::sync::wait::Wait;
use loom::sync::{Condvar, Mutex};

/// What is known of a delegation.
struct Kept {
    owner: Arc<Owner>,
    key: Option<Box<str>>,
    fence: u64,
    is_held: bool,
    // It was taken over while it ran.
    is_lost: bool,
    delivery: Delivery,
}

/// Rows that are written by whoever submits a write.
#[derive(Default)]
pub(crate) struct Rows {
    rows: Mutex<BTreeMap<Arc<str>, Kept>>,
    is_busy: bool,
}

impl Rows {
    /// Rows that nothing can be added to.
    pub(crate) fn busy() -> Self {
        Self { is_busy: true, ..Self::default() }
    }

    /// Where the event of a row stands; `None` if there is no such row.
    pub(crate) fn delivery(&self, id: &str) -> Option<Delivery> {
        self.rows.lock().unwrap().get(id).map(|kept| kept.delivery)
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.lock().unwrap().len()
    }

    /// Another instance has taken the row over, and let go of it; where its event stood.
    pub(crate) fn lose(&self, id: &str) -> Delivery {
        let mut rows = self.rows.lock().unwrap();
        let kept = rows.get_mut(id).unwrap();
        (kept.fence, kept.is_held) = (kept.fence + 1, false);
        kept.delivery
    }

    /// Takes a row over that nobody holds, and whose event waits, or that ran: it is lost.
    pub(crate) fn adopt_one(&self, id: &str) -> Option<Claim> {
        let mut rows = self.rows.lock().unwrap();
        let kept = rows.get_mut(id)?;
        if kept.is_held || !matches!(kept.delivery, Delivery::Pending | Delivery::NotYet) {
            return None;
        }
        kept.is_lost |= kept.delivery == Delivery::NotYet;
        kept.delivery = Delivery::Pending;
        (kept.fence, kept.is_held) = (kept.fence + 1, true);
        Some(Claim { id: id.into(), fence: kept.fence })
    }

    fn apply(&self, write: Write) -> Result<Outcome, Error> {
        let mut rows = self.rows.lock().unwrap();
        if let Write::Finish { claim, .. } = &write
            && let Some(kept) = rows.get_mut(&claim.id)
            && kept.is_lost
            && kept.fence > claim.fence
            && kept.delivery != Delivery::Dropped
        {
            (kept.fence, kept.is_held) = (kept.fence + 1, true);
            kept.delivery = Delivery::Pending;
            return Ok(Outcome::Late { fence: kept.fence, is_parked: false });
        }
        let mut change = |claim: &Claim, from: &[Delivery], next: Delivery, is_held: bool| {
            let kept = rows.get_mut(&claim.id);
            let kept =
                kept.filter(|kept| kept.fence == claim.fence && from.contains(&kept.delivery));
            let Some(kept) = kept else { return Ok(Outcome::Fenced) };
            (kept.delivery, kept.is_held) = (next, is_held);
            Ok(Outcome::Done)
        };
        // What its holder has in hand, also when it was parked meanwhile.
        const IN_HAND: [Delivery; 2] = [Delivery::Pending, Delivery::Parked];
        match write {
            Write::Dispatch(_) if self.is_busy => Err(Error::LedgerBusy { path: String::new() }),
            Write::Dispatch(new) => {
                let same = |kept: &&Arc<str>| {
                    let kept = &rows[*kept];
                    kept.key.is_some() && kept.key == new.idempotency_key && kept.owner == new.owner
                };
                if let Some(id) = rows.keys().find(same) {
                    return Ok(Outcome::Exists((**id).into()));
                }
                if rows.contains_key(&new.id) {
                    return Err(Error::DuplicateId { id: (*new.id).to_owned() });
                }
                let NewDelegation { id, owner, idempotency_key: key, .. } = new;
                let (fence, delivery) = (NewDelegation::FENCE, Delivery::NotYet);
                let (is_held, is_lost) = (true, false);
                rows.insert(id, Kept { owner, key, fence, is_held, is_lost, delivery });
                Ok(Outcome::Done)
            }
            Write::Begin(claim) => change(&claim, &[Delivery::NotYet], Delivery::NotYet, true),
            Write::Withdraw(claim) => {
                let is_it = rows.get(&claim.id).is_some_and(|kept| kept.fence == claim.fence);
                rows.retain(|id, _| !is_it || *id != claim.id);
                Ok(if is_it { Outcome::Done } else { Outcome::Fenced })
            }
            Write::Finish { claim, .. } => {
                change(&claim, &[Delivery::NotYet], Delivery::Pending, true)
            }
            Write::Ack(claim) => change(&claim, &IN_HAND, Delivery::Delivered, false),
            Write::Drop(claim) => change(&claim, &IN_HAND, Delivery::Dropped, false),
            Write::Reopen(claim) => change(&claim, &[Delivery::Delivered], Delivery::Pending, true),
            Write::Bury { claim, .. } => {
                change(&claim, &[Delivery::Pending], Delivery::Dead, false)
            }
            Write::GiveBack(claim) => {
                change(&claim, &[Delivery::Pending], Delivery::Pending, false)
            }
            Write::Park(claim) => change(&claim, &[Delivery::Pending], Delivery::Parked, false),
            Write::NewEpoch(session_key) => {
                for kept in rows.values_mut().filter(|kept| *kept.owner.session_key == *session_key)
                {
                    if matches!(kept.delivery, Delivery::NotYet | Delivery::Pending) {
                        kept.is_held &= kept.delivery == Delivery::NotYet;
                        kept.delivery = Delivery::Parked;
                    }
                }
                Ok(Outcome::Done)
            }
            Write::Attempts { .. } => Ok(Outcome::Done),
            other => panic!("no model writes {other:?}"),
        }
    }
}

impl Ledger for Rows {
    fn submit(&self, write: Write) -> Receipt {
        Receipt::known(self.apply(write))
    }

    fn read(&self, _: Which<'_>) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
    }

    fn adopt(&self, _: &[&str]) -> Result<Vec<Row>, Error> {
        Ok(Vec::new())
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

/// Rows that a thread of their own writes, in its time.
#[derive(Default)]
pub(crate) struct SlowRows {
    pub(crate) rows: Rows,
    // What waits for it, and whether nothing more will come.
    waiting: Mutex<(VecDeque<(Write, Promise)>, bool)>,
    changed: Condvar,
}

impl SlowRows {
    /// Writes what comes until [`Self::end`].
    pub(crate) fn run(&self) {
        loop {
            let mut waiting = self.waiting.lock().unwrap();
            while waiting.0.is_empty() && !waiting.1 {
                waiting = self.changed.wait(waiting).unwrap();
            }
            let Some((write, promise)) = waiting.0.pop_front() else { return };
            drop(waiting);
            promise.answer(self.rows.apply(write));
        }
    }

    /// Nothing more comes.
    pub(crate) fn end(&self) {
        self.waiting.lock().unwrap().1 = true;
        self.changed.notify_one();
    }
}

impl Ledger for SlowRows {
    fn submit(&self, write: Write) -> Receipt {
        let (receipt, promise) = Receipt::pending();
        self.waiting.lock().unwrap().0.push_back((write, promise));
        self.changed.notify_one();
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

/// Blocks the calling thread, and has all the time there is: a model has no clock, so that
/// [`Blocking`](hermes_core::sync::wait::Blocking) finds every deadline over.
pub(crate) struct Patient;

impl Wait for Patient {
    type Error = Error;

    fn error(&self, error: Error) -> Error {
        error
    }

    fn wait(&self, signal: &Signal, _: Option<Instant>) -> Result<bool, Error> {
        Ok(signal.wait_until(None))
    }

    fn block<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}
