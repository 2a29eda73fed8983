//! The core's lock.
//!
//! `std`'s futex locks rather than `parking_lot`'s: the latter keeps a process-wide table of parked
//! threads with locks of its own, and a child forked while another thread parks inherits a locked
//! bucket that nobody unlocks.
//!
//! Rules for every lock made of this (design: locks and the interpreter):
//! - whoever has the lock of a queue or of a registry takes no other, and whoever writes to a
//!   ledger's file has the lock of that file and takes those of its write queue, its status and its
//!   receipts beneath it, one at a time, each for a push, a take or an answer; only `fork` holds all,
//!   those of the ledgers first, then the others in the order of their creation;
//! - under it no Python object is made or dropped, nothing is called back, nothing blocks;
//! - a panic under it does not poison it: every critical section leaves the state whole.

use std::sync::{Arc, PoisonError, TryLockError};

// The models in tests/loom run on loom's own locks and atomics.
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

/// A mutual-exclusion lock that a panic does not poison.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    /// A free lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Something with one core lock, which `fork` holds while the process is copied.
pub trait Locked: Sized {
    /// What the lock guards.
    type State: 'static;

    /// The lock.
    #[doc(hidden)]
    fn state(&self) -> &Guarded<Self::State>;
}

/// Something with a core lock that is emptied in a forked child.
pub trait Forked: Locked {
    /// What it holds, for the caller to drop where dropping is safe.
    type Kept;

    /// Empties the state for a forked child, and returns what it held.
    fn reset(state: &mut Self::State) -> Vec<Self::Kept>;
}

/// A core lock as the rest of the crate may name it, not open it.
#[derive(Debug, Default)]
pub struct Guarded<T>(pub(crate) Lock<T>);

/// A held lock together with what keeps it alive, so that it can outlive the call that took it.
pub struct HeldLock<T: 'static> {
    // Dropped first: fields drop in the order they are declared.
    guard: MutexGuard<'static, T>,
    _owner: Arc<dyn Send + Sync>,
}

impl<T> HeldLock<T> {
    /// Takes the lock of `owner` until the value is dropped.
    #[allow(unsafe_code)]
    pub fn hold<L>(owner: &Arc<L>) -> Self
    where
        L: Locked<State = T> + Send + Sync + 'static,
    {
        let guard = owner.state().0.lock();
        // SAFETY: the guard borrows from the value inside `owner`, which does not move and which
        // `_owner` keeps alive until after the guard is dropped.
        let guard =
            unsafe { std::mem::transmute::<MutexGuard<'_, T>, MutexGuard<'static, T>>(guard) };
        Self { guard, _owner: owner.clone() }
    }

    /// The state under the lock.
    pub fn state(&mut self) -> &mut T {
        &mut self.guard
    }
}
