//! Takes without a lease, and what every take does: look, wait, look again.
//!
//! Such a take is a delivery acknowledged at once: an event that is in a ledger is pinned for the
//! taker, then written down, then gone, as with [`CompletionQueue::ack`].

use std::sync::Arc;
use std::time::Instant;

use super::acking::LeaseId;
use super::handle::Handle;
use super::mailbox::MailboxId;
use super::routes::Arrival;
use super::slots::Taken;
use super::state::{CompletionQueue, State};
use super::waiters::{Places, Ticket, Wanted};
use crate::error::Error;
use crate::ledger::Acked;
use crate::sync::signal::Signal;
use crate::sync::wait::Wait;

/// An event that a take has found.
enum Took<T> {
    /// It is gone.
    Gone(Taken<T>),
    /// It is pinned, until it is written down that it was delivered.
    Pinned(LeaseId, Arc<Handle>),
}

impl<T: Send + 'static> CompletionQueue<T> {
    /// Removes the first event wanted, if one waits.
    ///
    /// # Errors
    /// [`Error::Empty`], or [`Error::ShutDown`] once the queue is shut down.
    #[inline]
    pub fn try_take<W: Wait>(self: &Arc<Self>, wait: &W, wanted: Wanted<'_>) -> Result<T, Error> {
        loop {
            let mut state = self.state.0.lock();
            let Some(index) = state.events.first_wanted(wanted) else {
                return Err(if state.shutdown { Error::ShutDown } else { Error::Empty });
            };
            let took = state.take(index);
            drop(state);
            if let Some(item) = self.acknowledged(wait, took) {
                return Ok(item);
            }
        }
    }

    /// Removes the first event wanted, waiting until `deadline` for one; `None` waits without end.
    ///
    /// # Errors
    /// [`Error::Empty`] when the time is over, [`Error::ShutDown`] once the queue is shut down,
    /// [`Error::NoMemory`] if there is none to wait with; what ended the wait.
    pub fn take<W: Wait>(
        self: &Arc<Self>,
        wait: &W,
        wanted: Wanted<'_>,
        deadline: Option<Instant>,
    ) -> Result<T, W::Error> {
        let mut taker = self.taker(wanted).map_err(|error| wait.error(error))?;
        let mut is_over = false;
        loop {
            match taker.poll(wait) {
                Err(Error::Empty) if !is_over => {
                    is_over = !wait.wait(taker.signal(), deadline)?;
                }
                taken => return taken.map_err(|error| wait.error(error)),
            }
        }
    }

    /// Starts a take by the calling thread, which waits by itself.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn taker<'a>(self: &'a Arc<Self>, wanted: Wanted<'_>) -> Result<Taker<'a, T>, Error> {
        let places = match wanted {
            Wanted { session_key: None, types: None } => Places::ALL,
            _ => Places::acquire(&mut self.state.0.lock().events.routes, wanted)?,
        };
        let signal = Arc::new(Signal::for_this_thread());
        let registration = Registration::new(self, Interest::At(places), signal);
        Ok(Taker { queue: self, registration })
    }

    /// What was taken, once it is written down that it was delivered. `None` if it was another
    /// process's by then, which delivers it, or if it waits again.
    #[inline]
    fn acknowledged<W: Wait>(self: &Arc<Self>, wait: &W, took: Took<T>) -> Option<T> {
        match took {
            Took::Gone(taken) => Some(taken.item),
            Took::Pinned(id, handle) => self.acknowledge_taken(wait, id, &handle),
        }
    }

    #[inline(never)]
    fn acknowledge_taken<W: Wait>(
        self: &Arc<Self>,
        wait: &W,
        id: LeaseId,
        handle: &Arc<Handle>,
    ) -> Option<T> {
        let row = handle.row();
        let acked = row.map_or(Acked::Held, |row| wait.block(|| row.acknowledge()));
        // Who takes it counts it as dealt with; nobody does of what is another process's.
        let item = self.let_go(id, acked, acked != Acked::Held);
        item.filter(|_| acked == Acked::Held)
    }
}

/// What somebody waits for.
#[derive(Debug)]
pub(super) enum Interest {
    /// Whatever waits there.
    At(Places),
    /// What is a mailbox's.
    Mailbox(MailboxId),
}

/// Somebody who takes from a queue, and waits there when there is nothing.
#[derive(Debug)]
pub(super) struct Registration {
    ticket: Ticket,
    interest: Interest,
    signal: Arc<Signal>,
    // Whether the queue may hold it among those who wait, or a wake that it got.
    is_known: bool,
}

impl Registration {
    /// A place in the queue's order of those who wait, not taken up yet.
    pub(super) fn new<T>(
        queue: &CompletionQueue<T>,
        interest: Interest,
        signal: Arc<Signal>,
    ) -> Self {
        Self { ticket: queue.ticket(), interest, signal, is_known: false }
    }

    /// Has `take` take the first event wanted, or registers to be woken for one.
    ///
    /// # Errors
    /// [`Error::Empty`] while none waits, [`Error::ShutDown`] once the queue is shut down, or the
    /// mailbox is closed; [`Error::NoMemory`] if there is none to wait with.
    pub(super) fn poll<T, R>(
        &mut self,
        queue: &CompletionQueue<T>,
        take: impl FnOnce(&mut State<T>, u32) -> R,
    ) -> Result<R, Error> {
        let mut state = queue.state.0.lock();
        let places = state.places(&self.interest)?;
        if let Some(index) = state.events.first_at(places.as_slice()) {
            let arrival = state.events.arrival(index);
            let taken = take(&mut state, index);
            self.is_known = false;
            // Not the event it was woken for, which may still wait, with nobody else told of it.
            state.leave(&self.interest, self.ticket, |woken_for| woken_for != arrival);
            return Ok(taken);
        }
        if state.shutdown {
            return Err(Error::ShutDown);
        }
        state.room_for_taker(&places)?;
        // Where it waits no more, the event that woke it may be there for somebody else.
        let is_elsewhere = |arrival| !places.as_slice().iter().any(|place| place.takes(arrival));
        state.leave(&self.interest, self.ticket, is_elsewhere);
        if let Some(mailbox) = self.interest.mailbox().and_then(|id| state.mailboxes.get_mut(&id)) {
            mailbox.waiting.insert(self.ticket);
        }
        state.takers.enter(self.ticket, self.signal.clone(), places);
        self.is_known = true;
        Err(Error::Empty)
    }

    /// Leaves for good; a wake that it got goes to the next one.
    pub(super) fn leave<T>(&mut self, queue: &CompletionQueue<T>) {
        let names_nothing = match &self.interest {
            Interest::At(places) => places.is_all(),
            Interest::Mailbox(_) => true,
        };
        if !self.is_known && names_nothing {
            return;
        }
        let mut state = queue.state.0.lock();
        state.leave(&self.interest, self.ticket, |_| true);
        self.is_known = false;
        if let Interest::At(places) = &mut self.interest {
            std::mem::replace(places, Places::ALL).release(&mut state.events.routes);
        }
    }

    /// What wakes it.
    pub(super) fn signal(&self) -> &Signal {
        &self.signal
    }
}

impl Interest {
    fn mailbox(&self) -> Option<MailboxId> {
        match self {
            Self::Mailbox(id) => Some(*id),
            Self::At(_) => None,
        }
    }
}

impl<T> State<T> {
    #[inline]
    fn take(&mut self, index: u32) -> Took<T> {
        self.wake_putter();
        match self.events.handle(index).filter(|handle| handle.row().is_some()).cloned() {
            None => Took::Gone(self.events.take(index)),
            Some(handle) => Took::Pinned(self.pin(index), handle),
        }
    }

    fn places(&self, interest: &Interest) -> Result<Places, Error> {
        match interest {
            Interest::At(places) => Ok(places.clone()),
            Interest::Mailbox(id) => self.places_of(*id).cloned(),
        }
    }

    /// Forgets a registration and the wake it got, which goes to the next one if `hands_on` says so
    /// of the event's arrival.
    fn leave(
        &mut self,
        interest: &Interest,
        ticket: Ticket,
        hands_on: impl FnOnce(Arrival) -> bool,
    ) {
        self.takers.leave(ticket);
        if let Some(mailbox) = interest.mailbox().and_then(|id| self.mailboxes.get_mut(&id)) {
            mailbox.waiting.remove(&ticket);
        }
        let Some(arrival) = self.woken.remove(&ticket) else { return };
        if hands_on(arrival) {
            self.wake_taker(arrival);
        }
        // Last: the names may go with this use.
        self.events.routes.release_arrival(arrival);
    }
}

/// A take under way: look, wait for the signal, look again.
pub struct Taker<'a, T> {
    queue: &'a Arc<CompletionQueue<T>>,
    registration: Registration,
}

impl<T: Send + 'static> Taker<'_, T> {
    /// Takes the first event wanted, or registers to be woken for one.
    ///
    /// # Errors
    /// [`Error::Empty`] while none waits, [`Error::ShutDown`] once the queue is shut down,
    /// [`Error::NoMemory`] if there is none to wait with.
    pub fn poll<W: Wait>(&mut self, wait: &W) -> Result<T, Error> {
        loop {
            let took = self.registration.poll(self.queue, State::take)?;
            if let Some(item) = self.queue.acknowledged(wait, took) {
                return Ok(item);
            }
        }
    }

    /// What wakes this take.
    pub fn signal(&self) -> &Signal {
        self.registration.signal()
    }
}

impl<T> Drop for Taker<'_, T> {
    fn drop(&mut self) {
        self.registration.leave(self.queue);
    }
}
