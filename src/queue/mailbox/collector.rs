//! Somebody who takes from a mailbox, and waits at it.

use std::sync::Arc;

use super::Mailbox;
use crate::error::Error;
use crate::queue::settle::Leased;
use crate::queue::state::State;
use crate::queue::take::{Interest, Registration};
use crate::sync::signal::Signal;

/// Somebody who takes from a mailbox, and waits at it when there is nothing.
pub struct Collector<T> {
    mailbox: Arc<Mailbox<T>>,
    registration: Registration,
}

impl<T: Send + 'static> Collector<T> {
    /// A collector that is woken by `signal`.
    pub fn new(mailbox: &Arc<Mailbox<T>>, signal: Arc<Signal>) -> Self {
        let interest = Interest::Mailbox(mailbox.id());
        let registration = Registration::new(mailbox.queue(), interest, signal);
        Self { mailbox: mailbox.clone(), registration }
    }

    /// Leases the mailbox's first event, or registers to be woken for one. The queue keeps the
    /// event; `share` makes what the collector gets of it, under the lock: it may copy a reference.
    ///
    /// # Errors
    /// [`Error::Empty`] while none waits, [`Error::ShutDown`] once the mailbox is closed or the
    /// queue shut down, [`Error::Undecided`] if there is an address to ask the owner predicate of first.
    pub fn poll<R>(&mut self, share: impl FnOnce(&T) -> R) -> Result<Leased<R>, Error> {
        let terms = self.mailbox.terms();
        let queue = self.mailbox.queue();
        let leased =
            self.registration.poll(queue, |state, index| state.hand_out(index, terms, share))?;
        if terms.until.is_some() {
            let look = queue.state.0.lock().schedule.arm();
            queue.look_at(look);
        }
        Ok(leased.counted())
    }

    /// Looks whether an event waits, and takes none; registers to be woken for one if not.
    ///
    /// # Errors
    /// As [`Self::poll`].
    pub fn look(&mut self) -> Result<(), Error> {
        // It stays for whoever else waits for it.
        let hand_on = |state: &mut State<T>, index| state.wake_taker(state.events.arrival(index));
        self.registration.poll(self.mailbox.queue(), hand_on)
    }

    /// What wakes it.
    pub fn signal(&self) -> &Signal {
        self.registration.signal()
    }
}

impl<T> Drop for Collector<T> {
    fn drop(&mut self) {
        self.registration.leave(self.mailbox.queue());
    }
}
