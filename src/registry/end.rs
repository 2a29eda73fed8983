//! How a delegation ends: its state first, then the row, then the event.

use std::sync::Arc;

use super::{DelegationRegistry, Delivery, Record, State};
use crate::event::Owner;
use crate::ledger::Home;

/// An end that has yet to be published.
#[derive(Debug)]
#[must_use = "an end that is not published holds whoever waits for it"]
pub struct Ending {
    id: Arc<str>,
    seq: u64,
    state: State,
    /// Where it is to be written down first, if it is.
    pub home: Option<Arc<Home>>,
}

impl<P> DelegationRegistry<P> {
    /// Moves a delegation to a terminal state, once, and has `publish` put its event.
    ///
    /// The permit is given back before the event can be seen, and whoever waits for the end is
    /// woken after. `false` means that it had ended, or was never known: nothing is published, the
    /// late result is to be discarded. For delegations without a ledger.
    pub fn finish(&self, id: &str, state: State, publish: impl FnOnce()) -> bool {
        self.finish_if(id, state, |_| true, publish)
    }

    /// As [`Self::finish`], for the record that `is_it` knows: another may have the same id by now.
    pub fn finish_if(
        &self,
        id: &str,
        state: State,
        is_it: impl FnOnce(&Record<P>) -> bool,
        publish: impl FnOnce(),
    ) -> bool {
        let Some(ending) = self.end(id, state, is_it) else { return false };
        self.publish(ending, |_| publish());
        true
    }

    /// Moves a delegation to a terminal state, once, and gives its permit back. `None` as `false`
    /// in [`Self::finish`].
    pub fn end(
        &self,
        id: &str,
        state: State,
        is_it: impl FnOnce(&Record<P>) -> bool,
    ) -> Option<Ending> {
        let mut table = self.table.0.lock();
        let ending = match table.records.get_mut(id) {
            Some(record)
                if record.state.may_become(state) && state.is_terminal() && is_it(record) =>
            {
                record.state = state;
                record.permit = None;
                let (id, seq, home) = (record.id.clone(), record.seq, record.home());
                table.finalizing += 1;
                Some(Ending { id, seq, state, home })
            }
            _ => {
                table.stats.discarded += 1;
                None
            }
        };
        drop(table);
        if ending.is_none() {
            tracing::warn!(target: super::LOG, id, state = state.name(), "late end discarded");
        }
        ending
    }

    /// Has `put` put the event of an end, and wakes whoever waits for it.
    pub fn publish(&self, ending: Ending, put: impl FnOnce(Option<Arc<Home>>)) {
        let Ending { id, seq, state, home } = ending;
        let mut table = self.table.0.lock();
        if let Some(record) = table.record_of(&id, seq) {
            record.delivery = Delivery::Pending;
            record.in_queue = record.in_queue.max(0) + 1;
            table.finalizing -= 1;
            table.undelivered += 1;
        }
        drop(table);
        put(home);
        // The record may be gone by now, and its id given out again.
        let mut table = self.table.0.lock();
        if let Some(record) = table.record_of(&id, seq) {
            record.wake_waiters();
        }
        drop(table);
        tracing::debug!(target: super::LOG, id = &*id, state = state.name(), "delegation ended");
    }

    /// Closes an end that came too late: another process found the delegation lost, and tells of it.
    pub fn supersede(&self, ending: Ending) {
        let mut table = self.table.0.lock();
        table.stats.discarded += 1;
        if let Some(record) = table.record_of(&ending.id, ending.seq) {
            record.state = State::Lost;
            record.delivery = Delivery::Dropped;
            record.wake_waiters();
            let entry = (record.id.clone(), record.seq);
            table.finalizing -= 1;
            table.retained += 1;
            table.delivered.push_back(entry);
        }
        drop(table);
        tracing::warn!(target: super::LOG, id = &*ending.id, "late end discarded: another process has it for lost");
    }

    /// Records a delegation that an earlier process left, or that is to be delivered again, and has
    /// `put` put its event. Returns the payload of the record that it takes the place of; hands its
    /// own back if that one runs or its event waits. One that waits is ours under the new hold from
    /// then on: `rehome` tells the queue, and says whether it was in time. If not, the event is
    /// leaving under the former hold, which the ledger does not accept, and so is put again.
    ///
    /// # Errors
    /// The payload given.
    pub fn restore(
        &self,
        home: Arc<Home>,
        owner: Owner,
        state: State,
        payload: P,
        rehome: impl FnOnce(&Arc<Home>) -> bool,
        put: impl FnOnce(Arc<Home>),
    ) -> Result<Option<P>, P> {
        let id = home.hold().id.clone();
        let mut table = self.table.0.lock();
        match table.records.get_mut(&id) {
            Some(record) if record.delivery == Delivery::NotYet => return Err(payload),
            Some(record) if record.delivery == Delivery::Pending => {
                let before = record.ledger.replace(home.ledger().clone());
                record.fence = home.hold().fence;
                drop(table);
                drop(before);
                if rehome(&home) {
                    return Err(payload);
                }
                self.came_back(&id);
                put(home);
                return Ok(Some(payload));
            }
            _ => {}
        }
        let before = table.remove(&id);
        match before.as_ref().map(|record| record.delivery) {
            Some(Delivery::Dead) => table.dead -= 1,
            // Its entry among the delivered ones stands for nothing any more.
            Some(_) => table.retained -= 1,
            None => {}
        }
        table.undelivered += 1;
        table.insert(Record {
            delivery: Delivery::Pending,
            ledger: Some(home.ledger().clone()),
            fence: home.hold().fence,
            begun: true,
            published: true,
            in_queue: 1,
            ..Record::new(id, state, Arc::new(owner), payload)
        });
        drop(table);
        put(home);
        Ok(before.map(|record| record.let_go()))
    }
}
