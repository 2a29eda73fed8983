//! A user of a writer: its number, the term of its lease, and until when that surely lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::ledger::Millis;
use crate::ledger::clock::Clock;

/// A user of a writer, by the number under which it hears notices.
pub(super) type User = u64;

/// Until when nobody can have taken over what an instance holds.
pub(super) struct Sure {
    clock: Arc<dyn Clock>,
    /// On the steady clock: earlier than what is written.
    until: AtomicI64,
}

impl Sure {
    /// Not yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, until: AtomicI64::new(Millis::MIN) })
    }

    /// Whether it is not over: a lease is on disk, and lasts for some time yet.
    pub(super) fn is_ours(&self) -> bool {
        !self.left().is_zero()
    }

    /// How long that is so.
    pub(super) fn left(&self) -> Duration {
        let until = self.until.load(Ordering::SeqCst);
        let left = until.saturating_sub(self.clock.now().steady).max(0);
        Duration::from_millis(left.unsigned_abs())
    }

    /// It lasts until then.
    pub(super) fn set(&self, until: Millis) {
        self.until.store(until, Ordering::SeqCst);
    }
}

/// What a user brings along.
#[derive(Clone)]
pub(super) struct Terms {
    /// The term of its lease.
    pub(super) lease: Millis,
    /// The user that it is an instance of, if it is: what it holds is that one's, too, as that reads it.
    pub(super) of: Option<User>,
    /// For it to see without the writer's lock.
    pub(super) sure: Arc<Sure>,
}
