//! Leases: an event handed out stays the queue's until its consumer says what became of it.
//!
//! ```text
//! waiting ──take──> leased ──ack──> gone
//!    ^                │ nack, expiry: an attempt was made
//!    └────────────────┘ defer: none was
//! ```
//!
//! A leased event keeps its slot and its place in the order. A lease has a number of its own, so
//! what a consumer says after the end of its lease changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::fifo::Taken;
use super::letters::Buried;
use super::mailbox::is_stale;
use super::observer::{Observers, notify};
use super::settle::is_acked;
use super::{CompletionQueue, State};
use crate::ledger::Home;
use crate::timer::{self, Due};

/// What names a lease: the event's slot, and the number that tells it from others of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    slot: u32,
    number: u64,
}

/// An event under a lease.
#[derive(Debug)]
pub struct Leased<R> {
    /// What the queue showed of it.
    pub item: R,
    /// The lease, for what is said of it later.
    pub id: LeaseId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    pub(super) home: Option<Arc<Home>>,
}

impl<R> Leased<R> {
    /// Has the ledger count it; no lock is held.
    pub(super) fn counted(self) -> Self {
        if let Some(home) = &self.home {
            home.count_attempts(self.attempt);
        }
        self
    }
}

/// How an acknowledgement begins.
#[derive(Debug)]
pub enum Acked<T> {
    /// The lease had ended: it changes nothing.
    NotHeld,
    /// The event has left.
    Gone(T),
    /// It is kept, for this consumer alone, until the ledger says so: then
    /// [`CompletionQueue::finish_ack`].
    Writing {
        /// Its lease from now on.
        id: LeaseId,
        /// Where `Write::Ack` is to be written first.
        home: Arc<Home>,
    },
}

/// How a lease ends without an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Delivery was tried and failed.
    Nack,
    /// It could not be tried: that is no attempt.
    Defer,
}

#[derive(Debug)]
struct Lease {
    number: u64,
    due: Option<Instant>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A consumer has it.
    Attempt {
        /// Whether there is to be no other if this one fails.
        is_last: bool,
    },
    /// It was given back and is to wait before the next attempt; nobody knows the number.
    Pause,
    /// It was delivered, and the ledger has yet to say so.
    Ack,
}

/// The leases of a queue, and when they end by themselves.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_slot: HashMap<u32, Lease, foldhash::fast::RandomState>,
    due: BTreeSet<(Instant, u32)>,
    last_number: u64,
    // When the timer is to call, the next one last; it is set only for an earlier end.
    calls: Vec<Instant>,
}

impl Leases {
    fn start(&mut self, slot: u32, due: Option<Instant>, kind: Kind) -> LeaseId {
        self.last_number += 1;
        let number = self.last_number;
        self.by_slot.insert(slot, Lease { number, due, kind });
        if let Some(due) = due {
            self.due.insert((due, slot));
        }
        LeaseId { slot, number }
    }

    /// Ends a lease, if it is the one of that name.
    fn end(&mut self, id: LeaseId) -> Option<Kind> {
        self.by_slot.get(&id.slot).filter(|lease| lease.number == id.number)?;
        self.forget(id.slot)
    }

    /// Whether a slot's event is out on lease.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.by_slot.contains_key(&slot)
    }

    /// The slots of those whose event is not on its way out.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let kept = self.by_slot.iter().filter(|(_, lease)| lease.kind != Kind::Ack);
        kept.map(|(&slot, _)| slot)
    }

    fn forget(&mut self, slot: u32) -> Option<Kind> {
        let lease = self.by_slot.remove(&slot)?;
        if let Some(due) = lease.due {
            self.due.remove(&(due, slot));
        }
        Some(lease.kind)
    }

    /// The slots of those whose time is over.
    fn take_due(&mut self, now: Instant) -> Vec<(u32, Kind)> {
        let mut over = Vec::new();
        while let Some(&(due, slot)) = self.due.first()
            && due <= now
        {
            over.extend(self.forget(slot).map(|kind| (slot, kind)));
        }
        over
    }

    /// The slots of those that no consumer has, which end.
    pub(super) fn take_pauses(&mut self) -> Vec<u32> {
        let pauses = self.by_slot.iter().filter(|(_, lease)| lease.kind == Kind::Pause);
        let slots: Vec<_> = pauses.map(|(&slot, _)| slot).collect();
        for &slot in &slots {
            self.forget(slot);
        }
        slots
    }

    /// When the timer is to call, if it is to call earlier than it will.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        let first = self.due.first()?.0;
        if self.calls.last().is_some_and(|&next| next <= first) {
            return None;
        }
        self.calls.push(first);
        Some(first)
    }

    /// The slots of all leases, which end.
    pub(super) fn drain(&mut self) -> Vec<u32> {
        self.due.clear();
        self.calls.clear();
        self.by_slot.drain().map(|(slot, _)| slot).collect()
    }
}

impl<T> State<T> {
    /// Hands a waiting event out until `due`; if it has been handed out `max_attempts` times then,
    /// for the last time.
    pub(super) fn lease(
        &mut self,
        index: u32,
        due: Option<Instant>,
        max_attempts: Option<u32>,
    ) -> (LeaseId, u32) {
        self.events.unlink(index);
        self.wake_putter();
        let attempts = self.events.attempts(index);
        *attempts += 1;
        let attempt = *attempts;
        let is_last = max_attempts.is_some_and(|max| attempt >= max);
        (self.leases.start(index, due, Kind::Attempt { is_last }), attempt)
    }

    fn depart(&mut self, slot: u32) -> (Taken<T>, Observers) {
        let taken = self.events.free(slot);
        self.done();
        let observers = self.observers_of(taken.delegation_id.as_deref());
        (taken, observers)
    }

    /// Lets an event that was out on lease wait again, in its place.
    fn give_back(&mut self, index: u32) {
        if is_stale(&self.epochs, &self.events, index) {
            self.park(index);
            return;
        }
        self.events.link_again(index);
        self.wake_taker(self.events.arrival(index));
        self.ask_judges(index);
    }

    fn give_all_back(&mut self, mut over: Vec<(u32, Kind)>) -> Vec<Buried> {
        let mut buried = Vec::new();
        // The last one first: each then belongs at the head of its lanes.
        over.sort_unstable_by_key(|&(slot, _)| std::cmp::Reverse(self.events.seq(slot)));
        for (slot, kind) in over {
            match kind {
                Kind::Attempt { is_last: true } => buried.push(self.bury(slot)),
                _ => self.give_back(slot),
            }
        }
        buried
    }
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// Ends a lease: the event was delivered and leaves, once the ledger says so. `None` if the
    /// lease had ended before, or the event had become another process's.
    pub fn ack(&self, id: LeaseId) -> Option<T> {
        match self.begin_ack(id) {
            Acked::NotHeld => None,
            Acked::Gone(item) => Some(item),
            Acked::Writing { id, home } => {
                let is_ours = is_acked(&home);
                self.finish_ack(id).filter(|_| is_ours)
            }
        }
    }

    /// As [`Self::ack`], with what is to be written down first.
    pub fn begin_ack(&self, id: LeaseId) -> Acked<T> {
        let mut state = self.state.0.lock();
        if state.leases.end(id).is_none() {
            return Acked::NotHeld;
        }
        let Some(home) = state.events.home(id.slot).cloned() else {
            let (taken, observers) = state.depart(id.slot);
            drop(state);
            return Acked::Gone(told(taken, observers));
        };
        let id = state.leases.start(id.slot, None, Kind::Ack);
        drop(state);
        Acked::Writing { id, home }
    }

    /// Lets an event go whose acknowledgement is written down, or somebody else's business.
    pub fn finish_ack(&self, id: LeaseId) -> Option<T> {
        let mut state = self.state.0.lock();
        state.leases.end(id)?;
        let (taken, observers) = state.depart(id.slot);
        drop(state);
        Some(told(taken, observers))
    }

    /// Ends a lease without delivery: the event waits again, in its place, after `delay`; after its
    /// last attempt it is a dead letter.
    ///
    /// Returns whether the lease still held.
    pub fn give_back(self: &Arc<Self>, id: LeaseId, how: Return, delay: Duration) -> bool {
        let due = (!delay.is_zero()).then(|| Instant::now().checked_add(delay));
        let mut state = self.state.0.lock();
        let Some(kind) = state.leases.end(id) else { return false };
        if how == Return::Nack && kind == (Kind::Attempt { is_last: true }) {
            let buried = state.bury(id.slot);
            drop(state);
            buried.tell();
            return true;
        }
        let mut deferred = None;
        if how == Return::Defer {
            let attempts = state.events.attempts(id.slot);
            *attempts -= 1;
            let attempts = *attempts;
            deferred = state.events.home(id.slot).map(|home| (home.clone(), attempts));
        }
        match due {
            Some(due) => drop(state.leases.start(id.slot, due, Kind::Pause)),
            None => state.give_back(id.slot),
        }
        let armed = state.leases.arm();
        drop(state);
        self.arm(armed);
        if let Some((home, attempts)) = deferred {
            home.count_attempts(attempts);
        }
        true
    }

    /// Sets the timer for a lease that ends earlier than those before.
    pub(super) fn arm(self: &Arc<Self>, at: Option<Instant>) {
        if let Some(at) = at {
            let queue: Weak<Self> = Arc::downgrade(self);
            timer::call_at(at, queue);
        }
    }

    /// Sets the timer, if the earliest end of a lease is earlier than it knows.
    pub(super) fn arm_timer(self: &Arc<Self>) {
        let at = self.state.0.lock().leases.arm();
        self.arm(at);
    }
}

impl<T: Send + 'static> Due for CompletionQueue<T> {
    /// Has every lease that is over by `now` end; says when the next one is, if no call is set for it.
    fn due(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.0.lock();
        let over = state.leases.take_due(now);
        let count = over.len();
        let buried = state.give_all_back(over);
        state.leases.calls.retain(|&at| at > now);
        let next = state.leases.arm();
        drop(state);
        if count > 0 {
            tracing::debug!(count, "leases ended without an answer");
        }
        buried.into_iter().for_each(Buried::tell);
        next
    }
}

/// An event that has left, and whose departure is told.
fn told<T>(taken: Taken<T>, observers: Observers) -> T {
    if let Some(id) = &taken.delegation_id {
        notify(observers.as_deref(), |observer| observer.taken(id));
    }
    taken.item
}
