//! Mailboxes with an owner predicate: their host says whether it owns an address, once for each.
//!
//! The queue calls nobody. It keeps the addresses that are undecided yet, and whoever takes from the
//! mailbox asks its host of them first, in its own frame. An address is the whole one (kind, session
//! key, UI session, parent session), so that a host can own by more than a key.

use super::Mailbox;
use super::addresses::{MailboxId, Predicate, Question, Set};
use crate::memory::{NoMemory, Room};
use crate::queue::names::NameId;
use crate::queue::routes::{Arrival, Place};
use crate::queue::state::{CompletionQueue, State};
use crate::state::Stage;

/// Addresses that no event waits under are forgotten beyond this many.
const KEPT: usize = 1024;

impl<T> State<T> {
    /// Has the owner predicates that do not know the address of a waiting event be asked of it.
    pub(in crate::queue) fn ask_owners(&mut self, index: u32) {
        let Arrival { full: Some(full), address: (_, kind), .. } = self.events.arrival(index)
        else {
            return;
        };
        let count = self.predicates.by_mailbox.len();
        if self.predicates.knowing.get(&full).is_some_and(|&knowing| knowing == count) || count == 0
        {
            return;
        }
        let Self { events, predicates, mailboxes, takers, .. } = self;
        for (&id, predicate) in &mut predicates.by_mailbox {
            if !predicate.known.insert(full) {
                continue;
            }
            events.routes.full.again(full);
            // The address has the kind in it: what is not the mailbox's kind is not its own.
            let mailbox = mailboxes.get_mut(&id).filter(|mailbox| mailbox.is_for_kind(kind));
            if let Some(mailbox) = mailbox {
                predicate.undecided.push_back(full);
                mailbox.wake(takers);
            }
        }
        predicates.knowing.insert(full, count);
        if self.predicates.knowing.len() > self.predicates.sweep_at.max(KEPT) {
            // Without memory for that they stay known.
            let _ = self.sweep_decided();
        }
    }

    /// Has room for the addresses of all events to be asked of: of those that are reserved too, and of
    /// one more.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(in crate::queue) fn room_for_questions(&mut self) -> Result<(), NoMemory> {
        self.predicates.room_for(self.addresses() + 1)
    }

    fn addresses(&self) -> usize {
        self.events.routes.full.len() + self.events.routes.reserved()
    }

    /// Forgets the addresses that no event waits under, those that are owned too: with their next
    /// event they are asked of again.
    fn sweep_decided(&mut self) -> Result<(), NoMemory> {
        let Self { events, predicates, mailboxes, takers, .. } = self;
        let mut idle = Set::default();
        idle.room_for(predicates.knowing.len())?;
        let is_idle = |full: &NameId| events.list(Place::Full(*full)).next().is_none();
        idle.extend(predicates.knowing.keys().copied().filter(is_idle));
        predicates.knowing.retain(|full, _| !idle.contains(full));
        for (id, predicate) in &mut predicates.by_mailbox {
            predicate.undecided.retain(|full| !idle.contains(full));
            for &full in idle.iter().filter(|full| predicate.known.remove(full)) {
                events.routes.full.release(full);
            }
            let Some(mailbox) = mailboxes.get_mut(id) else { continue };
            // Without memory it goes on owning them.
            let disowned = mailbox.remove_full(&idle).unwrap_or_default();
            if !disowned.is_empty() {
                // First out of the lists of those who wait, then the names.
                mailbox.wake(takers);
            }
            for full in disowned {
                events.routes.full.release(full);
            }
        }
        predicates.sweep_at = 2 * predicates.knowing.len();
        Ok(())
    }

    /// What a mailbox with an owner predicate needs, for one that is about to be opened: what waits,
    /// which it is to be asked of.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(in crate::queue) fn new_predicate(&mut self) -> Result<(Predicate, Vec<u32>), NoMemory> {
        let addresses = self.addresses();
        let mut predicate = Predicate::default();
        predicate.room_for(addresses)?;
        self.predicates.by_mailbox.room_for(1)?;
        self.predicates.room_for(addresses)?;
        // There may be none so far.
        let reserved = self.events.routes.reserved();
        self.events.routes.full.room_for(reserved)?;
        let mut waiting = Vec::new();
        waiting.room_for(self.events.waiting().count())?;
        waiting.extend(self.events.waiting());
        Ok((predicate, waiting))
    }

    /// Gives a mailbox an owner predicate.
    pub(in crate::queue) fn add_predicate(
        &mut self,
        id: MailboxId,
        (predicate, waiting): (Predicate, Vec<u32>),
    ) {
        self.predicates.by_mailbox.insert(id, predicate);
        waiting.into_iter().for_each(|index| self.ask_owners(index));
    }

    /// Takes it away; whether there was one.
    pub(in crate::queue) fn remove_predicate(&mut self, id: MailboxId) -> bool {
        let Some(predicate) = self.predicates.by_mailbox.remove(&id) else { return false };
        for full in predicate.known {
            self.predicates.forget(full);
            self.events.routes.full.release(full);
        }
        true
    }

    fn next_question(&mut self, id: MailboxId) -> Option<(NameId, u32)> {
        loop {
            let predicate = self.predicates.by_mailbox.get_mut(&id)?;
            let full = predicate.undecided.pop_front()?;
            if let Some(index) = self.events.list(Place::Full(full)).next() {
                return Some((full, index));
            }
            // Taken by somebody else: there is nothing to show.
            predicate.known.remove(&full);
            self.predicates.forget(full);
            self.events.routes.full.release(full);
        }
    }

    fn answer(
        &mut self,
        id: MailboxId,
        full: NameId,
        is_own: Option<bool>,
    ) -> Result<(), NoMemory> {
        let Some(predicate) = self.predicates.by_mailbox.get_mut(&id) else { return Ok(()) };
        if !predicate.known.contains(&full) || predicate.undecided.contains(&full) {
            return Ok(());
        }
        let mut answered = Ok(());
        if is_own == Some(false) {
            return answered;
        }
        if let (Some(true), Some(mailbox)) = (is_own, self.mailboxes.get_mut(&id)) {
            answered = mailbox.add_full(full);
            if answered.is_ok() {
                self.events.routes.full.again(full);
            }
        }
        if is_own.is_none() || answered.is_err() {
            // It was taken out of there, and there is room for it still.
            predicate.undecided.push_front(full);
        }
        self.wake_mailbox(id);
        answered
    }
}

impl<T> CompletionQueue<T> {
    /// What `share` makes of each event that was put without its whole address, and its name.
    pub fn unfiled<R>(&self, mut share: impl FnMut(&T) -> R) -> Vec<((u32, i64), R)> {
        let events = &self.state.0.lock().events;
        events
            .unfiled()
            .map(|index| ((index, events.seq(index)), share(events.item(index))))
            .collect()
    }

    /// Files an event under its whole address, if it is still there.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn file(&self, (index, seq): (u32, i64), full: &str) -> Result<(), NoMemory> {
        let mut state = self.state.0.lock();
        if !state.events.is_unfiled(index) || state.events.seq(index) != seq {
            return Ok(());
        }
        state.room_for_questions()?;
        state.events.file(index, full)?;
        if state.events.stage(index) == Some(Stage::Waiting) {
            state.ask_owners(index);
        }
        Ok(())
    }
}

impl<T> Mailbox<T> {
    /// The next address that its owner predicate is to be asked of, with what `share` makes of its first event.
    pub fn next_question<R>(&self, share: impl FnOnce(&T) -> R) -> Option<Question<R>> {
        let mut state = self.queue().state.0.lock();
        let (full, index) = state.next_question(self.id())?;
        Some(Question { address: full.number(), item: share(state.events.item(index)) })
    }

    /// Says whether the host owns an address; `None` asks again.
    ///
    /// # Errors
    /// [`NoMemory`]: it is asked again.
    pub fn answer(&self, address: u32, is_own: Option<bool>) -> Result<(), NoMemory> {
        let mut state = self.queue().state.0.lock();
        state.answer(self.id(), NameId::of_number(address), is_own)
    }
}
