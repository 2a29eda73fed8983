//! Pairs of an owner and a kind as small numbers, each with the list of its events.
//!
//! A put looks its event's route up once; everything that files the event, and that takes it out
//! again, goes by number from there.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
// Written under the queue's lock, but as a place is given up.
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;

use super::list::List;
use super::names::{Name, NameId, Names};
use crate::memory::{self, NoMemory, Room};

/// Routes are kept up to this many, also those that no event uses, so that one that comes and goes is
/// not made anew each time. Beyond, those go that came no more since the last sweep.
const KEPT_UNUSED: usize = 512;

/// A route that no event uses is kept only if neither of its names is longer, in bytes.
const KEPT_LENGTH: usize = 256;

/// The owner and kind of an event, by number.
pub(super) type Address = (Option<NameId>, Option<NameId>);

/// Where an event arrives: its owner and kind, and its full address where that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) address: Address,
    pub(super) full: Option<NameId>,
    /// Whether only those get it who prove that it is their owner's.
    pub(super) is_exclusive: bool,
}

/// What somebody may wait for: an owner's events, of a kind or of any, or those of a full address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Of this owner, or of anybody; of this kind, or of any.
    Filed(Address),
    /// Of this full address.
    Full(NameId),
}

impl Place {
    /// Whether what arrives there waits at this place, among others.
    pub(super) fn takes(self, arrival: Arrival) -> bool {
        let (owner, kind) = arrival.address;
        match self {
            Self::Filed((of, which)) => {
                of.map_or(!arrival.is_exclusive, |of| owner == Some(of))
                    && which.is_none_or(|which| kind == Some(which))
            }
            Self::Full(full) => arrival.full == Some(full),
        }
    }
}

/// A route's number. Valid while a use of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteId(u32);

#[derive(Debug)]
struct Entry {
    address: Address,
    hash: u64,
    uses: u32,
    came: bool,
    // Whether it is a route, and not free.
    is_used: bool,
    list: List,
}

/// The routes, with the names of owners and of kinds.
#[derive(Debug, Default)]
pub(super) struct Routes {
    pub(super) owners: Names,
    pub(super) kinds: Names,
    /// Full addresses: what a mailbox with an owner predicate goes by.
    pub(super) full: Names,
    table: HashTable<RouteId>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    hasher: foldhash::fast::RandomState,
    sweep_at: usize,
    /// How many places are reserved for events to come.
    pub(super) reserved: Arc<AtomicUsize>,
}

impl Routes {
    /// How many places are reserved for events to come: each may need a route and an owner's name.
    pub(super) fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Has room for one more place to be reserved, by the full address too if that counts.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn room_for_place(&mut self, wants_full: bool) -> Result<(), NoMemory> {
        let all = self.reserved() + 1;
        self.owners.room_for(all)?;
        if wants_full {
            self.full.room_for(all)?;
        }
        self.room_for(all)
    }

    /// The number of the route of these names, with one more use.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn acquire(
        &mut self,
        owner: Option<&str>,
        kind: Option<&str>,
    ) -> Result<RouteId, NoMemory> {
        let hash = self.hash(owner, kind);
        let id = match self.find_hashed(hash, owner, kind) {
            Some(id) => id,
            None => self.insert(hash, owner.map(Name::Text), kind)?,
        };
        self.use_again(id);
        Ok(id)
    }

    /// The same, where a copy of the owner's name is there already.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn acquire_shared(
        &mut self,
        owner: &Arc<str>,
        kind: Option<&str>,
    ) -> Result<RouteId, NoMemory> {
        let hash = self.hash(Some(owner), kind);
        let id = match self.find_hashed(hash, Some(owner), kind) {
            Some(id) => id,
            None => self.insert(hash, Some(Name::Shared(owner)), kind)?,
        };
        self.use_again(id);
        Ok(id)
    }

    fn use_again(&mut self, id: RouteId) {
        let entry = &mut self.entries[id.0 as usize];
        entry.uses += 1;
        entry.came = true;
    }

    /// One use less.
    pub(super) fn release(&mut self, id: RouteId) {
        let entry = &mut self.entries[id.0 as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            let (owner, kind) = entry.address;
            let is_long = owner.is_some_and(|id| self.owners.name(id).len() > KEPT_LENGTH)
                || kind.is_some_and(|id| self.kinds.name(id).len() > KEPT_LENGTH);
            if is_long {
                self.remove(id);
            }
        }
    }

    /// One use less of an address's names.
    pub(super) fn release_names(&mut self, (owner, kind): Address) {
        owner.inspect(|&owner| self.owners.release(owner));
        kind.inspect(|&kind| self.kinds.release(kind));
    }

    /// One use more of the names of an arrival.
    pub(super) fn keep_arrival(&mut self, arrival: Arrival) {
        let (owner, kind) = arrival.address;
        owner.inspect(|&owner| self.owners.again(owner));
        kind.inspect(|&kind| self.kinds.again(kind));
        arrival.full.inspect(|&full| self.full.again(full));
    }

    /// One use less of them.
    pub(super) fn release_arrival(&mut self, arrival: Arrival) {
        self.release_names(arrival.address);
        arrival.full.inspect(|&full| self.full.release(full));
    }

    /// The number of the route of these names, if it has one.
    pub(super) fn find(&self, owner: NameId, kind: NameId) -> Option<RouteId> {
        let (owner, kind) = (Some(self.owners.name(owner)), Some(self.kinds.name(kind)));
        self.find_hashed(self.hash(owner, kind), owner, kind)
    }

    /// The owner and kind of a route.
    pub(super) fn address(&self, id: RouteId) -> Address {
        self.entries[id.0 as usize].address
    }

    /// Whether an owner's name is not the empty one.
    pub(super) fn is_somebody(&self, owner: NameId) -> bool {
        !self.owners.name(owner).is_empty()
    }

    /// The list of the events of that route.
    pub(super) fn list(&self, id: RouteId) -> &List {
        &self.entries[id.0 as usize].list
    }

    /// The list of the events of that route.
    pub(super) fn list_mut(&mut self, id: RouteId) -> &mut List {
        &mut self.entries[id.0 as usize].list
    }

    fn hash(&self, owner: Option<&str>, kind: Option<&str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for name in [owner, kind] {
            hasher.write(name.unwrap_or_default().as_bytes());
        }
        hasher.finish()
    }

    fn find_hashed(&self, hash: u64, owner: Option<&str>, kind: Option<&str>) -> Option<RouteId> {
        let is_it = |id: &RouteId| {
            let (has_owner, has_kind) = self.entries[id.0 as usize].address;
            has_owner.map(|id| self.owners.name(id)) == owner
                && has_kind.map(|id| self.kinds.name(id)) == kind
        };
        self.table.find(hash, is_it).copied()
    }

    #[cold]
    fn insert(
        &mut self,
        hash: u64,
        owner: Option<Name<'_>>,
        kind: Option<&str>,
    ) -> Result<RouteId, NoMemory> {
        if self.table.len() >= self.sweep_at.max(KEPT_UNUSED) {
            self.sweep();
        }
        self.room_for(self.reserved() + 1)?;
        let address = self.acquire_names(owner, kind)?;
        let entry =
            Entry { address, hash, uses: 0, came: true, is_used: true, list: List::default() };
        let id = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                RouteId(index)
            }
            None => {
                self.entries.push(entry);
                RouteId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 routes"))
            }
        };
        let entries = &self.entries;
        self.table.insert_unique(hash, id, |id| entries[id.0 as usize].hash);
        Ok(id)
    }

    /// Has room for so many more routes, but for their names; and for every number to come free.
    fn room_for(&mut self, more: usize) -> Result<(), NoMemory> {
        let new = more.saturating_sub(self.free.len());
        self.entries.room_for(new)?;
        self.free.room_for(self.entries.len() + new - self.free.len())?;
        if self.table.capacity() - self.table.len() < more {
            let entries = &self.entries;
            memory::ask(|| self.table.try_reserve(more, |id| entries[id.0 as usize].hash))?;
        }
        Ok(())
    }

    /// The numbers of an address's names, with one more use of each.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn acquire_names(
        &mut self,
        owner: Option<Name<'_>>,
        kind: Option<&str>,
    ) -> Result<Address, NoMemory> {
        let others = self.reserved();
        let owner = owner.map(|name| self.owners.acquire(name, others)).transpose()?;
        match kind.map(|name| self.kinds.acquire(Name::Text(name), 0)).transpose() {
            Ok(kind) => Ok((owner, kind)),
            Err(error) => {
                self.release_names((owner, None));
                Err(error)
            }
        }
    }

    fn remove(&mut self, id: RouteId) {
        let Entry { address, hash, ref mut is_used, .. } = self.entries[id.0 as usize];
        *is_used = false;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        self.release_names(address);
        self.free.push(id.0);
    }

    fn sweep(&mut self) {
        for index in 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX) {
            let entry = &mut self.entries[index as usize];
            let came = std::mem::take(&mut entry.came);
            if entry.uses == 0 && !came && entry.is_used {
                self.remove(RouteId(index));
            }
        }
        self.sweep_at = 2 * self.table.len();
    }
}
