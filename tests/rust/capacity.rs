//! Permits: never more than the limit, and each given back once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hermes_core::delegation::capacity::Capacity;
use hermes_core::error::Error;

#[test]
fn a_permit_counts_until_it_is_dropped() {
    let capacity = Capacity::new();
    let first = capacity.try_acquire(2, 0, 1).unwrap();
    let second = capacity.try_acquire(2, 0, 1).unwrap();
    assert_eq!(capacity.running(), 2);
    let refusal = capacity.try_acquire(2, 0, 1).unwrap_err();
    assert_eq!(refusal, Error::AtCapacity { limit: 2, running: 2, queued: 0 });
    drop(first);
    let third = capacity.try_acquire(2, 0, 1).unwrap();
    assert!(capacity.try_acquire(2, 0, 1).is_err());
    drop((second, third));
    assert_eq!(capacity.running(), 0);
}

#[test]
fn the_limit_comes_with_each_request() {
    let capacity = Capacity::new();
    let _held = [(); 3].map(|()| capacity.try_acquire(3, 0, 1).unwrap());
    let lowered = capacity.try_acquire(1, 0, 1).unwrap_err();
    assert_eq!(lowered, Error::AtCapacity { limit: 1, running: 3, queued: 0 });
    assert!(capacity.try_acquire(4, 0, 1).is_ok(), "and may be raised");
    assert!(Capacity::new().try_acquire(0, 0, 1).is_err(), "none may run");
}

#[test]
fn what_runs_elsewhere_counts_and_cannot_overflow() {
    let capacity = Capacity::new();
    let _held = capacity.try_acquire(3, 2, 1).unwrap();
    let refusal = capacity.try_acquire(3, 2, 1).unwrap_err();
    assert_eq!(refusal, Error::AtCapacity { limit: 3, running: 3, queued: 0 });
    assert!(capacity.try_acquire(4, 2, 1).is_ok());
    let absurd = capacity.try_acquire(usize::MAX, usize::MAX, 1).unwrap_err();
    assert_eq!(absurd, Error::AtCapacity { limit: usize::MAX, running: usize::MAX, queued: 0 });
}

#[test]
fn f19_a_panic_gives_the_permit_back() {
    let capacity = Capacity::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let _permit = capacity.try_acquire(1, 0, 1).unwrap();
        assert_eq!(capacity.running(), 0, "one is out");
    }));
    assert!(outcome.is_err());
    assert_eq!(capacity.running(), 0);
    assert!(capacity.try_acquire(1, 0, 1).is_ok());
}

#[test]
fn a_clone_counts_with_its_original() {
    let capacity = Capacity::new();
    let permit = capacity.clone().try_acquire(1, 0, 1).unwrap();
    assert!(capacity.try_acquire(1, 0, 1).is_err());
    drop(permit);
    assert_eq!(capacity.running(), 0);
}

#[test]
fn f7_threads_in_a_race_never_pass_the_limit() {
    const LIMIT: usize = 3;
    let capacity = Capacity::new();
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut had = 0;
                while had < 500 {
                    let Ok(permit) = capacity.try_acquire(LIMIT, 0, 1) else {
                        thread::yield_now();
                        continue;
                    };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                    had += 1;
                }
            });
        }
    });
    assert_eq!(capacity.running(), 0);
}
