//! How a delegation comes back that an earlier process left, or that is to be delivered again; and
//! how its event is given up.

use std::sync::Arc;

use super::record::Record;
use super::registry::DelegationRegistry;
use crate::event::Owner;
use crate::ledger::{Outcome, RowHandle, Write};
use crate::queue::{Handle, Leased, Mailbox, Stamp};
use crate::state::{Stage, State};
use crate::sync::wait::Wait;

/// A delegation that comes back.
pub struct Restored<P, T> {
    /// Its id.
    pub id: Arc<str>,
    /// Where it is written down, under our claim, if it is.
    pub row: Option<RowHandle>,
    /// Who asked for it.
    pub owner: Owner,
    /// How it ended.
    pub state: State,
    /// How often its event was handed out.
    pub attempts: u32,
    /// Whether only those get it who ask for its owner's, by a key or by its whole address.
    pub is_exclusive: bool,
    /// What the host keeps with it.
    pub payload: P,
    /// Its completion event.
    pub event: T,
}

/// A restored event that was not put.
#[derive(Debug, PartialEq, Eq)]
pub struct NotPut<P> {
    /// What the host would have kept with it.
    pub payload: P,
    /// Why it was not put.
    pub why: Why,
}

/// Why a restored event is not put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// One of it waits, which goes on under the new claim.
    Waits,
    /// Its delegation still runs.
    Runs,
    /// There is no memory for it; nothing was changed.
    NoMemory,
}

impl<P, T> DelegationRegistry<P, T> {
    /// Records it, and puts its event. Returns the payload of the record that it takes the place of.
    ///
    /// An event that is leaving under the former claim, which the ledger does not accept, is put again.
    ///
    /// # Errors
    /// The payload given, if a record of this id still runs, or its event waits, or there is no memory.
    pub fn restore(&self, restored: Restored<P, T>) -> Result<Option<P>, NotPut<P>> {
        let Restored { id, row, owner, state, attempts, is_exclusive, payload, event } = restored;
        let Ok((stamp, place)) = self.queue.reserve(&owner) else {
            return Err(NotPut { payload, why: Why::NoMemory });
        };
        let owner = Arc::new(Owner { epoch: stamp.as_ref().map(Stamp::number), ..owner });
        let mut table = self.table.0.lock();
        if table.room_for(false).is_err() {
            return Err(NotPut { payload, why: Why::NoMemory });
        }
        let handle = Handle::new(id, owner, stamp, row, table.tally.clone()).with_place(place);
        let handle = Arc::new(handle);
        let known = table.records.get_mut(handle.id());
        let stage = known.as_ref().map(|record| record.handle.stage());
        let before = match (known, stage) {
            (Some(record), Some(Some(stage))) if stage.is_unfinished() => {
                let former = std::mem::replace(&mut record.handle, handle.clone());
                former.detach();
                drop(table);
                if self.queue.replace(&former, &handle) {
                    return Err(NotPut { payload, why: Why::Waits });
                }
                Some(payload)
            }
            (Some(_), Some(None)) => return Err(NotPut { payload, why: Why::Runs }),
            (known, _) => {
                let known = known.map(|record| record.handle.clone());
                let replaced = known.and_then(|known| {
                    known.detach();
                    table.remove(&known)
                });
                let record = Record::new(handle.clone(), state, payload);
                table.insert(Record { begun: true, ..record });
                drop(table);
                replaced.map(|record| record.let_go())
            }
        };
        self.queue.publish(event, &handle, attempts, is_exclusive);
        Ok(before)
    }

    /// Leases the event of a delegation at a mailbox of the queue, if it waits or pauses, wherever it
    /// stands in the order. `share` runs under the queue's lock: it may copy a reference.
    pub fn lease<R>(
        &self,
        mailbox: &Mailbox<T>,
        id: &str,
        share: impl FnOnce(&T) -> R,
    ) -> Option<Leased<R>>
    where
        T: Send + 'static,
    {
        mailbox.collect_of(&self.handle(id)?, share)
    }

    /// Takes the event of a delegation out of the queue: a dead letter, a parked one, or one that
    /// waits too, if `waiting` says so. The ledger is not told.
    pub fn take_out(&self, id: &str, waiting: bool) -> Option<T> {
        self.queue.discard(&self.handle(id)?, waiting)
    }

    /// Gives up the event of a delegation that waits, is parked, or is a dead letter: it goes, then
    /// that is written down; of one that has gone with its queue, that alone. Returns it, and whether
    /// the row was ours.
    pub fn drop_event<W: Wait>(&self, wait: &W, id: &str) -> Option<(Option<T>, bool)> {
        let handle = self.handle(id)?;
        let event = self.queue.discard(&handle, true);
        if event.is_none() && handle.stage() != Some(Stage::Dropped) {
            return None;
        }
        let row = handle.row();
        let is_done = |row: &RowHandle| row.write(Write::Drop) == Ok(Outcome::Done);
        let was_ours = row.is_some_and(|row| wait.block(|| is_done(row)));
        Some((event, was_ours))
    }

    /// Parks the event of a delegation, whose owner began a new epoch elsewhere.
    pub fn park(&self, id: &str) {
        if let Some(handle) = self.handle(id) {
            self.queue.park(&handle);
        }
    }

    /// Gives up the event of a delegation that is held under a claim of this fence, as its ledger
    /// asks: as [`Self::drop_event`], but nobody waits for the row; what a consumer has is given up
    /// should it come back. Returns what is to be dropped.
    pub fn drop_as_asked(&self, id: &str, fence: u64) -> Vec<T> {
        let mut dropped = self.queue.sweep();
        let is_it = |row: &&RowHandle| row.claim().fence == fence;
        let Some(handle) = self.handle(id) else { return dropped };
        let Some(row) = handle.row().filter(is_it) else { return dropped };
        let event = self.queue.discard_when_back(&handle);
        if event.is_some() || handle.stage() == Some(Stage::Dropped) {
            row.submit(Write::Drop);
        }
        dropped.extend(event);
        dropped
    }

    /// Where the event of a delegation stands; none before it was put, or if nothing is known.
    pub fn stage(&self, id: &str) -> Option<Stage> {
        self.handle(id)?.stage()
    }
}
