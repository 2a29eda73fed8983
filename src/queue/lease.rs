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

use super::mailbox::is_stale;
use super::{CompletionQueue, Observers, State, delivered};
use crate::timer::{self, Due};

/// What names a lease: the event's slot, and the number that tells it from others of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    slot: u32,
    number: u64,
}

impl LeaseId {
    /// The name as two numbers.
    pub fn parts(self) -> (u32, u64) {
        (self.slot, self.number)
    }

    /// The lease of that name.
    pub fn from_parts((slot, number): (u32, u64)) -> Self {
        Self { slot, number }
    }
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
}

/// The leases of a queue, and when they end by themselves.
#[derive(Debug, Default)]
pub(super) struct Leases {
    // A `nack` with a delay is a lease that nobody knows the number of.
    by_slot: HashMap<u32, Lease, foldhash::fast::RandomState>,
    due: BTreeSet<(Instant, u32)>,
    last_number: u64,
    // When the timer is to call, the next one last; it is set only for an earlier end.
    calls: Vec<Instant>,
}

impl Leases {
    fn start(&mut self, slot: u32, due: Option<Instant>) -> LeaseId {
        self.last_number += 1;
        let number = self.last_number;
        self.by_slot.insert(slot, Lease { number, due });
        if let Some(due) = due {
            self.due.insert((due, slot));
        }
        LeaseId { slot, number }
    }

    /// Ends a lease; whether it was the one of that name.
    fn end(&mut self, id: LeaseId) -> bool {
        if self.by_slot.get(&id.slot).is_none_or(|lease| lease.number != id.number) {
            return false;
        }
        self.forget(id.slot);
        true
    }

    /// Whether a slot's event is out on lease.
    pub(super) fn holds(&self, slot: u32) -> bool {
        self.by_slot.contains_key(&slot)
    }

    fn forget(&mut self, slot: u32) {
        if let Some(due) = self.by_slot.remove(&slot).and_then(|lease| lease.due) {
            self.due.remove(&(due, slot));
        }
    }

    /// The slots of those whose time is over.
    fn take_due(&mut self, now: Instant) -> Vec<u32> {
        let mut over = Vec::new();
        while let Some(&(due, slot)) = self.due.first()
            && due <= now
        {
            self.forget(slot);
            over.push(slot);
        }
        over
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
    /// Hands a waiting event out until `due`.
    pub(super) fn lease(&mut self, index: u32, due: Option<Instant>) -> (LeaseId, u32) {
        self.events.unlink(index);
        self.wake_putter();
        let attempts = self.events.attempts(index);
        *attempts += 1;
        let attempt = *attempts;
        (self.leases.start(index, due), attempt)
    }

    fn ack(&mut self, id: LeaseId) -> Option<(super::Taken<T>, Observers)> {
        if !self.leases.end(id) {
            return None;
        }
        let taken = self.events.free(id.slot);
        self.done();
        let observers = self.observers_of(taken.delegation_id.as_deref());
        Some((taken, observers))
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

    fn give_all_back(&mut self, mut slots: Vec<u32>) {
        // The last one first: each then belongs at the head of its lanes.
        slots.sort_unstable_by_key(|&slot| std::cmp::Reverse(self.events.seq(slot)));
        for slot in slots {
            self.give_back(slot);
        }
    }
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// Ends a lease: the event was delivered and leaves. `None` if the lease had ended before.
    pub fn ack(&self, id: LeaseId) -> Option<T> {
        let (taken, observers) = self.state.0.lock().ack(id)?;
        Some(delivered(taken, observers))
    }

    /// Ends a lease without delivery: the event waits again, in its place, after `delay`.
    ///
    /// Returns whether the lease still held.
    pub fn give_back(self: &Arc<Self>, id: LeaseId, how: Return, delay: Duration) -> bool {
        let due = (!delay.is_zero()).then(|| Instant::now().checked_add(delay));
        let mut state = self.state.0.lock();
        if !state.leases.end(id) {
            return false;
        }
        if how == Return::Defer {
            *state.events.attempts(id.slot) -= 1;
        }
        match due {
            Some(due) => drop(state.leases.start(id.slot, due)),
            None => state.give_back(id.slot),
        }
        let armed = state.leases.arm();
        drop(state);
        self.arm(armed);
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
        state.give_all_back(over);
        state.leases.calls.retain(|&at| at > now);
        let next = state.leases.arm();
        drop(state);
        if count > 0 {
            tracing::debug!(count, "leases ended without an answer");
        }
        next
    }
}
