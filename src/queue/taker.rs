//! Takes under way: look, wait, look again.

use std::sync::Arc;

use super::mailbox::MailboxId;
use super::routes::Arrival;
use super::settle::{Departed, departed};
use super::waiters::{Places, Ticket};
use super::{CompletionQueue, State};
use crate::error::Error;
use crate::wake::Signal;

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
    /// mailbox is closed.
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
            state.settle(&self.interest, self.ticket, |woken_for| woken_for != arrival);
            return Ok(taken);
        }
        if state.shutdown {
            return Err(Error::ShutDown);
        }
        // Where it waits no more, the event that woke it may be there for somebody else.
        let is_elsewhere = |arrival| !places.as_slice().iter().any(|place| place.takes(arrival));
        state.settle(&self.interest, self.ticket, is_elsewhere);
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
        state.settle(&self.interest, self.ticket, |_| true);
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
    fn places(&self, interest: &Interest) -> Result<Places, Error> {
        match interest {
            Interest::At(places) => Ok(places.clone()),
            Interest::Mailbox(id) => self.places_of(*id).cloned(),
        }
    }

    /// Forgets a registration and the wake it got, which goes to the next one if `hands_on` says so
    /// of the event's arrival.
    fn settle(
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

/// A blocking take under way.
pub struct Taker<'a, T> {
    queue: &'a CompletionQueue<T>,
    registration: Registration,
}

impl<'a, T> Taker<'a, T> {
    pub(super) fn new(queue: &'a CompletionQueue<T>, places: Places) -> Self {
        let signal = Arc::new(Signal::for_this_thread());
        let registration = Registration::new(queue, Interest::At(places), signal);
        Self { queue, registration }
    }

    /// As [`Self::poll`], with what is to be written down first.
    ///
    /// # Errors
    /// As there.
    pub fn begin(&mut self) -> Result<Departed<T>, Error> {
        let take = |state: &mut State<T>, index| state.take(index);
        let (taken, observers) = self.registration.poll(self.queue, take)?;
        Ok(departed(taken, observers))
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
