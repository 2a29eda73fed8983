//! A ledger that lasts as long as the process: for hosts that keep nothing, behind the same trait.
//!
//! There is one instance, so nothing is ever lost or held by another. A row that nobody holds, as
//! after a redelivery by hand, is adopted like any other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::clock::{Clock, SystemClock, millis};
use super::notices::Notices;
use super::{
    Health, Hold, Holder, Ledger, Millis, NewDelegation, Notice, Outcome, Receipt, Retention, Row,
    Which, Write,
};
use crate::error::Error;
use crate::event::Owner;
use crate::registry::{Delivery, State};
use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

/// What the ledger's lock guards.
#[derive(Default)]
pub struct Rows {
    // On the heap: the map has room for twice as many.
    rows: HashMap<Arc<str>, Box<Kept>>,
    // Per key, the owners that used it: few, mostly one.
    keys: HashMap<Box<str>, Vec<Arc<str>>>,
    // In the order in which they were settled, and what tells that settling from a later one.
    settled: VecDeque<(Arc<str>, u64)>,
    settled_now: usize,
    next_seq: u64,
    writes: u64,
    notices: Notices,
}

struct Kept {
    row: Row,
    seq: u64,
    settling: Option<u64>,
}

/// A ledger in memory.
pub struct MemoryLedger {
    rows: Guarded<Rows>,
    retention: Retention,
}

impl Locked for MemoryLedger {
    type State = Rows;

    fn state(&self) -> &Guarded<Rows> {
        &self.rows
    }
}

impl MemoryLedger {
    /// An empty one.
    pub fn new(retention: Retention) -> Arc<Self> {
        Arc::new(Self { rows: Guarded(Lock::new(Rows::default())), retention })
    }
}

impl Ledger for MemoryLedger {
    fn keeps_texts(&self) -> bool {
        false
    }

    fn submit(&self, write: Write) -> Receipt {
        let now = SystemClock.now().wall;
        let mut rows = self.rows.0.lock();
        let answer = rows.apply(write, now);
        let old = rows.prune(self.retention, now);
        drop(rows);
        drop(old);
        Receipt::known(answer)
    }

    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        Ok(self.rows.0.lock().read(which))
    }

    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error> {
        let mut rows = self.rows.0.lock();
        Ok(ids.iter().filter_map(|id| rows.adopt(id)).collect())
    }

    fn look_after(&self, _: Millis) {
        // Nothing changes by time alone: there is nobody else whose lease could end.
    }

    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice> {
        self.rows.0.lock().notices.next(signal)
    }

    fn health(&self) -> Health {
        let writes = self.rows.0.lock().writes;
        Health { state: "ok", commits: writes, writes, ..Health::default() }
    }

    fn flush(&self, _: Instant) -> bool {
        true
    }

    fn release(&self, _: Instant) -> bool {
        true
    }
}

impl Rows {
    /// Forgets everything, as for a forked child, which inherits nothing.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn apply(&mut self, write: Write, now: Millis) -> Result<Outcome, Error> {
        self.writes += 1;
        let written = match write {
            Write::Dispatch(new) => return self.dispatch(new),
            Write::Withdraw(hold) => self.withdraw(&hold),
            Write::Finish { hold, state, event, completed_at } => {
                self.held(&hold, |row| row.state == State::Running).map(|kept| {
                    let row = &mut kept.row;
                    row.state = state;
                    row.event = Some(event);
                    row.completed_at = Some(completed_at);
                    match row.delivery {
                        Delivery::Parked => row.holder = Holder::Nobody,
                        _ => row.delivery = Delivery::Pending,
                    }
                })
            }
            Write::Attempts { hold, attempts } => self
                .held(&hold, |row| row.delivery == Delivery::Pending)
                .map(|kept| kept.row.attempts = attempts),
            Write::Ack(hold) => self.settle_held(&hold, Delivery::Delivered, now),
            Write::Drop(hold) => self.settle_held(&hold, Delivery::Dropped, now),
            Write::Reopen(hold) => self.reopen(&hold),
            Write::Bury { hold, attempts } => {
                self.held(&hold, |row| row.delivery == Delivery::Pending).map(|kept| {
                    kept.row.attempts = attempts;
                    kept.row.delivery = Delivery::Dead;
                    kept.row.holder = Holder::Nobody;
                })
            }
            Write::NewEpoch(session_key) => {
                self.park(&session_key);
                Some(())
            }
            Write::Redeliver(id) => self.redeliver(&id),
            Write::Discard(id) => self.discard(&id, now),
            Write::Cancel(id) => self.cancel(id),
        };
        Ok(if written.is_some() { Outcome::Done } else { Outcome::Fenced })
    }

    fn dispatch(&mut self, new: NewDelegation) -> Result<Outcome, Error> {
        if let Some(key) = &new.idempotency_key {
            let users = self.keys.get(key).into_iter().flatten();
            let same = users.filter_map(|id| self.rows.get(id));
            if let Some(kept) = same.into_iter().find(|kept| same_owner(&kept.row, &new.owner)) {
                return Ok(Outcome::Exists((*kept.row.hold.id).into()));
            }
        }
        if self.rows.contains_key(&new.id) {
            return Err(Error::DuplicateId { id: (*new.id).to_owned() });
        }
        if let Some(key) = &new.idempotency_key {
            self.keys.entry(key.clone()).or_default().push(new.id.clone());
        }
        let row = Row {
            hold: Hold { id: new.id.clone(), fence: NewDelegation::FENCE },
            owner: new.owner,
            idempotency_key: new.idempotency_key,
            state: State::Running,
            delivery: Delivery::NotYet,
            attempts: 0,
            holder: Holder::Us,
            record: new.record,
            event: None,
            dispatched_at: new.dispatched_at,
            completed_at: None,
            settled_at: None,
        };
        let kept = Kept { row, seq: self.next_seq, settling: None };
        self.rows.insert(new.id, Box::new(kept));
        self.next_seq += 1;
        Ok(Outcome::Done)
    }

    fn held(&mut self, hold: &Hold, fits: impl FnOnce(&Row) -> bool) -> Option<&mut Kept> {
        let kept = &mut **self.rows.get_mut(&hold.id)?;
        let row = &kept.row;
        (row.holder == Holder::Us && row.hold.fence == hold.fence && fits(row)).then_some(kept)
    }

    fn withdraw(&mut self, hold: &Hold) -> Option<()> {
        self.held(hold, |row| row.state == State::Running)?;
        let kept = self.rows.remove(&hold.id)?;
        self.forget_key(&kept.row);
        Some(())
    }

    fn settle_held(&mut self, hold: &Hold, delivery: Delivery, now: Millis) -> Option<()> {
        let row = &self.rows.get(&hold.id)?.row;
        let is_held = row.holder == Holder::Us && row.delivery == Delivery::Pending;
        // Parked, or given up, under the eyes of its holder.
        let was_held = row.holder == Holder::Nobody
            && row.state.is_terminal()
            && matches!(row.delivery, Delivery::Parked | Delivery::Dead);
        let fits = row.hold.fence == hold.fence && (is_held || was_held);
        fits.then(|| self.settle(&hold.id, delivery, now))
    }

    fn settle(&mut self, id: &str, delivery: Delivery, now: Millis) {
        let Some(kept) = self.rows.get_mut(id) else { return };
        kept.row.delivery = delivery;
        kept.row.settled_at = Some(now);
        kept.row.holder = Holder::Nobody;
        kept.settling = Some(self.writes);
        self.settled.push_back((kept.row.hold.id.clone(), self.writes));
        self.settled_now += 1;
    }

    fn reopen(&mut self, hold: &Hold) -> Option<()> {
        let kept = self.rows.get_mut(&hold.id)?;
        let row = &mut kept.row;
        if row.hold.fence != hold.fence || row.delivery != Delivery::Delivered {
            return None;
        }
        row.holder = Holder::Us;
        self.unsettle(&hold.id);
        Some(())
    }

    fn unsettle(&mut self, id: &str) {
        let Some(kept) = self.rows.get_mut(id) else { return };
        kept.row.delivery = Delivery::Pending;
        kept.row.settled_at = None;
        if kept.settling.take().is_some() {
            self.settled_now -= 1;
        }
        // An event that circulates would grow the list by one entry a round.
        if self.settled.len() > 2 * (self.settled_now + 64) {
            let rows = &self.rows;
            self.settled.retain(|(id, number)| {
                rows.get(id).is_some_and(|kept| kept.settling == Some(*number))
            });
        }
    }

    fn park(&mut self, session_key: &str) {
        if session_key.is_empty() {
            return;
        }
        for kept in self.rows.values_mut() {
            let row = &mut kept.row;
            if row.owner.session_key == session_key
                && matches!(row.delivery, Delivery::NotYet | Delivery::Pending)
            {
                if row.delivery == Delivery::Pending {
                    row.holder = Holder::Nobody;
                }
                row.delivery = Delivery::Parked;
            }
        }
    }

    fn redeliver(&mut self, id: &str) -> Option<()> {
        let row = &mut self.rows.get_mut(id)?.row;
        if row.holder == Holder::Us || matches!(row.delivery, Delivery::NotYet | Delivery::Pending)
        {
            return None;
        }
        row.hold.fence += 1;
        row.attempts = 0;
        self.unsettle(id);
        self.notices.push(Notice::Look);
        Some(())
    }

    fn discard(&mut self, id: &str, now: Millis) -> Option<()> {
        let row = &mut self.rows.get_mut(id)?.row;
        if row.holder == Holder::Us
            || matches!(row.delivery, Delivery::Delivered | Delivery::Dropped)
        {
            return None;
        }
        row.hold.fence += 1;
        self.settle(id, Delivery::Dropped, now);
        Some(())
    }

    fn cancel(&mut self, id: Box<str>) -> Option<()> {
        let row = &self.rows.get(&*id)?.row;
        (row.state == State::Running).then(|| self.notices.push(Notice::Cancel(id)))
    }

    fn adopt(&mut self, id: &str) -> Option<Row> {
        let row = &mut self.rows.get_mut(id)?.row;
        if row.holder == Holder::Us || row.delivery != Delivery::Pending {
            return None;
        }
        row.holder = Holder::Us;
        row.hold.fence += 1;
        Some(row.clone())
    }

    fn read(&self, which: Which<'_>) -> Vec<Row> {
        let all = |fits: fn(&Row) -> bool| {
            self.rows.values().map(|kept| &**kept).filter(move |kept| fits(&kept.row)).collect()
        };
        let mut found: Vec<&Kept> = match which {
            Which::One(id) => self.rows.get(id).into_iter().map(|kept| &**kept).collect(),
            Which::Newest(_) => all(|_| true),
            Which::Running => all(|row| row.state == State::Running),
            Which::Elsewhere => {
                all(|row| row.delivery == Delivery::Pending && row.holder != Holder::Us)
            }
            Which::Dead => all(|row| row.delivery == Delivery::Dead),
        };
        found.sort_unstable_by_key(|kept| kept.seq);
        if let Which::Newest(most) = which {
            found.drain(..found.len().saturating_sub(most));
        }
        found.into_iter().map(|kept| kept.row.clone()).collect()
    }

    /// Takes out what retention has over, to be dropped without the lock.
    fn prune(&mut self, retention: Retention, now: Millis) -> Vec<Kept> {
        let mut old = Vec::new();
        let oldest = now.saturating_sub(millis(retention.age));
        while let Some((id, number)) = self.settled.front() {
            let kept = self.rows.get(id).filter(|kept| kept.settling == Some(*number));
            let settled_at = kept.and_then(|kept| kept.row.settled_at);
            let is_over = self.settled_now > retention.count
                || settled_at.is_none_or(|settled_at| settled_at < oldest);
            if !is_over {
                break;
            }
            let Some((id, _)) = self.settled.pop_front() else { break };
            if settled_at.is_some() {
                self.settled_now -= 1;
                let kept = self.rows.remove(&id);
                kept.iter().for_each(|kept| self.forget_key(&kept.row));
                old.extend(kept.map(|kept| *kept));
            }
        }
        old
    }

    fn forget_key(&mut self, row: &Row) {
        let Some(key) = &row.idempotency_key else { return };
        let Some(users) = self.keys.get_mut(key) else { return };
        users.retain(|id| *id != row.hold.id);
        if users.is_empty() {
            self.keys.remove(key);
        }
    }
}

/// Whether a row's owner is this one, whatever the epoch.
fn same_owner(row: &Row, owner: &Owner) -> bool {
    row.owner.session_key == owner.session_key
        && row.owner.origin_ui_session_id == owner.origin_ui_session_id
        && row.owner.parent_session_id == owner.parent_session_id
}
