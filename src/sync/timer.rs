//! The process's one clock hand: a thread that sleeps until the next deadline, and only then wakes.
//!
//! It starts with the first deadline and calls nothing but the core. Its lock is held for a push or
//! a pop; what is due is called with no lock held.

#[cfg(loom)]
use std::sync::Weak;
use std::time::Instant;

/// Something with deadlines.
pub trait Due: Send + Sync {
    /// Does what is due by `now`; says when to call again.
    fn due(&self, now: Instant) -> Option<Instant>;
}

#[cfg(not(loom))]
pub use self::thread::{Calls, call_at, hold, reset};

/// A model has no clock: it calls [`Due::due`] itself.
#[cfg(loom)]
pub fn call_at(_: Instant, _: Weak<dyn Due>) {}

#[cfg(not(loom))]
mod thread {
    use std::cmp::{Ordering, Reverse};
    use std::collections::BinaryHeap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
    use std::time::Instant;

    use super::Due;

    /// The calls to make, and whether there is a thread to make them.
    pub struct State {
        calls: BinaryHeap<Reverse<Call>>,
        has_thread: bool,
    }

    struct Call {
        at: Instant,
        what: Weak<dyn Due>,
    }

    impl Ord for Call {
        fn cmp(&self, other: &Self) -> Ordering {
            self.at.cmp(&other.at)
        }
    }

    impl PartialOrd for Call {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Call {
        fn eq(&self, other: &Self) -> bool {
            self.at == other.at
        }
    }

    impl Eq for Call {}

    static STATE: Mutex<State> = Mutex::new(State { calls: BinaryHeap::new(), has_thread: false });
    static EARLIER: Condvar = Condvar::new();

    /// The timer's calls, locked; a fork holds them.
    pub type Calls = MutexGuard<'static, State>;

    /// Waits for the lock of the calls.
    pub fn hold() -> Calls {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every call: a forked child has neither the thread nor what it was to call.
    pub fn reset(calls: &mut Calls) {
        calls.calls.clear();
        calls.has_thread = false;
    }

    /// Has [`Due::due`] called at `at`, or soon after, if `what` lives by then.
    pub fn call_at(at: Instant, what: Weak<dyn Due>) {
        let mut state = hold();
        let is_first = state.calls.peek().is_none_or(|Reverse(first)| at < first.at);
        state.calls.push(Reverse(Call { at, what }));
        if !state.has_thread {
            let named = std::thread::Builder::new().name("hermes-core-timer".into());
            match named.spawn(run) {
                Ok(_) => state.has_thread = true,
                // The next call that is set tries again.
                Err(error) => {
                    drop(state);
                    tracing::warn!(%error, "no thread for the timer: leases end late");
                }
            }
        } else if is_first {
            EARLIER.notify_one();
        }
    }

    fn run() {
        let mut state = hold();
        loop {
            let Some(Reverse(first)) = state.calls.peek() else {
                state = EARLIER.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (at, now) = (first.at, Instant::now());
            if at > now {
                let left = at - now;
                let waited = EARLIER.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let Some(Reverse(Call { what, .. })) = state.calls.pop() else { continue };
            drop(state);
            // All queues of the process have this thread alone: one that panics, or whose log does,
            // ends no other's leases.
            let call = AssertUnwindSafe(|| what.upgrade().and_then(|due| due.due(now)));
            let next = catch_unwind(call).unwrap_or_default();
            state = hold();
            if let Some(at) = next {
                state.calls.push(Reverse(Call { at, what }));
            }
        }
    }
}
