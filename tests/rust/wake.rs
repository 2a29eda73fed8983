//! The signal: a set is never missed, and nothing else is taken for one.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::wake::Signal;

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
