//! What the queue knows of its mailboxes: their addresses, and what their hosts have said of others.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::memory::{self, NoMemory, Room};
use crate::queue::names::{Name, NameId};
use crate::queue::routes::{Place, Routes};
use crate::queue::schedule::MAX_ATTEMPTS;
use crate::queue::waiters::{Places, Ticket, Waiters};

pub(in crate::queue) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// A mailbox's number in its queue.
pub(in crate::queue) type MailboxId = u64;

/// What a mailbox is for.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The owner's session keys; `None` is for every owner's events, and for nobody's.
    pub session_keys: Option<&'a [String]>,
    /// Only events of these kinds.
    pub types: Option<&'a [String]>,
    /// Events of these kinds that are nobody's, besides the owner's own.
    pub unaddressed: &'a [String],
    /// Whether the host says itself what else is the owner's, see
    /// [`Mailbox::next_question`](super::Mailbox::next_question).
    pub has_predicate: bool,
    /// How often an event is tried until it is a dead letter; `None` tries for good.
    pub max_attempts: Option<u32>,
}

impl Default for Selection<'_> {
    /// Everything, each event tried [`MAX_ATTEMPTS`] times.
    fn default() -> Self {
        Self {
            session_keys: None,
            types: None,
            unaddressed: &[],
            has_predicate: false,
            max_attempts: Some(MAX_ATTEMPTS),
        }
    }
}

/// What the queue knows of a mailbox.
#[derive(Debug)]
pub(in crate::queue) struct MailboxState {
    // Each name here is one use of it.
    pub(in crate::queue) keys: Option<Vec<NameId>>,
    kinds: Option<Vec<NameId>>,
    nobodys: Vec<(NameId, NameId)>,
    // The full addresses that it was found to own.
    full: Vec<NameId>,
    /// Where its events wait; their names are in use through the fields above.
    pub(in crate::queue) places: Places,
    /// Those who wait at it, the longest waiting one first.
    pub(in crate::queue) waiting: BTreeSet<Ticket>,
}

impl MailboxState {
    /// A mailbox of these addresses.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(in crate::queue) fn new(
        routes: &mut Routes,
        selection: Selection<'_>,
    ) -> Result<Self, NoMemory> {
        let mut mailbox = Self {
            keys: selection.session_keys.map(|_| Vec::new()),
            kinds: selection.types.map(|_| Vec::new()),
            nobodys: Vec::new(),
            full: Vec::new(),
            places: Places::ALL,
            waiting: BTreeSet::new(),
        };
        let named = mailbox.name(routes, selection).and_then(|()| mailbox.all_places());
        match named {
            Ok(places) => mailbox.places = places,
            Err(error) => {
                mailbox.release(routes);
                return Err(error);
            }
        }
        Ok(mailbox)
    }

    /// Takes the names that it is to know into use; on an error, some of them.
    fn name(&mut self, routes: &mut Routes, selection: Selection<'_>) -> Result<(), NoMemory> {
        let others = routes.reserved();
        if let (Some(keys), Some(of)) = (&mut self.keys, selection.session_keys) {
            keys.room_for(of.len())?;
            for key in of {
                keys.push(routes.owners.acquire(Name::Text(key), others)?);
            }
        }
        if let (Some(kinds), Some(of)) = (&mut self.kinds, selection.types) {
            kinds.room_for(of.len())?;
            for kind in of {
                kinds.push(routes.kinds.acquire(Name::Text(kind), 0)?);
            }
        }
        self.nobodys.room_for(selection.unaddressed.len())?;
        for kind in selection.unaddressed {
            if let (Some(owner), Some(kind)) =
                routes.acquire_names(Some(Name::Text("")), Some(kind))?
            {
                self.nobodys.push((owner, kind));
            }
        }
        Ok(())
    }

    /// Where its events wait, by the names that it has now.
    fn all_places(&self) -> Result<Places, NoMemory> {
        let count = |names: &Option<Vec<NameId>>| names.as_ref().map_or(1, Vec::len);
        let of =
            |names: &Option<Vec<NameId>>, number: usize| names.as_ref().map(|names| names[number]);
        let (owners, kinds) = (count(&self.keys), count(&self.kinds));
        let all = owners.saturating_mul(kinds);
        let mut places = Vec::new();
        places.room_for(all.saturating_add(self.nobodys.len() + self.full.len()))?;
        for owner in (0..owners).map(|number| of(&self.keys, number)) {
            let kinds = (0..kinds).map(|number| of(&self.kinds, number));
            places.extend(kinds.map(|kind| Place::Filed((owner, kind))));
        }
        let nobodys = self.nobodys.iter();
        places.extend(nobodys.map(|&(owner, kind)| Place::Filed((Some(owner), Some(kind)))));
        places.extend(self.full.iter().copied().map(Place::Full));
        Ok(Places::of(places))
    }

    /// Has its events wait where its names say from now on.
    ///
    /// # Errors
    /// [`NoMemory`]; they wait where they did.
    pub(in crate::queue) fn update(&mut self) -> Result<(), NoMemory> {
        self.places = self.all_places()?;
        Ok(())
    }

    /// Has those who wait at it look again.
    pub(in crate::queue) fn wake(&mut self, takers: &mut Waiters) {
        for ticket in std::mem::take(&mut self.waiting) {
            takers.wake(ticket);
        }
    }

    /// Whether its kinds let an event of this kind in.
    pub(in crate::queue) fn is_for_kind(&self, kind: Option<NameId>) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kind.is_some_and(|kind| kinds.contains(&kind)))
    }

    /// Gives it a full address, whose use is the caller's until now.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing is changed.
    pub(in crate::queue) fn add_full(&mut self, full: NameId) -> Result<(), NoMemory> {
        self.full.room_for(1)?;
        self.full.push(full);
        let updated = self.update();
        if updated.is_err() {
            self.full.pop();
        }
        updated
    }

    /// Takes those of these full addresses away that it has; their uses are the caller's then.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing is changed.
    pub(in crate::queue) fn remove_full(
        &mut self,
        idle: &Set<NameId>,
    ) -> Result<Vec<NameId>, NoMemory> {
        let mut removed = Vec::new();
        removed.room_for(self.full.iter().filter(|full| idle.contains(full)).count())?;
        if removed.capacity() == 0 {
            return Ok(removed);
        }
        let before = memory::list(self.full.iter().copied())?;
        self.full.retain(|full| !idle.contains(full));
        if let Err(error) = self.update() {
            self.full = before;
            return Err(error);
        }
        removed.extend(before.into_iter().filter(|full| idle.contains(full)));
        Ok(removed)
    }

    pub(in crate::queue) fn release(&self, routes: &mut Routes) {
        for &key in self.keys.iter().flatten() {
            routes.owners.release(key);
        }
        for &kind in self.kinds.iter().flatten() {
            routes.kinds.release(kind);
        }
        for &full in &self.full {
            routes.full.release(full);
        }
        for &(owner, kind) in &self.nobodys {
            routes.release_names((Some(owner), Some(kind)));
        }
    }
}

/// What a mailbox's owner predicate has said, and has yet to say.
#[derive(Debug, Default)]
pub(in crate::queue) struct Predicate {
    /// The full addresses that it is to be asked of.
    pub(in crate::queue) undecided: VecDeque<NameId>,
    /// Those and the ones that it was asked of; each is one use of its name.
    pub(in crate::queue) known: Set<NameId>,
}

impl Predicate {
    /// Has room for so many addresses.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(in crate::queue) fn room_for(&mut self, addresses: usize) -> Result<(), NoMemory> {
        self.undecided.room_for(addresses.saturating_sub(self.undecided.len()))?;
        self.known.room_for(addresses.saturating_sub(self.known.len()))
    }
}

/// The owner predicates of a queue's mailboxes.
#[derive(Debug, Default)]
pub(in crate::queue) struct Predicates {
    pub(in crate::queue) by_mailbox: Map<MailboxId, Predicate>,
    /// How many of them know an address: when all do, an event costs one look.
    pub(in crate::queue) knowing: Map<NameId, usize>,
    pub(in crate::queue) sweep_at: usize,
}

impl Predicates {
    /// Has room for so many addresses to be asked of, by each.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(in crate::queue) fn room_for(&mut self, addresses: usize) -> Result<(), NoMemory> {
        for predicate in self.by_mailbox.values_mut() {
            predicate.room_for(addresses)?;
        }
        self.knowing.room_for(addresses.saturating_sub(self.knowing.len()))
    }

    /// Whether a mailbox's predicate has an address to be asked of.
    pub(in crate::queue) fn is_undecided(&self, id: MailboxId) -> bool {
        self.by_mailbox.get(&id).is_some_and(|predicate| !predicate.undecided.is_empty())
    }

    /// One that knew an address does so no more.
    pub(in crate::queue) fn forget(&mut self, full: NameId) {
        if let Some(knowing) = self.knowing.get_mut(&full) {
            *knowing -= 1;
            if *knowing == 0 {
                self.knowing.remove(&full);
            }
        }
    }
}

/// A question to a mailbox's host: whether it owns the events of an address.
#[derive(Debug)]
pub struct Question<R> {
    /// The address, for the answer.
    pub address: u32,
    /// What the queue showed of its first event.
    pub item: R,
}
