//! Leases at the edges: bounds, counts, observers, shutdown, fork, and the timer that ends them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::Owner;
use hermes_core::queue::{Collector, CompletionQueue, Handle, LeaseId, Mailbox, Return, Selection};
use hermes_core::state::Stage;
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::{self, Due};
use hermes_core::sync::wait::Blocking;
use hermes_core::sync::{Forked, HeldLock};

use super::queue::{ANY, Queue, handle, of, put as append, to, woken};

const LEASE: Duration = Duration::from_secs(3600);

fn mailbox(queue: &Arc<Queue>, lease: Option<Duration>) -> Arc<Mailbox<u32>> {
    let keys = ["a".to_owned()];
    let selection = Selection { session_keys: Some(&keys), ..Selection::default() };
    Arc::new(Mailbox::open(queue, selection, lease).unwrap())
}

fn collect(mailbox: &Mailbox<u32>) -> Result<(u32, LeaseId), Error> {
    mailbox.collect(|&item| item).map(|leased| (leased.item, leased.id))
}

fn put(queue: &Queue, items: impl IntoIterator<Item = u32>) {
    items.into_iter().for_each(|item| append(queue, item, to("a", "k")));
}

/// F40: all queues of the process have one timer; what it calls for one of them may be a log that panics.
#[test]
fn f40_a_call_of_the_timer_that_panics_ends_no_other() {
    struct Panics;
    impl Due for Panics {
        fn due(&self, _: Instant) -> Option<Instant> {
            panic!("as it was asked to")
        }
    }
    struct Tells(Arc<Signal>);
    impl Due for Tells {
        fn due(&self, _: Instant) -> Option<Instant> {
            self.0.set();
            None
        }
    }
    let signal = Arc::new(Signal::for_this_thread());
    let (panics, tells): (Arc<dyn Due>, Arc<dyn Due>) =
        (Arc::new(Panics), Arc::new(Tells(signal.clone())));
    let now = Instant::now();
    timer::call_at(now, Arc::downgrade(&panics));
    timer::call_at(now + Duration::from_millis(1), Arc::downgrade(&tells));
    assert!(signal.wait_until(Some(now + Duration::from_secs(60))));
}

#[test]
fn an_event_on_lease_makes_room_and_comes_back_beyond_the_bound() {
    let queue = Arc::new(CompletionQueue::new(1));
    let mailbox = mailbox(&queue, None);
    put(&queue, [1]);
    let putter = queue.putter();
    assert!(putter.enter());
    let (_, id) = collect(&mailbox).unwrap();
    assert!(woken(putter.signal()));
    put(&queue, [2]);
    assert!(queue.give_back(id, Return::Nack, Duration::ZERO));
    assert_eq!((queue.len(), queue.is_full()), (2, true));
    assert_eq!(
        [queue.try_take(&Blocking, ANY), queue.try_take(&Blocking, of("a"))],
        [Ok(1), Ok(2)]
    );
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
    let acked = [first, second, second].map(|id| queue.ack(&Blocking, id).item);
    assert_eq!(acked, [None, Some(1), None]);
    assert!(woken(&joiner));
    assert_eq!(queue.unfinished(), 0);
}

/// The stage is the same to everybody, at each moment of a delivery.
#[test]
fn f45_the_handle_shows_each_stage_of_its_event() {
    let queue = Arc::new(Queue::new(0));
    let hour = Duration::from_secs(3600);
    let mailbox = mailbox(&queue, Some(hour));
    let event = handle("a");
    assert_eq!(event.stage(), None);
    queue.publish(1, &event, 0, false);
    assert_eq!(event.stage(), Some(Stage::Waiting));
    let (_, id) = collect(&mailbox).unwrap();
    assert_eq!(event.stage(), Some(Stage::Leased));
    assert!(queue.give_back(id, Return::Nack, hour));
    assert_eq!(event.stage(), Some(Stage::Delayed));
    queue.due(Instant::now() + 2 * hour);
    assert_eq!(event.stage(), Some(Stage::Waiting));
    let (_, id) = collect(&mailbox).unwrap();
    assert_eq!(queue.ack(&Blocking, id).item, Some(1));
    assert_eq!(event.stage(), Some(Stage::Delivered));
}

/// As many leases as there are events given back in the order in which they were taken: each event
/// waits in its place again.
#[test]
fn events_that_come_back_in_the_order_of_taking_stand_where_they_stood() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, None);
    put(&queue, 0..1000);
    let leases: Vec<_> = (0..1000).map(|_| collect(&mailbox).unwrap().1).collect();
    // In order, backwards, and every third of them before the rest.
    let thirds = (0..3).flat_map(|first| (first..1000).step_by(3));
    for order in [(0..1000).collect::<Vec<_>>(), (0..1000).rev().collect(), thirds.collect()] {
        let mut leases = leases.clone();
        if queue.len() == 1000 {
            leases = (0..1000).map(|_| collect(&mailbox).unwrap().1).collect();
        }
        for place in order {
            assert!(queue.give_back(leases[place], Return::Nack, Duration::ZERO));
        }
        assert_eq!(queue.pending(Some("a"), |&item| item), (0..1000).collect::<Vec<_>>());
    }
}

#[test]
fn a_shutdown_leaves_leases_to_their_holders() {
    for immediate in [false, true] {
        let queue = Arc::new(Queue::new(0));
        let mailbox = mailbox(&queue, None);
        put(&queue, 1..=3);
        let [first, second] = [0; 2].map(|_| collect(&mailbox).unwrap().1);
        assert_eq!(queue.shutdown(immediate).len(), usize::from(immediate));
        assert_eq!(queue.ack(&Blocking, first).item, Some(1));
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
        let owner = Arc::new(Owner { session_key: "a".into(), ..Owner::default() });
        let stamp = queue.stamp("a").unwrap();
        let handle = Handle::new("d".into(), owner, stamp, None, Arc::default());
        queue.publish(1, &Arc::new(handle), 0, false);
        queue.new_epoch("a").unwrap();
        put(&queue, [2, 3]);
        let (_, id) = collect(&mailbox).unwrap();
        let mut all = match forks {
            true => Queue::reset(HeldLock::hold(&queue).state()),
            false => queue.drain(),
        };
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(queue.ack(&Blocking, id).item, None);
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
    assert_eq!(queue.ack(&Blocking, acked).item, Some(1));
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

/// Has the queue's first event of "a", which waits, fail once.
fn fail(queue: &Arc<Queue>, mailbox: &Mailbox<u32>, how: Option<Return>) {
    let id = collect(mailbox).expect("it waits").1;
    match how {
        Some(how) => assert!(queue.give_back(id, how, None)),
        None => drop(queue.due(Instant::now() + LEASE)),
    }
}

/// Has the only event of a queue come back, which pauses since `began` at the earliest.
fn comes_back_after(queue: &Arc<Queue>, began: Instant, seconds: f64) {
    let short = began + Duration::from_secs_f64(0.79 * seconds);
    queue.due(short);
    // A machine that stood still has seen the pause end.
    assert!(queue.is_empty() || Instant::now() > short, "it pauses for {seconds} s");
    queue.due(Instant::now() + Duration::from_secs_f64(1.21 * seconds));
    assert!(!queue.is_empty(), "it pauses for {seconds} s");
}

/// The first failure is followed by another attempt at once, each later one by a pause that grows.
#[test]
fn f44_what_fails_pauses_longer_each_time() {
    for how in [Some(Return::Nack), Some(Return::Drop), None] {
        let queue = Arc::new(Queue::new(0));
        let mailbox = mailbox(&queue, Some(LEASE));
        put(&queue, [1]);
        let count = if how == Some(Return::Drop) { 30 } else { 19 };
        fail(&queue, &mailbox, how);
        assert!(!queue.is_empty(), "another attempt at once");
        let mut exact = 0.1;
        for _ in 1..count {
            let began = Instant::now();
            fail(&queue, &mailbox, how);
            comes_back_after(&queue, began, exact);
            exact = f64::min(2.0 * exact, 30.0);
        }
        let (_, id) = collect(&mailbox).unwrap();
        assert!(queue.give_back(id, Return::Nack, None));
        let dead = queue.dead_letters(|&item| item);
        assert_eq!(dead.is_empty(), how == Some(Return::Drop), "a drop is no attempt");
        assert_eq!(queue.unsettled(), if how == Some(Return::Drop) { 30 } else { 0 });
    }
}

/// A pause is the event's own: what came after it goes first, and it stands in its place again.
#[test]
fn f44_others_do_not_wait_behind_a_pause() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, None);
    put(&queue, [1, 2, 3]);
    for _ in 0..2 {
        let (item, id) = collect(&mailbox).unwrap();
        assert_eq!(item, 1);
        assert!(queue.give_back(id, Return::Nack, None));
    }
    assert_eq!(queue.pending(Some("a"), |&item| item), [2, 3]);
    let (item, id) = collect(&mailbox).unwrap();
    assert_eq!(item, 2);
    queue.due(Instant::now() + Duration::from_secs(1));
    assert!(queue.give_back(id, Return::Nack, None));
    assert_eq!(queue.pending(Some("a"), |&item| item), [1, 2, 3]);
}

/// Somebody who says how long is taken at his word; it is a failure all the same. A deferral is none.
#[test]
fn f44_a_delay_that_is_given_stands_in_for_the_pause() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, None);
    put(&queue, [1]);
    let give_back = |how, delay: Option<Duration>| {
        let (_, id) = collect(&mailbox).unwrap();
        assert!(queue.give_back(id, how, delay));
    };
    for _ in 0..8 {
        give_back(Return::Defer, None);
    }
    for _ in 0..8 {
        give_back(Return::Nack, Some(Duration::ZERO));
    }
    give_back(Return::Defer, None);
    give_back(Return::Nack, None);
    comes_back_after(&queue, Instant::now(), 0.1 * 128.0);
}

/// What was restored pauses as it did before the restart.
#[test]
fn f44_a_restart_does_not_begin_the_pauses_anew() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, None);
    queue.publish(1, &handle("a"), 8, false);
    fail(&queue, &mailbox, Some(Return::Nack));
    comes_back_after(&queue, Instant::now(), 0.1 * 128.0);
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
    boxes[0].remove_key("a").unwrap();
    assert_eq!(first.poll(|&item| item).map(|leased| leased.item), Err(Error::Empty));
    assert!(woken(second.signal()), "the event waits, and its other owner sleeps");
    assert_eq!(second.poll(|&item| item).map(|leased| leased.item), Ok(1));
}
