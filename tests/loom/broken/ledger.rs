//! Writes that nobody comes for.

use std::sync::Arc;

use hermes_core::wake::Signal;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::tell_apart;

/// Jobs that wait, those that were done, and how the one writer is woken.
#[derive(Default)]
struct Desk {
    waiting: Mutex<(usize, Option<Arc<Signal>>)>,
    done: Mutex<usize>,
    told: AtomicUsize,
}

/// Runs until `jobs` are done.
fn write(desk: &Desk, jobs: usize, clears_before_it_looks: bool) {
    let signal = Arc::new(Signal::for_this_thread());
    desk.waiting.lock().unwrap().1 = Some(signal.clone());
    loop {
        let mut done = desk.done.lock().unwrap();
        let taken = std::mem::take(&mut desk.waiting.lock().unwrap().0);
        *done += taken;
        // Still at the desk: what comes meanwhile is not taken.
        desk.told.store(desk.waiting.lock().unwrap().0, Ordering::SeqCst);
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

fn put(desk: &Desk) {
    let mut waiting = desk.waiting.lock().unwrap();
    waiting.0 += 1;
    if let Some(signal) = &waiting.1 {
        signal.set();
    }
}

#[test]
fn a_writer_that_clears_its_signal_after_it_has_looked_sleeps_beside_a_job() {
    tell_apart(|is_right| {
        let desk = Arc::new(Desk::default());
        let writer = {
            let desk = desk.clone();
            thread::spawn(move || write(&desk, 2, is_right))
        };
        put(&desk);
        put(&desk);
        writer.join().unwrap();
    });
}

#[test]
fn who_finds_the_desk_taken_and_wakes_nobody_leaves_its_job() {
    tell_apart(|is_right| {
        let desk = Arc::new(Desk::default());
        let writer = {
            let desk = desk.clone();
            thread::spawn(move || write(&desk, 1, true))
        };
        // It writes by itself, unless somebody is at the desk, who may have looked already.
        desk.waiting.lock().unwrap().0 += 1;
        let done = desk.done.try_lock().map(|mut done| {
            *done += std::mem::take(&mut desk.waiting.lock().unwrap().0);
        });
        if done.is_ok() || is_right {
            if let Some(signal) = &desk.waiting.lock().unwrap().1 {
                signal.set();
            }
        }
        writer.join().unwrap();
    });
}
