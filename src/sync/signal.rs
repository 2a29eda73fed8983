//! How a waiting thread is woken.
//!
//! A wake carries no data: what a waiter waits for stays where it is, and the signal says "look".
//! A signal is set under the lock of the structure it belongs to and read after it, so a set that
//! comes before the wait is never missed.
//!
//! A thread blocks on its signal. A task does not: its executor polls it again once the task's
//! waker was called, and the task then takes the signal before it looks.

use std::task::Waker;
use std::time::Instant;

#[cfg(loom)]
use self::model::{self as thread, Thread};
use crate::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::thread::{self, Thread};

/// One waiting thread's or task's "look now".
#[derive(Debug)]
pub struct Signal {
    sleeper: Sleeper,
    set: AtomicBool,
}

#[derive(Debug)]
enum Sleeper {
    Thread(Thread),
    Task(Waker),
}

impl Signal {
    /// A signal that is not set, for the calling thread to wait on.
    pub fn for_this_thread() -> Self {
        Self::new(Sleeper::Thread(thread::current()))
    }

    /// A signal that is not set, for the task that `waker` wakes.
    ///
    /// The waker is called with core locks held: it takes no lock that a thread holds while it
    /// waits for one of the core's, and calls nothing back.
    pub fn for_task(waker: Waker) -> Self {
        Self::new(Sleeper::Task(waker))
    }

    fn new(sleeper: Sleeper) -> Self {
        Self { sleeper, set: AtomicBool::new(false) }
    }

    /// Sets the signal and wakes its thread, or its task unless a set that it has not taken did.
    pub fn set(&self) {
        // A swap, as the clearing is one: a plain store could be ordered before a clearing that ran
        // earlier, in the eyes of a model at least.
        let was_set = self.set.swap(true, Ordering::AcqRel);
        match &self.sleeper {
            Sleeper::Thread(thread) => thread.unpark(),
            Sleeper::Task(waker) if !was_set => waker.wake_by_ref(),
            Sleeper::Task(_) => {}
        }
    }

    /// Clears the signal; whether it was set. What came before the set is then seen.
    ///
    /// A task that was woken takes its signal first and looks after: the other way round, a set
    /// between the two wakes nobody.
    pub fn take(&self) -> bool {
        self.set.swap(false, Ordering::AcqRel)
    }

    /// Waits until the signal is set or `deadline` has passed, and clears it.
    ///
    /// `None` waits without end. Returns whether it was set. Only the thread that made the signal
    /// may wait on it.
    ///
    /// # Panics
    /// If it is a task's.
    pub fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let Sleeper::Thread(thread) = &self.sleeper else { panic!("a task does not block") };
        loop {
            if self.take() {
                return true;
            }
            match deadline {
                None => park(thread),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return self.take();
                    }
                    #[cfg(not(loom))]
                    thread::park_timeout(left);
                    // A model has no clock: a wait that may end is one that has ended.
                    #[cfg(loom)]
                    return self.take();
                }
            }
        }
    }
}

/// Parks the calling thread, which is this one.
fn park(_thread: &Thread) {
    #[cfg(not(loom))]
    thread::park();
    #[cfg(loom)]
    _thread.park();
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
