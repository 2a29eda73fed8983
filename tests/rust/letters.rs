//! Dead letters, events taken out by hand, and events for their owner alone.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::queue::{Collector, DeliveryObserver, Mailbox, Return, Selection};
use hermes_core::registry::{DelegationRegistry, Delivery, State};
use hermes_core::timer::Due;
use hermes_core::wake::Signal;

use super::queue::{ANY, Queue, kinds, of, of_kinds, woken};
use super::scripted::{Scripted, home};

const KIND: &str = "async_delegation";
const HOUR: Duration = Duration::from_secs(3600);

fn ends<'a>(key: &'a str, id: &'a str) -> Route<'a> {
    Route { session_key: Some(key), kind: Some(KIND), delegation_id: Some(id), ..Route::default() }
}

fn mailbox(queue: &Arc<Queue>, max_attempts: u32) -> Arc<Mailbox<u32>> {
    let keys = ["a".to_owned()];
    let selection = Selection {
        session_keys: Some(&keys),
        max_attempts: Some(max_attempts),
        ..Selection::default()
    };
    Arc::new(Mailbox::open(queue, selection, Some(HOUR)))
}

fn letters(queue: &Queue) -> Vec<u32> {
    queue.dead_letters(|&item| item)
}

/// A registry with one delegation that ended and whose event, 7, waits in the queue.
fn ended(queue: &Arc<Queue>) -> Arc<DelegationRegistry<u32>> {
    let registry = Arc::new(DelegationRegistry::new(50));
    let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(&registry) as _;
    queue.observe(observer);
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 0).unwrap();
    assert!(registry.finish("d", State::Completed, || queue.publish(7, ends("a", "d"), None)));
    registry
}

#[test]
fn f10_an_event_that_had_all_its_attempts_is_a_dead_letter_and_one_put_off_is_not() {
    let queue = Arc::new(Queue::new(0));
    let registry = ended(&queue);
    let mailbox = mailbox(&queue, 2);
    let take = || mailbox.collect(|&item| item).unwrap();
    for _ in 0..100 {
        assert!(queue.give_back(take().id, Return::Defer, Duration::ZERO));
    }
    assert!(queue.give_back(take().id, Return::Nack, Duration::ZERO));
    assert_eq!(letters(&queue), [0; 0]);
    let last = take();
    assert_eq!(last.attempt, 2);
    assert!(queue.give_back(last.id, Return::Nack, HOUR));
    assert_eq!(letters(&queue), [7]);
    assert_eq!(mailbox.collect(|&item| item).unwrap_err(), Error::Empty);
    let stats = registry.stats();
    assert_eq!((stats.undelivered, stats.dead, stats.retained), (0, 1, 0));
    assert!(registry.prune().is_empty(), "it is kept until somebody decides");
    assert_eq!(queue.discard("d", false), Some(7));
    let stats = registry.stats();
    assert_eq!((stats.dead, stats.retained, queue.unfinished()), (0, 1, 0));
    assert_eq!(registry.with("d", |record| record.delivery), Some(Delivery::Dropped));
}

#[test]
fn a_last_lease_that_ends_by_itself_makes_a_dead_letter() {
    let queue = Arc::new(Queue::new(0));
    let ledger = Scripted::prompt();
    queue.publish(7, ends("a", "d"), Some(home(&ledger, "d")));
    let mailbox = mailbox(&queue, 1);
    mailbox.collect(|&item| item).unwrap();
    queue.due(Instant::now() + 2 * HOUR);
    assert_eq!(letters(&queue), [7]);
    assert_eq!(ledger.told(), ["attempts d 1", "bury d 1"]);
}

#[test]
fn only_what_is_in_nobodys_hands_can_be_taken_out() {
    let queue = Arc::new(Queue::new(0));
    let _registry = ended(&queue);
    let mailbox = mailbox(&queue, 9);
    let leased = mailbox.collect(|&item| item).unwrap();
    assert_eq!(queue.discard("d", true), None, "a consumer has it");
    assert!(queue.give_back(leased.id, Return::Defer, Duration::ZERO));
    assert_eq!(queue.discard("d", false), None, "it waits");
    assert_eq!(queue.discard("x", true), None);
    assert_eq!(queue.discard("d", true), Some(7));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
}

#[test]
fn a_shutdown_at_once_takes_what_waits_for_its_next_attempt_or_for_a_decision() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, 1);
    queue.publish(1, ends("a", "x"), None);
    let first = mailbox.collect(|&item| item).unwrap();
    assert!(queue.give_back(first.id, Return::Defer, HOUR));
    queue.publish(2, ends("a", "y"), None);
    let second = mailbox.collect(|&item| item).unwrap();
    assert!(queue.give_back(second.id, Return::Nack, Duration::ZERO));
    let joiner = queue.joiner().expect("two are not done");
    let mut dropped = queue.shutdown(true);
    dropped.sort_unstable();
    assert_eq!(dropped, [1, 2]);
    assert!(woken(&joiner));
    assert_eq!(queue.due(Instant::now() + 2 * HOUR), None, "nothing comes back later");
    assert!(queue.is_empty() && letters(&queue).is_empty());
}

fn restored(queue: &Queue, item: u32, route: Route<'_>) {
    queue.restore(item, route, home(&Scripted::prompt(), "d"), 0, true);
}

#[test]
fn f2_what_was_restored_is_only_for_those_who_ask_for_its_owner() {
    let queue = Arc::new(Queue::new(0));
    let types = kinds(&[KIND]);
    let mut anybody = queue.taker(ANY);
    let mut of_kind = queue.taker(of_kinds(&types));
    let mut nobodys = queue.taker(of(""));
    for taker in [&mut anybody, &mut of_kind, &mut nobodys] {
        assert_eq!(taker.poll(), Err(Error::Empty));
    }
    restored(&queue, 1, ends("a", "d"));
    restored(&queue, 2, Route { full: Some("cli"), ..ends("", "e") });
    for taker in [&mut anybody, &mut of_kind, &mut nobodys] {
        assert!(!woken(taker.signal()));
        assert_eq!(taker.poll(), Err(Error::Empty));
    }
    assert_eq!((queue.len(), queue.is_empty(), queue.unfinished()), (0, true, 2));
    assert_eq!(queue.pending(None, |&item| item), [1, 2]);
    assert_eq!(queue.try_take(of("b")), Err(Error::Empty));
    assert_eq!(queue.try_take(of("a")), Ok(1));
    let everything = Arc::new(Mailbox::open(&queue, Selection::default(), None));
    assert_eq!(everything.collect(|&item| item).unwrap_err(), Error::Empty);
}

#[test]
fn a_keyed_waiter_is_woken_for_what_was_restored_and_so_is_one_that_owns_its_address() {
    let queue = Arc::new(Queue::new(0));
    let mut keyed = queue.taker(of("a"));
    assert_eq!(keyed.poll(), Err(Error::Empty));
    restored(&queue, 1, ends("a", "d"));
    assert!(woken(keyed.signal()));
    assert_eq!(keyed.poll(), Ok(1));
    let none = Some(&[][..]);
    let selection = Selection { session_keys: none, has_say: true, ..Selection::default() };
    let judge = Arc::new(Mailbox::open(&queue, selection, None));
    let mut collector = Collector::new(&judge, Arc::new(Signal::for_this_thread()));
    assert_eq!(collector.poll(|&item| item).unwrap_err(), Error::Empty);
    restored(&queue, 2, Route { full: Some("cli"), ..ends("", "e") });
    assert!(woken(collector.signal()));
    let question = judge.next_question(|&item| item).unwrap();
    judge.answer(question.address, Some(true));
    let leased = collector.poll(|&item| item).unwrap();
    assert_eq!(leased.item, 2);
    assert!(queue.give_back(leased.id, Return::Nack, Duration::ZERO));
    assert_eq!(queue.try_take(ANY), Err(Error::Empty), "it comes back as what it was");
    assert_eq!(judge.collect(|&item| item).unwrap().item, 2);
}

#[test]
fn what_was_restored_is_drained_shut_down_and_parked_like_the_rest() {
    let queue = Arc::new(Queue::new(0));
    queue.publish(1, ends("a", "x"), None);
    restored(&queue, 2, ends("b", "y"));
    queue.publish(3, ends("a", "z"), None);
    assert_eq!(queue.pending(None, |&item| item), [1, 2, 3], "in the order of arrival");
    assert_eq!(queue.shutdown(true), [1, 2, 3]);
    assert_eq!(queue.unfinished(), 0);
    let queue = Arc::new(Queue::new(0));
    let epoch = Some(queue.epoch("b"));
    restored(&queue, 2, Route { epoch, ..ends("b", "y") });
    queue.new_epoch("b");
    assert_eq!(queue.parked(|&item| item), [2]);
    assert_eq!(queue.drain(), [2]);
}
