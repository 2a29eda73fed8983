//! Puts under way: try, wait for room, try again.

use std::sync::Arc;

use super::CompletionQueue;
use super::waiters::Ticket;
use crate::wake::Signal;

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
        if state.putters.len() == before
            && !state.is_full()
            && let Some((_, signal)) = state.putters.pop_front()
        {
            signal.set();
        }
    }
}

/// A blocking put under way.
pub struct Putter<'a, T> {
    queue: &'a CompletionQueue<T>,
    room: Room,
}

impl<'a, T> Putter<'a, T> {
    pub(super) fn new(queue: &'a CompletionQueue<T>) -> Self {
        Self { queue, room: Room::new(queue, Arc::new(Signal::for_this_thread())) }
    }

    /// Registers to be woken when room appears; false if there is some already.
    pub fn enter(&mut self) -> bool {
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
