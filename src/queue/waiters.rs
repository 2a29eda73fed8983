//! Who waits for an event, filed as the events are, so that a put finds its waiter directly.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Wanted;
use super::fifo::Filter;
use super::routes::{Address, Routes};
use crate::wake::Signal;

/// A waiter's place in the order of arrival.
pub(super) type Ticket = u64;

#[derive(Debug)]
struct Waiter {
    signal: Arc<Signal>,
    filter: Filter,
}

/// The threads that wait, by what they wait for.
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
    pub(super) fn enter(&mut self, ticket: Ticket, signal: Arc<Signal>, filter: Filter) {
        for address in addresses(&filter) {
            self.lanes.entry(address).or_default().insert(ticket);
        }
        self.waiting.insert(ticket, Waiter { signal, filter });
    }

    /// Removes a waiter; false if it was woken already.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        let Some(waiter) = self.waiting.remove(&ticket) else { return false };
        for address in addresses(&waiter.filter) {
            if let Some(lane) = self.lanes.get_mut(&address) {
                lane.remove(&ticket);
                if lane.is_empty() {
                    self.lanes.remove(&address);
                }
            }
        }
        true
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

    fn wake(&mut self, ticket: Ticket) {
        let signal = self.waiting.get(&ticket).map(|waiter| waiter.signal.clone());
        self.leave(ticket);
        if let Some(signal) = signal {
            signal.set();
        }
    }
}

impl Filter {
    /// The filter for what is wanted, its names counted as used until [`Filter::release`].
    pub(super) fn acquire(routes: &mut Routes, wanted: Wanted<'_>) -> Self {
        let Routes { owners, kinds, .. } = routes;
        Self {
            owner: wanted.session_key.map(|key| owners.acquire(key)),
            kinds: wanted.types.map(|types| types.iter().map(|kind| kinds.acquire(kind)).collect()),
        }
    }

    /// Gives the uses of its names back.
    pub(super) fn release(&self, routes: &mut Routes) {
        self.owner.inspect(|&owner| routes.owners.release(owner));
        for &kind in self.kinds.iter().flatten() {
            routes.kinds.release(kind);
        }
    }

    /// Whether it takes everything, and so names nothing.
    pub(super) fn is_for_all(&self) -> bool {
        self.owner.is_none() && self.kinds.is_none()
    }
}

fn addresses(filter: &Filter) -> impl Iterator<Item = Address> + '_ {
    let any_kind = filter.kinds.is_none().then_some((filter.owner, None));
    let kinds = filter.kinds.iter().flatten();
    any_kind.into_iter().chain(kinds.map(|&kind| (filter.owner, Some(kind))))
}
