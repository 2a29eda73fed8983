//! How a delivery under a lease ends: by `ack`, `nack`, `defer`, or by itself.
//!
//! ```text
//! waiting ──lease──> leased ──ack──> acking ──written──> delivered
//!                       │               └── not written, and not surely ours ──> waiting, or delayed
//!                       ├── nack, lease over ──> waiting; delayed, from the second failure on
//!                       ├── defer ──> waiting, or delayed
//!                       ├── nack or lease over, at the last attempt ──> dead
//!                       ├── any of these, after a new epoch of its owner ──> parked
//!                       └── any of these, where a drop was asked for meanwhile ──> dropped
//! ```
//!
//! A leased event keeps its slot and its place in the order. A lease has a number of its own, so
//! what a consumer says after the end of its lease changes nothing.
//!
//! A failed attempt is followed by another at once, in case it was an accident; each later one by a
//! pause that grows. While an event pauses, others of its owner go first.

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::acking::{Acking, LeaseId, LeftAck};
use super::dead_letter::{Buried, report_drop};
use super::handle::Handle;
use super::slots::{Lease, Taken};
use super::state::{CompletionQueue, State};
use crate::ledger::{Acked, Outcome, Receipt, Write};
use crate::state::Stage;
use crate::sync::signal::Signal;
use crate::sync::timer::{self, Due};
use crate::sync::wait::Wait;

/// An event under a lease.
#[derive(Debug)]
pub struct Leased<R> {
    /// What the queue showed of it.
    pub item: R,
    /// The lease, for what is said of it later.
    pub id: LeaseId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    pub(super) handle: Option<Arc<Handle>>,
}

impl<R> Leased<R> {
    /// Has the ledger count it; no lock is held.
    pub(super) fn counted(self) -> Self {
        if let Some(row) = self.handle.as_ref().and_then(|handle| handle.row()) {
            row.count_attempts(self.attempt);
        }
        self
    }
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged<T> {
    /// Whether the ack counts: the lease had not ended, no other process had the row, and it is
    /// written, or the row is surely ours and it is written later.
    pub held: bool,
    /// The event that has left.
    pub item: Option<T>,
}

/// How a lease ends without an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// Delivery was tried and failed.
    Nack,
    /// It could not be tried: that is no attempt.
    Defer,
    /// Nobody said anything of it: that is no attempt, but counts as a failure of the consumer.
    Drop,
}

/// On what terms an event is handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// When the lease ends by itself.
    pub(super) until: Option<Instant>,
    /// How often an event is tried until it is a dead letter.
    pub(super) max_attempts: Option<u32>,
}

impl<T> State<T> {
    /// Hands a waiting event out, and shows it.
    pub(super) fn hand_out<R>(
        &mut self,
        index: u32,
        terms: Terms,
        share: impl FnOnce(&T) -> R,
    ) -> Leased<R> {
        self.wake_putter();
        let attempts = self.events.attempts(index);
        *attempts += 1;
        let attempt = *attempts;
        let is_last = terms.max_attempts.is_some_and(|max| attempt >= max);
        let id = self.start_lease(index, Stage::Leased, terms.until, is_last);
        let handle = self.events.handle(index).cloned();
        Leased { item: share(self.events.item(index)), id, attempt, handle }
    }

    /// Gives an event that is written down to one consumer, until it is written that it was delivered.
    pub(super) fn pin(&mut self, slot: u32) -> LeaseId {
        self.start_lease(slot, Stage::Acking, None, false)
    }

    /// Gives a stored event a lease of its own, at a stage where no consumer can take it.
    fn start_lease(
        &mut self,
        slot: u32,
        stage: Stage,
        until: Option<Instant>,
        is_last: bool,
    ) -> LeaseId {
        self.events.enter(slot, stage);
        let number = self.schedule.next_number();
        self.events.set_lease(slot, Lease { number, until, is_last });
        if let Some(until) = until {
            self.schedule.add(until, slot);
        }
        LeaseId { slot, number }
    }

    /// Ends a lease, if it is the one of that name.
    fn end_lease(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.events.lease(id.slot);
        if lease.number != id.number {
            return None;
        }
        if let Some(until) = lease.until {
            self.schedule.remove(until, id.slot);
        }
        self.events.set_lease(id.slot, Lease::default());
        Some(lease)
    }

    /// Removes a delivered event.
    fn depart(&mut self, slot: u32) -> Taken<T> {
        let taken = self.events.remove(slot, Some(Stage::Delivered));
        self.done();
        taken
    }

    /// Counts a failure of an event's consumer; for how long the event pauses.
    fn fail(&mut self, slot: u32) -> Duration {
        let failures = self.events.failures(slot);
        *failures = failures.saturating_add(1);
        let failures = *failures;
        self.schedule.pause(failures)
    }

    /// Lets an event whose lease is over wait again, in its place, after `delay`.
    fn come_back(&mut self, slot: u32, delay: Duration) {
        if delay.is_zero() {
            return self.wait_again(slot);
        }
        // Nobody knows the number of this one: it ends by itself.
        self.start_lease(slot, Stage::Delayed, Instant::now().checked_add(delay), false);
    }

    /// Whether an event waits; one that pauses does so from now on.
    pub(super) fn is_to_be_had(&mut self, slot: u32) -> bool {
        if self.events.stage(slot) == Some(Stage::Delayed) {
            if let Some(until) = self.events.lease(slot).until {
                self.schedule.remove(until, slot);
            }
            self.events.set_lease(slot, Lease::default());
            self.events.enter(slot, Stage::Waiting);
        }
        self.events.stage(slot) == Some(Stage::Waiting)
    }

    fn bury(&mut self, slot: u32) -> Buried {
        self.events.enter(slot, Stage::Dead);
        self.done();
        let attempts = *self.events.attempts(slot);
        Buried { handle: self.events.handle(slot).cloned(), attempts }
    }
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// Ends a lease: the event was delivered. It is pinned for this consumer, then written down, then
    /// gone. If it can be neither written nor be surely ours, it waits again, as if its consumer had
    /// failed, but with no attempt counted.
    pub fn ack<W: Wait>(self: &Arc<Self>, wait: &W, id: LeaseId) -> Acknowledged<T> {
        let (pinned, handle) = match self.pin(id) {
            Ok(pinned) => pinned,
            Err(done) => return done,
        };
        let row = handle.row();
        let acked = row.map_or(Acked::Held, |row| wait.block(|| row.acknowledge()));
        Acknowledged { held: acked == Acked::Held, item: self.let_go(pinned, acked, true) }
    }

    /// Whether a lease has not ended.
    pub fn is_held(&self, id: LeaseId) -> bool {
        self.state.0.lock().events.lease(id.slot).number == id.number
    }

    /// As [`Self::ack`], of an event that is written down nowhere; `None` if it is: nothing was done.
    pub fn ack_unwritten(&self, id: LeaseId) -> Option<Acknowledged<T>> {
        let mut state = self.state.0.lock();
        let holds = state.events.lease(id.slot).number == id.number;
        if holds && state.events.handle(id.slot).is_some_and(|handle| handle.row().is_some()) {
            return None;
        }
        let taken = state.end_lease(id).map(|_| state.depart(id.slot));
        drop(state);
        Some(Acknowledged { held: taken.is_some(), item: taken.map(|taken| taken.item) })
    }

    /// Begins an ack that the caller does not wait for here: the event is pinned, its row on the way.
    /// It ends by [`Self::end_ack`] or [`Self::leave_ack`].
    ///
    /// # Errors
    /// No error: what became of one that needs no writing.
    pub fn begin_ack(&self, id: LeaseId) -> Result<Acking, Acknowledged<T>> {
        let (id, handle) = self.pin(id)?;
        let receipt = match handle.row() {
            Some(row) => row.submit(Write::Ack),
            None => Receipt::known(Ok(Outcome::Done)),
        };
        Ok(Acking { id, handle, receipt })
    }

    /// Ends an ack that was begun, whose row is written, or is waited for no longer.
    pub fn end_ack(self: &Arc<Self>, acking: Acking) -> Acknowledged<T> {
        let id = acking.id;
        let acked = acking.acked();
        Acknowledged { held: acked == Acked::Held, item: self.let_go(id, acked, true) }
    }

    /// Has an ack that was begun end by itself when its row is written. The event is then kept for
    /// [`Self::sweep`].
    pub fn leave_ack(self: &Arc<Self>, acking: Acking) {
        let (number, receipt) = (acking.id.number, acking.receipt.clone());
        self.state.0.lock().acking.insert(number, acking);
        let queue: Weak<Self> = Arc::downgrade(self);
        let left = LeftAck::new(number, self.written.clone(), queue);
        let signal = Arc::new(Signal::for_task(Waker::from(Arc::new(left))));
        if receipt.poll(&signal).is_some() {
            self.written.push(number);
            let look = self.end_written_acks();
            self.look_at(look);
        }
    }

    /// Ends the acks that were left alone and whose rows are written by now; when the timer is to
    /// look earlier than it will.
    fn end_written_acks(&self) -> Option<Instant> {
        let mut look = None;
        for number in self.written.take_all() {
            let acking = self.state.0.lock().acking.remove(&number);
            let Some(acking) = acking else { continue };
            let sweep = |state: &mut State<T>, item| state.swept.push(item);
            let (_, earlier) = self.unpin(acking.id, acking.acked(), true, sweep);
            look = earlier.into_iter().chain(look).min();
        }
        look
    }

    /// Pins an event that is written down for its consumer, until [`Self::let_go`].
    ///
    /// # Errors
    /// No error: what became of the ack of an event that is not.
    fn pin(&self, id: LeaseId) -> Result<(LeaseId, Arc<Handle>), Acknowledged<T>> {
        let mut state = self.state.0.lock();
        if state.end_lease(id).is_none() {
            return Err(Acknowledged { held: false, item: None });
        }
        let handle = state.events.handle(id.slot).filter(|handle| handle.row().is_some()).cloned();
        let Some(handle) = handle else {
            let taken = state.depart(id.slot);
            drop(state);
            return Err(Acknowledged { held: true, item: Some(taken.item) });
        };
        Ok((state.pin(id.slot), handle))
    }

    /// Ends what pinned an event: it is gone, and returned, or it waits again. It is counted as dealt
    /// with, unless its consumer does that.
    pub(super) fn let_go(self: &Arc<Self>, id: LeaseId, acked: Acked, counts: bool) -> Option<T> {
        let (item, look) = self.unpin(id, acked, counts, |_, item| item);
        self.look_at(look);
        item
    }

    /// As [`Self::let_go`], for who sets the timer; when it is to look, if earlier than it will. What
    /// `keep` makes of an event that is gone, before anybody hears of that.
    fn unpin<R>(
        &self,
        id: LeaseId,
        acked: Acked,
        counts: bool,
        keep: impl FnOnce(&mut State<T>, T) -> R,
    ) -> (Option<R>, Option<Instant>) {
        let mut state = self.state.0.lock();
        if state.end_lease(id).is_none() {
            // The queue was emptied meanwhile.
            return (None, None);
        }
        // Where a new claim was published meanwhile, that one waits.
        let is_detached = |handle: &Arc<Handle>| handle.is_detached();
        if acked == Acked::Unwritten && !state.events.handle(id.slot).is_some_and(is_detached) {
            if state.events.drops_when_back(id.slot) {
                let dropped = state.drop_given_back(id.slot);
                drop(state);
                report_drop(dropped);
                return (None, None);
            }
            let pause = state.fail(id.slot);
            let attempts = state.events.attempts(id.slot);
            *attempts = attempts.saturating_sub(1);
            state.come_back(id.slot, pause);
            return (None, state.schedule.arm());
        }
        let Taken { item, _handle } = state.events.remove(id.slot, Some(Stage::Delivered));
        let kept = keep(&mut state, item);
        if counts {
            state.done();
        }
        drop(state);
        (Some(kept), None)
    }

    /// Ends a lease without delivery: the event waits again, in its place, after `delay`, or after
    /// the pause that its failures so far call for; a deferred one at once. After its last attempt
    /// it is a dead letter. Where its owner has begun a new epoch it is parked instead, and dropped
    /// where that was asked for.
    ///
    /// Returns whether the lease still held.
    pub fn give_back(
        self: &Arc<Self>,
        id: LeaseId,
        how: Return,
        delay: impl Into<Option<Duration>>,
    ) -> bool {
        let mut state = self.state.0.lock();
        let Some(lease) = state.end_lease(id) else { return false };
        let drops = state.events.drops_when_back(id.slot);
        let is_last = how == Return::Nack && lease.is_last && !state.events.is_stale(id.slot);
        if is_last && !drops {
            let buried = state.bury(id.slot);
            drop(state);
            buried.report();
            return true;
        }
        let mut is_first_drop = false;
        if how == Return::Drop {
            is_first_drop = state.unsettled == 0;
            state.unsettled += 1;
        }
        let (mut deferred, mut dropped, mut look) = (None, None, None);
        if drops {
            dropped = state.drop_given_back(id.slot);
        } else {
            let pause = if how == Return::Defer { Duration::ZERO } else { state.fail(id.slot) };
            if how != Return::Nack {
                let attempts = state.events.attempts(id.slot);
                *attempts -= 1;
                let attempts = *attempts;
                deferred = state.events.handle(id.slot).cloned().map(|handle| (handle, attempts));
            }
            state.come_back(id.slot, delay.into().unwrap_or(pause));
            look = state.schedule.arm();
        }
        drop(state);
        self.look_at(look);
        report_drop(dropped);
        if is_first_drop {
            tracing::warn!(
                "a delivery was dropped unsettled; its event waits again. Say ack, nack or defer of \
                 each; this is said once, stats() counts them"
            );
        }
        if let Some((handle, attempts)) = deferred {
            handle.row().inspect(|row| row.count_attempts(attempts));
        }
        true
    }

    /// Ends a lease: the event was not for its consumer. It waits again, behind all others, as it would
    /// in a plain queue into which it is put back. That is no attempt.
    ///
    /// Returns whether the lease still held.
    pub fn requeue(&self, id: LeaseId) -> bool {
        let mut state = self.state.0.lock();
        if state.end_lease(id).is_none() {
            return false;
        }
        let attempts = state.events.attempts(id.slot);
        *attempts -= 1;
        let attempts = *attempts;
        state.events.place_last(id.slot);
        state.wait_again(id.slot);
        let handle = state.events.handle(id.slot).cloned();
        drop(state);
        if let Some(row) = handle.as_ref().and_then(|handle| handle.row()) {
            row.count_attempts(attempts);
        }
        true
    }

    /// Sets the timer for a lease that ends earlier than those before.
    pub(super) fn look_at(self: &Arc<Self>, at: Option<Instant>) {
        if let Some(at) = at {
            let queue: Weak<Self> = Arc::downgrade(self);
            timer::call_at(at, queue);
        }
    }
}

impl<T: Send + 'static> Due for CompletionQueue<T> {
    /// Has every lease that is over by `now` end; says when the next one is, if no look is set for it.
    fn due(&self, now: Instant) -> Option<Instant> {
        let look = self.end_written_acks();
        let mut state = self.state.0.lock();
        let mut over = state.schedule.take_over(now);
        let count = over.len();
        let (mut buried, mut dropped) = (Vec::new(), Vec::new());
        // The last one first: each then belongs at the head of its lists.
        over.sort_unstable_by_key(|&slot| Reverse(state.events.seq(slot)));
        for slot in over {
            let lease = state.events.lease(slot);
            state.events.set_lease(slot, Lease::default());
            match state.events.stage(slot) {
                _ if state.events.drops_when_back(slot) => {
                    dropped.push(state.drop_given_back(slot))
                }
                Some(Stage::Delayed) => state.wait_again(slot),
                _ if lease.is_last && !state.events.is_stale(slot) => buried.push(state.bury(slot)),
                _ => {
                    let pause = state.fail(slot);
                    state.come_back(slot, pause);
                }
            }
        }
        state.schedule.looked(now);
        let next = state.schedule.arm();
        drop(state);
        if count > 0 {
            tracing::debug!(count, "leases ended without an answer");
        }
        buried.into_iter().for_each(Buried::report);
        dropped.into_iter().for_each(report_drop);
        next.into_iter().chain(look).min()
    }
}
