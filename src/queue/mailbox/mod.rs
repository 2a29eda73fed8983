//! Mailboxes: an owner's view of the queue.
//!
//! A mailbox holds no events: it is a set of addresses, and takes what waits at them. So a put costs
//! the same whatever the number of mailboxes, and an event whose mailbox closes is where it was.

mod addresses;
mod collector;
mod owner_predicate;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::memory::{self, Room};
use crate::queue::handle::Handle;
use crate::queue::names::Name;
use crate::queue::settle::{Leased, Terms};
use crate::queue::state::{CompletionQueue, State};
use crate::queue::waiters::Places;
use crate::sync::atomic::Ordering;

pub(super) use self::addresses::{MailboxId, MailboxState, Predicates};
pub use self::addresses::{Question, Selection};
pub use self::collector::Collector;

impl<T> State<T> {
    /// Has those who wait at a mailbox look again.
    pub(in crate::queue) fn wake_mailbox(&mut self, id: MailboxId) {
        if let Some(mailbox) = self.mailboxes.get_mut(&id) {
            mailbox.wake(&mut self.takers);
        }
    }

    /// Where a mailbox's events wait.
    pub(in crate::queue) fn places_of(&self, id: MailboxId) -> Result<&Places, Error> {
        match self.mailboxes.get(&id) {
            None => Err(Error::ShutDown),
            Some(_) if self.predicates.is_undecided(id) => Err(Error::Undecided),
            Some(mailbox) => Ok(&mailbox.places),
        }
    }

    fn count(&self, id: MailboxId) -> usize {
        let Some(mailbox) = self.mailboxes.get(&id) else { return 0 };
        let places = mailbox.places.as_slice().iter();
        // An event may wait at two of its places.
        let waiting: HashSet<_> = places.flat_map(|&place| self.events.list(place)).collect();
        waiting.len()
    }
}

/// An owner's view of a queue. It closes when it is dropped.
pub struct Mailbox<T> {
    queue: Arc<CompletionQueue<T>>,
    id: MailboxId,
    lease: Option<Duration>,
    max_attempts: Option<u32>,
}

impl<T> Mailbox<T> {
    /// Opens a mailbox whose leases end by themselves after `lease`; `None` has them last.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn open(
        queue: &Arc<CompletionQueue<T>>,
        selection: Selection<'_>,
        lease: Option<Duration>,
    ) -> Result<Self, Error> {
        let id = queue.ticket();
        let mut state = queue.state.0.lock();
        state.mailboxes.room_for(1)?;
        let predicate = selection.has_predicate.then(|| state.new_predicate()).transpose()?;
        let mailbox = MailboxState::new(&mut state.events.routes, selection)?;
        state.mailboxes.insert(id, mailbox);
        if let Some(predicate) = predicate {
            queue.predicates.fetch_add(1, Ordering::AcqRel);
            state.add_predicate(id, predicate);
        }
        drop(state);
        Ok(Self { queue: queue.clone(), id, lease, max_attempts: selection.max_attempts })
    }

    pub(super) fn id(&self) -> MailboxId {
        self.id
    }

    /// Its queue.
    pub fn queue(&self) -> &Arc<CompletionQueue<T>> {
        &self.queue
    }

    /// Gives it one more session key: what waits under it is its owner's from now on.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn add_key(&self, session_key: &str) -> Result<(), Error> {
        let mut guard = self.queue.state.0.lock();
        let state = &mut *guard;
        let Some(mailbox) = state.mailboxes.get_mut(&self.id) else { return Ok(()) };
        let Some(keys) = &mut mailbox.keys else { return Ok(()) };
        let routes = &mut state.events.routes;
        if routes.owners.find(session_key).is_some_and(|key| keys.contains(&key)) {
            return Ok(());
        }
        keys.room_for(1)?;
        let others = routes.reserved();
        let key = routes.owners.acquire(Name::Text(session_key), others)?;
        keys.push(key);
        if let Err(error) = mailbox.update() {
            mailbox.keys.as_mut().map(Vec::pop);
            routes.owners.release(key);
            return Err(error.into());
        }
        state.wake_mailbox(self.id);
        Ok(())
    }

    /// Takes a session key away: what waits under it goes on waiting.
    ///
    /// # Errors
    /// [`Error::NoMemory`]: it keeps the key.
    pub fn remove_key(&self, session_key: &str) -> Result<(), Error> {
        let mut guard = self.queue.state.0.lock();
        let state = &mut *guard;
        let Some(mailbox) = state.mailboxes.get_mut(&self.id) else { return Ok(()) };
        let Some(keys) = &mut mailbox.keys else { return Ok(()) };
        let Some(key) = state.events.routes.owners.find(session_key) else { return Ok(()) };
        // It has a key once, but for those that it was opened with.
        let before = memory::list(keys.iter().copied())?;
        keys.retain(|&other| other != key);
        let uses = before.len() - keys.len();
        if let Err(error) = mailbox.update() {
            mailbox.keys = Some(before);
            return Err(error.into());
        }
        // First out of the lists of those who wait, then the names.
        state.wake_mailbox(self.id);
        for _ in 0..uses {
            state.events.routes.owners.release(key);
        }
        Ok(())
    }

    /// How many events wait for it.
    pub fn pending(&self) -> usize {
        self.queue.state.0.lock().count(self.id)
    }

    /// Closes it: those who wait at it are told, its events stay in the queue, its leases go on.
    pub fn close(&self) {
        let mut state = self.queue.state.0.lock();
        state.wake_mailbox(self.id);
        if state.remove_predicate(self.id) {
            self.queue.predicates.fetch_sub(1, Ordering::AcqRel);
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
        let look = state.schedule.arm();
        drop(state);
        self.queue.look_at(look);
        Ok(leased.counted())
    }

    /// Leases the event of one delegation, if it waits or pauses, wherever it stands in the order.
    /// `share` is as in [`Collector::poll`].
    pub fn collect_of<R>(
        &self,
        handle: &Arc<Handle>,
        share: impl FnOnce(&T) -> R,
    ) -> Option<Leased<R>> {
        let terms = self.terms();
        let mut state = self.queue.state.0.lock();
        let index = state.events.slot_of(handle)?;
        if state.events.is_stale(index) || !state.is_to_be_had(index) {
            return None;
        }
        let leased = state.hand_out(index, terms, share);
        let look = state.schedule.arm();
        drop(state);
        self.queue.look_at(look);
        Some(leased.counted())
    }

    /// The terms of a lease that starts now.
    pub(in crate::queue) fn terms(&self) -> Terms {
        let until = self.lease.and_then(|lease| Instant::now().checked_add(lease));
        Terms { until, max_attempts: self.max_attempts }
    }
}
