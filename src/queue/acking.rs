//! What names a lease, and what is known of an ack between its beginning and its end.

use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::Instant;

use super::handle::Handle;
use crate::error::Error;
use crate::ledger::{Acked, Receipt};
use crate::sync::ready_list::ReadyList;
use crate::sync::signal::Signal;
use crate::sync::timer::{self, Due};

/// What names a lease: the event's slot, and the number that tells it from others of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId {
    pub(super) slot: u32,
    pub(super) number: u64,
}

/// An ack that was begun: its event is pinned, its row is being written.
#[derive(Debug)]
pub struct Acking {
    pub(super) id: LeaseId,
    pub(super) handle: Arc<Handle>,
    pub(super) receipt: Receipt,
}

impl Acking {
    /// What became of it, once its row is written or could not be.
    pub(super) fn acked(&self) -> Acked {
        let answer = self.receipt.answer().unwrap_or(Err(Error::LedgerClosed));
        self.handle.row().map_or(Acked::Held, |row| row.acknowledged(&answer))
    }

    /// Whether the row is written, or could not be; if not, `signal` is set when it is.
    pub fn poll(&self, signal: &Arc<Signal>) -> bool {
        self.receipt.poll(signal).is_some()
    }
}

/// What hears that the row of an ack is written for which nobody waits.
pub(super) struct LeftAck {
    number: u64,
    written: Arc<ReadyList>,
    queue: Weak<dyn Due>,
}

impl LeftAck {
    /// Of the ack whose lease has that number; `queue` ends it once its number is in `written`.
    pub(super) fn new(number: u64, written: Arc<ReadyList>, queue: Weak<dyn Due>) -> Self {
        Self { number, written, queue }
    }
}

impl Wake for LeftAck {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    /// Leaves the rest to the timer: the writer, which calls this, has locks.
    fn wake_by_ref(self: &Arc<Self>) {
        if self.written.push(self.number) {
            timer::call_at(Instant::now(), self.queue.clone());
        }
    }
}
