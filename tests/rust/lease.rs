//! Leases at the edges: bounds, counts, observers, shutdown, fork, and the timer that ends them.

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::ledger::Home;
use hermes_core::queue::{
    Collector, CompletionQueue, DeliveryObserver, LeaseId, Mailbox, Return, Selection,
};
use hermes_core::sync::HeldLock;
use hermes_core::timer::Due;
use hermes_core::wake::Signal;

use super::queue::{ANY, Queue, of, to, woken};

fn mailbox(queue: &Arc<Queue>, lease: Option<Duration>) -> Arc<Mailbox<u32>> {
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
    Arc::new(Mailbox::open(queue, selection, lease))
}

fn collect(mailbox: &Mailbox<u32>) -> Result<(u32, LeaseId), Error> {
    mailbox.collect(|&item| item).map(|leased| (leased.item, leased.id))
}

fn put(queue: &Queue, items: impl IntoIterator<Item = u32>) {
    items.into_iter().for_each(|item| queue.try_put(item, to("a", "k")).unwrap());
}

#[test]
fn an_event_on_lease_makes_room_and_comes_back_beyond_the_bound() {
    let queue = Arc::new(CompletionQueue::new(1));
    let mailbox = mailbox(&queue, None);
    put(&queue, [1]);
    let mut putter = queue.putter();
    assert!(putter.enter());
    let (_, id) = collect(&mailbox).unwrap();
    assert!(woken(putter.signal()));
    put(&queue, [2]);
    assert!(queue.give_back(id, Return::Nack, Duration::ZERO));
    assert_eq!((queue.len(), queue.is_full()), (2, true));
    assert_eq!([queue.try_take(ANY), queue.try_take(of("a"))], [Ok(1), Ok(2)]);
}

#[test]
fn an_ack_counts_as_done_and_a_return_does_not() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, None);
    put(&queue, [1]);
    let (_, first) = collect(&mailbox).unwrap();
    assert!(queue.give_back(first, Return::Defer, Duration::ZERO));
    let joiner = queue.joiner().expect("one is not done");
    let (_, second) = collect(&mailbox).unwrap();
    assert!(!woken(&joiner));
    assert_eq!((queue.ack(first), queue.ack(second), queue.ack(second)), (None, Some(1), None));
    assert!(woken(&joiner));
    assert_eq!(queue.unfinished(), 0);
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl DeliveryObserver for Told {
    fn taken(&self, id: &str) {
        self.0.lock().unwrap().push(format!("{id} taken"));
    }

    fn dropped(&self, id: &str) {
        self.0.lock().unwrap().push(format!("{id} dropped"));
    }

    fn returned(&self, id: &str) {
        self.0.lock().unwrap().push(format!("{id} returned"));
    }

    fn buried(&self, delegation_id: &str) {
        self.0.lock().unwrap().push(format!("buried {delegation_id}"));
    }

    fn home(&self, _: &str) -> Option<Arc<Home>> {
        None
    }
}

#[test]
fn observers_hear_of_the_ack_alone() {
    let queue = Arc::new(Queue::new(0));
    let told = Arc::new(Told::default());
    let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(&told) as _;
    queue.observe(observer);
    let hour = Duration::from_secs(3600);
    let mailbox = mailbox(&queue, Some(hour));
    queue.publish(1, Route { delegation_id: Some("d"), ..to("a", "async_delegation") }, None);
    let (_, id) = collect(&mailbox).unwrap();
    assert!(queue.give_back(id, Return::Nack, Duration::ZERO));
    collect(&mailbox).unwrap();
    queue.due(Instant::now() + 2 * hour);
    let (_, id) = collect(&mailbox).unwrap();
    assert!(told.0.lock().unwrap().is_empty());
    assert_eq!(queue.ack(id), Some(1));
    assert_eq!(*told.0.lock().unwrap(), ["d taken"]);
}

#[test]
fn a_shutdown_leaves_leases_to_their_holders() {
    for immediate in [false, true] {
        let queue = Arc::new(Queue::new(0));
        let mailbox = mailbox(&queue, None);
        put(&queue, 1..=3);
        let [first, second] = [0; 2].map(|_| collect(&mailbox).unwrap().1);
        assert_eq!(queue.shutdown(immediate).len(), usize::from(immediate));
        assert_eq!(queue.ack(first), Some(1));
        assert!(queue.give_back(second, Return::Nack, Duration::ZERO));
        assert_eq!(collect(&mailbox).map(|(item, _)| item), Ok(2), "what came back is to be had");
        assert_eq!(collect(&mailbox).map(|(item, _)| item).ok(), (!immediate).then_some(3));
        assert_eq!(collect(&mailbox), Err(Error::ShutDown));
    }
}

#[test]
fn a_drain_and_a_fork_find_what_is_out_and_what_is_parked() {
    for forks in [false, true] {
        let queue = Arc::new(Queue::new(0));
        let mailbox = mailbox(&queue, Some(Duration::from_secs(3600)));
        let first_epoch = Some(queue.epoch("a"));
        queue.publish(1, Route { epoch: first_epoch, ..to("a", "async_delegation") }, None);
        queue.new_epoch("a");
        put(&queue, [2, 3]);
        let (_, id) = collect(&mailbox).unwrap();
        let mut all = match forks {
            true => HeldLock::hold(&queue).state().reset(),
            false => queue.drain(),
        };
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(queue.ack(id), None);
        assert!(!queue.give_back(id, Return::Nack, Duration::ZERO));
        assert_eq!(queue.due(Instant::now() + Duration::from_secs(7200)), None);
        put(&queue, [4]);
        assert_eq!(collect(&mailbox).map(|(item, _)| item), Ok(4));
    }
}

#[test]
fn the_end_of_one_lease_says_when_the_next_is() {
    let queue = Arc::new(Queue::new(0));
    let [short, long] =
        [10, 100].map(|seconds| mailbox(&queue, Some(Duration::from_secs(seconds))));
    put(&queue, [1, 2, 3]);
    let now = Instant::now();
    let acked = collect(&short).unwrap().1;
    collect(&short).unwrap();
    collect(&long).unwrap();
    assert_eq!(queue.ack(acked), Some(1));
    let next = queue.due(now + Duration::from_secs(50)).expect("the long one");
    assert_eq!(queue.pending(None, |&item| item), [2]);
    assert!(next >= now + Duration::from_secs(100));
    assert_eq!(queue.due(next), None);
    assert_eq!(queue.pending(None, |&item| item), [2, 3]);
}

#[test]
fn the_timer_ends_leases_and_delays_by_itself() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, Some(Duration::from_millis(5)));
    put(&queue, [1]);
    let wait = |expected| {
        let mut collector = Collector::new(&mailbox, Arc::new(Signal::for_this_thread()));
        loop {
            match collector.poll(|&item| item) {
                Ok(leased) => break assert_eq!((leased.item, leased.attempt), expected),
                Err(error) => assert_eq!(error, Error::Empty),
            }
            let late = Instant::now() + Duration::from_secs(50);
            assert!(collector.signal().wait_until(Some(late)), "nobody ended the lease");
        }
    };
    for attempt in 1..4 {
        wait((1, attempt));
    }
    // The last lease is over by now or soon; a delay on top of it.
    wait((1, 4));
    let (_, id) = loop {
        if let Ok(taken) = collect(&mailbox) {
            break taken;
        }
        std::thread::yield_now();
    };
    queue.give_back(id, Return::Nack, Duration::from_millis(1));
    wait((1, 6));
}

#[test]
fn the_timer_keeps_no_queue_alive() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, Some(Duration::from_secs(3600)));
    put(&queue, [1]);
    collect(&mailbox).unwrap();
    let gone = Arc::downgrade(&queue);
    drop((queue, mailbox));
    assert!(gone.upgrade().is_none());
}

#[test]
fn f13_the_wake_for_a_key_that_was_taken_away_goes_to_who_has_it_too() {
    let queue = Arc::new(Queue::new(0));
    let boxes = [(); 2].map(|()| mailbox(&queue, None));
    let wait = |mailbox| {
        let mut one = Collector::new(mailbox, Arc::new(Signal::for_this_thread()));
        assert_eq!(one.poll(|&item| item).map(|leased| leased.item), Err(Error::Empty));
        one
    };
    let [mut first, mut second] = boxes.each_ref().map(wait);
    put(&queue, [1]);
    assert_eq!((woken(first.signal()), woken(second.signal())), (true, false));
    boxes[0].remove_key("a");
    assert_eq!(first.poll(|&item| item).map(|leased| leased.item), Err(Error::Empty));
    assert!(woken(second.signal()), "the event waits, and its other owner sleeps");
    assert_eq!(second.poll(|&item| item).map(|leased| leased.item), Ok(1));
}
