//! Who waits for an event, filed as the events are, so that a put finds its waiter directly.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Wanted;
use super::routes::{Address, Routes};
use crate::wake::Signal;

/// A waiter's place in the order of arrival.
pub(super) type Ticket = u64;

#[derive(Debug)]
struct Waiter {
    signal: Arc<Signal>,
    addresses: Addresses,
}

/// Where what somebody waits for may arrive; it takes what waits at any of them.
#[derive(Debug, Clone)]
pub(super) struct Addresses(Option<Arc<[Address]>>);

/// Where every event waits.
const EVERYWHERE: [Address; 1] = [(None, None)];

impl Addresses {
    /// Anything, of anybody.
    pub(super) const ALL: Self = Self(None);

    /// What waits at these; the uses of their names are the caller's to keep.
    pub(super) fn of(addresses: Vec<Address>) -> Self {
        Self(Some(addresses.into()))
    }

    /// The addresses for what is wanted, their names counted as used until [`Self::release`].
    pub(super) fn acquire(routes: &mut Routes, wanted: Wanted<'_>) -> Self {
        let Routes { owners, kinds, .. } = routes;
        let mut owner = || wanted.session_key.map(|key| owners.acquire(key));
        match wanted {
            Wanted { session_key: None, types: None } => Self::ALL,
            Wanted { types: None, .. } => Self::of(vec![(owner(), None)]),
            Wanted { types: Some(types), .. } => {
                Self::of(types.iter().map(|kind| (owner(), Some(kinds.acquire(kind)))).collect())
            }
        }
    }

    /// Gives the uses of their names back.
    pub(super) fn release(&self, routes: &mut Routes) {
        for &address in self.as_slice() {
            routes.release_names(address);
        }
    }

    /// Whether it is anything, and so names nothing.
    pub(super) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The addresses.
    pub(super) fn as_slice(&self) -> &[Address] {
        self.0.as_deref().unwrap_or(&EVERYWHERE)
    }
}

/// The threads and tasks that wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: HashMap<Ticket, Waiter, foldhash::fast::RandomState>,
    lanes: HashMap<Address, BTreeSet<Ticket>, foldhash::fast::RandomState>,
}

impl Waiters {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Registers a waiter under its ticket.
    pub(super) fn enter(&mut self, ticket: Ticket, signal: Arc<Signal>, addresses: Addresses) {
        for &address in addresses.as_slice() {
            self.lanes.entry(address).or_default().insert(ticket);
        }
        self.waiting.insert(ticket, Waiter { signal, addresses });
    }

    /// Removes a waiter; false if it was woken already.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket).is_some()
    }

    /// Wakes the longest waiting one that an event at this address is for. Returns its ticket.
    pub(super) fn wake_one(&mut self, (owner, kind): Address) -> Option<Ticket> {
        if self.waiting.is_empty() {
            return None;
        }
        let lanes = [(None, None), (owner, None), (None, kind), (owner, kind)];
        let first = |address| self.lanes.get(&address)?.first().copied();
        let ticket = lanes.into_iter().filter_map(first).min()?;
        self.wake(ticket);
        Some(ticket)
    }

    /// Wakes everyone, the longest waiting one first.
    pub(super) fn wake_all(&mut self) {
        let mut tickets: Vec<_> = self.waiting.keys().copied().collect();
        tickets.sort_unstable();
        for ticket in tickets {
            self.wake(ticket);
        }
    }

    /// Wakes one waiter, if it waits.
    pub(super) fn wake(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.remove(ticket) {
            waiter.signal.set();
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        for address in waiter.addresses.as_slice() {
            if let Some(lane) = self.lanes.get_mut(address) {
                lane.remove(&ticket);
                if lane.is_empty() {
                    self.lanes.remove(address);
                }
            }
        }
        Some(waiter)
    }
}
