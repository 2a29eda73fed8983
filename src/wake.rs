//! How a waiting thread is woken.
//!
//! A wake carries no data: what a waiter waits for stays where it is, and the signal says "look".
//! A signal is set under the lock of the structure it belongs to and read after it, so a set that
//! comes before the wait is never missed.

use std::time::Instant;

#[cfg(loom)]
use self::model::{self as thread, Thread};
use crate::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::thread::{self, Thread};

/// One waiting thread's "look now".
#[derive(Debug)]
pub struct Signal {
    thread: Thread,
    set: AtomicBool,
}

impl Signal {
    /// A signal that is not set, for the calling thread to wait on.
    pub fn for_this_thread() -> Self {
        Self { thread: thread::current(), set: AtomicBool::new(false) }
    }

    /// Sets the signal and wakes its thread.
    pub fn set(&self) {
        // A swap, as the clearing is one: a plain store could be ordered before a clearing that ran
        // earlier, in the eyes of a model at least.
        self.set.swap(true, Ordering::AcqRel);
        self.thread.unpark();
    }

    /// Waits until the signal is set or `deadline` has passed, and clears it.
    ///
    /// `None` waits without end. Returns whether it was set. Only the thread that made the signal
    /// may wait on it.
    pub fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            if self.set.swap(false, Ordering::AcqRel) {
                return true;
            }
            match deadline {
                None => self.park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.set.swap(false, Ordering::AcqRel);
                    }
                    #[cfg(not(loom))]
                    thread::park_timeout(left);
                    // A model has no clock: a wait that may end is one that has ended.
                    #[cfg(loom)]
                    return self.set.swap(false, Ordering::AcqRel);
                }
            }
        }
    }

    fn park(&self) {
        #[cfg(not(loom))]
        thread::park();
        #[cfg(loom)]
        self.thread.park();
    }
}

/// `std::thread`'s parking for models: loom's own takes a thread that waits for a lock for a
/// parked one.
#[cfg(loom)]
mod model {
    use loom::sync::{Condvar, Mutex};

    #[derive(Debug)]
    pub(super) struct Thread {
        token: Mutex<bool>,
        given: Condvar,
    }

    pub(super) fn current() -> Thread {
        Thread { token: Mutex::new(false), given: Condvar::new() }
    }

    impl Thread {
        pub(super) fn unpark(&self) {
            *self.token.lock().unwrap() = true;
            self.given.notify_one();
        }

        pub(super) fn park(&self) {
            let mut token = self.token.lock().unwrap();
            while !*token {
                token = self.given.wait(token).unwrap();
            }
            *token = false;
        }
    }
}
