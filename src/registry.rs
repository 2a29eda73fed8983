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

mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::capacity::{Capacity, Permit};
use crate::error::Error;
use crate::event::{Owner, Selector};
use crate::queue::DeliveryObserver;
use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

pub use self::state::{Delivery, State};

/// What is known of one delegation.
#[derive(Debug)]
pub struct Record<P> {
    /// Its id.
    pub id: Arc<str>,
    /// Where it stands.
    pub state: State,
    /// Where its event stands.
    pub delivery: Delivery,
    /// Who asked for it.
    pub owner: Owner,
    /// What the host keeps with it.
    pub payload: P,
    seq: u64,
    permit: Option<Permit>,
    begun: bool,
    published: bool,
    // Puts of its event less takes. Counted, because they are told without a lock: a take may be
    // told before the put of what it took.
    in_queue: isize,
    waiters: Vec<Arc<Signal>>,
}

impl<P> Record<P> {
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
    /// Ended, their event not taken yet.
    pub undelivered: usize,
    /// Ended, delivered, and kept for listing.
    pub retained: usize,
    /// Dispatched so far.
    pub dispatched: u64,
    /// Refused so far, for lack of capacity.
    pub refused: u64,
    /// Ends that came after the end, so far.
    pub discarded: u64,
}

/// A refused dispatch: the payload comes back with the reason.
#[derive(Debug)]
pub struct Refused<P> {
    /// What was to be recorded.
    pub payload: P,
    /// Why it was not.
    pub error: Error,
}

/// What the registry's lock guards.
pub struct Table<P> {
    records: HashMap<Arc<str>, Record<P>>,
    // Delivered ones, oldest end first: the only ones that retention may drop.
    delivered: VecDeque<(Arc<str>, u64)>,
    // How many entries of `delivered` still stand for a delivered record.
    retained: usize,
    undelivered: usize,
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
            next_seq: 0,
            stats: Stats::default(),
        };
        Self { table: Guarded(Lock::new(table)), capacity: Capacity::new(), retention }
    }

    /// How many delegations run, in O(1).
    pub fn running(&self) -> usize {
        self.capacity.running()
    }

    /// Takes a permit and records a running delegation, or hands the payload back.
    ///
    /// `limit` is how many may run, `elsewhere` how many run in another registry under the same
    /// limit. Without an `id` one is made: `deleg_` and 64 random bits in hex.
    ///
    /// # Errors
    /// [`Error::AtCapacity`] or [`Error::DuplicateId`], with the payload.
    pub fn dispatch(
        &self,
        id: Option<&str>,
        limit: usize,
        elsewhere: usize,
        owner: Owner,
        payload: P,
    ) -> Result<Arc<str>, Refused<P>> {
        let mut table = self.table.0.lock();
        if let Some(id) = id.filter(|id| table.records.contains_key(*id)) {
            let error = Error::DuplicateId { id: id.to_owned() };
            return Err(Refused { payload, error });
        }
        let permit = match self.capacity.try_acquire(limit, elsewhere) {
            Ok(permit) => permit,
            Err(error) => {
                table.stats.refused += 1;
                drop(table);
                tracing::info!(%error, "dispatch refused");
                return Err(Refused { payload, error });
            }
        };
        let id: Arc<str> = match id {
            Some(id) => id.into(),
            None => table.fresh_id(),
        };
        let session_key = tracing::enabled!(tracing::Level::INFO)
            .then(|| owner.session_key.clone())
            .unwrap_or_default();
        let seq = table.next_seq;
        table.next_seq += 1;
        table.stats.dispatched += 1;
        let record = Record {
            id: id.clone(),
            state: State::Running,
            delivery: Delivery::NotYet,
            owner,
            payload,
            seq,
            permit: Some(permit),
            begun: false,
            published: false,
            in_queue: 0,
            waiters: Vec::new(),
        };
        table.records.insert(id.clone(), record);
        drop(table);
        tracing::info!(id = &*id, session_key, "delegation dispatched");
        Ok(id)
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

    /// Takes back a dispatch that no worker has begun, as if it had not been: the caller is told
    /// "rejected", so no end is published. The record is the one that `is_it` knows, for a dispatch
    /// that was interrupted may not have learnt its id. `None` if there is none such.
    pub fn withdraw(&self, mut is_it: impl FnMut(&Record<P>) -> bool) -> Option<P> {
        let mut table = self.table.0.lock();
        let id = table
            .records
            .values()
            .find(|record| !record.begun && !record.state.is_terminal() && is_it(record))
            .map(|record| record.id.clone())?;
        let record = table.records.remove(&id)?;
        table.stats.dispatched -= 1;
        drop(table);
        tracing::info!(id = &*id, "delegation withdrawn before it began");
        Some(record.let_go())
    }

    /// Moves a delegation to a terminal state, once, and has `publish` put its event.
    ///
    /// The permit is given back before the event can be seen, and whoever waits for the end is
    /// woken after. `false` means that it had ended, or was never known: nothing is published, the
    /// late result is to be discarded.
    pub fn finish(&self, id: &str, state: State, publish: impl FnOnce()) -> bool {
        self.finish_if(id, state, |_| true, publish)
    }

    /// As [`Self::finish`], for the record that `is_it` knows: another may have the same id by now.
    pub fn finish_if(
        &self,
        id: &str,
        state: State,
        is_it: impl FnOnce(&Record<P>) -> bool,
        publish: impl FnOnce(),
    ) -> bool {
        let mut table = self.table.0.lock();
        let ended = match table.records.get_mut(id) {
            Some(record)
                if record.state.may_become(state) && state.is_terminal() && is_it(record) =>
            {
                record.state = state;
                record.delivery = Delivery::Pending;
                record.permit = None;
                record.in_queue = record.in_queue.max(0) + 1;
                let seq = record.seq;
                table.undelivered += 1;
                Some(seq)
            }
            _ => {
                table.stats.discarded += 1;
                None
            }
        };
        drop(table);
        let Some(seq) = ended else {
            tracing::warn!(id, state = state.name(), "late end discarded");
            return false;
        };
        publish();
        // The record may be gone by now, and its id given out again.
        let mut table = self.table.0.lock();
        if let Some(record) = table.records.get_mut(id).filter(|record| record.seq == seq) {
            record.wake_waiters();
        }
        drop(table);
        tracing::debug!(id, state = state.name(), "delegation ended");
        true
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
                dropped.extend(table.records.remove(&id).map(Record::let_go));
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
        self.table.0.lock().records.get(id).map(read)
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

    /// The counts, in O(1).
    pub fn stats(&self) -> Stats {
        let table = self.table.0.lock();
        Stats {
            running: self.running(),
            undelivered: table.undelivered,
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
    fn fresh_id(&self) -> Arc<str> {
        loop {
            let bits = getrandom::u64().expect("the operating system gives random bits");
            let id = format!("deleg_{bits:016x}");
            if !self.records.contains_key(id.as_str()) {
                return id.into();
            }
        }
    }

    fn is_delivered(&self, id: &str, seq: u64) -> bool {
        self.records.get(id).is_some_and(|record| record.seq == seq && record.delivery.is_over())
    }

    /// Empties the table, as for a forked child; permits go back as their records go.
    pub fn clear(&mut self) -> Vec<P> {
        self.delivered.clear();
        self.retained = 0;
        self.undelivered = 0;
        self.stats = Stats::default();
        self.records.drain().map(|(_, record)| record.let_go()).collect()
    }
}

impl<P> DelegationRegistry<P> {
    fn left(&self, delegation_id: &str, delivery: Delivery) {
        let mut table = self.table.0.lock();
        let Some(record) = table.records.get_mut(delegation_id) else { return };
        record.in_queue -= 1;
        if record.delivery != Delivery::Pending || record.in_queue > 0 {
            return;
        }
        record.delivery = delivery;
        let entry = (record.id.clone(), record.seq);
        table.undelivered -= 1;
        table.retained += 1;
        table.delivered.push_back(entry);
    }
}

impl<P: Send> DeliveryObserver for DelegationRegistry<P> {
    fn taken(&self, delegation_id: &str) {
        self.left(delegation_id, Delivery::Delivered);
    }

    fn dropped(&self, delegation_id: &str) {
        self.left(delegation_id, Delivery::Dropped);
    }

    fn returned(&self, delegation_id: &str) {
        let mut table = self.table.0.lock();
        let Some(record) = table.records.get_mut(delegation_id) else { return };
        record.in_queue += 1;
        if !record.delivery.is_over() || record.in_queue <= 0 {
            return;
        }
        record.delivery = Delivery::Pending;
        table.undelivered += 1;
        table.retained -= 1;
        // An event that circulates would grow the list by one entry a round.
        let newest = table.delivered.back().is_some_and(|(id, _)| &**id == delegation_id);
        if newest {
            table.delivered.pop_back();
        } else if table.delivered.len() > 2 * (table.retained + 64) {
            let mut delivered = std::mem::take(&mut table.delivered);
            let mut seen = std::collections::HashSet::new();
            delivered.retain(|(id, seq)| table.is_delivered(id, *seq) && seen.insert(*seq));
            table.delivered = delivered;
        }
    }
}

#[cfg(test)]
mod tests;
