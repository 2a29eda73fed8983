//! Dead letters, events taken out by hand, and events for their owner alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::delegation::{DelegationRegistry, End, Request};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::queue::{Collector, Handle, Mailbox, Return, Selection};
use hermes_core::state::{Delivery, State};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;

use super::queue::{ANY, Queue, handle, kinds, of, of_kinds, woken};
use super::scripted::{Scripted, row};

const KIND: &str = "async_delegation";
const HOUR: Duration = Duration::from_secs(3600);

fn mailbox(queue: &Arc<Queue>, max_attempts: u32) -> Arc<Mailbox<u32>> {
    let keys = ["a".to_owned()];
    let selection = Selection {
        session_keys: Some(&keys),
        max_attempts: Some(max_attempts),
        ..Selection::default()
    };
    Arc::new(Mailbox::open(queue, selection, Some(HOUR)).unwrap())
}

fn letters(queue: &Queue) -> Vec<u32> {
    queue.dead_letters(|&item| item)
}

/// A registry with one delegation that ended and whose event, 7, waits in the queue.
fn ended(queue: &Arc<Queue>) -> Arc<DelegationRegistry<u32, u32>> {
    let registry = DelegationRegistry::new(queue.clone(), 50);
    let owner = Owner { session_key: "a".into(), ..Owner::default() };
    let request = Request { id: Some("d"), limit: 1, owner, ..Request::default() };
    registry.dispatch(&Blocking, request, 0).unwrap();
    let (state, text) = (State::Completed, "".into());
    let end = End { id: "d", state, event: 7, text, completed_at: 0 };
    registry.finish(&Blocking, end, |_| true, |_| ()).unwrap();
    registry
}

/// A delegation of "a" that is written down.
fn written(ledger: &Arc<Scripted>) -> Arc<Handle> {
    let owner = Owner { session_key: "a".into(), ..Owner::default() };
    let row = Some(row(ledger, "d", 1));
    Arc::new(Handle::new("d".into(), Arc::new(owner), None, row, Arc::default()))
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
    assert_eq!(queue.unfinished(), 0, "whoever joins waits for it no more");
    assert!(registry.prune().is_empty(), "it is kept until somebody decides");
    assert_eq!(registry.take_out("d", false), Some(7));
    let stats = registry.stats();
    assert_eq!((stats.dead, stats.retained, queue.unfinished()), (0, 1, 0));
    assert_eq!(registry.with("d", |record| record.delivery()), Some(Delivery::Dropped));
}

#[test]
fn a_last_lease_that_ends_by_itself_makes_a_dead_letter() {
    let queue = Arc::new(Queue::new(0));
    let ledger = Scripted::prompt();
    queue.publish(7, &written(&ledger), 0, false);
    let mailbox = mailbox(&queue, 1);
    mailbox.collect(|&item| item).unwrap();
    queue.due(Instant::now() + 2 * HOUR);
    assert_eq!(letters(&queue), [7]);
    assert_eq!(ledger.told(), ["attempts d 1", "bury d 1"]);
}

#[test]
fn only_what_is_in_nobodys_hands_can_be_taken_out() {
    let queue = Arc::new(Queue::new(0));
    let registry = ended(&queue);
    let mailbox = mailbox(&queue, 9);
    let leased = mailbox.collect(|&item| item).unwrap();
    assert_eq!(registry.take_out("d", true), None, "a consumer has it");
    assert!(queue.give_back(leased.id, Return::Defer, Duration::ZERO));
    assert_eq!(registry.take_out("d", false), None, "it waits");
    assert_eq!(registry.take_out("x", true), None);
    assert_eq!(registry.take_out("d", true), Some(7));
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
}

#[test]
fn a_shutdown_at_once_takes_what_waits_for_its_next_attempt_or_for_a_decision() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = mailbox(&queue, 1);
    queue.publish(1, &handle("a"), 0, false);
    let first = mailbox.collect(|&item| item).unwrap();
    assert!(queue.give_back(first.id, Return::Defer, HOUR));
    queue.publish(2, &handle("a"), 0, false);
    let second = mailbox.collect(|&item| item).unwrap();
    assert!(queue.give_back(second.id, Return::Nack, Duration::ZERO));
    let joiner = queue.joiner().expect("one is not done");
    let mut dropped = queue.shutdown(true);
    dropped.sort_unstable();
    assert_eq!(dropped, [1, 2]);
    assert!(woken(&joiner));
    assert_eq!(queue.due(Instant::now() + 2 * HOUR), None, "nothing comes back later");
    assert!(queue.is_empty() && letters(&queue).is_empty());
}

fn restored(queue: &Queue, item: u32, owner: Owner) {
    let stamp = queue.stamp(&owner.session_key).unwrap();
    let row = Some(row(&Scripted::prompt(), "d", 1));
    let handle = Handle::new("d".into(), Arc::new(owner), stamp, row, Arc::default());
    queue.publish(item, &Arc::new(handle), 0, true);
}

fn keyed(session_key: &str) -> Owner {
    Owner { session_key: session_key.into(), ..Owner::default() }
}

/// An owner without a key.
fn window(id: &str) -> Owner {
    Owner { origin_ui_session_id: id.into(), ..Owner::default() }
}

#[test]
fn f2_what_was_restored_is_only_for_those_who_ask_for_its_owner() {
    let queue = Arc::new(Queue::new(0));
    let types = kinds(&[KIND]);
    let mut anybody = queue.taker(ANY).unwrap();
    let mut of_kind = queue.taker(of_kinds(&types)).unwrap();
    let mut nobodys = queue.taker(of("")).unwrap();
    for taker in [&mut anybody, &mut of_kind, &mut nobodys] {
        assert_eq!(taker.poll(&Blocking), Err(Error::Empty));
    }
    restored(&queue, 1, keyed("a"));
    restored(&queue, 2, window("tab"));
    for taker in [&mut anybody, &mut of_kind, &mut nobodys] {
        assert!(!woken(taker.signal()));
        assert_eq!(taker.poll(&Blocking), Err(Error::Empty));
    }
    assert_eq!((queue.len(), queue.is_empty(), queue.unfinished()), (0, true, 2));
    assert_eq!(queue.pending(None, |&item| item), [1, 2]);
    assert_eq!(queue.try_take(&Blocking, of("b")), Err(Error::Empty));
    assert_eq!(queue.try_take(&Blocking, of("a")), Ok(1));
    let everything = Arc::new(Mailbox::open(&queue, Selection::default(), None).unwrap());
    assert_eq!(everything.collect(|&item| item).unwrap_err(), Error::Empty);
}

#[test]
fn a_keyed_waiter_is_woken_for_what_was_restored_and_so_is_one_that_owns_its_address() {
    let queue = Arc::new(Queue::new(0));
    let mut waiter = queue.taker(of("a")).unwrap();
    assert_eq!(waiter.poll(&Blocking), Err(Error::Empty));
    restored(&queue, 1, keyed("a"));
    assert!(woken(waiter.signal()));
    assert_eq!(waiter.poll(&Blocking), Ok(1));
    let none = Some(&[][..]);
    let selection = Selection { session_keys: none, has_predicate: true, ..Selection::default() };
    let judge = Arc::new(Mailbox::open(&queue, selection, None).unwrap());
    let mut collector = Collector::new(&judge, Arc::new(Signal::for_this_thread()));
    assert_eq!(collector.poll(|&item| item).unwrap_err(), Error::Empty);
    restored(&queue, 2, window("tab"));
    assert!(woken(collector.signal()));
    let question = judge.next_question(|&item| item).unwrap();
    judge.answer(question.address, Some(true)).unwrap();
    let leased = collector.poll(|&item| item).unwrap();
    assert_eq!(leased.item, 2);
    assert!(queue.give_back(leased.id, Return::Nack, Duration::ZERO));
    assert_eq!(queue.try_take(&Blocking, ANY), Err(Error::Empty), "it comes back as what it was");
    assert_eq!(judge.collect(|&item| item).unwrap().item, 2);
}

#[test]
fn what_was_restored_is_drained_shut_down_and_parked_like_the_rest() {
    let queue = Arc::new(Queue::new(0));
    queue.publish(1, &handle("a"), 0, false);
    restored(&queue, 2, keyed("b"));
    queue.publish(3, &handle("a"), 0, false);
    assert_eq!(queue.pending(None, |&item| item), [1, 2, 3], "in the order of arrival");
    assert_eq!(queue.shutdown(true), [1, 2, 3]);
    assert_eq!(queue.unfinished(), 0);
    let queue = Arc::new(Queue::new(0));
    restored(&queue, 2, keyed("b"));
    queue.new_epoch("b").unwrap();
    assert_eq!(queue.parked(|&item| item), [2]);
    assert_eq!(queue.drain(), [2]);
}

#[test]
fn a_look_takes_nothing_and_hands_its_wake_on() {
    let queue = Arc::new(Queue::new(0));
    let everything = Arc::new(Mailbox::open(&queue, Selection::default(), None).unwrap());
    let mut looker = Collector::new(&everything, Arc::new(Signal::for_this_thread()));
    assert_eq!(looker.look(), Err(Error::Empty));
    let mut behind = queue.taker(of("a")).unwrap();
    assert_eq!(behind.poll(&Blocking), Err(Error::Empty));
    let route = Route { session_key: Some("a"), ..Route::default() };
    queue.try_put(1, route).unwrap();
    assert!(woken(looker.signal()));
    assert!(!woken(behind.signal()));
    assert_eq!(looker.look(), Ok(()));
    assert_eq!(looker.look(), Ok(()));
    assert_eq!(queue.len(), 1);
    assert!(woken(behind.signal()));
    assert_eq!(behind.poll(&Blocking), Ok(1));
    assert_eq!(looker.look(), Err(Error::Empty));
    everything.close();
    assert!(woken(looker.signal()));
    assert_eq!(looker.look(), Err(Error::ShutDown));
}

#[test]
fn one_event_is_leased_out_of_its_turn_where_it_waits_or_pauses_and_nowhere_else() {
    let queue = Arc::new(Queue::new(0));
    let registry = ended(&queue);
    queue.publish(8, &handle("a"), 0, false);
    let mailbox = mailbox(&queue, 9);
    let lease = || registry.lease(&mailbox, "d", |&item| item);
    let first = lease().expect("it waits");
    assert_eq!((first.item, first.attempt, queue.len()), (7, 1, 1));
    assert!(lease().is_none(), "a consumer has it");
    assert!(queue.give_back(first.id, Return::Defer, HOUR));
    let second = lease().expect("it pauses");
    assert_eq!((second.item, second.attempt), (7, 1));
    queue.due(Instant::now() + Duration::from_secs(60));
    assert!(queue.is_held(second.id), "its pause is over, and its lease has begun anew");
    assert!(queue.give_back(second.id, Return::Defer, Duration::ZERO));
    let order = [(); 2].map(|()| mailbox.collect(|&item| item).unwrap());
    assert_eq!(order.each_ref().map(|leased| leased.item), [7, 8], "it kept its place");
    assert!(queue.ack(&Blocking, order[0].id).held);
    assert!(lease().is_none(), "it was delivered");
    assert!(registry.lease(&mailbox, "x", |&item| item).is_none());
}

#[test]
fn a_parked_event_cannot_be_leased() {
    let queue = Arc::new(Queue::new(0));
    let registry = DelegationRegistry::new(queue.clone(), 50);
    let owner = keyed("a");
    registry
        .dispatch(&Blocking, Request { id: Some("d"), limit: 1, owner, ..Request::default() }, 0)
        .unwrap();
    let (state, text) = (State::Completed, "".into());
    registry
        .finish(
            &Blocking,
            End { id: "d", state, event: 7, text, completed_at: 0 },
            |_| true,
            |_| (),
        )
        .unwrap();
    let mailbox = mailbox(&queue, 9);
    let leased = registry.lease(&mailbox, "d", |&item| item).unwrap();
    assert!(queue.give_back(leased.id, Return::Defer, HOUR));
    queue.new_epoch("a").unwrap();
    assert!(registry.lease(&mailbox, "d", |&item| item).is_none());
}

#[test]
fn what_is_requeued_waits_behind_the_others_and_counts_no_attempt() {
    let queue = Arc::new(Queue::new(0));
    let registry = ended(&queue);
    for item in [8, 9] {
        queue.publish(item, &handle("a"), 0, false);
    }
    let mailbox = mailbox(&queue, 2);
    let take = || mailbox.collect(|&item| item).unwrap();
    let mut order = Vec::new();
    for _ in 0..9 {
        let leased = take();
        assert_eq!(leased.attempt, 1);
        order.push(leased.item);
        assert!(queue.requeue(leased.id));
        assert!(!queue.requeue(leased.id), "its lease has ended");
    }
    assert_eq!(order, [7, 8, 9, 7, 8, 9, 7, 8, 9]);
    let (first, second) = (take(), take());
    assert!(queue.requeue(first.id) && queue.give_back(second.id, Return::Defer, Duration::ZERO));
    assert_eq!([(); 3].map(|()| take().item), [8, 9, 7], "by any list that they stand in");
    assert_eq!((registry.stats().undelivered, queue.unfinished()), (1, 3));
}

#[test]
fn a_waiter_is_woken_for_what_is_requeued_and_a_stale_one_is_parked() {
    let queue = Arc::new(Queue::new(0));
    let registry = ended(&queue);
    let mailbox = mailbox(&queue, 9);
    let leased = mailbox.collect(|&item| item).unwrap();
    let mut waiter = Collector::new(&mailbox, Arc::new(Signal::for_this_thread()));
    assert_eq!(waiter.poll(|&item| item).map(|leased| leased.item), Err(Error::Empty));
    assert!(queue.requeue(leased.id));
    assert!(woken(waiter.signal()));
    let leased = waiter.poll(|&item| item).unwrap();
    queue.new_epoch("a").unwrap();
    assert!(queue.requeue(leased.id));
    assert_eq!(registry.stats().parked, 1);
}
