//! Leases that do not exclude each other, and owners that are not told.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};

use super::{join_all, spawn, tell_apart};

/// An event under leases that have numbers.
#[derive(Default)]
struct Event {
    lease: Option<u8>,
    is_gone: bool,
    last: u8,
}

impl Event {
    fn lease(&mut self) -> Option<u8> {
        if self.is_gone || self.lease.is_some() {
            return None;
        }
        self.last += 1;
        self.lease = Some(self.last);
        self.lease
    }
}

#[test]
fn a_lease_without_a_number_is_ended_by_whoever_had_one() {
    tell_apart(|is_right| {
        let event = Arc::new(Mutex::new(Event::default()));
        let first = event.lock().unwrap().lease();
        let next = spawn(&event, move |event| {
            // Its time is over: the next one has it.
            let mut event = event.lock().unwrap();
            if event.lease == first {
                event.lease = None;
            }
            event.lease()
        });
        let mut late = event.lock().unwrap();
        if late.lease == first || (!is_right && late.lease.is_some()) {
            late.is_gone = true;
            late.lease = None;
        }
        drop(late);
        let second = next.join().unwrap();
        let event = event.lock().unwrap();
        assert_eq!(second.is_some(), event.lease.is_some(), "the second one's lease holds");
    });
}

#[test]
fn an_end_that_looks_first_and_gives_back_later_doubles_what_was_acked() {
    tell_apart(|is_right| {
        let event = Arc::new(Mutex::new(Event::default()));
        let lease = event.lock().unwrap().lease();
        let timer = spawn(&event, move |event| {
            let mut held = event.lock().unwrap();
            let is_over = held.lease == lease;
            if !is_right {
                drop(held);
                held = event.lock().unwrap();
            }
            if is_over {
                held.lease = None;
                held.is_gone = false;
            }
        });
        let mut held = event.lock().unwrap();
        let acked = held.lease == lease;
        if acked {
            held.lease = None;
            held.is_gone = true;
        }
        drop(held);
        timer.join().unwrap();
        assert_eq!(acked, event.lock().unwrap().is_gone);
    });
}

/// What waits under one key, whether the mailbox has the key, and who is to look.
#[derive(Default)]
struct Box {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waits: bool,
    has_key: bool,
}

impl Box {
    fn change(&self, change: impl FnOnce(&mut State), tells: impl FnOnce(&State) -> bool) {
        let mut state = self.state.lock().unwrap();
        change(&mut state);
        if tells(&state) {
            self.changed.notify_all();
        }
    }

    fn collect(&self) {
        let mut state = self.state.lock().unwrap();
        while !(state.waits && state.has_key) {
            state = self.changed.wait(state).unwrap();
        }
    }
}

#[test]
fn a_key_that_is_added_without_a_word_leaves_its_owner_asleep() {
    tell_apart(|is_right| {
        let shared = Arc::new(Box::default());
        let collector = spawn(&shared, Box::collect);
        let putter =
            spawn(&shared, |shared| shared.change(|s| s.waits = true, |state| state.has_key));
        shared.change(|state| state.has_key = true, |_| is_right);
        join_all([collector, putter]);
    });
}

#[test]
fn a_wake_that_is_kept_by_who_leaves_is_lost() {
    tell_apart(|is_right| {
        // How many events wait, and how many wakes are out for the two who wait.
        let shared = Arc::new((Mutex::new((0_u8, 0_u8)), Condvar::new()));
        let wake = |shared: &(Mutex<(u8, u8)>, Condvar)| {
            shared.0.lock().unwrap().1 += 1;
            shared.1.notify_all();
        };
        let impatient = spawn(&shared, move |shared| {
            let mut state = shared.0.lock().unwrap();
            let was_woken = state.1 > 0;
            if was_woken {
                state.1 -= 1;
            }
            drop(state);
            if was_woken && is_right {
                wake(shared);
            }
        });
        let patient = spawn(&shared, |shared| {
            let mut state = shared.0.lock().unwrap();
            while state.1 == 0 {
                state = shared.1.wait(state).unwrap();
            }
            state.1 -= 1;
            state.0 -= 1;
        });
        shared.0.lock().unwrap().0 += 1;
        wake(&shared);
        join_all([impatient, patient]);
    });
}
