//! A shutdown that lets something through, or leaves somebody waiting.

use std::sync::Arc;

use hermes_core::sync::signal::Signal;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{spawn, tell_apart};

#[derive(Default)]
struct Queue {
    is_over: AtomicBool,
    events: Mutex<Vec<u8>>,
    unfinished: AtomicUsize,
    joiner: Mutex<Option<Arc<Signal>>>,
}

#[test]
fn f4_a_put_that_looks_at_the_end_outside_the_lock_comes_after_it() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue::default());
        let put = spawn(&queue, move |queue| {
            if !is_right && queue.is_over.load(Ordering::SeqCst) {
                return;
            }
            let mut events = queue.events.lock().unwrap();
            if !is_right || !queue.is_over.load(Ordering::SeqCst) {
                events.push(1);
            }
        });
        {
            let mut events = queue.events.lock().unwrap();
            queue.is_over.store(true, Ordering::SeqCst);
            events.clear();
        }
        put.join().unwrap();
        assert_eq!(queue.events.lock().unwrap().len(), 0, "nobody comes to take it");
    });
}

#[test]
fn a_joiner_that_counts_outside_the_lock_is_not_woken() {
    tell_apart(|is_right| {
        let queue = Arc::new(Queue { unfinished: AtomicUsize::new(1), ..Queue::default() });
        let joiner = spawn(&queue, move |queue| {
            let signal = Arc::new(Signal::for_this_thread());
            let is_done = || queue.unfinished.load(Ordering::SeqCst) == 0;
            if !is_right && is_done() {
                return;
            }
            let mut joiner = queue.joiner.lock().unwrap();
            if is_right && is_done() {
                return;
            }
            *joiner = Some(signal.clone());
            drop(joiner);
            signal.wait_until(None);
        });
        {
            let mut joiner = queue.joiner.lock().unwrap();
            queue.unfinished.store(0, Ordering::SeqCst);
            if let Some(signal) = joiner.take() {
                signal.set();
            }
        }
        joiner.join().unwrap();
    });
}
