//! Mailboxes: an owner's view of the queue.
//!
//! A mailbox holds no events: it is a set of addresses, and takes what waits at them. So a put costs
//! the same whatever the number of mailboxes, and an event whose mailbox closes is where it was.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fifo::RoutedFifo;
use super::lease::Leased;
use super::names::NameId;
use super::ownership::Set;
use super::routes::{Place, Routes};
use super::taker::{Interest, Registration};
use super::waiters::{Places, Ticket};
use super::{CompletionQueue, State};
use crate::error::Error;
use crate::event::kind;
use crate::sync::atomic::Ordering;
use crate::wake::Signal;

/// A mailbox's number in its queue.
pub(super) type MailboxId = u64;

/// What a mailbox is for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection<'a> {
    /// The owner's session keys; `None` is for every owner's events, and for nobody's.
    pub session_keys: Option<&'a [String]>,
    /// Only events of these kinds.
    pub types: Option<&'a [String]>,
    /// Events of these kinds that are nobody's, besides the owner's own.
    pub unaddressed: &'a [String],
    /// Whether the host says itself what else is the owner's, see [`Mailbox::next_question`].
    pub has_say: bool,
    /// How often an event is tried until it is a dead letter; `None` tries for good.
    pub max_attempts: Option<u32>,
}

/// What the queue knows of a mailbox.
#[derive(Debug)]
pub(super) struct MailboxState {
    // Each name here is one use of it.
    keys: Option<Vec<NameId>>,
    kinds: Option<Vec<NameId>>,
    nobodys: Vec<(NameId, NameId)>,
    // The full addresses that it was found to own.
    full: Vec<NameId>,
    /// Where its events wait; their names are in use through the fields above.
    pub(super) places: Places,
    /// Those who wait at it, the longest waiting one first.
    pub(super) waiting: BTreeSet<Ticket>,
}

impl MailboxState {
    fn new(routes: &mut Routes, selection: Selection<'_>) -> Self {
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

    fn update(&mut self) {
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
    pub(super) fn is_for_kind(&self, kind: Option<NameId>) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kind.is_some_and(|kind| kinds.contains(&kind)))
    }

    /// Gives it a full address, whose use is the caller's until now.
    pub(super) fn add_full(&mut self, full: NameId) {
        self.full.push(full);
        self.update();
    }

    /// Takes those of these full addresses away that it has; their uses are the caller's then.
    pub(super) fn remove_full(&mut self, idle: &Set<NameId>) -> Vec<NameId> {
        let (removed, kept) = self.full.iter().partition(|full| idle.contains(full));
        self.full = kept;
        self.update();
        removed
    }

    fn release(&self, routes: &mut Routes) {
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

/// The epochs of those owners that have begun a new one.
pub(super) type Epochs = HashMap<Box<str>, NonZeroU32, foldhash::fast::RandomState>;

/// Whether the owner of a stored event has begun a new epoch since what the event ends began.
pub(super) fn is_stale<T>(epochs: &Epochs, events: &RoutedFifo<T>, index: u32) -> bool {
    let Some(began) = events.epoch(index) else { return false };
    let (Some(owner), _) = events.arrival(index).address else { return false };
    epochs.get(events.routes.owners.name(owner)).is_some_and(|&epoch| began < epoch)
}

impl<T> State<T> {
    /// Keeps an event that is delivered to nobody any more.
    pub(super) fn park(&mut self, index: u32) {
        self.parked.insert((self.events.seq(index), index));
    }

    /// Has those who wait at a mailbox look again.
    pub(super) fn wake_mailbox(&mut self, id: MailboxId) {
        let Some(mailbox) = self.mailboxes.get_mut(&id) else { return };
        for ticket in std::mem::take(&mut mailbox.waiting) {
            self.takers.wake(ticket);
        }
    }

    /// Where a mailbox's events wait.
    pub(super) fn places_of(&self, id: MailboxId) -> Result<&Places, Error> {
        match self.mailboxes.get(&id) {
            None => Err(Error::ShutDown),
            Some(_) if self.judges.has_to_judge(id) => Err(Error::Unjudged),
            Some(mailbox) => Ok(&mailbox.places),
        }
    }

    fn hand_out<R>(&mut self, index: u32, terms: Terms, share: impl FnOnce(&T) -> R) -> Leased<R> {
        let (id, attempt) = self.lease(index, terms.due, terms.max_attempts);
        let home = self.events.home(index).cloned();
        Leased { item: share(self.events.item(index)), id, attempt, home }
    }

    fn count(&self, id: MailboxId) -> usize {
        let Some(mailbox) = self.mailboxes.get(&id) else { return 0 };
        let places = mailbox.places.as_slice().iter();
        // An event may wait at two of its places.
        let waiting: HashSet<_> = places.flat_map(|&place| self.events.lane(place)).collect();
        waiting.len()
    }
}

impl<T> CompletionQueue<T> {
    /// The epoch of an owner, for what begins now.
    pub fn epoch(&self, session_key: &str) -> NonZeroU32 {
        let epochs = &self.state.0.lock().epochs;
        epochs.get(session_key).copied().unwrap_or(NonZeroU32::MIN)
    }

    /// Begins a new epoch of an owner: the delegations of earlier ones are parked, those that have
    /// ended now and the others as they end. Returns the new epoch.
    pub fn new_epoch(&self, session_key: &str) -> NonZeroU32 {
        let mut state = self.state.0.lock();
        let epoch = match state.epochs.get_mut(session_key) {
            Some(epoch) => {
                *epoch = epoch.saturating_add(1);
                *epoch
            }
            None => {
                let second = NonZeroU32::MIN.saturating_add(1);
                state.epochs.insert(session_key.into(), second);
                second
            }
        };
        let routes = &state.events.routes;
        let names = (routes.owners.find(session_key), routes.kinds.find(kind::ASYNC_DELEGATION));
        let mut stale = Vec::new();
        if let (Some(owner), Some(kind)) = names {
            let lane = state.events.lane(Place::Filed((Some(owner), Some(kind))));
            stale.extend(lane.filter(|&index| is_stale(&state.epochs, &state.events, index)));
        }
        for index in stale {
            state.events.unlink(index);
            state.park(index);
            state.wake_putter();
        }
        epoch
    }
}

/// An owner's view of a queue. It closes when it is dropped.
pub struct Mailbox<T> {
    queue: Arc<CompletionQueue<T>>,
    id: MailboxId,
    lease: Option<Duration>,
    max_attempts: Option<u32>,
}

/// On what terms an event is handed out.
#[derive(Debug, Clone, Copy)]
struct Terms {
    due: Option<Instant>,
    max_attempts: Option<u32>,
}

impl<T> Mailbox<T> {
    /// Opens a mailbox whose leases end by themselves after `lease`; `None` has them last.
    pub fn open(
        queue: &Arc<CompletionQueue<T>>,
        selection: Selection<'_>,
        lease: Option<Duration>,
    ) -> Self {
        let id = queue.ticket();
        let mut state = queue.state.0.lock();
        let mailbox = MailboxState::new(&mut state.events.routes, selection);
        state.mailboxes.insert(id, mailbox);
        if selection.has_say {
            queue.judges.fetch_add(1, Ordering::AcqRel);
            state.appoint_judge(id);
        }
        drop(state);
        Self { queue: queue.clone(), id, lease, max_attempts: selection.max_attempts }
    }

    pub(super) fn id(&self) -> MailboxId {
        self.id
    }

    /// Its queue.
    pub fn queue(&self) -> &Arc<CompletionQueue<T>> {
        &self.queue
    }

    /// Gives it one more session key: what waits under it is its owner's from now on.
    pub fn add_key(&self, session_key: &str) {
        self.change_keys(session_key, |keys, key| {
            let is_new = !keys.contains(&key);
            if is_new {
                keys.push(key);
            }
            // How many uses of the name are left over.
            usize::from(!is_new)
        });
    }

    /// Takes a session key away: what waits under it goes on waiting.
    pub fn remove_key(&self, session_key: &str) {
        self.change_keys(session_key, |keys, key| {
            let before = keys.len();
            keys.retain(|&other| other != key);
            1 + before - keys.len()
        });
    }

    fn change_keys(
        &self,
        session_key: &str,
        change: impl FnOnce(&mut Vec<NameId>, NameId) -> usize,
    ) {
        let mut guard = self.queue.state.0.lock();
        let state = &mut *guard;
        let Some(mailbox) = state.mailboxes.get_mut(&self.id) else { return };
        let Some(keys) = &mut mailbox.keys else { return };
        let owners = &mut state.events.routes.owners;
        let key = owners.acquire(session_key);
        let unused = change(keys, key);
        mailbox.update();
        // First out of the lanes of those who wait, then the names.
        state.wake_mailbox(self.id);
        for _ in 0..unused {
            state.events.routes.owners.release(key);
        }
    }

    /// How many events wait for it.
    pub fn pending(&self) -> usize {
        self.queue.state.0.lock().count(self.id)
    }

    /// Closes it: those who wait at it are told, its events stay in the queue, its leases go on.
    pub fn close(&self) {
        let mut state = self.queue.state.0.lock();
        state.wake_mailbox(self.id);
        if state.dismiss_judge(self.id) {
            self.queue.judges.fetch_sub(1, Ordering::AcqRel);
        }
        if let Some(mailbox) = state.mailboxes.remove(&self.id) {
            mailbox.release(&mut state.events.routes);
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        !self.queue.state.0.lock().mailboxes.contains_key(&self.id)
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Somebody who takes from a mailbox, and waits at it when there is nothing.
pub struct Collector<T> {
    mailbox: Arc<Mailbox<T>>,
    registration: Registration,
}

impl<T: Send + 'static> Collector<T> {
    /// A collector that is woken by `signal`.
    pub fn new(mailbox: &Arc<Mailbox<T>>, signal: Arc<Signal>) -> Self {
        let interest = Interest::Mailbox(mailbox.id);
        let registration = Registration::new(&mailbox.queue, interest, signal);
        Self { mailbox: mailbox.clone(), registration }
    }

    /// Leases the mailbox's first event, or registers to be woken for one. The queue keeps the
    /// event; `share` makes what the collector gets of it, under the lock: it may copy a reference.
    ///
    /// # Errors
    /// [`Error::Empty`] while none waits, [`Error::ShutDown`] once the mailbox is closed or the
    /// queue shut down, [`Error::Unjudged`] if there is an address to judge first.
    pub fn poll<R>(&mut self, share: impl FnOnce(&T) -> R) -> Result<Leased<R>, Error> {
        let terms = self.mailbox.terms();
        let queue = &self.mailbox.queue;
        let leased =
            self.registration.poll(queue, |state, index| state.hand_out(index, terms, share))?;
        if terms.due.is_some() {
            queue.arm_timer();
        }
        Ok(leased.counted())
    }

    /// What wakes it.
    pub fn signal(&self) -> &Signal {
        self.registration.signal()
    }
}

impl<T: Send + 'static> Mailbox<T> {
    /// As [`Collector::poll`], by somebody who does not wait.
    ///
    /// # Errors
    /// As there.
    pub fn collect<R>(&self, share: impl FnOnce(&T) -> R) -> Result<Leased<R>, Error> {
        let terms = self.terms();
        let mut state = self.queue.state.0.lock();
        let Some(index) = state.events.first_at(state.places_of(self.id)?.as_slice()) else {
            return Err(if state.shutdown { Error::ShutDown } else { Error::Empty });
        };
        let leased = state.hand_out(index, terms, share);
        let armed = state.leases.arm();
        drop(state);
        self.queue.arm(armed);
        Ok(leased.counted())
    }

    /// The terms of a lease that starts now.
    fn terms(&self) -> Terms {
        let due = self.lease.and_then(|lease| Instant::now().checked_add(lease));
        Terms { due, max_attempts: self.max_attempts }
    }
}

impl<T> Drop for Collector<T> {
    fn drop(&mut self) {
        self.registration.leave(&self.mailbox.queue);
    }
}
