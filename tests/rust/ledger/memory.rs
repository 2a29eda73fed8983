//! A ledger in memory: the model that the one in a file is compared with, step by step.
//!
//! There is one instance, so nothing is ever lost or claimed by another. A row that nobody holds, as
//! after a redelivery that was asked for, is adopted like any other.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hermes_core::error::Error;
use hermes_core::event::Owner;
use hermes_core::ledger::clock::{Clock, SystemClock, millis};
use hermes_core::ledger::notices::Notices;
use hermes_core::ledger::{
    Claim, Health, Holder, Ledger, Millis, NewDelegation, Notice, Outcome, Receipt, Retention, Row,
    Which, Write,
};
use hermes_core::state::{Delivery, State};
use hermes_core::sync::signal::Signal;

/// What the ledger's lock guards.
#[derive(Default)]
pub(super) struct Rows {
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
    /// Whether its holder is asked to drop its event.
    drops: bool,
}

/// A ledger in memory.
pub(super) struct MemoryLedger {
    rows: Mutex<Rows>,
    retention: Retention,
}

impl MemoryLedger {
    /// An empty one.
    pub(super) fn new(retention: Retention) -> Arc<Self> {
        Arc::new(Self { rows: Mutex::new(Rows::default()), retention })
    }
}

impl Ledger for MemoryLedger {
    fn submit(&self, write: Write) -> Receipt {
        let now = SystemClock.now().wall;
        let mut rows = self.rows.lock().unwrap();
        let answer = rows.apply(write, now);
        let old = rows.prune(self.retention, now);
        drop(rows);
        drop(old);
        Receipt::known(answer)
    }

    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        Ok(self.rows.lock().unwrap().read(which))
    }

    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error> {
        let mut rows = self.rows.lock().unwrap();
        Ok(ids.iter().filter_map(|id| rows.adopt(id)).collect())
    }

    fn is_surely_ours(&self) -> bool {
        true
    }

    fn look_again(&self, _: Millis) {
        // Nothing changes by time alone: there is nobody else whose lease could end.
    }

    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice> {
        self.rows.lock().unwrap().notices.next(signal)
    }

    fn health(&self) -> Health {
        let writes = self.rows.lock().unwrap().writes;
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
    fn apply(&mut self, write: Write, now: Millis) -> Result<Outcome, Error> {
        self.writes += 1;
        let mut done = Outcome::Done;
        let lets_go = write.lets_go();
        let written = match write {
            Write::Dispatch(new) => return self.dispatch(new),
            Write::Begin(claim) => self.held(&claim, |row| !row.state.is_terminal()).map(|kept| {
                kept.row.state = State::Running;
                kept.row.has_begun = true;
            }),
            Write::Withdraw(claim) => self.withdraw(&claim),
            Write::Finish { claim, state, event, completed_at } => {
                let kept = self.held(&claim, |row| !row.state.is_terminal());
                if kept.as_ref().is_some_and(|kept| kept.row.delivery == Delivery::Parked) {
                    done = Outcome::Parked;
                }
                kept.map(|kept| {
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
            Write::Attempts { claim, attempts } => self
                .held(&claim, |row| row.delivery == Delivery::Pending)
                .map(|kept| kept.row.attempts = attempts),
            Write::Ack(claim) => self.settle_held(&claim, Delivery::Delivered, now),
            Write::Drop(claim) => self.settle_held(&claim, Delivery::Dropped, now),
            Write::Reopen(claim) => self.reopen(&claim),
            Write::Park(claim) => {
                self.held(&claim, |row| row.delivery == Delivery::Pending).map(|kept| {
                    kept.row.delivery = Delivery::Parked;
                    kept.row.holder = Holder::Nobody;
                })
            }
            Write::GiveBack(claim) => {
                let may = |row: &Row| !row.state.is_terminal() || row.delivery == Delivery::Pending;
                self.held(&claim, may).map(|kept| {
                    kept.row.holder = Holder::Nobody;
                    if !kept.row.state.is_terminal() {
                        kept.row.state = State::Lost;
                        kept.row.completed_at = Some(now);
                        kept.row.claim.fence += 1;
                        if kept.row.delivery == Delivery::NotYet {
                            kept.row.delivery = Delivery::Pending;
                        }
                    }
                })
            }
            Write::Bury { claim, attempts } => {
                self.held(&claim, |row| row.delivery == Delivery::Pending).map(|kept| {
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
            Write::Discard(id) if self.asks_to_drop(&id) => return Ok(Outcome::Asked),
            Write::Discard(id) => self.discard(&id, now),
            Write::Cancel(id) => self.cancel(id),
        };
        if lets_go {
            self.drop_as_asked(now);
        }
        Ok(if written.is_some() { done } else { Outcome::Fenced })
    }

    fn dispatch(&mut self, new: NewDelegation) -> Result<Outcome, Error> {
        if let Some(key) = &new.idempotency_key {
            let users = self.keys.get(key).into_iter().flatten();
            let same = users.filter_map(|id| self.rows.get(id));
            if let Some(kept) = same.into_iter().find(|kept| same_owner(&kept.row, &new.owner)) {
                return Ok(Outcome::Exists((*kept.row.claim.id).into()));
            }
        }
        if self.rows.contains_key(&new.id) {
            return Err(Error::DuplicateId { id: (*new.id).to_owned() });
        }
        if let Some(key) = &new.idempotency_key {
            self.keys.entry(key.clone()).or_default().push(new.id.clone());
        }
        let row = Row {
            claim: Claim { id: new.id.clone(), fence: NewDelegation::FENCE },
            owner: new.owner,
            idempotency_key: new.idempotency_key,
            state: if new.is_queued { State::Queued } else { State::Running },
            has_begun: !new.is_queued,
            delivery: Delivery::NotYet,
            attempts: 0,
            holder: Holder::Us,
            record: new.record,
            event: None,
            dispatched_at: new.dispatched_at,
            completed_at: None,
            settled_at: None,
        };
        let kept = Kept { row, seq: self.next_seq, settling: None, drops: false };
        self.rows.insert(new.id, Box::new(kept));
        self.next_seq += 1;
        Ok(Outcome::Done)
    }

    fn held(&mut self, claim: &Claim, fits: impl FnOnce(&Row) -> bool) -> Option<&mut Kept> {
        let kept = &mut **self.rows.get_mut(&claim.id)?;
        let row = &kept.row;
        (row.holder == Holder::Us && row.claim.fence == claim.fence && fits(row)).then_some(kept)
    }

    fn withdraw(&mut self, claim: &Claim) -> Option<()> {
        self.held(claim, |row| !row.state.is_terminal())?;
        let kept = self.rows.remove(&claim.id)?;
        self.forget_key(&kept.row);
        Some(())
    }

    fn settle_held(&mut self, claim: &Claim, delivery: Delivery, now: Millis) -> Option<()> {
        let row = &self.rows.get(&claim.id)?.row;
        if row.claim.fence == claim.fence && [row.delivery, delivery] == [Delivery::Delivered; 2] {
            return Some(());
        }
        let is_held = row.holder == Holder::Us && row.delivery == Delivery::Pending;
        // Parked, or given up, under the eyes of its holder.
        let was_held = row.holder == Holder::Nobody
            && row.state.is_terminal()
            && matches!(row.delivery, Delivery::Parked | Delivery::Dead);
        let fits = row.claim.fence == claim.fence && (is_held || was_held);
        fits.then(|| self.settle(&claim.id, delivery, now))
    }

    fn settle(&mut self, id: &str, delivery: Delivery, now: Millis) {
        let Some(kept) = self.rows.get_mut(id) else { return };
        kept.row.delivery = delivery;
        kept.row.settled_at = Some(now);
        kept.row.holder = Holder::Nobody;
        kept.settling = Some(self.writes);
        kept.drops &= delivery == Delivery::Delivered;
        self.settled.push_back((kept.row.claim.id.clone(), self.writes));
        self.settled_now += 1;
    }

    fn reopen(&mut self, claim: &Claim) -> Option<()> {
        let kept = self.rows.get_mut(&claim.id)?;
        let row = &mut kept.row;
        if row.claim.fence != claim.fence || row.delivery != Delivery::Delivered {
            return None;
        }
        row.holder = Holder::Us;
        self.unsettle(&claim.id);
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
            if &*row.owner.session_key == session_key
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
        let kept = self.rows.get_mut(id)?;
        let row = &mut kept.row;
        if row.holder == Holder::Us || matches!(row.delivery, Delivery::NotYet | Delivery::Pending)
        {
            return None;
        }
        row.claim.fence += 1;
        row.attempts = 0;
        kept.drops = false;
        self.unsettle(id);
        self.notices.push(Notice::Look);
        Some(())
    }

    fn asks_to_drop(&mut self, id: &str) -> bool {
        let Some(kept) = self.rows.get_mut(id) else { return false };
        let is_held = kept.row.holder == Holder::Us && kept.row.delivery == Delivery::Pending;
        if is_held {
            kept.drops = true;
            self.ask(None);
        }
        is_held
    }

    /// Says what is asked of the holder: to stop one, and to drop each that was asked for and is there.
    fn ask(&mut self, stops: Option<&str>) {
        let request = |kept: &Kept| {
            let claim = kept.row.claim.clone();
            match stops == Some(&*claim.id) {
                true => Some((kept.seq, Notice::Cancel((*claim.id).into()))),
                false if kept.drops && kept.row.holder == Holder::Us => {
                    Some((kept.seq, Notice::Drop(claim)))
                }
                false => None,
            }
        };
        let mut requests: Vec<_> = self.rows.values().filter_map(|kept| request(kept)).collect();
        requests.sort_unstable_by_key(|(seq, _)| *seq);
        requests.into_iter().for_each(|(_, request)| self.notices.push(request));
    }

    /// Drops what its holder was asked to, and let go of.
    fn drop_as_asked(&mut self, now: Millis) {
        let is_let_go = |kept: &&mut Box<Kept>| {
            let Row { holder, settled_at, .. } = &kept.row;
            kept.drops && *holder == Holder::Nobody && settled_at.is_none()
        };
        let mut let_go = Vec::new();
        for kept in self.rows.values_mut().filter(is_let_go) {
            let_go.push((kept.seq, kept.row.claim.clone()));
            kept.row.claim.fence += 1;
        }
        let_go.sort_unstable_by_key(|(seq, _)| *seq);
        for (_, claim) in let_go {
            self.settle(&claim.id, Delivery::Dropped, now);
            self.notices.push(Notice::Drop(claim));
        }
    }

    fn discard(&mut self, id: &str, now: Millis) -> Option<()> {
        let row = &mut self.rows.get_mut(id)?.row;
        if row.holder == Holder::Us
            || matches!(row.delivery, Delivery::Delivered | Delivery::Dropped)
        {
            return None;
        }
        row.claim.fence += 1;
        self.settle(id, Delivery::Dropped, now);
        Some(())
    }

    fn cancel(&mut self, id: Box<str>) -> Option<()> {
        let row = &self.rows.get(&*id)?.row;
        (!row.state.is_terminal()).then(|| self.ask(Some(&id)))
    }

    fn adopt(&mut self, id: &str) -> Option<Row> {
        let row = &mut self.rows.get_mut(id)?.row;
        if row.holder == Holder::Us || row.delivery != Delivery::Pending {
            return None;
        }
        row.holder = Holder::Us;
        row.claim.fence += 1;
        Some(row.clone())
    }

    fn read(&self, which: Which<'_>) -> Vec<Row> {
        let all = |fits: fn(&Row) -> bool| {
            self.rows.values().map(|kept| &**kept).filter(move |kept| fits(&kept.row)).collect()
        };
        let mut found: Vec<&Kept> = match which {
            Which::One(id) => self.rows.get(id).into_iter().map(|kept| &**kept).collect(),
            Which::Newest(_) => all(|_| true),
            Which::Running => all(|row| !row.state.is_terminal()),
            Which::Elsewhere => {
                all(|row| row.delivery == Delivery::Pending && row.holder != Holder::Us)
            }
            Which::Free => {
                all(|row| row.delivery == Delivery::Pending && row.holder == Holder::Nobody)
            }
            Which::ElsewhereOf(key) => {
                let mut of =
                    all(|row| row.delivery == Delivery::Pending && row.holder != Holder::Us);
                of.retain(|kept: &&Kept| &*kept.row.owner.session_key == key);
                of
            }
            Which::Dead => all(|row| row.delivery == Delivery::Dead),
        };
        found.sort_unstable_by_key(|kept| kept.seq);
        if let Which::Newest(most) = which {
            found.drain(..found.len().saturating_sub(most));
        }
        let texts = !matches!(which, Which::ElsewhereOf(_) | Which::Free);
        let row = |kept: &Kept| match (texts, &kept.row) {
            (true, row) => row.clone(),
            (false, row) => Row { record: "".into(), event: None, ..row.clone() },
        };
        found.into_iter().map(row).collect()
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
        users.retain(|id| *id != row.claim.id);
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
