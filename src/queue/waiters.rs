//! Who waits for an event, filed as the events are, so that a put finds its waiter directly.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::names::Name;
use super::routes::{Arrival, Place, Routes};
use crate::memory::{self, NoMemory, Room};
use crate::sync::signal::Signal;

/// What a take is for; the default takes anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only events of this session key; the empty one takes only what is nobody's.
    pub session_key: Option<&'a str>,
    /// Only events of these kinds.
    pub types: Option<&'a [String]>,
}

/// A waiter's place in the order of arrival.
pub(super) type Ticket = u64;

#[derive(Debug)]
struct Waiter {
    signal: Arc<Signal>,
    places: Places,
}

/// Where what somebody waits for may arrive; it takes what waits at any of them.
#[derive(Debug, Clone)]
pub(super) struct Places(Option<Arc<Vec<Place>>>);

/// Where every event waits.
const EVERYWHERE: [Place; 1] = [Place::Filed((None, None))];

impl Places {
    /// Anything, of anybody.
    pub(super) const ALL: Self = Self(None);

    /// What waits at these; the uses of their names are the caller's to keep.
    pub(super) fn of(places: Vec<Place>) -> Self {
        Self(Some(Arc::new(places)))
    }

    /// The places for what is wanted, their names counted as used until [`Self::release`].
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn acquire(routes: &mut Routes, wanted: Wanted<'_>) -> Result<Self, NoMemory> {
        let Wanted { session_key, types } = wanted;
        if session_key.is_none() && types.is_none() {
            return Ok(Self::ALL);
        }
        let mut places = Self::of(Vec::new());
        let filled = places.fill(types.map_or(1, <[_]>::len), |number| {
            let kind = types.map(|types| &*types[number]);
            routes.acquire_names(session_key.map(Name::Text), kind).map(Place::Filed)
        });
        if filled.is_err() {
            places.release(routes);
        }
        filled.map(|()| places)
    }

    /// Adds so many places, which nobody else has yet.
    fn fill(
        &mut self,
        count: usize,
        mut place: impl FnMut(usize) -> Result<Place, NoMemory>,
    ) -> Result<(), NoMemory> {
        let Some(places) = self.0.as_mut().and_then(Arc::get_mut) else { return Ok(()) };
        memory::ask(|| places.try_reserve_exact(count))?;
        (0..count).try_for_each(|number| place(number).map(|place| places.push(place)))
    }

    /// Gives the uses of their names back.
    pub(super) fn release(&self, routes: &mut Routes) {
        for &place in self.as_slice() {
            match place {
                Place::Filed(address) => routes.release_names(address),
                Place::Full(full) => routes.full.release(full),
            }
        }
    }

    /// Whether it is anywhere, and so names nothing.
    pub(super) fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The places.
    pub(super) fn as_slice(&self) -> &[Place] {
        self.0.as_ref().map_or(&EVERYWHERE, |places| places)
    }
}

/// The threads and tasks that wait, by what they wait for.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: HashMap<Ticket, Waiter, foldhash::fast::RandomState>,
    by_place: HashMap<Place, BTreeSet<Ticket>, foldhash::fast::RandomState>,
}

impl Waiters {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Has room for a waiter at these places.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn room_for(&mut self, places: &Places) -> Result<(), NoMemory> {
        self.by_place.room_for(places.as_slice().len())?;
        self.waiting.room_for(1)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Registers a waiter under its ticket, for whom there is room.
    pub(super) fn enter(&mut self, ticket: Ticket, signal: Arc<Signal>, places: Places) {
        for &place in places.as_slice() {
            self.by_place.entry(place).or_default().insert(ticket);
        }
        self.waiting.insert(ticket, Waiter { signal, places });
    }

    /// Removes a waiter; false if it was woken already.
    pub(super) fn leave(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket).is_some()
    }

    /// Wakes the longest waiting one that an event that arrives there is for. Returns its ticket.
    pub(super) fn wake_one(&mut self, arrival: Arrival) -> Option<Ticket> {
        if self.waiting.is_empty() {
            return None;
        }
        let (owner, kind) = arrival.address;
        let filed = [(None, None), (owner, None), (None, kind), (owner, kind)];
        let filed = filed.into_iter().filter(|(owner, _)| !arrival.is_exclusive || owner.is_some());
        let places = filed.map(Place::Filed).chain(arrival.full.map(Place::Full));
        let first = |place| self.by_place.get(&place)?.first().copied();
        let ticket = places.filter_map(first).min()?;
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
        for place in waiter.places.as_slice() {
            if let Some(waiting_there) = self.by_place.get_mut(place) {
                waiting_there.remove(&ticket);
                if waiting_there.is_empty() {
                    self.by_place.remove(place);
                }
            }
        }
        Some(waiter)
    }
}
