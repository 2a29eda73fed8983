//! How a waiting thread is woken.
//!
//! A wake carries no data: what a waiter waits for stays where it is, and the signal says "look".
//! A signal is set under the lock of the structure it belongs to and read after it, so a set that
//! comes before the wait is never missed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Instant;

/// One waiting thread's "look now".
#[derive(Debug)]
pub struct Signal {
    thread: Thread,
    set: AtomicBool,
}

impl Signal {
    /// A signal that is not set, for the calling thread to wait on.
    pub fn for_this_thread() -> Self {
        Self { thread: std::thread::current(), set: AtomicBool::new(false) }
    }

    /// Sets the signal and wakes its thread.
    pub fn set(&self) {
        self.set.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Waits until the signal is set or `deadline` has passed, and clears it.
    ///
    /// `None` waits without end. Returns whether it was set. Only the thread that made the signal
    /// may wait on it.
    pub fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            if self.set.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline {
                None => std::thread::park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.set.swap(false, Ordering::Acquire);
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
    }
}
