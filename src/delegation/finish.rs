//! How a delegation ends: its state first, then the row, then the event.

use std::sync::Arc;

use super::registry::{DelegationRegistry, LOG};
use crate::error::Error;
use crate::ledger::{Millis, Outcome, RowHandle, Write};
use crate::queue::Handle;
use crate::state::State;
use crate::sync::wait::Wait;

/// An end.
#[derive(Debug)]
pub struct End<'a, T> {
    /// The delegation.
    pub id: &'a str,
    /// How it ended.
    pub state: State,
    /// Its completion event.
    pub event: T,
    /// The event as JSON, for the ledger.
    pub text: Box<str>,
    /// When it ended, for the ledger.
    pub completed_at: Millis,
}

/// What came of an end that was published.
#[derive(Debug)]
pub struct Finished<P> {
    /// What kept it from being written down: its event is delivered from memory.
    pub problem: Option<Error>,
    /// What retention let go, to be dropped where dropping is safe.
    pub dropped: Vec<P>,
    /// How many workers are to be told of what [`DelegationRegistry::next_started`] gives.
    pub started: usize,
}

impl<P, T> DelegationRegistry<P, T> {
    /// Moves a delegation to a terminal state, once, has that written down, and puts its event.
    ///
    /// The permit is given back first, and whoever waits for the end is woken last. `is_it` tells the
    /// record from a later one that was given the same id. `None` means that it had ended, or was
    /// never known, or that it was given up by hand after another process had found it lost: nothing
    /// is published, the late result is discarded. Where another process has found it lost, its event
    /// is told all the same, once `mark_late` has marked it.
    pub fn finish<W: Wait>(
        &self,
        wait: &W,
        end: End<'_, T>,
        is_it: impl FnOnce(&P) -> bool,
        mark_late: impl FnOnce(&T),
    ) -> Option<Finished<P>> {
        let End { id, state, event, text, completed_at } = end;
        let (mut handle, started) = self.end(id, state, is_it)?;
        let mut problem = None;
        // It keeps the place for the event, where that is published under another claim.
        let mut former = None;
        if let Some(row) = handle.row().cloned() {
            let write = |claim| Write::Finish { claim, state, event: text, completed_at };
            match wait.block(|| row.write(write)) {
                Ok(Outcome::Fenced) => {
                    self.supersede(&handle);
                    row.look_again();
                    return None;
                }
                Ok(Outcome::Parked) => handle.park(),
                Ok(Outcome::Late { fence, is_parked }) => {
                    let next = self.claim_anew(&handle, row.under(fence));
                    former = Some(std::mem::replace(&mut handle, next));
                    mark_late(&event);
                    if is_parked {
                        handle.park();
                    }
                }
                Ok(_) => {}
                Err(error) => problem = Some(error),
            }
        }
        self.queue.publish(event, &handle, 0, false);
        drop(former);
        // The record may be gone by now, and its id given out again.
        if let Some(record) = self.table.0.lock().record_of(&handle) {
            record.wake_waiters();
        }
        tracing::debug!(target: LOG, id, state = state.name(), "delegation ended");
        Some(Finished { problem, dropped: self.prune(), started })
    }

    /// Moves a delegation to a terminal state, once, and gives its permit to whoever waits for it;
    /// how many workers are to be told.
    fn end(
        &self,
        id: &str,
        state: State,
        is_it: impl FnOnce(&P) -> bool,
    ) -> Option<(Arc<Handle>, usize)> {
        let mut table = self.table.0.lock();
        let record = table.records.get_mut(id).filter(|record| {
            record.state.may_become(state) && state.is_terminal() && is_it(&record.payload)
        });
        let Some(record) = record else {
            table.stats.discarded += 1;
            drop(table);
            tracing::warn!(target: LOG, id, state = state.name(), "late end discarded");
            return None;
        };
        record.state = state;
        record.permit = None;
        let (handle, place) = (record.handle.clone(), record.place);
        handle.end();
        let started = table.make_room(&self.capacity, &handle, place);
        Some((handle, started))
    }

    /// Has a delegation that was taken for lost go on under a new claim.
    fn claim_anew(&self, handle: &Arc<Handle>, row: RowHandle) -> Arc<Handle> {
        let next = handle.ended_under(row);
        let mut table = self.table.0.lock();
        match table.record_of(handle) {
            Some(record) => record.handle = next.clone(),
            None => next.detach(),
        }
        drop(table);
        handle.detach();
        tracing::info!(target: LOG, id = &**next.id(), "its result is late: it was taken for lost");
        next
    }

    /// Closes an end that came too late: another process found the delegation lost, and it was given
    /// up by hand.
    fn supersede(&self, handle: &Arc<Handle>) {
        let mut table = self.table.0.lock();
        table.stats.discarded += 1;
        if let Some(record) = table.record_of(handle) {
            record.state = State::Lost;
            handle.give_up();
            record.wake_waiters();
        }
        drop(table);
        let id = &**handle.id();
        tracing::warn!(target: LOG, id, "late end discarded: it was given up");
    }
}
