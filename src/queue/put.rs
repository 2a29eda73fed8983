//! Puts: an event comes, or comes back.
//!
//! A take without a lease is a delivery acknowledged at once; a put of the event that was taken undoes
//! that. The delegation's handle tells the two apart: if its event has left, the put reopens it; if it
//! is still in the queue, what is put is a new event.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::handle::{Directory, Handle};
use super::list::End;
use super::reservation::Reservation;
use super::state::CompletionQueue;
use super::waiters::Ticket;
use crate::error::Error;
use crate::event::{Route, full_address, kind};
use crate::ledger::{Receipt, Write};
use crate::memory;
use crate::state::Stage;
use crate::sync::signal::Signal;
use crate::sync::wait::Wait;

impl<T> CompletionQueue<T> {
    /// Appends an event if there is room. The receipt is of the ledger's note that an event that had
    /// been taken waits again: whoever puts waits for it, and does not mind whether it failed.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::ShutDown`] or [`Error::NoMemory`], with the event handed back.
    #[inline]
    pub fn try_put(&self, item: T, route: Route<'_>) -> Result<Option<Receipt>, (T, Error)> {
        match route.delegation_id {
            None => self.append(item, route, None).map(|()| None),
            Some(id) => self.append_again(item, route, id),
        }
    }

    #[inline(never)]
    fn append_again(
        &self,
        item: T,
        route: Route<'_>,
        id: &str,
    ) -> Result<Option<Receipt>, (T, Error)> {
        let Some((handle, before)) = self.reopen(id) else {
            return self.append(item, route, None).map(|()| None);
        };
        let receipt = write_reopened(&handle);
        let appended = self.append(item, route, Some(handle.clone()));
        if appended.is_err() {
            close_again(&handle, before);
        }
        appended.map(|()| receipt)
    }

    #[inline]
    fn append(
        &self,
        item: T,
        route: Route<'_>,
        handle: Option<Arc<Handle>>,
    ) -> Result<(), (T, Error)> {
        let mut state = self.state.0.lock();
        if state.shutdown {
            return Err((item, Error::ShutDown));
        }
        if state.is_full() {
            let maxsize = state.maxsize.unsigned_abs();
            return Err((item, Error::Full { maxsize }));
        }
        state.add(item, route, End::Back, handle).map_err(|item| (item, Error::NoMemory))
    }

    /// Appends an event, waiting until `deadline` for room; `None` waits without end. The receipt is
    /// as in [`Self::try_put`].
    ///
    /// # Errors
    /// [`Error::Full`] when the time is over, [`Error::ShutDown`], [`Error::NoMemory`]; what ended the
    /// wait.
    pub fn put<W: Wait>(
        &self,
        wait: &W,
        mut item: T,
        route: Route<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<Receipt>, W::Error> {
        let putter =
            Putter { queue: self, room: Room::new(self, Arc::new(Signal::for_this_thread())) };
        let mut is_over = false;
        loop {
            match self.try_put(item, route) {
                Ok(receipt) => return Ok(receipt),
                Err((refused, Error::Full { .. })) if !is_over => item = refused,
                Err((_, error)) => return Err(wait.error(error)),
            }
            if putter.enter() {
                is_over = !wait.wait(putter.signal(), deadline)?;
            }
        }
    }

    /// Starts to wait for room, by the calling thread.
    pub fn putter(&self) -> Putter<'_, T> {
        Putter { queue: self, room: Room::new(self, Arc::new(Signal::for_this_thread())) }
    }

    /// Undoes a take: the event is the first again, whatever the bound, also after a shutdown. The
    /// receipt is as in [`Self::try_put`].
    ///
    /// # Errors
    /// [`Error::NoMemory`], with the event handed back: whoever has it keeps it.
    pub fn put_back(&self, item: T, route: Route<'_>) -> Result<Option<Receipt>, (T, Error)> {
        let reopened = route.delegation_id.and_then(|id| self.reopen(id));
        let receipt = reopened.as_ref().and_then(|(handle, _)| write_reopened(handle));
        let handle = reopened.as_ref().map(|(handle, _)| handle.clone());
        let mut state = self.state.0.lock();
        let added = state.add(item, route, End::Front, handle);
        if added.is_ok() {
            // It was counted when it was put, and nobody has said that it is done.
            state.done();
        }
        drop(state);
        if let (Err(_), Some((handle, before))) = (&added, &reopened) {
            close_again(handle, *before);
        }
        added.map(|()| receipt).map_err(|item| (item, Error::NoMemory))
    }

    /// Reopens a delegation of ours whose event has left; what it was.
    fn reopen(&self, id: &str) -> Option<(Arc<Handle>, Stage)> {
        let directories = self.state.0.lock().directories.clone()?;
        let known = directories.iter().filter_map(Weak::upgrade);
        let handle = known.filter_map(|directory: Arc<dyn Directory>| directory.find(id)).next()?;
        let before = handle.reopen()?;
        Some((handle, before))
    }

    /// Appends the event of a delegation that ended, whatever the bound, also after a shutdown: an
    /// end must be told. It was handed out so many `attempts` before; if it `is_exclusive`, only
    /// those get it who ask for its owner's, by a key or by its whole address.
    pub fn publish(&self, item: T, handle: &Arc<Handle>, attempts: u32, is_exclusive: bool) {
        let owner = handle.owner();
        let kind = kind::ASYNC_DELEGATION;
        let long = handle.place().and_then(Reservation::long);
        let wants_full = self.has_predicates();
        let own = (wants_full && long.is_none())
            .then(|| memory::surely(|| full_address(kind, owner)))
            .flatten();
        let full = match long {
            Some(long) if wants_full => long.full.as_deref(),
            _ => own.as_deref(),
        };
        let route = Route {
            session_key: Some(&owner.session_key),
            kind: Some(kind),
            delegation_id: Some(handle.id()),
            full,
        };
        let mut state = self.state.0.lock();
        // Under the lock: its place is nobody else's.
        handle.place().inspect(|place| place.take_up());
        let filed = match state.events.file_reserved(route, long) {
            Ok(filed) => filed,
            // The texts are short, and there is room for the rest.
            Err(_) => memory::surely(|| state.events.file_reserved(route, long)),
        };
        if full.is_some() && state.room_for_questions().is_err() {
            memory::surely(|| state.room_for_questions());
        }
        let index = state.events.store(item, filed, End::Back, Some(handle.clone()));
        state.events.set_terms(index, attempts, is_exclusive);
        let waits = state.admit(index, End::Back, full.is_some());
        drop(state);
        // Its row may have been written after the ledger heard of the new epoch.
        if let Some(row) = handle.row().filter(|_| !waits) {
            row.submit(Write::Park);
        }
    }

    /// Has the event of a delegation, which waits or is in a consumer's hands, be that of `next` from
    /// now on: the same delegation, under another claim. `false` if it is not here, or on its way out.
    pub fn replace(&self, handle: &Arc<Handle>, next: &Arc<Handle>) -> bool {
        let mut state = self.state.0.lock();
        let index = state.events.slot_of(handle);
        let is_going = |&index: &u32| state.events.stage(index) == Some(Stage::Acking);
        let Some(index) = index.filter(|index| !is_going(index)) else { return false };
        state.events.share(index, next.clone());
        true
    }
}

/// Has it written down that an event waits again, or is parked: before it is put, so that whoever
/// takes it writes after.
fn write_reopened(handle: &Arc<Handle>) -> Option<Receipt> {
    let row = handle.row()?;
    let receipt = row.submit(Write::Reopen);
    Some(if handle.is_stale() { row.submit(Write::Park) } else { receipt })
}

/// Undoes that, where the event is not put: it has left, as before.
fn close_again(handle: &Arc<Handle>, before: Stage) {
    handle.enter(before);
    handle.row().map(|row| row.submit(Write::Ack));
}

/// Somebody who waits for room in a queue.
#[derive(Debug)]
pub struct Room {
    ticket: Ticket,
    signal: Arc<Signal>,
}

impl Room {
    /// A place in the queue's order of those who wait for room, not taken up yet.
    pub fn new<T>(queue: &CompletionQueue<T>, signal: Arc<Signal>) -> Self {
        Self { ticket: queue.ticket(), signal }
    }

    /// Registers to be woken when room appears; false if there is some already.
    pub fn enter<T>(&self, queue: &CompletionQueue<T>) -> bool {
        let mut state = queue.state.0.lock();
        if state.shutdown || !state.is_full() {
            return false;
        }
        state.putters.retain(|(ticket, _)| *ticket != self.ticket);
        state.putters.push_back((self.ticket, self.signal.clone()));
        true
    }

    /// Leaves for good; a wake that it did not need goes to the next one.
    pub fn leave<T>(&self, queue: &CompletionQueue<T>) {
        let mut state = queue.state.0.lock();
        let before = state.putters.len();
        state.putters.retain(|(ticket, _)| *ticket != self.ticket);
        // Woken, and perhaps not needing the room: let the next one look.
        if state.putters.len() == before && !state.is_full() {
            state.wake_putter();
        }
    }
}

/// A put under way: it leaves its place in the order however it ends.
pub struct Putter<'a, T> {
    queue: &'a CompletionQueue<T>,
    room: Room,
}

impl<T> Putter<'_, T> {
    /// Registers to be woken when room appears; false if there is some already.
    pub fn enter(&self) -> bool {
        self.room.enter(self.queue)
    }

    /// What wakes this put.
    pub fn signal(&self) -> &Signal {
        &self.room.signal
    }
}

impl<T> Drop for Putter<'_, T> {
    fn drop(&mut self) {
        self.room.leave(self.queue);
    }
}
