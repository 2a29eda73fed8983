//! Mailboxes with an owner predicate: their host says whether it owns an address, once for each.
//!
//! The queue calls nobody. It keeps the addresses that are undecided yet, and whoever takes from the
//! mailbox asks its host of them first, in its own frame. An address is the whole one (kind, session
//! key, UI session, parent session), so that a host can own by more than a key.

use super::Mailbox;
use super::addresses::{MailboxId, Predicate, Question, Set};
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
        let mut asked = Vec::new();
        for (&id, predicate) in &mut self.predicates.by_mailbox {
            if !predicate.known.insert(full) {
                continue;
            }
            self.events.routes.full.again(full);
            // The address has the kind in it: what is not the mailbox's kind is not its own.
            if self.mailboxes.get(&id).is_some_and(|mailbox| mailbox.is_for_kind(kind)) {
                predicate.undecided.push_back(full);
                asked.push(id);
            }
        }
        self.predicates.knowing.insert(full, count);
        for id in asked {
            self.wake_mailbox(id);
        }
        if self.predicates.knowing.len() > self.predicates.sweep_at.max(KEPT) {
            self.sweep_decided();
        }
    }

    /// Forgets the addresses that no event waits under, those that are owned too: with their next
    /// event they are asked of again.
    fn sweep_decided(&mut self) {
        let is_idle = |full: &NameId| self.events.list(Place::Full(*full)).next().is_none();
        let idle: Set<_> = self.predicates.knowing.keys().copied().filter(is_idle).collect();
        self.predicates.knowing.retain(|full, _| !idle.contains(full));
        let mut unused = Vec::new();
        let mut lessened = Vec::new();
        for (&id, predicate) in &mut self.predicates.by_mailbox {
            predicate.undecided.retain(|full| !idle.contains(full));
            unused.extend(idle.iter().filter(|full| predicate.known.remove(full)));
            let disowned = self.mailboxes.get_mut(&id).map(|mailbox| mailbox.remove_full(&idle));
            if let Some(disowned) = disowned.filter(|disowned| !disowned.is_empty()) {
                unused.extend(disowned);
                lessened.push(id);
            }
        }
        // First out of the lists of those who wait, then the names.
        for id in lessened {
            self.wake_mailbox(id);
        }
        for full in unused {
            self.events.routes.full.release(full);
        }
        self.predicates.sweep_at = 2 * self.predicates.knowing.len();
    }

    /// Gives a mailbox an owner predicate, which is to be asked of everything that waits.
    pub(in crate::queue) fn add_predicate(&mut self, id: MailboxId) {
        self.predicates.by_mailbox.insert(id, Predicate::default());
        let waiting: Vec<_> = self.events.waiting().collect();
        for index in waiting {
            self.ask_owners(index);
        }
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

    fn answer(&mut self, id: MailboxId, full: NameId, is_own: Option<bool>) {
        let Some(predicate) = self.predicates.by_mailbox.get_mut(&id) else { return };
        if !predicate.known.contains(&full) || predicate.undecided.contains(&full) {
            return;
        }
        match is_own {
            Some(false) => return,
            None => predicate.undecided.push_front(full),
            Some(true) => {
                self.events.routes.full.again(full);
                if let Some(mailbox) = self.mailboxes.get_mut(&id) {
                    mailbox.add_full(full);
                }
            }
        }
        self.wake_mailbox(id);
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
    pub fn file(&self, (index, seq): (u32, i64), full: &str) {
        let mut state = self.state.0.lock();
        if !state.events.is_unfiled(index) || state.events.seq(index) != seq {
            return;
        }
        state.events.file(index, full);
        if state.events.stage(index) == Some(Stage::Waiting) {
            state.ask_owners(index);
        }
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
    pub fn answer(&self, address: u32, is_own: Option<bool>) {
        let mut state = self.queue().state.0.lock();
        state.answer(self.id(), NameId::of_number(address), is_own);
    }
}
