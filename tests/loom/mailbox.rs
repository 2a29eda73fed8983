//! Mailboxes, their leases, and who is woken for them.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::queue::{Collector, LeaseId, Leased, Mailbox, Return, Selection};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;

use super::{ANY, Queue, join_all, model, spawn, to};

type Collected = Result<Leased<u8>, Error>;

/// A queue with mailboxes.
struct Shared<const N: usize> {
    queue: Arc<Queue>,
    boxes: [Arc<Mailbox<u8>>; N],
}

/// Opens a mailbox for each of these keys; the empty one opens it for no key.
fn shared<const N: usize>(keys: [&str; N], lease: Option<Duration>) -> Arc<Shared<N>> {
    let queue = Arc::new(Queue::new(0));
    let boxes = keys.map(|key| {
        let keys: Vec<_> = Some(key.to_owned()).filter(|key| !key.is_empty()).into_iter().collect();
        let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
        Arc::new(Mailbox::open(&queue, selection, lease).unwrap())
    });
    Arc::new(Shared { queue, boxes })
}

impl<const N: usize> Shared<N> {
    fn put(&self, item: u8, key: &'static str) {
        self.queue.try_put(item, to(key, "k")).unwrap();
    }

    /// Waits at a mailbox.
    fn collect(&self, index: usize) -> Collected {
        let mut collector = Collector::new(&self.boxes[index], Arc::new(Signal::for_this_thread()));
        loop {
            match collector.poll(|&item| item) {
                Err(Error::Empty) => assert!(collector.signal().wait_until(None)),
                Err(Error::Undecided) => {
                    while let Some(question) = self.boxes[index].next_question(|&item| item) {
                        self.boxes[index].answer(question.address, Some(true)).unwrap();
                    }
                }
                collected => return collected,
            }
        }
    }

    /// Looks once, and leaves; gives back what it got.
    fn look(&self, index: usize, signal: Signal) {
        let mut collector = Collector::new(&self.boxes[index], Arc::new(signal));
        if let Ok(leased) = collector.poll(|&item| item) {
            assert!(self.queue.give_back(leased.id, Return::Defer, Duration::ZERO));
        }
    }

    fn ack(&self, collected: Collected) -> u8 {
        self.ack_by(collected.unwrap().id).expect("the lease holds")
    }

    /// The event, if the lease still held.
    fn ack_by(&self, id: LeaseId) -> Option<u8> {
        let acknowledged = self.queue.ack(&Blocking, id);
        assert_eq!(acknowledged.held, acknowledged.item.is_some());
        acknowledged.item
    }
}

/// A task that nobody runs again.
struct Cancelled;

impl Wake for Cancelled {
    fn wake(self: Arc<Self>) {}
}

fn cancelled() -> Signal {
    Signal::for_task(Waker::from(Arc::new(Cancelled)))
}

#[test]
fn f16_a_put_between_the_look_and_the_wait_is_seen() {
    model(|| {
        let shared = shared(["a"], None);
        let collector = spawn(&shared, |shared| shared.ack(shared.collect(0)));
        shared.put(1, "a");
        assert_eq!(collector.join().unwrap(), 1);
        assert_eq!(shared.queue.unfinished(), 0);
    });
}

#[test]
fn f2_each_mailbox_gets_its_own_and_all_of_it() {
    model(|| {
        let shared = shared(["a", "b"], None);
        let collectors =
            [0, 1].map(|n| spawn(&shared, move |shared| shared.ack(shared.collect(n))));
        shared.put(2, "b");
        shared.put(1, "a");
        assert_eq!(join_all(collectors), [1, 2]);
    });
}

#[test]
fn f11_two_at_one_mailbox_never_get_the_same() {
    model(|| {
        let shared = shared(["a"], None);
        let collectors =
            [0; 2].map(|n| spawn(&shared, move |shared| shared.ack(shared.collect(n))));
        shared.put(1, "a");
        shared.put(2, "a");
        let mut got = join_all(collectors);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}

#[test]
fn f16_who_leaves_after_its_wake_hands_the_wake_on() {
    model(|| {
        let shared = shared(["a"], None);
        let impatient = spawn(&shared, |shared| shared.look(0, Signal::for_this_thread()));
        let patient = spawn(&shared, |shared| shared.ack(shared.collect(0)));
        shared.put(1, "a");
        impatient.join().unwrap();
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn f4_a_cancelled_task_swallows_neither_the_event_nor_the_wake() {
    model(|| {
        let shared = shared(["a"], None);
        let task = spawn(&shared, |shared| shared.look(0, cancelled()));
        let patient = spawn(&shared, |shared| shared.ack(shared.collect(0)));
        shared.put(1, "a");
        task.join().unwrap();
        assert_eq!(patient.join().unwrap(), 1);
    });
}

#[test]
fn f13_a_key_that_is_added_while_its_event_comes() {
    model(|| {
        let shared = shared([""], None);
        let collector = spawn(&shared, |shared| shared.ack(shared.collect(0)));
        let adder = spawn(&shared, |shared| shared.boxes[0].add_key("a").unwrap());
        shared.put(1, "a");
        adder.join().unwrap();
        assert_eq!(collector.join().unwrap(), 1);
    });
}

#[test]
fn f13_a_key_that_goes_from_one_owner_to_the_next() {
    model(|| {
        let shared = shared(["a", ""], None);
        let next = spawn(&shared, |shared| shared.ack(shared.collect(1)));
        let first = spawn(&shared, |shared| shared.look(0, Signal::for_this_thread()));
        shared.put(1, "a");
        shared.boxes[0].remove_key("a").unwrap();
        shared.boxes[1].add_key("a").unwrap();
        first.join().unwrap();
        assert_eq!(next.join().unwrap(), 1);
    });
}

#[test]
fn f13_a_key_that_goes_from_one_of_its_two_owners_as_its_event_comes() {
    model(|| {
        let shared = shared(["a", "a"], None);
        let first = spawn(&shared, |shared| match shared.collect(0) {
            Ok(leased) => {
                assert!(shared.queue.give_back(leased.id, Return::Defer, Duration::ZERO));
            }
            Err(error) => assert_eq!(error, Error::ShutDown),
        });
        let other = spawn(&shared, |shared| shared.ack(shared.collect(1)));
        shared.put(1, "a");
        shared.boxes[0].remove_key("a").unwrap();
        assert_eq!(other.join().unwrap(), 1);
        shared.boxes[0].close();
        first.join().unwrap();
    });
}

#[test]
fn f1_an_event_that_comes_while_its_mailbox_closes_is_had_or_waits() {
    model(|| {
        let shared = shared(["a"], None);
        let collector = spawn(&shared, |shared| shared.collect(0));
        let closer = spawn(&shared, |shared| shared.boxes[0].close());
        shared.put(1, "a");
        closer.join().unwrap();
        match collector.join().unwrap() {
            Ok(leased) => assert_eq!(shared.ack_by(leased.id), Some(1)),
            Err(error) => {
                assert_eq!(error, Error::ShutDown);
                assert_eq!(shared.queue.try_take(&Blocking, ANY), Ok(1));
            }
        }
    });
}

#[test]
fn f16_the_wake_of_a_mailbox_that_closes_goes_to_the_other_of_its_owner() {
    model(|| {
        let shared = shared(["a", "a"], None);
        let closed = spawn(&shared, |shared| {
            shared.look(0, Signal::for_this_thread());
            shared.boxes[0].close();
        });
        let other = spawn(&shared, |shared| shared.ack(shared.collect(1)));
        shared.put(1, "a");
        closed.join().unwrap();
        assert_eq!(other.join().unwrap(), 1);
    });
}

#[test]
fn f11_an_ack_and_the_end_of_the_lease_exclude_each_other() {
    model(|| {
        let shared = shared(["a"], Some(Duration::ZERO));
        shared.put(1, "a");
        let leased = shared.boxes[0].collect(|&item| item).unwrap();
        let timer = spawn(&shared, |shared| shared.queue.due(Instant::now()));
        let acked = shared.ack_by(leased.id);
        timer.join().unwrap();
        assert_eq!(acked.is_some(), shared.queue.is_empty());
        assert_eq!(shared.queue.unfinished(), shared.queue.len());
    });
}

#[test]
fn f11_a_late_ack_leaves_the_next_lease_alone() {
    model(|| {
        let shared = shared(["a"], Some(Duration::ZERO));
        shared.put(1, "a");
        let leased = shared.boxes[0].collect(|&item| item).unwrap();
        let next = spawn(&shared, |shared| {
            shared.queue.due(Instant::now());
            shared.boxes[0].collect(|&item| item)
        });
        let acked = shared.ack_by(leased.id);
        match next.join().unwrap() {
            Ok(second) => {
                assert_eq!((acked, second.attempt), (None, 2));
                assert_eq!(shared.ack_by(second.id), Some(1), "the second lease holds");
            }
            Err(error) => assert_eq!((acked, error), (Some(1), Error::Empty)),
        }
    });
}

#[test]
fn f4_what_comes_back_wakes_whoever_waits() {
    for how in [Return::Nack, Return::Defer] {
        model(move || {
            let shared = shared(["a"], None);
            shared.put(1, "a");
            let leased = shared.boxes[0].collect(|&item| item).unwrap();
            let waiter = spawn(&shared, |shared| shared.collect(0));
            assert!(shared.queue.give_back(leased.id, how, Duration::ZERO));
            let again = waiter.join().unwrap().unwrap();
            assert_eq!(again.attempt, if how == Return::Nack { 2 } else { 1 });
            assert_eq!(shared.ack_by(leased.id), None);
            assert_eq!(shared.ack_by(again.id), Some(1));
        });
    }
}

#[test]
fn f4_the_end_of_a_lease_wakes_whoever_waits() {
    model(|| {
        let shared = shared(["a"], Some(Duration::ZERO));
        shared.put(1, "a");
        let dead = shared.boxes[0].collect(|&item| item).unwrap();
        let waiter = spawn(&shared, |shared| shared.collect(0));
        shared.queue.due(Instant::now());
        assert_eq!(waiter.join().unwrap().unwrap().attempt, 2);
        assert_eq!(shared.ack_by(dead.id), None);
    });
}

#[test]
fn what_two_give_back_stands_in_order() {
    model(|| {
        let shared = shared(["a"], None);
        for item in 1..=3 {
            shared.put(item, "a");
        }
        let leases = [0; 3].map(|_| shared.boxes[0].collect(|&item| item).unwrap().id);
        let other = spawn(&shared, move |shared| {
            shared.queue.give_back(leases[1], Return::Nack, Duration::ZERO)
        });
        assert!(shared.queue.give_back(leases[2], Return::Nack, Duration::ZERO));
        assert!(shared.queue.give_back(leases[0], Return::Nack, Duration::ZERO));
        assert!(other.join().unwrap());
        assert_eq!([0; 3].map(|_| shared.ack(shared.boxes[0].collect(|&item| item))), [1, 2, 3]);
    });
}

#[test]
fn a_shutdown_ends_the_wait_at_a_mailbox() {
    model(|| {
        let shared = shared(["a"], None);
        let collector = spawn(&shared, |shared| shared.collect(0).map(|leased| leased.item));
        shared.queue.shutdown(false);
        assert_eq!(collector.join().unwrap(), Err(Error::ShutDown));
    });
}

#[test]
fn f16_a_new_owner_is_decided_by_whoever_waits() {
    model(|| {
        let queue = Arc::new(Queue::new(0));
        let keys = Some(&[][..]);
        let selection =
            Selection { session_keys: keys, has_predicate: true, ..Selection::default() };
        let boxes = [Arc::new(Mailbox::open(&queue, selection, None).unwrap())];
        let shared = Arc::new(Shared { queue, boxes });
        let collectors =
            [0; 2].map(|n| spawn(&shared, move |shared| shared.ack(shared.collect(n))));
        for item in 1..=2 {
            shared.queue.try_put(item, Route { full: Some("a"), ..to("a", "k") }).unwrap();
        }
        let mut got = join_all(collectors);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
    });
}
