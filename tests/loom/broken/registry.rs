//! Ends that come twice, are told to the wrong one, or are let go too early.

use std::sync::Arc;

use hermes_core::sync::signal::Signal;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{join_all, spawn, tell_apart};

#[test]
fn f11_an_end_that_is_checked_apart_is_published_twice() {
    tell_apart(|is_right| {
        let shared = Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
        let enders = [(); 2].map(|()| {
            spawn(&shared, move |(has_ended, published)| {
                let had_ended = match is_right {
                    true => has_ended.swap(true, Ordering::AcqRel),
                    false => {
                        let had_ended = has_ended.load(Ordering::SeqCst);
                        has_ended.store(true, Ordering::SeqCst);
                        had_ended
                    }
                };
                if !had_ended {
                    published.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        join_all(enders);
        assert_eq!(shared.1.load(Ordering::SeqCst), 1);
    });
}

#[derive(Default)]
struct Record {
    is_published: bool,
    waiter: Option<Arc<Signal>>,
}

#[test]
fn a_waiter_woken_before_the_event_is_there_finds_none() {
    tell_apart(|is_right| {
        let shared = Arc::new((Mutex::new(Record::default()), Mutex::new(0)));
        let waiter = spawn(&shared, |(record, events)| {
            let signal = {
                let mut record = record.lock().unwrap();
                let signal = Arc::new(Signal::for_this_thread());
                record.waiter = Some(signal.clone());
                (!record.is_published).then_some(signal)
            };
            if let Some(signal) = signal {
                signal.wait_until(None);
            }
            assert_eq!(*events.lock().unwrap(), 1);
        });
        let (record, events) = &*shared;
        let publish = || *events.lock().unwrap() += 1;
        if is_right {
            publish();
        }
        {
            let mut record = record.lock().unwrap();
            record.is_published = true;
            if let Some(signal) = record.waiter.take() {
                signal.set();
            }
        }
        if !is_right {
            publish();
        }
        waiter.join().unwrap();
    });
}

#[test]
fn f32_an_end_told_by_id_alone_ends_the_next_with_that_id() {
    tell_apart(|is_right| {
        // The number and whether its end is published.
        let record = Arc::new(Mutex::new((1, false)));
        let ender = spawn(&record, move |record| {
            let ended = record.lock().unwrap().0;
            // The event is published with no lock held; meanwhile the id may be given out again.
            let mut record = record.lock().unwrap();
            if !is_right || record.0 == ended {
                record.1 = true;
            }
            ended
        });
        *record.lock().unwrap() = (2, false);
        let ended = ender.join().unwrap();
        assert_eq!(record.lock().unwrap().1, ended == 2);
    });
}

#[test]
fn f8_what_is_chosen_apart_from_its_removal_may_wait_again() {
    tell_apart(|is_right| {
        // Whether the record is there, and whether its event waits.
        let record = Arc::new(Mutex::new((true, false)));
        let returner = spawn(&record, |record| {
            let mut record = record.lock().unwrap();
            record.1 = record.0;
        });
        let is_delivered = !record.lock().unwrap().1;
        {
            let mut record = record.lock().unwrap();
            if is_delivered && (!is_right || !record.1) {
                record.0 = false;
            }
        }
        returner.join().unwrap();
        let (is_there, waits) = *record.lock().unwrap();
        assert!(is_there || !waits, "an event waits, and its record is gone");
    });
}
