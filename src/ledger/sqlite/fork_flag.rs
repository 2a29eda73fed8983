//! Whether a fork is near, for which the writers stop between two rounds.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a writer stops for: what runs before the fork may wait for somebody who waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How many threads are about to fork.
static NEAR: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one of them.
    static IS_MINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether a fork is near: no round begins. To be asked under the writer's lock.
pub(super) fn is_near() -> bool {
    NEAR.load(Ordering::SeqCst) != 0
}

/// This thread is about to fork; false if it has said so.
pub(super) fn raise() -> bool {
    if IS_MINE.replace(true) {
        return false;
    }
    NEAR.fetch_add(1, Ordering::SeqCst);
    true
}

/// This thread is not about to fork any more; whether it was, and no other is.
pub(super) fn lower() -> bool {
    // In a child that was begun anew none is.
    let less = |near: usize| near.checked_sub(1);
    IS_MINE.replace(false) && NEAR.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(1)
}

/// None is, in a forked child.
pub(super) fn reset() {
    NEAR.store(0, Ordering::SeqCst);
    IS_MINE.set(false);
}
