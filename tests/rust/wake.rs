//! The signal: a set is never missed, and nothing else is taken for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::sync::ready_list::ReadyList;
use hermes_core::sync::signal::Signal;

fn is_set(signal: &Signal) -> bool {
    signal.wait_until(Some(Instant::now()))
}

#[test]
fn a_set_before_the_wait_is_kept_once() {
    let signal = Signal::for_this_thread();
    assert!(!is_set(&signal));
    signal.set();
    signal.set();
    assert!(signal.wait_until(None));
    assert!(!is_set(&signal), "waiting clears it");
}

#[test]
fn a_deadline_ends_the_wait_unless_the_signal_is_set() {
    let signal = Signal::for_this_thread();
    assert!(!signal.wait_until(Some(Instant::now() + Duration::from_millis(1))));
    signal.set();
    assert!(is_set(&signal), "a set counts also when the deadline has passed");
}

#[test]
fn another_threads_set_wakes_this_one() {
    let signal = Arc::new(Signal::for_this_thread());
    for _ in 0..1000 {
        thread::scope(|scope| {
            scope.spawn(|| signal.set());
            assert!(signal.wait_until(None));
        });
    }
    assert!(!is_set(&signal));
}

#[test]
fn f15_a_bare_unpark_is_no_set() {
    let signal = Arc::new(Signal::for_this_thread());
    thread::current().unpark();
    assert!(!signal.wait_until(Some(Instant::now() + Duration::from_millis(1))));
    thread::current().unpark();
    thread::scope(|scope| {
        scope.spawn(|| signal.set());
        assert!(signal.wait_until(None));
    });
}

#[test]
fn two_signals_of_one_thread_do_not_stand_for_each_other() {
    let (first, second) = (Signal::for_this_thread(), Signal::for_this_thread());
    second.set();
    assert!(!is_set(&first));
    assert!(is_set(&second), "looking at the first did not lose it");
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn f15_a_task_is_woken_once_until_it_takes_the_signal() {
    let woken = Arc::new(Woken::default());
    let signal = Signal::for_task(Waker::from(woken.clone()));
    assert!(!signal.take());
    for times in 1..=3 {
        signal.set();
        signal.set();
        assert_eq!(woken.0.load(Ordering::Relaxed), times);
        assert!(signal.take());
        assert!(!signal.take(), "taking clears it");
    }
}

#[test]
#[should_panic(expected = "a task does not block")]
fn a_task_cannot_block_on_its_signal() {
    Signal::for_task(Waker::noop().clone()).wait_until(None);
}

#[test]
fn numbers_come_out_as_they_went_in_and_only_the_first_rings() {
    let woken = ReadyList::default();
    assert!(woken.take_all().is_empty());
    for _ in 0..2 {
        assert_eq!([7, 7, 3].map(|number| woken.push(number)), [true, false, false]);
        assert_eq!(woken.take_all(), [7, 7, 3]);
    }
    // What is left goes with the list.
    woken.push(1);
}

#[test]
fn no_number_is_lost_or_doubled_among_many_wakers() {
    const EACH: u64 = 10_000;
    let woken = ReadyList::default();
    let mut numbers = thread::scope(|scope| {
        let wakers: Vec<_> = (0..4)
            .map(|waker| {
                let woken = &woken;
                scope.spawn(move || {
                    for n in 0..EACH {
                        woken.push(waker * EACH + n);
                    }
                })
            })
            .collect();
        let mut numbers = Vec::new();
        while !wakers.iter().all(thread::ScopedJoinHandle::is_finished) {
            numbers.extend(woken.take_all());
        }
        numbers
    });
    numbers.extend(woken.take_all());
    for waker in 0..4 {
        let own = numbers.iter().filter(|&&number| number / EACH == waker);
        assert!(own.copied().eq(waker * EACH..(waker + 1) * EACH), "in its own order");
    }
}
