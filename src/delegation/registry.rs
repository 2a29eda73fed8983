//! The registry: a table of records, and the looks at it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use super::capacity::Capacity;
use super::ids::Ids;
use super::line::{Line, Waiting};
use super::record::{Place, Record};
use crate::event::Selector;
use crate::ledger::Write;
use crate::memory::{NoMemory, Room};
use crate::queue::{CompletionQueue, Directory, Handle, Tally};
use crate::state::{Delivery, Stage, State};
use crate::sync::signal::Signal;
use crate::sync::{Forked, Guarded, Lock, Locked};

/// Under which name it logs, in all its parts.
pub(super) const LOG: &str = "hermes_core::registry";

/// How many delegations stand where, and what happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Accepted, waiting for capacity.
    pub queued: usize,
    /// Running now.
    pub running: usize,
    /// Ended, their event not published yet.
    pub finalizing: usize,
    /// Ended, their event not delivered yet.
    pub undelivered: usize,
    /// Ended, their event a dead letter.
    pub dead: usize,
    /// Ended, their event parked.
    pub parked: usize,
    /// Ended, delivered, and kept for listing.
    pub retained: usize,
    /// Dispatched so far.
    pub dispatched: u64,
    /// Refused so far, for lack of capacity.
    pub refused: u64,
    /// Ends that came after the end, so far.
    pub discarded: u64,
    /// Deliveries of its queue that were dropped unsettled, so far.
    pub unsettled: u64,
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
    pub(super) records: HashMap<Arc<str>, Box<Record<P>>, foldhash::fast::RandomState>,
    // Those whose event has left, the oldest first: the only ones that retention may drop. One that
    // came back since is passed over, and comes in again when it leaves.
    left: VecDeque<Weak<Handle>>,
    // Where each event stands, counted; the events of a cleared table count elsewhere.
    pub(super) tally: Arc<Tally>,
    /// Which delegation an owner dispatched with a key.
    pub(super) keys: HashMap<Arc<str>, Arc<str>, foldhash::fast::RandomState>,
    pub(super) ids: Ids,
    pub(super) line: Line,
    next_seq: u64,
    pub(super) stats: Stats,
}

/// The delegations of one process, and the queue that their events go to.
pub struct DelegationRegistry<P, T> {
    pub(super) table: Guarded<Table<P>>,
    pub(super) capacity: Capacity,
    pub(super) queue: Arc<CompletionQueue<T>>,
    retention: usize,
}

impl<P: 'static, T> Locked for DelegationRegistry<P, T> {
    type State = Table<P>;

    fn state(&self) -> &Guarded<Table<P>> {
        &self.table
    }
}

impl<P: 'static, T> Forked for DelegationRegistry<P, T> {
    type Kept = P;

    fn reset(table: &mut Table<P>) -> Vec<P> {
        table.clear().into_iter().map(|record| record.let_go()).collect()
    }
}

impl<P: Send, T: Send> Directory for DelegationRegistry<P, T> {
    fn find(&self, id: &str) -> Option<Arc<Handle>> {
        self.handle(id).filter(|handle| handle.stage().is_some())
    }
}

impl<P: Send + 'static, T: Send + 'static> DelegationRegistry<P, T> {
    /// An empty registry that keeps `retention` delivered records for listing.
    pub fn new(queue: Arc<CompletionQueue<T>>, retention: usize) -> Arc<Self> {
        let table = Table {
            records: HashMap::default(),
            left: VecDeque::new(),
            tally: Arc::default(),
            keys: HashMap::default(),
            ids: Ids::default(),
            line: Line::default(),
            next_seq: 0,
            stats: Stats::default(),
        };
        let (table, capacity) = (Guarded(Lock::new(table)), Capacity::new());
        let registry = Arc::new(Self { table, capacity, queue, retention });
        let directory: Weak<Self> = Arc::downgrade(&registry);
        registry.queue.serve(directory);
        registry
    }
}

impl<P, T> DelegationRegistry<P, T> {
    /// How many delegations run, in O(1).
    pub fn running(&self) -> usize {
        self.capacity.running()
    }

    /// A worker is about to run it: whether it is the first to, and nothing if the dispatch was
    /// withdrawn, has ended, or waits for capacity.
    ///
    /// `is_it` tells the record from a later one that was given the same id.
    pub fn begin(&self, id: &str, is_it: impl FnOnce(&P) -> bool) -> Option<bool> {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(id).filter(|record| record.state == State::Running)?;
        if !is_it(&record.payload) {
            return None;
        }
        Some(!std::mem::replace(&mut record.begun, true))
    }

    /// What `share` makes of the next one whose turn has come, and that a worker is to begin; under the
    /// lock as in [`Self::with`]. Each is given once, the oldest first.
    pub fn next_started<R>(&self, share: impl FnOnce(&Record<P>) -> R) -> Option<R> {
        let mut table = self.table.0.lock();
        let handle = table.line.take_started()?;
        table.record_of(&handle).map(|record| share(record))
    }

    /// How many of them there are.
    pub fn started(&self) -> usize {
        self.table.0.lock().line.started()
    }

    /// Sets how many permits there are, for those that wait. Returns how many workers are to be told.
    pub fn set_limit(&self, limit: usize) -> usize {
        let mut table = self.table.0.lock();
        table.line.limit = limit;
        table.fill(&self.capacity)
    }

    /// Takes one out of the line that waits for capacity, for the caller to end; false if it does not
    /// wait any more. It does not run after that.
    pub fn leave_line(&self, id: &str, is_it: impl FnOnce(&P) -> bool) -> bool {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(id);
        let waits = |record: &&mut Box<Record<P>>| record.state == State::Queued;
        let Some(record) = record.filter(waits).filter(|record| is_it(&record.payload)) else {
            return false;
        };
        let place = std::mem::take(&mut record.place);
        let handle = record.handle.clone();
        table.make_room(&self.capacity, &handle, place);
        true
    }

    /// Where one stands that waits for capacity: 1 is the next. None before its row is written.
    pub fn position(&self, id: &str) -> Option<usize> {
        let table = self.table.0.lock();
        let record = table.records.get(id)?;
        table.line.position(&record.handle)
    }

    /// Drops delivered records beyond retention and returns their payloads, for the caller to drop
    /// where dropping is safe. Never touches one that runs or whose event waits.
    pub fn prune(&self) -> Vec<P> {
        let mut table = self.table.0.lock();
        let left = table.tally.take_left();
        table.left.extend(left);
        let mut dropped = Vec::new();
        let mut handles = Vec::new();
        while table.retained() > self.retention {
            let Some(handle) = table.left.pop_front() else { break };
            let Some(handle) = handle.upgrade() else { continue };
            if handle.detach_if_left() {
                dropped.extend(table.remove(&handle));
            }
            handles.push(handle);
        }
        drop(table);
        dropped.into_iter().map(|record| record.let_go()).collect()
    }

    /// Forgets a delegation whose event has left, before retention does; returns its payload, for the
    /// caller to drop where dropping is safe.
    pub fn forget(&self, id: &str) -> Option<P> {
        let mut table = self.table.0.lock();
        let handle = table.records.get(id).map(|record| record.handle.clone())?;
        let has_left = handle.stage().is_some_and(Stage::has_left) && handle.detach_if_left();
        let record = has_left.then(|| table.remove(&handle)).flatten();
        drop(table);
        record.map(|record| record.let_go())
    }

    /// The queue that the events go to.
    pub fn queue(&self) -> &Arc<CompletionQueue<T>> {
        &self.queue
    }

    pub(super) fn handle(&self, id: &str) -> Option<Arc<Handle>> {
        self.table.0.lock().records.get(id).map(|record| record.handle.clone())
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
        let record = table.records.get_mut(id).filter(|record| record.handle.stage().is_none());
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

    /// The delegations of the owners selected that run or wait for capacity, in the order of dispatch.
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
                true => selector.matches_all(record.owner()),
                false => selector.matches_any(record.owner()),
            };
            (chosen && !record.state.is_terminal()).then(|| read(record))
        })
    }

    /// The work that is not done yet, of the owners selected, or of all with an empty selector.
    pub fn live_work(&self, selector: &Selector) -> LiveWork {
        let mut live = LiveWork::default();
        let everybody = *selector == Selector::default();
        for record in self.table.0.lock().records.values() {
            if !everybody && !selector.matches_all(record.owner()) {
                continue;
            }
            match (record.state, record.delivery()) {
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
        let unsettled = self.queue.unsettled();
        let table = self.table.0.lock();
        let tally = &table.tally;
        let unfinished = Stage::ALL.into_iter().filter(|stage| stage.is_unfinished());
        Stats {
            queued: table.line.len(),
            running: self.running(),
            undelivered: unfinished.map(|stage| tally.at(stage)).sum(),
            finalizing: tally.ended(),
            dead: tally.at(Stage::Dead),
            parked: tally.at(Stage::Parked),
            retained: table.retained(),
            unsettled,
            ..table.stats
        }
    }

    /// Forgets everything; runners that still run end unheard, and their rows are lost, for whoever may
    /// have them. Returns the payloads, to be dropped where dropping is safe.
    pub fn clear(&self) -> Vec<P> {
        let records = self.table.0.lock().clear();
        for record in records.iter().filter(|record| !record.state.is_terminal()) {
            if let Some(row) = record.handle.row() {
                row.submit(Write::GiveBack);
            }
        }
        records.into_iter().map(|record| record.let_go()).collect()
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
    /// Has room for one more record, with a key if it `is_keyed`; and for every one to be listed as
    /// its event leaves.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn room_for(&mut self, is_keyed: bool) -> Result<(), NoMemory> {
        self.records.room_for(1)?;
        if is_keyed {
            self.keys.room_for(1)?;
        }
        self.left.room_for((self.records.len() + 1).saturating_sub(self.left.len()))
    }

    /// Adds a record, as the newest.
    pub(super) fn insert(&mut self, record: Record<P>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.records.insert(record.id().clone(), Box::new(Record { seq, ..record }));
    }

    /// A place is free, perhaps: of one that has ended or is taken back, or that has left the line.
    /// Whoever waits gets it. Returns how many workers are to be told.
    pub(super) fn make_room(
        &mut self,
        capacity: &Capacity,
        handle: &Arc<Handle>,
        place: Place,
    ) -> usize {
        match place {
            Place::Nowhere => {}
            Place::Coming(_) => self.line.expect_no_more(),
            Place::Line => self.line.remove(handle),
        }
        if self.line.started() > 0 {
            self.line.forget_started(handle);
        }
        self.fill(capacity)
    }

    /// Has those run who wait, as long as there is room for the next. Returns how many workers are to
    /// be told.
    pub(super) fn fill(&mut self, capacity: &Capacity) -> usize {
        while let Some(&Waiting { permits, .. }) = self.line.next() {
            let limit = match self.line.limit {
                0 => 0,
                // There may be fewer permits by now than it asked for: then it runs alone.
                limit => limit.max(permits as usize),
            };
            let Ok(permit) = capacity.try_acquire(limit, 0, permits) else { break };
            let Some(Waiting { handle, .. }) = self.line.pop() else { break };
            let Some(record) = self.record_of(&handle) else { continue };
            debug_assert!(record.state.may_become(State::Running));
            record.state = State::Running;
            record.place = Place::Nowhere;
            record.permit = Some(permit);
            self.line.start(handle);
        }
        self.line.started()
    }

    /// The record of this very delegation: another may have the same id by now.
    pub(super) fn record_of(&mut self, handle: &Arc<Handle>) -> Option<&mut Record<P>> {
        let record = self.records.get_mut(&**handle.id()).map(|record| &mut **record);
        record.filter(|record| Arc::ptr_eq(&record.handle, handle))
    }

    /// Takes the record of this very delegation out; it is to be let go without the lock.
    pub(super) fn remove(&mut self, handle: &Arc<Handle>) -> Option<Box<Record<P>>> {
        self.record_of(handle)?;
        let record = self.records.remove(&**handle.id())?;
        if let Some(keyed) = &record.keyed {
            self.keys.remove(&keyed.key);
        }
        Some(record)
    }

    fn retained(&self) -> usize {
        self.tally.at(Stage::Delivered) + self.tally.at(Stage::Dropped)
    }

    /// Empties the table, as for a forked child; permits go back as their records go.
    fn clear(&mut self) -> Vec<Box<Record<P>>> {
        self.left.clear();
        self.tally = Arc::default();
        self.keys.clear();
        self.ids = Ids::default();
        self.line.clear();
        self.stats = Stats::default();
        self.records.drain().map(|(_, record)| record).collect()
    }
}
