//! What no consumer gets unless somebody decides so: dead letters, and events taken out by hand.

use std::sync::Arc;

use super::observer::{Observers, notify};
use super::{CompletionQueue, State};
use crate::ledger::{Home, Write};

/// An event that has just had its last attempt, for those who are to be told.
pub(super) struct Buried {
    home: Option<Arc<Home>>,
    attempts: u32,
    delegation_id: Option<Box<str>>,
    observers: Observers,
}

impl Buried {
    /// Tells the ledger and the observers; no lock is held.
    pub(super) fn tell(self) {
        tracing::warn!(
            id = self.delegation_id.as_deref().unwrap_or_default(),
            attempts = self.attempts,
            "an event had all its attempts, and is a dead letter now"
        );
        if let Some(home) = self.home {
            home.submit(|hold| Write::Bury { hold, attempts: self.attempts });
        }
        if let Some(id) = &self.delegation_id {
            notify(self.observers.as_deref(), |observer| observer.buried(id));
        }
    }
}

impl<T> State<T> {
    /// Lets an event that was out on lease wait for nobody but a decision.
    pub(super) fn bury(&mut self, index: u32) -> Buried {
        self.dead.insert((self.events.seq(index), index));
        let delegation_id = self.events.delegation_id(index).map(Into::into);
        Buried {
            home: self.events.home(index).cloned(),
            attempts: *self.events.attempts(index),
            observers: self.observers_of(delegation_id.as_deref()),
            delegation_id,
        }
    }

    /// The slot of a delegation's event that is in nobody's hands, with whether it waits.
    fn find_delegation(&self, delegation_id: &str) -> Option<(u32, bool)> {
        let is_it = |&index: &u32| self.events.delegation_id(index) == Some(delegation_id);
        let waiting = self.events.waiting().find(is_it).map(|index| (index, true));
        let mut kept = self.dead.iter().chain(&self.parked).map(|&(_, index)| index);
        waiting.or_else(|| kept.find(is_it).map(|index| (index, false)))
    }

    /// The slot of a delegation's event, also of one that a consumer has.
    pub(super) fn slot_of(&self, delegation_id: &str) -> Option<u32> {
        let is_it = |&slot: &u32| self.events.delegation_id(slot) == Some(delegation_id);
        let kept = self.find_delegation(delegation_id).map(|(index, _)| index);
        kept.or_else(|| self.leases.slots().find(is_it))
    }
}

impl<T> CompletionQueue<T> {
    /// What `share` makes of each dead letter, in order. Under the lock, as in [`Self::pending`].
    pub fn dead_letters<R>(&self, mut share: impl FnMut(&T) -> R) -> Vec<R> {
        let state = self.state.0.lock();
        state.dead.iter().map(|&(_, index)| share(state.events.item(index))).collect()
    }

    /// Removes the event of a delegation that is a dead letter or parked, or that waits, if `waiting`
    /// says so; `None` if there is none such, or a consumer has it. The ledger is not told.
    pub fn discard(&self, delegation_id: &str, waiting: bool) -> Option<T> {
        let mut state = self.state.0.lock();
        let found = state.find_delegation(delegation_id);
        let (index, waits) = found.filter(|&(_, waits)| waiting || !waits)?;
        if waits {
            state.events.unlink(index);
            state.wake_putter();
        } else {
            let place = (state.events.seq(index), index);
            if !state.dead.remove(&place) {
                state.parked.remove(&place);
            }
        }
        let taken = state.events.free(index);
        state.done();
        let observers = state.observers_of(Some(delegation_id));
        drop(state);
        notify(observers.as_deref(), |observer| observer.dropped(delegation_id));
        Some(taken.item)
    }
}
