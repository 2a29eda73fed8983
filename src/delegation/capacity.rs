//! How many delegations may run at once.

use std::sync::Arc;

use crate::error::Error;
use crate::sync::atomic::{AtomicU64, Ordering};

/// One permit; those that a delegation takes beside its first are counted in the upper half.
const ONE: u64 = 1;
const HALF: u32 = u32::BITS;

/// The count of permits that are out, and of the delegations that have them.
///
/// The limit comes with each request, as in the gateway, where every dispatch passes the
/// configured `max_async_children` (0.17.0: `tools/async_delegation.py`).
#[derive(Debug, Default, Clone)]
pub struct Capacity {
    // One number, so that both are counted by one operation.
    out: Arc<AtomicU64>,
}

impl Capacity {
    /// A capacity with no permit out.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many delegations have permits.
    pub fn running(&self) -> usize {
        delegations(self.out.load(Ordering::Acquire))
    }

    /// How many permits are out.
    pub fn taken(&self) -> usize {
        taken(self.out.load(Ordering::Acquire))
    }

    /// Takes `permits`, at least one, if they fit under `limit`, counting `elsewhere` more as out.
    ///
    /// # Errors
    /// [`Error::AtCapacity`] with the limit and the count.
    pub fn try_acquire(
        &self,
        limit: usize,
        elsewhere: usize,
        permits: u32,
    ) -> Result<Permit, Error> {
        let more = permits.saturating_sub(1);
        let change = ONE + (u64::from(more) << HALF);
        let fits = |taken: usize| {
            let before = taken.saturating_add(elsewhere).saturating_add(more as usize);
            before < limit
        };
        self.out
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |out| {
                if fits(taken(out)) { out.checked_add(change) } else { None }
            })
            .map(|_| Permit { out: self.out.clone(), change })
            .map_err(|out| Error::AtCapacity {
                limit,
                running: taken(out).saturating_add(elsewhere),
                queued: 0,
            })
    }
}

fn delegations(out: u64) -> usize {
    (out as u32) as usize
}

fn taken(out: u64) -> usize {
    delegations(out).saturating_add((out >> HALF) as usize)
}

/// A delegation's place among the running; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    out: Arc<AtomicU64>,
    change: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.out.fetch_sub(self.change, Ordering::AcqRel);
    }
}
