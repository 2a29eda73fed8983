//! The signal: whenever it is set, who waits hears of it, and sees what came before.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use hermes_core::sync::ready_list::ReadyList;
use hermes_core::sync::signal::Signal;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{join_all, model};

/// The signal of the calling thread, and two places for data, without an order of their own.
fn shared() -> Arc<(Signal, [AtomicUsize; 2])> {
    Arc::new((Signal::for_this_thread(), [AtomicUsize::new(0), AtomicUsize::new(0)]))
}

fn set(shared: &Arc<(Signal, [AtomicUsize; 2])>, place: usize) -> thread::JoinHandle<()> {
    super::spawn(shared, move |(signal, data)| {
        data[place].store(1, Ordering::Relaxed);
        signal.set();
    })
}

#[test]
fn a_set_before_while_or_after_the_look_ends_the_wait() {
    model(|| {
        let shared = shared();
        let setter = set(&shared, 0);
        assert!(shared.0.wait_until(None));
        assert_eq!(shared.1[0].load(Ordering::Relaxed), 1, "what was done before the set");
        setter.join().unwrap();
        assert!(!shared.0.wait_until(Some(Instant::now())), "a set counts once");
    });
}

#[test]
fn two_setters_lose_nothing() {
    model(|| {
        let shared = shared();
        let setters = [set(&shared, 0), set(&shared, 1)];
        // Only a look after the last set ends this.
        while shared.1.iter().any(|data| data.load(Ordering::Relaxed) == 0) {
            assert!(shared.0.wait_until(None));
        }
        join_all(setters);
    });
}

#[test]
fn a_set_that_comes_with_the_deadline_is_kept_or_seen() {
    model(|| {
        let shared = shared();
        let setter = set(&shared, 0);
        let in_time = shared.0.wait_until(Some(Instant::now()));
        let seen = in_time || shared.0.wait_until(None);
        assert!(seen);
        assert_eq!(shared.1[0].load(Ordering::Relaxed), 1);
        setter.join().unwrap();
        assert!(!shared.0.wait_until(Some(Instant::now())), "a set counts once");
    });
}

#[test]
fn a_wait_that_is_over_leaves_nothing_to_the_next() {
    model(|| {
        let shared = shared();
        for place in [0, 1] {
            let setter = set(&shared, place);
            assert!(shared.0.wait_until(None));
            assert_eq!(shared.1[place].load(Ordering::Relaxed), 1, "not the wake of the last one");
            setter.join().unwrap();
        }
    });
}

/// What an executor waits on between two polls.
#[derive(Default)]
struct Descriptor {
    written: Mutex<bool>,
    readable: Condvar,
}

impl Descriptor {
    fn write(&self) {
        *self.written.lock().unwrap() = true;
        self.readable.notify_one();
    }

    fn wait_and_read(&self) {
        let mut written = self.written.lock().unwrap();
        while !*written {
            written = self.readable.wait(written).unwrap();
        }
        *written = false;
    }
}

impl Wake for Descriptor {
    fn wake(self: Arc<Self>) {
        self.write();
    }
}

/// A task's signal and what wakes its executor.
fn task() -> (Signal, Arc<Descriptor>) {
    let descriptor = Arc::new(Descriptor::default());
    (Signal::for_task(Waker::from(descriptor.clone())), descriptor)
}

#[test]
fn a_task_hears_of_a_set_before_while_or_after_its_look() {
    model(|| {
        let (signal, descriptor) = task();
        let shared = Arc::new((signal, [AtomicUsize::new(0), AtomicUsize::new(0)]));
        let setter = set(&shared, 0);
        while !shared.0.take() {
            descriptor.wait_and_read();
        }
        assert_eq!(shared.1[0].load(Ordering::Relaxed), 1, "what was done before the set");
        setter.join().unwrap();
        assert!(!shared.0.take(), "a set counts once");
    });
}

#[test]
fn two_setters_of_a_task_lose_nothing() {
    model(|| {
        let (signal, descriptor) = task();
        let shared = Arc::new((signal, [AtomicUsize::new(0), AtomicUsize::new(0)]));
        let setters = [set(&shared, 0), set(&shared, 1)];
        // The second wakes nobody where the first was not taken: its data is seen then.
        while shared.1.iter().any(|data| data.load(Ordering::Relaxed) == 0) {
            if !shared.0.take() {
                descriptor.wait_and_read();
            }
        }
        join_all(setters);
    });
}

#[test]
fn a_list_wakes_for_every_number() {
    model(|| {
        let shared = Arc::new((ReadyList::default(), Descriptor::default()));
        let wakers = [1, 2].map(|number| {
            super::spawn(&shared, move |(woken, descriptor)| {
                if woken.push(number) {
                    descriptor.write();
                }
            })
        });
        let mut numbers = Vec::new();
        while numbers.len() < 2 {
            shared.1.wait_and_read();
            numbers.extend(shared.0.take_all());
        }
        join_all(wakers);
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
    });
}
