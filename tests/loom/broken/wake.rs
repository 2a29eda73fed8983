//! Wakes that get lost, and sets that show nothing.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use loom::sync::{Condvar, Mutex};

use super::{join_all, spawn, tell_apart};

/// What parks a thread; an unpark counts also when it comes first.
#[derive(Default)]
struct Parker {
    token: Mutex<bool>,
    given: Condvar,
}

impl Parker {
    fn unpark(&self) {
        *self.token.lock().unwrap() = true;
        self.given.notify_one();
    }

    fn park(&self) {
        let mut token = self.token.lock().unwrap();
        while !*token {
            token = self.given.wait(token).unwrap();
        }
        *token = false;
    }
}

#[derive(Default)]
struct Shared {
    parker: Parker,
    set: AtomicBool,
    waits: AtomicBool,
    data: [AtomicUsize; 2],
}

#[test]
fn a_notice_that_leaves_nothing_behind_comes_before_the_wait() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let setter = spawn(&shared, move |shared| match is_right {
            true => shared.parker.unpark(),
            // Nobody waits yet, and nothing says that it came.
            false => {
                shared.set.store(true, Ordering::SeqCst);
                shared.parker.given.notify_one();
            }
        });
        if !shared.set.load(Ordering::SeqCst) {
            let mut token = shared.parker.token.lock().unwrap();
            while !*token && !shared.set.load(Ordering::SeqCst) {
                token = shared.parker.given.wait(token).unwrap();
            }
        }
        setter.join().unwrap();
    });
}

/// Each side stores its own flag, then looks at the other's. Release and acquire alone let both
/// miss what the other stored.
#[test]
fn two_flags_without_a_fence_miss_each_other() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let setter = spawn(&shared, move |shared| {
            shared.set.store(true, Ordering::Release);
            if is_right {
                fence(Ordering::SeqCst);
            }
            if shared.waits.load(Ordering::Acquire) {
                shared.parker.unpark();
            }
        });
        shared.waits.store(true, Ordering::Release);
        if is_right {
            fence(Ordering::SeqCst);
        }
        if !shared.set.load(Ordering::Acquire) {
            shared.parker.park();
        }
        setter.join().unwrap();
    });
}

#[test]
fn a_flag_cleared_after_it_was_read_swallows_the_second_set() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let setters = [0, 1].map(|place| {
            spawn(&shared, move |shared| {
                shared.data[place].store(1, Ordering::Relaxed);
                shared.set.swap(true, Ordering::AcqRel);
                shared.parker.unpark();
            })
        });
        let is_set = || match is_right {
            true => shared.set.swap(false, Ordering::AcqRel),
            false => {
                let is_set = shared.set.load(Ordering::Acquire);
                // Between the two, the other setter may have set it again.
                if is_set {
                    shared.set.store(false, Ordering::Release);
                }
                is_set
            }
        };
        while shared.data.iter().any(|data| data.load(Ordering::Relaxed) == 0) {
            while !is_set() {
                shared.parker.park();
            }
        }
        join_all(setters);
    });
}

#[test]
fn a_relaxed_set_shows_nothing_of_what_came_before() {
    tell_apart(|is_right| {
        let (set, look) = match is_right {
            true => (Ordering::Release, Ordering::Acquire),
            false => (Ordering::Relaxed, Ordering::Relaxed),
        };
        let shared = Arc::new(Shared::default());
        let setter = spawn(&shared, move |shared| {
            shared.data[0].store(1, Ordering::Relaxed);
            shared.set.store(true, set);
            shared.parker.unpark();
        });
        while !shared.set.load(look) {
            shared.parker.park();
        }
        assert_eq!(shared.data[0].load(Ordering::Relaxed), 1);
        setter.join().unwrap();
    });
}

/// A set that finds the flag set wakes nobody, so a task clears the flag first.
#[test]
fn a_task_that_looks_before_it_clears_misses_the_second_set() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let setters = [0, 1].map(|place| {
            spawn(&shared, move |shared| {
                shared.data[place].store(1, Ordering::Relaxed);
                if !shared.set.swap(true, Ordering::AcqRel) {
                    shared.parker.unpark();
                }
            })
        });
        let clear = || shared.set.swap(false, Ordering::AcqRel);
        loop {
            shared.parker.park();
            if is_right {
                clear();
            }
            if shared.data.iter().all(|data| data.load(Ordering::Relaxed) == 1) {
                break;
            }
            if !is_right {
                clear();
            }
        }
        join_all(setters);
    });
}

#[test]
fn a_wake_that_is_not_kept_comes_before_the_task_waits() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let setter = spawn(&shared, move |shared| {
            shared.set.swap(true, Ordering::AcqRel);
            // Wrong: only a task that says it waits is woken, and it has not said so yet.
            if is_right || shared.waits.load(Ordering::Acquire) {
                shared.parker.unpark();
            }
        });
        if !shared.set.swap(false, Ordering::AcqRel) {
            shared.waits.store(true, Ordering::Release);
            shared.parker.park();
        }
        setter.join().unwrap();
    });
}

/// The list is taken after the descriptor was read, or a number stays behind one that is not readable.
#[test]
fn a_list_taken_before_its_descriptor_is_read_keeps_a_number() {
    tell_apart(|is_right| {
        let shared = Arc::new((Mutex::new(Vec::new()), Parker::default()));
        let wakers = [1, 2].map(|number| {
            spawn(&shared, move |(woken, descriptor)| {
                let mut woken = woken.lock().unwrap();
                woken.push(number);
                let is_only = woken.len() == 1;
                drop(woken);
                if is_only {
                    descriptor.unpark();
                }
            })
        });
        let take_all = || std::mem::take(&mut *shared.0.lock().unwrap()).len();
        let mut count = 0;
        while count < 2 {
            if !is_right {
                count += take_all();
            }
            shared.1.park();
            if is_right {
                count += take_all();
            }
        }
        join_all(wakers);
    });
}
