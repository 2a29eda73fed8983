//! Mailboxes whose host has a say of its own: it is asked once for each new address.
//!
//! The queue calls nobody. It keeps the addresses that a mailbox has not judged yet, and whoever
//! takes from the mailbox judges them first, in its own frame. An address is the whole one (kind,
//! session key, UI session, parent session), so that a host can own by more than a key.

use std::collections::{HashMap, HashSet, VecDeque};

use super::mailbox::{Mailbox, MailboxId};
use super::names::NameId;
use super::routes::{Arrival, Place};
use super::{CompletionQueue, State};
use crate::sync::atomic::Ordering;

pub(super) type Set<T> = HashSet<T, foldhash::fast::RandomState>;
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Addresses that no event waits under are forgotten beyond this many.
const KEPT: usize = 1024;

/// What a mailbox with a say knows.
#[derive(Debug, Default)]
struct Judge {
    unjudged: VecDeque<NameId>,
    // Judged or to be judged; each is one use of its name.
    known: Set<NameId>,
}

/// The mailboxes with a say.
#[derive(Debug, Default)]
pub(super) struct Judges {
    judges: Map<MailboxId, Judge>,
    // How many of them know an address: when all do, an event costs one look.
    knowing: Map<NameId, usize>,
    sweep_at: usize,
}

impl Judges {
    /// Whether a mailbox has an address to judge.
    pub(super) fn has_to_judge(&self, id: MailboxId) -> bool {
        self.judges.get(&id).is_some_and(|judge| !judge.unjudged.is_empty())
    }

    fn forget(&mut self, full: NameId) {
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

impl<T> State<T> {
    /// Has the mailboxes with a say judge the address of a waiting event, those that do not know it.
    pub(super) fn ask_judges(&mut self, index: u32) {
        let Arrival { full: Some(full), address: (_, kind), .. } = self.events.arrival(index)
        else {
            return;
        };
        let count = self.judges.judges.len();
        if self.judges.knowing.get(&full).is_some_and(|&knowing| knowing == count) || count == 0 {
            return;
        }
        let mut asked = Vec::new();
        for (&id, judge) in &mut self.judges.judges {
            if !judge.known.insert(full) {
                continue;
            }
            self.events.routes.full.again(full);
            // The address has the kind in it: what is not the mailbox's kind is not its own.
            if self.mailboxes.get(&id).is_some_and(|mailbox| mailbox.is_for_kind(kind)) {
                judge.unjudged.push_back(full);
                asked.push(id);
            }
        }
        self.judges.knowing.insert(full, count);
        for id in asked {
            self.wake_mailbox(id);
        }
        if self.judges.knowing.len() > self.judges.sweep_at.max(KEPT) {
            self.sweep_judged();
        }
    }

    /// Forgets the addresses that no event waits under, those that are owned too: their next event
    /// has them judged again.
    fn sweep_judged(&mut self) {
        let is_idle = |full: &NameId| self.events.lane(Place::Full(*full)).next().is_none();
        let idle: Set<_> = self.judges.knowing.keys().copied().filter(is_idle).collect();
        self.judges.knowing.retain(|full, _| !idle.contains(full));
        let mut unused = Vec::new();
        let mut lessened = Vec::new();
        for (&id, judge) in &mut self.judges.judges {
            judge.unjudged.retain(|full| !idle.contains(full));
            unused.extend(idle.iter().filter(|full| judge.known.remove(full)));
            let disowned = self.mailboxes.get_mut(&id).map(|mailbox| mailbox.remove_full(&idle));
            if let Some(disowned) = disowned.filter(|disowned| !disowned.is_empty()) {
                unused.extend(disowned);
                lessened.push(id);
            }
        }
        // First out of the lanes of those who wait, then the names.
        for id in lessened {
            self.wake_mailbox(id);
        }
        for full in unused {
            self.events.routes.full.release(full);
        }
        self.judges.sweep_at = 2 * self.judges.knowing.len();
    }

    /// Makes a mailbox one with a say; it is asked of everything that waits.
    pub(super) fn appoint_judge(&mut self, id: MailboxId) {
        self.judges.judges.insert(id, Judge::default());
        let waiting: Vec<_> = self.events.waiting().collect();
        for index in waiting {
            self.ask_judges(index);
        }
    }

    /// Undoes that; whether it was one.
    pub(super) fn dismiss_judge(&mut self, id: MailboxId) -> bool {
        let Some(judge) = self.judges.judges.remove(&id) else { return false };
        for full in judge.known {
            self.judges.forget(full);
            self.events.routes.full.release(full);
        }
        true
    }

    fn next_question(&mut self, id: MailboxId) -> Option<(NameId, u32)> {
        loop {
            let judge = self.judges.judges.get_mut(&id)?;
            let full = judge.unjudged.pop_front()?;
            if let Some(index) = self.events.lane(Place::Full(full)).next() {
                return Some((full, index));
            }
            // Taken by somebody else: there is nothing to show.
            judge.known.remove(&full);
            self.judges.forget(full);
            self.events.routes.full.release(full);
        }
    }

    fn answer(&mut self, id: MailboxId, full: NameId, is_own: Option<bool>) {
        let Some(judge) = self.judges.judges.get_mut(&id) else { return };
        if !judge.known.contains(&full) || judge.unjudged.contains(&full) {
            return;
        }
        match is_own {
            Some(false) => return,
            None => judge.unjudged.push_front(full),
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
    /// Whether a put has to say the whole address of its event.
    pub fn has_judges(&self) -> bool {
        self.judges.load(Ordering::Acquire) > 0
    }

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
        if !state.waits(index) {
            state.events.file(index, full);
            return;
        }
        state.events.unlink(index);
        state.events.file(index, full);
        state.events.link_again(index);
        state.ask_judges(index);
    }
}

impl<T> Mailbox<T> {
    /// The next address to judge, with what `share` makes of its first event.
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
