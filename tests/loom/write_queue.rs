//! Writes on their way to the ledger's writer, and the answers on their way back.

use std::collections::VecDeque;
use std::sync::Arc;

use hermes_core::error::Error;
use hermes_core::ledger::receipt::{Promise, Receipt};
use hermes_core::ledger::write_queue::{Job, When, WriteQueue};
use hermes_core::sync::signal::Signal;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use super::{model, spawn};

/// A write; all that go along are about the same.
struct Numbered {
    number: u8,
    promise: Promise<u8>,
    /// None for one that is urgent.
    about: Option<Arc<str>>,
}

impl Job for Numbered {
    fn when(&self) -> When<'_> {
        self.about.as_ref().map_or(When::Last, When::Along)
    }

    fn replace(&self, earlier: Self) -> Option<Self> {
        earlier.promise.answer(Ok(earlier.number));
        None
    }
}

/// A ledger with nothing beneath: what is written is remembered, in order.
#[derive(Default)]
struct Ledger {
    queue: WriteQueue<Numbered>,
    written: Mutex<Vec<u8>>,
    seen: AtomicUsize,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

impl Ledger {
    /// Used by so many from now on.
    fn of(users: usize) -> Arc<Self> {
        let ledger = Arc::new(Self::default());
        for _ in 0..users {
            assert!(ledger.queue.enter());
        }
        ledger
    }

    fn round(&self, written: &mut Vec<u8>) {
        let mut jobs = VecDeque::new();
        while self.queue.take(1, &mut jobs) {}
        for Numbered { number, promise, .. } in jobs {
            written.push(number);
            promise.answer(Ok(number));
        }
        // Still at work: what comes meanwhile is not taken.
        self.seen.store(self.queue.len(), Ordering::SeqCst);
    }

    fn run(&self) {
        let signal = Arc::new(Signal::for_this_thread());
        self.queue.come(&signal);
        loop {
            self.round(&mut self.written.lock().unwrap());
            if self.queue.is_over() {
                return;
            }
            self.queue.wait(&signal, None);
        }
    }

    fn submit(self: &Arc<Self>, number: u8, urgent: bool) -> Receipt<u8> {
        let (receipt, promise) = Receipt::pending();
        let about = (!urgent).then(|| "the same".into());
        if self.queue.put(Numbered { number, promise, about }) {
            let ledger = self.clone();
            self.writers.lock().unwrap().push(thread::spawn(move || ledger.run()));
        }
        receipt
    }

    /// As `submit`, by a thread that waits and writes itself if it can.
    fn write(self: &Arc<Self>, number: u8) -> Receipt<u8> {
        let (receipt, promise) = Receipt::pending();
        match self.queue.put_quietly(Numbered { number, promise, about: None }) {
            Ok(()) => match self.written.try_lock() {
                Ok(mut written) => self.round(&mut written),
                Err(_) => self.queue.wake(),
            },
            Err(Numbered { number, promise, .. }) => {
                drop(promise);
                return self.submit(number, true);
            }
        }
        receipt
    }

    /// One user less; what was written once all have left and the writer has ended.
    fn end(self: &Arc<Self>) -> Vec<u8> {
        self.queue.leave();
        for writer in self.writers.lock().unwrap().drain(..) {
            writer.join().unwrap();
        }
        self.written.lock().unwrap().clone()
    }
}

#[test]
fn an_urgent_write_is_answered_whatever_the_writer_does_meanwhile() {
    model(|| {
        let ledger = Ledger::of(2);
        let other = {
            let ledger = ledger.clone();
            thread::spawn(move || {
                assert_eq!(ledger.submit(1, true).wait(None), Ok(1));
                ledger.queue.leave();
            })
        };
        assert_eq!(ledger.submit(2, true).wait(None), Ok(2));
        other.join().unwrap();
        assert_eq!(ledger.end().len(), 2);
    });
}

#[test]
fn what_is_not_urgent_goes_along_in_its_order() {
    model(|| {
        let ledger = Ledger::of(1);
        assert_eq!(ledger.submit(1, true).wait(None), Ok(1));
        let late = ledger.submit(2, false);
        // A flush: it is answered after all that was submitted before.
        assert_eq!(ledger.submit(3, true).wait(None), Ok(3));
        assert_eq!(late.answer(), Some(Ok(2)));
        assert_eq!(ledger.end(), [1, 2, 3]);
    });
}

/// F24: what is not urgent waits once for each row.
#[test]
fn of_two_that_go_along_about_the_same_the_later_is_written() {
    model(|| {
        let ledger = Ledger::of(1);
        assert_eq!(ledger.submit(1, true).wait(None), Ok(1));
        let earlier = ledger.submit(2, false);
        let later = ledger.submit(3, false);
        assert_eq!(ledger.queue.len(), 1);
        assert_eq!(earlier.answer(), Some(Ok(2)));
        assert_eq!(ledger.submit(4, true).wait(None), Ok(4));
        assert_eq!(later.answer(), Some(Ok(3)));
        assert_eq!(ledger.end(), [1, 3, 4]);
    });
}

#[test]
fn what_is_not_urgent_is_written_when_the_last_user_leaves() {
    model(|| {
        let ledger = Ledger::of(1);
        let first = ledger.submit(1, true);
        let late = ledger.submit(2, false);
        assert_eq!(ledger.end(), [1, 2]);
        assert_eq!((first.answer(), late.answer()), (Some(Ok(1)), Some(Ok(2))));
    });
}

#[test]
fn who_waits_may_write_and_nobody_s_write_is_left() {
    model(|| {
        let ledger = Ledger::of(2);
        assert_eq!(ledger.submit(1, true).wait(None), Ok(1));
        let other = {
            let ledger = ledger.clone();
            thread::spawn(move || {
                assert_eq!(ledger.write(2).wait(None), Ok(2));
                ledger.queue.leave();
            })
        };
        assert_eq!(ledger.write(3).wait(None), Ok(3));
        other.join().unwrap();
        assert_eq!(ledger.end().len(), 3);
    });
}

#[test]
fn an_answer_reaches_everybody_who_waits_for_it() {
    model(|| {
        let (receipt, promise) = Receipt::pending();
        let receipt = Arc::new(receipt);
        let other = spawn(&receipt, |receipt| receipt.wait(None));
        let writer = thread::spawn(move || promise.answer(Ok(7u8)));
        assert_eq!(receipt.wait(None), Ok(7));
        assert_eq!(other.join().unwrap(), Ok(7));
        writer.join().unwrap();
    });
}

#[test]
fn a_promise_that_is_dropped_is_an_answer() {
    model(|| {
        let (receipt, promise) = Receipt::<u8>::pending();
        let writer = thread::spawn(move || drop(promise));
        assert_eq!(receipt.wait(None), Err(Error::LedgerClosed));
        writer.join().unwrap();
    });
}

#[test]
fn who_comes_as_the_last_one_leaves_finds_a_writer_or_none() {
    model(|| {
        let ledger = Ledger::of(1);
        assert_eq!(ledger.submit(1, true).wait(None), Ok(1));
        let other = {
            let ledger = ledger.clone();
            thread::spawn(move || {
                // Else it makes a ledger of its own.
                if ledger.queue.enter() {
                    assert_eq!(ledger.submit(2, true).wait(None), Ok(2));
                    ledger.queue.leave();
                }
            })
        };
        ledger.queue.leave();
        other.join().unwrap();
        for writer in ledger.writers.lock().unwrap().drain(..) {
            writer.join().unwrap();
        }
    });
}
