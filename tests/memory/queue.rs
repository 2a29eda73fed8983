//! The queue: put, put_back, mailboxes, takes that wait, returns.

use std::sync::Arc;
use std::time::Duration;

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::queue::{Collector, CompletionQueue, Mailbox, Return, Selection, Wanted};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::wait::Blocking;

use super::allocator::with_blocks;
use super::{long, until_enough};

type Queue = Arc<CompletionQueue<usize>>;

fn queue() -> Queue {
    Arc::new(CompletionQueue::new(0))
}

fn to<'a>(session_key: &'a str, full: Option<&'a str>) -> Route<'a> {
    Route { session_key: Some(session_key), kind: Some("completion"), delegation_id: None, full }
}

/// All that a user of a queue sees of it.
fn seen(queue: &Queue) -> (Vec<usize>, usize, u64) {
    (queue.pending(None, |&item| item), queue.unfinished(), queue.unsettled())
}

fn put(queue: &Queue, item: usize, route: Route<'_>) -> Result<(), Error> {
    queue.try_put(item, route).map(|_| ()).map_err(|(back, error)| {
        assert_eq!(back, item);
        error
    })
}

#[test]
fn a_put_is_put_or_not_put() {
    let queue = queue();
    let mut refused = 0;
    for item in 0..600 {
        let key = if item % 7 == 0 { long(&item.to_string()) } else { item.to_string() };
        let step = |queue: &Queue| put(queue, item, to(&key, None));
        refused += until_enough(&queue, seen, step).1;
    }
    assert!(refused > 600 / 7);
    assert_eq!(queue.pending(None, |&item| item), (0..600).collect::<Vec<_>>());
    for item in 0..600 {
        assert_eq!(with_blocks(0, || queue.try_take(&Blocking, Wanted::default())), Ok(item));
        assert_eq!(queue.task_done(), Ok(()));
    }
    assert_eq!(queue.unfinished(), 0);
}

#[test]
fn a_put_back_is_the_first_again_or_stays_with_who_has_it() {
    let queue = queue();
    let key = long("k");
    for item in 0..500 {
        put(&queue, item, to(&key, None)).unwrap();
    }
    let taken: Vec<_> =
        std::iter::from_fn(|| queue.try_take(&Blocking, Wanted::default()).ok()).collect();
    let mut refused = 0;
    for item in taken.into_iter().rev() {
        let step = |queue: &Queue| {
            queue.put_back(item, to(&key, None)).map(|_| ()).map_err(|(_, error)| error)
        };
        refused += until_enough(&queue, seen, step).1;
    }
    assert!(refused > 0);
    assert_eq!(queue.pending(None, |&item| item), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_mailbox_is_opened_or_not() {
    let queue = queue();
    let mut boxes = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let keys = [long(&number.to_string()), number.to_string(), "shared".to_owned()];
        let selection = Selection {
            session_keys: Some(&keys),
            has_predicate: number % 50 == 0,
            ..Selection::default()
        };
        let step = |queue: &Queue| Mailbox::open(queue, selection, None);
        let (mailbox, times) = until_enough(&queue, seen, step);
        refused += times;
        put(&queue, number, to(&keys[0], None)).unwrap();
        assert_eq!(mailbox.collect(|&item| item).unwrap().item, number);
        boxes.push(mailbox);
    }
    assert!(refused > 200);
}

#[test]
fn a_key_is_a_mailboxes_or_not() {
    let queue = queue();
    let mailbox =
        Mailbox::open(&queue, Selection { session_keys: Some(&[]), ..Selection::default() }, None);
    let mailbox = mailbox.unwrap();
    for number in 0..300 {
        put(&queue, number, to(&long(&number.to_string()), None)).unwrap();
    }
    let pending = |mailbox: &Mailbox<usize>| mailbox.pending();
    let mut refused = 0;
    for number in 0..300 {
        let key = long(&number.to_string());
        refused += until_enough(&mailbox, pending, |mailbox| mailbox.add_key(&key)).1;
        assert_eq!(mailbox.pending(), number + 1);
    }
    assert!(refused > 10);
    for number in 0..300 {
        let key = long(&number.to_string());
        until_enough(&mailbox, pending, |mailbox| mailbox.remove_key(&key));
        assert_eq!(mailbox.pending(), 299 - number);
    }
}

#[test]
fn a_mailbox_with_a_predicate_is_asked_of_what_is_put_and_owns_it_or_is_asked_again() {
    let queue = queue();
    let selection =
        Selection { session_keys: Some(&[]), has_predicate: true, ..Selection::default() };
    let mailbox = Mailbox::open(&queue, selection, None).unwrap();
    let mut refused = [0, 0];
    for item in 0..400 {
        let full = long(&item.to_string());
        let step = |queue: &Queue| put(queue, item, to("k", Some(&full)));
        refused[0] += until_enough(&queue, seen, step).1;
    }
    for item in 0..400 {
        let answer = |mailbox: &Mailbox<usize>| {
            let question = mailbox.next_question(|&item| item).unwrap();
            assert_eq!(question.item, item);
            mailbox.answer(question.address, Some(true)).map_err(Error::from)
        };
        refused[1] += until_enough(&mailbox, Mailbox::pending, answer).1;
        assert_eq!(mailbox.pending(), item + 1);
    }
    assert!(refused[0] > 400 && refused[1] > 2, "{refused:?}");
}

#[test]
fn who_cannot_wait_hears_of_it_and_every_wake_finds_its_waiter() {
    let queue = queue();
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let mailbox = Arc::new(mailbox);
    let mut waiters = Vec::new();
    let mut refused = 0;
    for _ in 0..500 {
        let signal = Arc::new(Signal::for_this_thread());
        let mut collector = Collector::new(&mailbox, signal.clone());
        let poll = |_: &Queue| match collector.poll(|&item| item) {
            Err(Error::Empty) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => panic!("nothing waits"),
        };
        let mut poll = poll;
        refused += until_enough(&queue, seen, |queue| poll(queue)).1;
        waiters.push((collector, signal));
    }
    assert!(refused > 2);
    // Who is woken needs no memory; nor does who takes.
    for item in 0..500 {
        put(&queue, item, to("k", None)).unwrap();
    }
    for (item, (mut collector, signal)) in waiters.into_iter().enumerate() {
        assert!(signal.take());
        let leased = with_blocks(0, || collector.poll(|&item| item)).unwrap();
        assert_eq!(leased.item, item);
    }
}

#[test]
fn a_take_by_kind_waits_or_does_not() {
    let queue = queue();
    let kinds: Vec<_> = (0..100).map(|number| long(&number.to_string())).collect();
    let wanted = Wanted { session_key: Some("k"), types: Some(&kinds) };
    let step = |queue: &Queue| {
        let taken = queue.taker(wanted).and_then(|mut taker| taker.poll(&Blocking));
        if taken == Err(Error::Empty) { Ok(()) } else { taken.map(drop) }
    };
    assert!(until_enough(&queue, seen, step).1 > 50);
}

#[test]
fn an_end_needs_no_memory() {
    let queue = queue();
    let selection = Selection { max_attempts: Some(3), ..Selection::default() };
    let mailbox = Mailbox::open(&queue, selection, Some(Duration::from_secs(60))).unwrap();
    for item in 0..500 {
        put(&queue, item, to(&long(&item.to_string()), None)).unwrap();
    }
    let take = || std::iter::from_fn(|| mailbox.collect(|&item| item).ok()).collect::<Vec<_>>();
    for _ in 0..2 {
        for leased in take() {
            assert!(with_blocks(0, || queue.give_back(leased.id, Return::Nack, Duration::ZERO)));
        }
        assert_eq!(queue.len(), 500);
    }
    for leased in take() {
        with_blocks(0, || match leased.item % 3 {
            0 => assert!(queue.give_back(leased.id, Return::Nack, None)),
            1 => assert!(queue.ack(&Blocking, leased.id).held),
            _ => assert!(queue.requeue(leased.id)),
        });
    }
    assert_eq!(queue.dead_letters(|&item| item).len(), 167);
    assert_eq!(queue.unfinished(), 166);
}

#[test]
fn a_new_epoch_begins_or_the_old_one_goes_on() {
    let queue = queue();
    for number in 0..200 {
        let key = long(&number.to_string());
        let stamp = queue.stamp(&key).unwrap();
        let epoch = |queue: &Queue| queue.stamp(&key).unwrap().map(|stamp| stamp.number());
        let (epoch, _) = until_enough(&queue, epoch, |queue| queue.new_epoch(&key));
        assert_eq!(epoch.get(), 2);
        drop(stamp);
    }
}
