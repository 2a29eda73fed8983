//! How many delegations may run at once.

use std::sync::Arc;

use crate::error::Error;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The count of permits that are out.
///
/// The limit comes with each request, as in the gateway, where every dispatch passes the
/// configured `max_async_children` (0.17.0: `tools/async_delegation.py`).
#[derive(Debug, Default, Clone)]
pub struct Capacity {
    running: Arc<AtomicUsize>,
}

impl Capacity {
    /// A capacity with no permit out.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many permits are out.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// Takes a permit if fewer than `limit` are out, counting `elsewhere` more as out.
    ///
    /// # Errors
    /// [`Error::AtCapacity`] with the limit and the count.
    pub fn try_acquire(&self, limit: usize, elsewhere: usize) -> Result<Permit, Error> {
        self.running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
                (running.saturating_add(elsewhere) < limit).then_some(running + 1)
            })
            .map(|_| Permit { running: self.running.clone() })
            .map_err(|running| Error::AtCapacity {
                limit,
                running: running.saturating_add(elsewhere),
            })
    }
}

/// One place among the running; dropping it gives the place back.
#[derive(Debug)]
pub struct Permit {
    running: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }
}
