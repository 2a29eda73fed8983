//! Delegations: their records, and the only ways a record may change.
//!
//! ```text
//! queued ──> running ──> completed | error | interrupted | timeout | stalled | lost
//!    └─────────────────> interrupted | timeout
//! ```
//!
//! One lock guards the table. Dispatch takes the permit and inserts the record under one hold of
//! it; the transition to a terminal state gives the permit back under another. A second end of the
//! same delegation changes nothing and is counted.
//!
//! Where a delegation has a ledger, it is written down beside: what starts before it runs, what
//! ended before its event can be seen. The lock is free meanwhile; whoever has to wait has the
//! receipt.

mod dispatch;
mod end;
mod observed;
mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::capacity::{Capacity, Permit};
use crate::event::{Owner, Selector};
use crate::ledger::{Hold, Home, Ledger, Receipt};
use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

pub use self::dispatch::{Dispatched, Refused, Request};
pub use self::end::Ending;
pub use self::state::{Delivery, State};

/// Under which name it logs, in all its parts.
const LOG: &str = "hermes_core::registry";

/// What is known of one delegation.
pub struct Record<P> {
    /// Its id.
    pub id: Arc<str>,
    /// Where it stands.
    pub state: State,
    /// Where its event stands.
    pub delivery: Delivery,
    /// Who asked for it.
    pub owner: Arc<Owner>,
    /// What the host keeps with it.
    pub payload: P,
    // Where it is written down, if it is, and the fence of our hold.
    ledger: Option<Arc<dyn Ledger>>,
    fence: u64,
    seq: u64,
    permit: Option<Permit>,
    keyed: Option<Box<Keyed>>,
    begun: bool,
    published: bool,
    // Puts of its event less takes. Counted, because they are told without a lock: a take may be
    // told before the put of what it took.
    in_queue: isize,
    waiters: Vec<Arc<Signal>>,
}

/// What a delegation has that was dispatched with a key.
struct Keyed {
    // Its entry among the keys.
    key: Box<str>,
    // What becomes of its row.
    receipt: Receipt,
}

impl<P> Record<P> {
    /// Where it is written down, if it is.
    pub fn home(&self) -> Option<Arc<Home>> {
        let hold = Hold { id: self.id.clone(), fence: self.fence };
        self.ledger.clone().map(|ledger| Arc::new(Home::new(ledger, hold)))
    }

    fn wake_waiters(&mut self) {
        self.published = true;
        for waiter in self.waiters.drain(..) {
            waiter.set();
        }
    }

    fn let_go(mut self) -> P {
        self.wake_waiters();
        self.payload
    }
}

/// How many delegations stand where, and what happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Running now.
    pub running: usize,
    /// Ended, their event not published yet.
    pub finalizing: usize,
    /// Ended, their event not taken yet.
    pub undelivered: usize,
    /// Ended, their event a dead letter.
    pub dead: usize,
    /// Ended, delivered, and kept for listing.
    pub retained: usize,
    /// Dispatched so far.
    pub dispatched: u64,
    /// Refused so far, for lack of capacity.
    pub refused: u64,
    /// Ends that came after the end, so far.
    pub discarded: u64,
}

/// Work that is not done yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveWork {
    /// Accepted, waiting for capacity.
    pub queued: usize,
    /// Running.
    pub running: usize,
    /// Ended, their event not published yet.
    pub finalizing: usize,
    /// Ended, their event not delivered yet.
    pub undelivered: usize,
}

/// What the registry's lock guards.
pub struct Table<P> {
    // On the heap: the map has room for twice as many.
    records: HashMap<Arc<str>, Box<Record<P>>>,
    // Delivered ones, oldest end first: the only ones that retention may drop.
    delivered: VecDeque<(Arc<str>, u64)>,
    // How many entries of `delivered` still stand for a delivered record.
    retained: usize,
    undelivered: usize,
    finalizing: usize,
    dead: usize,
    // Which delegation an owner dispatched with a key.
    keys: HashMap<Box<str>, Arc<str>>,
    next_seq: u64,
    stats: Stats,
}

/// The delegations of one process.
pub struct DelegationRegistry<P> {
    table: Guarded<Table<P>>,
    capacity: Capacity,
    retention: usize,
}

impl<P: 'static> Locked for DelegationRegistry<P> {
    type State = Table<P>;

    fn state(&self) -> &Guarded<Table<P>> {
        &self.table
    }
}

impl<P> DelegationRegistry<P> {
    /// An empty registry that keeps `retention` delivered records for listing.
    pub fn new(retention: usize) -> Self {
        let table = Table {
            records: HashMap::new(),
            delivered: VecDeque::new(),
            retained: 0,
            undelivered: 0,
            finalizing: 0,
            dead: 0,
            keys: HashMap::new(),
            next_seq: 0,
            stats: Stats::default(),
        };
        Self { table: Guarded(Lock::new(table)), capacity: Capacity::new(), retention }
    }

    /// How many delegations run, in O(1).
    pub fn running(&self) -> usize {
        self.capacity.running()
    }

    /// A worker is about to run it: whether it is the first to, and nothing if the dispatch was
    /// withdrawn or has ended.
    ///
    /// `is_it` tells the record from a later one that was given the same id.
    pub fn begin(&self, id: &str, is_it: impl FnOnce(&Record<P>) -> bool) -> Option<bool> {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(id).filter(|record| !record.state.is_terminal())?;
        if !is_it(record) {
            return None;
        }
        Some(!std::mem::replace(&mut record.begun, true))
    }

    /// Drops delivered records beyond retention and returns their payloads, for the caller to drop
    /// where dropping is safe. Never touches one that runs or whose event waits.
    pub fn prune(&self) -> Vec<P> {
        let mut table = self.table.0.lock();
        let mut dropped = Vec::new();
        while table.retained > self.retention {
            let Some((id, seq)) = table.delivered.pop_front() else { break };
            if table.is_delivered(&id, seq) {
                table.retained -= 1;
                dropped.extend(table.remove(&id).map(|record| record.let_go()));
            }
        }
        dropped
    }

    /// As [`Self::await_end`], for the calling thread.
    pub fn ended_signal(&self, id: &str) -> Option<Arc<Signal>> {
        let signal = Arc::new(Signal::for_this_thread());
        self.await_end(id, &signal).then_some(signal)
    }

    /// Asks for `signal` to be set when a delegation's event is published; false if it is, or if
    /// nothing is known of it. Who drops the signal waits no more.
    pub fn await_end(&self, id: &str, signal: &Arc<Signal>) -> bool {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(id).filter(|record| !record.published);
        let Some(record) = record else { return false };
        // Only before the list would grow, so that many waiters cost no more each than a few.
        if record.waiters.len() == record.waiters.capacity() {
            record.waiters.retain(|waiter| Arc::strong_count(waiter) > 1);
        }
        record.waiters.push(signal.clone());
        true
    }

    /// What `read` makes of one record.
    ///
    /// It runs under the lock: it may copy references, and must not call back or drop a payload.
    pub fn with<R>(&self, id: &str, read: impl FnOnce(&Record<P>) -> R) -> Option<R> {
        self.table.0.lock().records.get(id).map(|record| read(record))
    }

    /// What `read` makes of each record it keeps, in the order of dispatch; under the lock as in
    /// [`Self::with`].
    pub fn select<R>(&self, mut read: impl FnMut(&Record<P>) -> Option<R>) -> Vec<R> {
        let table = self.table.0.lock();
        let mut found: Vec<_> = table
            .records
            .values()
            .filter_map(|record| read(record).map(|value| (record.seq, value)))
            .collect();
        drop(table);
        found.sort_unstable_by_key(|(seq, _)| *seq);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// The running delegations of the owners selected, in the order of dispatch.
    ///
    /// With `all_fields` every given field must match, without it any (0.19.0:
    /// `interrupt_for_session`).
    pub fn running_of<R>(
        &self,
        selector: &Selector,
        all_fields: bool,
        mut read: impl FnMut(&Record<P>) -> R,
    ) -> Vec<R> {
        self.select(|record| {
            let chosen = match all_fields {
                true => selector.matches_all(&record.owner),
                false => selector.matches_any(&record.owner),
            };
            (chosen && !record.state.is_terminal()).then(|| read(record))
        })
    }

    /// The work that is not done yet, of the owners selected, or of all with an empty selector.
    pub fn live_work(&self, selector: &Selector) -> LiveWork {
        let mut live = LiveWork::default();
        let everybody = *selector == Selector::default();
        for record in self.table.0.lock().records.values() {
            if !everybody && !selector.matches_all(&record.owner) {
                continue;
            }
            match (record.state, record.delivery) {
                (State::Queued, _) => live.queued += 1,
                (State::Running, _) => live.running += 1,
                (_, Delivery::NotYet) => live.finalizing += 1,
                (_, Delivery::Pending) => live.undelivered += 1,
                (_, _) => {}
            }
        }
        live
    }

    /// The counts, in O(1).
    pub fn stats(&self) -> Stats {
        let table = self.table.0.lock();
        Stats {
            running: self.running(),
            undelivered: table.undelivered,
            finalizing: table.finalizing,
            dead: table.dead,
            retained: table.retained,
            ..table.stats
        }
    }

    /// Forgets everything; runners that still run end unheard. Returns the payloads, to be dropped
    /// where dropping is safe.
    pub fn clear(&self) -> Vec<P> {
        self.table.0.lock().clear()
    }

    /// Shows every payload to `visit`, unless the lock is held. For the garbage collector: `visit`
    /// must neither call back nor block.
    pub fn try_visit<E>(&self, mut visit: impl FnMut(&P) -> Result<(), E>) -> Result<(), E> {
        match self.table.0.try_lock() {
            Some(table) => table.records.values().try_for_each(|record| visit(&record.payload)),
            None => Ok(()),
        }
    }
}

impl<P> Table<P> {
    fn record_of(&mut self, id: &str, seq: u64) -> Option<&mut Record<P>> {
        self.records.get_mut(id).map(|record| &mut **record).filter(|record| record.seq == seq)
    }

    fn remove(&mut self, id: &str) -> Option<Box<Record<P>>> {
        let record = self.records.remove(id)?;
        if let Some(keyed) = &record.keyed {
            self.keys.remove(&keyed.key);
        }
        Some(record)
    }

    fn is_delivered(&self, id: &str, seq: u64) -> bool {
        self.records.get(id).is_some_and(|record| record.seq == seq && record.delivery.is_over())
    }

    /// Empties the table, as for a forked child; permits go back as their records go.
    pub fn clear(&mut self) -> Vec<P> {
        self.delivered.clear();
        self.retained = 0;
        (self.undelivered, self.finalizing, self.dead) = (0, 0, 0);
        self.keys.clear();
        self.stats = Stats::default();
        self.records.drain().map(|(_, record)| record.let_go()).collect()
    }
}

#[cfg(test)]
mod tests;
