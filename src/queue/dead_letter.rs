//! What no consumer gets unless somebody decides so: dead letters, and events taken out by hand.

use std::sync::Arc;

use super::handle::Handle;
use super::slots::Taken;
use super::state::{CompletionQueue, State};
use crate::ledger::Write;
use crate::state::Stage;

/// An event that has just had its last attempt.
pub(super) struct Buried {
    pub(super) handle: Option<Arc<Handle>>,
    pub(super) attempts: u32,
}

impl Buried {
    /// Says so to the ledger and in the log; no lock is held.
    pub(super) fn report(self) {
        let Self { handle, attempts } = self;
        tracing::warn!(
            id = handle.as_ref().map(|handle| &**handle.id()).unwrap_or_default(),
            attempts,
            "an event had all its attempts, and is a dead letter now"
        );
        if let Some(row) = handle.as_ref().and_then(|handle| handle.row()) {
            row.submit(|claim| Write::Bury { claim, attempts });
        }
    }
}

impl<T> State<T> {
    fn discard(&mut self, handle: &Arc<Handle>, waiting: bool) -> Option<Taken<T>> {
        let index = self.events.slot_of(handle)?;
        match self.events.stage(index) {
            Some(Stage::Dead | Stage::Parked) => {}
            Some(Stage::Waiting | Stage::Delayed) if waiting => {}
            _ => return None,
        }
        let taken = self.give_up(index);
        self.wake_putter();
        Some(taken)
    }

    /// Drops an event that its consumer has given back, as was asked for; whose ledger is to be told.
    pub(super) fn drop_given_back(&mut self, index: u32) -> Option<Arc<Handle>> {
        let handle = self.events.handle(index).cloned();
        let taken = self.give_up(index);
        self.swept.push(taken.item);
        handle
    }
}

/// Tells a ledger that an event was dropped; no lock is held.
pub(super) fn report_drop(handle: Option<Arc<Handle>>) {
    if let Some(row) = handle.as_ref().and_then(|handle| handle.row()) {
        row.submit(Write::Drop);
    }
}

impl<T> CompletionQueue<T> {
    /// What `share` makes of each parked event, in order; under the lock, as in [`Self::pending`].
    pub fn parked<R>(&self, share: impl FnMut(&T) -> R) -> Vec<R> {
        self.kept(Stage::Parked, share)
    }

    /// The same of each dead letter.
    pub fn dead_letters<R>(&self, share: impl FnMut(&T) -> R) -> Vec<R> {
        self.kept(Stage::Dead, share)
    }

    fn kept<R>(&self, stage: Stage, mut share: impl FnMut(&T) -> R) -> Vec<R> {
        let events = &self.state.0.lock().events;
        events.kept(stage).into_iter().map(|index| share(events.item(index))).collect()
    }

    /// Parks the event of a delegation, whose owner began a new epoch elsewhere: now if it waits, else as
    /// it is put or comes back. The ledger is told that it is not ours any more.
    pub fn park(&self, handle: &Arc<Handle>) {
        let mut state = self.state.0.lock();
        handle.park();
        let is_waiting = |&index: &u32| state.events.stage(index) == Some(Stage::Waiting);
        if let Some(index) = state.events.slot_of(handle).filter(is_waiting) {
            state.park(index);
            state.wake_putter();
        }
        drop(state);
        // One that is not put yet is told of as it is.
        if let Some(row) = handle.row().filter(|_| handle.stage().is_some()) {
            row.submit(Write::Park);
        }
    }

    /// Removes the event of a delegation that is a dead letter or parked, or that waits, if `waiting`
    /// says so; `None` if there is none such, or a consumer has it. The ledger is not told.
    pub fn discard(&self, handle: &Arc<Handle>, waiting: bool) -> Option<T> {
        let taken = self.state.0.lock().discard(handle, waiting)?;
        Some(taken.item)
    }

    /// As [`Self::discard`], also of one that waits; what a consumer has is dropped, and the ledger
    /// told, should it be given back.
    pub fn discard_when_back(&self, handle: &Arc<Handle>) -> Option<T> {
        let mut state = self.state.0.lock();
        let taken = state.discard(handle, true);
        if taken.is_none() && state.events.slot_of(handle).is_some() {
            handle.drop_when_back();
        }
        drop(state);
        Some(taken?.item)
    }
}
