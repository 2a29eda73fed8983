//! The same ideas done wrong: loom must find each, or the models above prove nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

/// Whether loom finds an interleaving in which `body` fails.
fn is_caught(body: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| super::model(body))).is_err()
}

#[test]
fn a_waiter_that_registers_after_its_look_misses_the_wake() {
    assert!(is_caught(|| {
        let items = Arc::new(Mutex::new(0));
        let waiter = Arc::new(Mutex::new(None::<thread::Thread>));
        let taker = {
            let (items, waiter) = (items.clone(), waiter.clone());
            thread::spawn(move || {
                if *items.lock().unwrap() == 0 {
                    // Too late: the put may have come between.
                    *waiter.lock().unwrap() = Some(thread::current());
                    thread::park();
                }
                assert_eq!(*items.lock().unwrap(), 1);
            })
        };
        *items.lock().unwrap() += 1;
        if let Some(thread) = waiter.lock().unwrap().take() {
            thread.unpark();
        }
        taker.join().unwrap();
    }));
}

#[test]
fn a_check_apart_from_the_take_exceeds_the_limit() {
    assert!(is_caught(|| {
        let running = Arc::new(AtomicUsize::new(0));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let running = running.clone();
                thread::spawn(move || {
                    if running.load(Ordering::SeqCst) < 1 {
                        running.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for taker in takers {
            taker.join().unwrap();
        }
        assert!(running.load(Ordering::SeqCst) <= 1);
    }));
}

#[test]
fn an_end_that_is_checked_apart_is_published_twice() {
    assert!(is_caught(|| {
        let ended = Arc::new(AtomicBool::new(false));
        let published = Arc::new(AtomicUsize::new(0));
        let enders: Vec<_> = (0..2)
            .map(|_| {
                let (ended, published) = (ended.clone(), published.clone());
                thread::spawn(move || {
                    if !ended.load(Ordering::SeqCst) {
                        ended.store(true, Ordering::SeqCst);
                        published.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for ender in enders {
            ender.join().unwrap();
        }
        assert_eq!(published.load(Ordering::SeqCst), 1);
    }));
}

#[test]
fn a_taker_that_keeps_its_wake_leaves_the_next_one_asleep() {
    assert!(is_caught(|| {
        let state = Arc::new(Mutex::new((0_u8, Vec::<thread::Thread>::new())));
        let register = |state: &Mutex<(u8, Vec<thread::Thread>)>| {
            let mut state = state.lock().unwrap();
            match state.0 {
                0 => state.1.push(thread::current()),
                _ => state.0 -= 1,
            }
            state.1.len()
        };
        let impatient = {
            let state = state.clone();
            // Registers and goes: if the wake was its own, nobody else gets it.
            thread::spawn(move || register(&state))
        };
        let patient = {
            let state = state.clone();
            thread::spawn(move || {
                if register(&state) > 0 {
                    thread::park();
                }
            })
        };
        let woken = {
            let mut state = state.lock().unwrap();
            state.0 += 1;
            (!state.1.is_empty()).then(|| state.1.remove(0))
        };
        if let Some(thread) = woken {
            thread.unpark();
        }
        impatient.join().unwrap();
        patient.join().unwrap();
    }));
}
