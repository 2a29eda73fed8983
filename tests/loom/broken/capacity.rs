//! Caps that are passed, and places that get lost.

use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{join_all, spawn, tell_apart};

fn acquire(running: &AtomicUsize, limit: usize) -> bool {
    let more = |running| (running < limit).then_some(running + 1);
    running.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
}

#[test]
fn f7_a_look_apart_from_the_take_passes_the_limit() {
    tell_apart(|is_right| {
        let running = Arc::new(AtomicUsize::new(0));
        let takers = [(); 2].map(|()| {
            spawn(&running, move |running| {
                if is_right {
                    acquire(running, 1);
                } else if running.load(Ordering::SeqCst) < 1 {
                    running.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        join_all(takers);
        assert!(running.load(Ordering::SeqCst) <= 1);
    });
}

#[test]
fn f7_two_registries_that_count_each_other_apart_pass_the_limit() {
    tell_apart(|is_right| {
        let shared = Arc::new((Mutex::new(()), [AtomicUsize::new(0), AtomicUsize::new(0)]));
        let takers = [0, 1].map(|own| {
            spawn(&shared, move |(lock, running)| {
                let held = is_right.then(|| lock.lock().unwrap());
                // By the time its own place is taken, what runs elsewhere may be more.
                let elsewhere = running[1 - own].load(Ordering::SeqCst);
                acquire(&running[own], 1_usize.saturating_sub(elsewhere));
                drop(held);
            })
        });
        join_all(takers);
        let running = shared.1.iter().map(|running| running.load(Ordering::SeqCst));
        assert!(running.sum::<usize>() <= 1);
    });
}

#[test]
fn a_count_read_and_written_apart_loses_a_place() {
    tell_apart(|is_right| {
        let running = Arc::new(AtomicUsize::new(2));
        let holders = [(); 2].map(|()| {
            spawn(&running, move |running| match is_right {
                true => drop(running.fetch_sub(1, Ordering::AcqRel)),
                false => running.store(running.load(Ordering::SeqCst) - 1, Ordering::SeqCst),
            })
        });
        join_all(holders);
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn f6_a_place_given_back_after_the_event_is_seen_is_missed() {
    tell_apart(|is_right| {
        let shared = Arc::new((AtomicUsize::new(1), Mutex::new(false)));
        let consumer = spawn(&shared, |(running, event)| {
            let is_seen = *event.lock().unwrap();
            assert!(!is_seen || acquire(running, 1), "refused, though the one that ran has ended");
        });
        let (running, event) = &*shared;
        if is_right {
            running.fetch_sub(1, Ordering::AcqRel);
        }
        *event.lock().unwrap() = true;
        if !is_right {
            running.fetch_sub(1, Ordering::AcqRel);
        }
        consumer.join().unwrap();
    });
}

#[test]
fn a_place_given_back_by_end_and_withdrawal_is_given_back_twice() {
    tell_apart(|is_right| {
        let shared = Arc::new((AtomicBool::new(true), AtomicUsize::new(2)));
        let both = [(); 2].map(|()| {
            spawn(&shared, move |(is_live, running)| {
                let was_live = match is_right {
                    true => is_live.swap(false, Ordering::AcqRel),
                    false => {
                        let was_live = is_live.load(Ordering::SeqCst);
                        is_live.store(false, Ordering::SeqCst);
                        was_live
                    }
                };
                if was_live {
                    running.fetch_sub(1, Ordering::AcqRel);
                }
            })
        });
        join_all(both);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1, "another still runs");
    });
}
