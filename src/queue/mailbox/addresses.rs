//! What the queue knows of its mailboxes: their addresses, and what their hosts have said of others.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::queue::names::NameId;
use crate::queue::routes::{Place, Routes};
use crate::queue::schedule::MAX_ATTEMPTS;
use crate::queue::waiters::{Places, Ticket};

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
    pub(in crate::queue) fn new(routes: &mut Routes, selection: Selection<'_>) -> Self {
        let Routes { owners, kinds, .. } = routes;
        let nobodys = selection.unaddressed.iter();
        let mut mailbox = Self {
            keys: selection
                .session_keys
                .map(|keys| keys.iter().map(|key| owners.acquire(key)).collect()),
            kinds: selection
                .types
                .map(|types| types.iter().map(|kind| kinds.acquire(kind)).collect()),
            nobodys: nobodys.map(|kind| (owners.acquire(""), kinds.acquire(kind))).collect(),
            full: Vec::new(),
            places: Places::ALL,
            waiting: BTreeSet::new(),
        };
        mailbox.update();
        mailbox
    }

    pub(in crate::queue) fn update(&mut self) {
        let owners: Vec<_> = match &self.keys {
            None => vec![None],
            Some(keys) => keys.iter().copied().map(Some).collect(),
        };
        let kinds: Vec<_> = match &self.kinds {
            None => vec![None],
            Some(kinds) => kinds.iter().copied().map(Some).collect(),
        };
        let own = owners.iter().flat_map(|&owner| kinds.iter().map(move |&kind| (owner, kind)));
        let nobodys = self.nobodys.iter().map(|&(owner, kind)| (Some(owner), Some(kind)));
        let filed = own.chain(nobodys).map(Place::Filed);
        let full = self.full.iter().copied().map(Place::Full);
        self.places = Places::of(filed.chain(full).collect());
    }

    /// Whether its kinds let an event of this kind in.
    pub(in crate::queue) fn is_for_kind(&self, kind: Option<NameId>) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kind.is_some_and(|kind| kinds.contains(&kind)))
    }

    /// Gives it a full address, whose use is the caller's until now.
    pub(in crate::queue) fn add_full(&mut self, full: NameId) {
        self.full.push(full);
        self.update();
    }

    /// Takes those of these full addresses away that it has; their uses are the caller's then.
    pub(in crate::queue) fn remove_full(&mut self, idle: &Set<NameId>) -> Vec<NameId> {
        let (removed, kept) = self.full.iter().partition(|full| idle.contains(full));
        self.full = kept;
        self.update();
        removed
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

/// The owner predicates of a queue's mailboxes.
#[derive(Debug, Default)]
pub(in crate::queue) struct Predicates {
    pub(in crate::queue) by_mailbox: Map<MailboxId, Predicate>,
    /// How many of them know an address: when all do, an event costs one look.
    pub(in crate::queue) knowing: Map<NameId, usize>,
    pub(in crate::queue) sweep_at: usize,
}

impl Predicates {
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
