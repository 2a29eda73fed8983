//! Writes that nobody comes for.

use std::sync::Arc;

use hermes_core::sync::signal::Signal;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::tell_apart;

/// Jobs that wait, those that were done, and how the one writer is woken.
#[derive(Default)]
struct Shared {
    waiting: Mutex<(usize, Option<Arc<Signal>>)>,
    done: Mutex<usize>,
    seen: AtomicUsize,
}

/// Runs until `jobs` are done.
fn write(shared: &Shared, jobs: usize, clears_before_it_looks: bool) {
    let signal = Arc::new(Signal::for_this_thread());
    shared.waiting.lock().unwrap().1 = Some(signal.clone());
    loop {
        let mut done = shared.done.lock().unwrap();
        let taken = std::mem::take(&mut shared.waiting.lock().unwrap().0);
        *done += taken;
        // still at work: what comes meanwhile is not taken.
        shared.seen.store(shared.waiting.lock().unwrap().0, Ordering::SeqCst);
        if *done == jobs {
            return;
        }
        drop(done);
        if !clears_before_it_looks {
            // What came since it looked is forgotten.
            signal.take();
        }
        signal.wait_until(None);
    }
}

fn put(shared: &Shared) {
    let mut waiting = shared.waiting.lock().unwrap();
    waiting.0 += 1;
    if let Some(signal) = &waiting.1 {
        signal.set();
    }
}

#[test]
fn a_writer_that_clears_its_signal_after_it_has_looked_sleeps_beside_a_job() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || write(&shared, 2, is_right))
        };
        put(&shared);
        put(&shared);
        writer.join().unwrap();
    });
}

#[test]
fn who_finds_the_writer_at_work_and_wakes_nobody_leaves_its_job() {
    tell_apart(|is_right| {
        let shared = Arc::new(Shared::default());
        let writer = {
            let shared = shared.clone();
            thread::spawn(move || write(&shared, 1, true))
        };
        // It writes by itself, unless somebody is at work, who may have looked already.
        shared.waiting.lock().unwrap().0 += 1;
        let done = shared.done.try_lock().map(|mut done| {
            *done += std::mem::take(&mut shared.waiting.lock().unwrap().0);
        });
        if done.is_ok() || is_right {
            if let Some(signal) = &shared.waiting.lock().unwrap().1 {
                signal.set();
            }
        }
        writer.join().unwrap();
    });
}
