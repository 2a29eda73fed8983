//! Epochs: what an owner dispatched before its conversation was reset is told from what came after.
//!
//! An epoch is kept as long as a delegation names it: each has a stamp, the number that was current
//! when it was dispatched beside the one that is current now.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
// Written under the queue's lock alone.
use std::sync::atomic::{AtomicU32, Ordering};

use crate::memory::{self, NoMemory, Room};

/// Owners nobody names are forgotten beyond this many.
const KEPT: usize = 64;

/// When in its owner's life a delegation was dispatched.
#[derive(Debug, Clone)]
pub struct Stamp {
    current: Arc<AtomicU32>,
    began: NonZeroU32,
}

impl Stamp {
    /// The epoch that was current then.
    pub fn number(&self) -> NonZeroU32 {
        self.began
    }

    /// Whether the owner has begun a new one since.
    pub(super) fn is_stale(&self) -> bool {
        self.began.get() < self.current.load(Ordering::Relaxed)
    }
}

/// The current epoch of each owner that something names, from 1.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    current: HashMap<Box<str>, Arc<AtomicU32>, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Epochs {
    fn of(&mut self, session_key: &str) -> Result<&Arc<AtomicU32>, NoMemory> {
        if !self.current.contains_key(session_key) {
            if self.current.len() >= self.sweep_at.max(KEPT) {
                self.current.retain(|_, current| Arc::strong_count(current) > 1);
                self.sweep_at = 2 * self.current.len();
            }
            self.current.room_for(1)?;
            let key = memory::copy(session_key)?;
            self.current.insert(key, Arc::new(AtomicU32::new(1)));
        }
        Ok(&self.current[session_key])
    }

    /// A stamp of now.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn stamp(&mut self, session_key: &str) -> Result<Stamp, NoMemory> {
        let current = self.of(session_key)?.clone();
        let began = NonZeroU32::new(current.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN);
        Ok(Stamp { current, began })
    }

    /// Begins a new epoch of an owner; its number.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn begin(&mut self, session_key: &str) -> Result<NonZeroU32, NoMemory> {
        let current = self.of(session_key)?;
        let next = NonZeroU32::new(current.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN);
        let next = next.saturating_add(1);
        current.store(next.get(), Ordering::Relaxed);
        Ok(next)
    }

    /// How many owners are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.current.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_nothing_names_do_not_pile_up() {
        let mut epochs = Epochs::default();
        let kept = epochs.stamp("kept").unwrap();
        for number in 0..10_000 {
            epochs.begin(&format!("chat {number}")).unwrap();
        }
        assert!(epochs.len() <= 2 * KEPT);
        assert_eq!(epochs.begin("kept").unwrap().get(), 2);
        assert!(kept.is_stale());
    }
}
