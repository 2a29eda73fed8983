//! Mailboxes whose host says what they own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::queue::{Collector, CompletionQueue, Mailbox, Return, Selection};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::wait::Blocking;
use proptest::prelude::*;

use super::queue::woken;

type Queue = CompletionQueue<u32>;

fn to(full: &str) -> Route<'_> {
    Route { session_key: Some("s"), kind: Some("k"), full: Some(full), ..Route::default() }
}

fn with_say(queue: &Arc<Queue>) -> Mailbox<u32> {
    let keys = Some(&[][..]);
    Mailbox::open(
        queue,
        Selection { session_keys: keys, has_predicate: true, ..Selection::default() },
        None,
    )
    .unwrap()
}

/// Answers all that a mailbox is asked; returns the events shown.
fn judge(mailbox: &Mailbox<u32>, mut owns: impl FnMut(u32) -> bool) -> Vec<u32> {
    let mut shown = Vec::new();
    while let Some(question) = mailbox.next_question(|&item| item) {
        shown.push(question.item);
        mailbox.answer(question.address, Some(owns(question.item))).unwrap();
    }
    shown
}

fn collect(mailbox: &Mailbox<u32>) -> Result<u32, Error> {
    mailbox.collect(|&item| item).map(|leased| leased.item)
}

#[test]
fn each_new_address_is_asked_once() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    for (item, full) in ["x", "y", "x", "y", "x"].into_iter().enumerate() {
        queue.try_put(item as u32, to(full)).unwrap();
    }
    assert_eq!(collect(&mailbox), Err(Error::Undecided));
    assert_eq!(judge(&mailbox, |item| item == 0), [0, 1]);
    assert_eq!([0; 3].map(|_| collect(&mailbox).unwrap()), [0, 2, 4]);
    assert_eq!(collect(&mailbox), Err(Error::Empty));
    queue.try_put(9, to("y")).unwrap();
    queue.try_put(10, to("x")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [0; 0], "both are known");
    assert_eq!(collect(&mailbox), Ok(10));
    assert_eq!(queue.len(), 3, "what it does not own waits");
}

#[test]
fn whoever_waits_is_woken_to_judge_and_for_what_it_owns() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = Arc::new(with_say(&queue));
    let mut collector = Collector::new(&mailbox, Arc::new(Signal::for_this_thread()));
    let poll = |collector: &mut Collector<u32>| collector.poll(|&item| item).map(|l| l.item);
    assert_eq!(poll(&mut collector), Err(Error::Empty));
    queue.try_put(1, to("x")).unwrap();
    assert!(woken(collector.signal()));
    assert_eq!(poll(&mut collector), Err(Error::Undecided));
    judge(&mailbox, |_| true);
    assert_eq!(poll(&mut collector), Ok(1));
    assert_eq!(poll(&mut collector), Err(Error::Empty));
    queue.try_put(2, to("x")).unwrap();
    assert!(woken(collector.signal()));
    assert_eq!(poll(&mut collector), Ok(2));
    // What it is known not to own wakes it no more.
    queue.try_put(3, to("y")).unwrap();
    judge(&mailbox, |_| false);
    assert_eq!(poll(&mut collector), Err(Error::Empty));
    while woken(collector.signal()) {}
    queue.try_put(4, to("y")).unwrap();
    assert!(!woken(collector.signal()));
}

#[test]
fn an_answer_that_did_not_come_is_asked_for_again() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    queue.try_put(1, to("x")).unwrap();
    let question = mailbox.next_question(|&item| item).unwrap();
    assert!(mailbox.next_question(|&item| item).is_none());
    mailbox.answer(question.address, None).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [1]);
    assert_eq!(collect(&mailbox), Ok(1));
}

#[test]
fn a_question_whose_events_went_is_dropped_and_comes_again_with_the_next() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    queue.try_put(1, to("x")).unwrap();
    assert_eq!(queue.try_take(&Blocking, Default::default()), Ok(1));
    assert_eq!(judge(&mailbox, |_| true), [0; 0]);
    assert_eq!(collect(&mailbox), Err(Error::Empty));
    queue.try_put(2, to("x")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [2]);
    assert_eq!(collect(&mailbox), Ok(2));
}

#[test]
fn addresses_that_are_owned_are_forgotten_too_once_many_are_and_nothing_waits_there() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    for item in 1..=1024 {
        queue.try_put(item, to(&format!("{item}"))).unwrap();
        assert_eq!(judge(&mailbox, |_| true), [item]);
        assert_eq!(collect(&mailbox), Ok(item));
    }
    assert_eq!(queue.drain().len(), 1024);
    queue.try_put(0, to("waits")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [0]);
    assert_eq!(collect(&mailbox), Ok(0));
    queue.try_put(1, to("1")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [1], "it is asked again");
    assert_eq!(collect(&mailbox), Ok(1));
}

#[test]
fn those_who_wait_look_again_when_an_owned_address_is_forgotten() {
    let queue = Arc::new(Queue::new(0));
    let types = ["k".to_owned()];
    let selection = Selection {
        session_keys: Some(&[]),
        types: Some(&types),
        has_predicate: true,
        ..Selection::default()
    };
    let mailbox = Arc::new(Mailbox::open(&queue, selection, None).unwrap());
    queue.try_put(0, to("0")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [0]);
    assert_eq!(queue.try_take(&Blocking, Default::default()), Ok(0));
    let mut collector = Collector::new(&mailbox, Arc::new(Signal::for_this_thread()));
    assert_eq!(collector.poll(|&item| item).unwrap_err(), Error::Empty);
    for item in 1..=1024 {
        let full = format!("{item}");
        queue.try_put(item, Route { kind: Some("other"), ..to(&full) }).unwrap();
        assert_eq!(queue.try_take(&Blocking, Default::default()), Ok(item));
    }
    assert!(woken(collector.signal()));
    assert_eq!(collector.poll(|&item| item).unwrap_err(), Error::Empty);
    queue.try_put(0, to("0")).unwrap();
    assert!(woken(collector.signal()));
    assert_eq!(judge(&mailbox, |_| true), [0]);
    assert_eq!(collector.poll(|&item| item).unwrap().item, 0);
}

#[test]
fn an_answer_from_before_counts_for_nothing_that_it_was_not_asked() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    queue.try_put(1, to("x")).unwrap();
    mailbox.answer(u32::MAX, Some(true)).unwrap();
    let question = mailbox.next_question(|&item| item).unwrap();
    mailbox.close();
    mailbox.answer(question.address, Some(true)).unwrap();
    assert_eq!(collect(&mailbox), Err(Error::ShutDown));
    assert_eq!(queue.len(), 1);
    assert!(!queue.has_predicates());
}

#[test]
fn what_waited_before_is_filed_when_somebody_asks() {
    let queue = Arc::new(Queue::new(0));
    for item in 0..3 {
        queue.try_put(item, Route { full: None, ..to("") }).unwrap();
    }
    let held = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let lease = held.collect(|&item| item).unwrap();
    let mailbox = with_say(&queue);
    assert_eq!(judge(&mailbox, |_| true), [0; 0]);
    for (place, item) in queue.unfiled(|&item| item) {
        queue.file(place, if item == 1 { "y" } else { "x" }).unwrap();
    }
    // A second time it changes nothing.
    queue.file((0, 1), "z").unwrap();
    assert_eq!(judge(&mailbox, |item| item != 1), [1, 2], "what is out on lease waits for nobody");
    assert_eq!(collect(&mailbox), Ok(2));
    assert!(queue.give_back(lease.id, Return::Defer, Duration::ZERO));
    assert_eq!(collect(&mailbox), Ok(0), "and comes back to its owner");
}

#[test]
fn a_mailbox_is_asked_only_for_its_kinds() {
    let queue = Arc::new(Queue::new(0));
    let types = ["k".to_owned()];
    let keys = Some(&[][..]);
    let selection = Selection {
        session_keys: keys,
        types: Some(&types),
        has_predicate: true,
        ..Selection::default()
    };
    let mailbox = Mailbox::open(&queue, selection, None).unwrap();
    queue.try_put(1, Route { kind: Some("other"), ..to("other x") }).unwrap();
    queue.try_put(2, to("k x")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [2]);
    assert_eq!(collect(&mailbox), Ok(2));
    assert_eq!(collect(&mailbox), Err(Error::Empty));
}

#[test]
fn a_mailbox_that_opens_later_is_asked_of_what_waits() {
    let queue = Arc::new(Queue::new(0));
    let first = with_say(&queue);
    queue.try_put(1, to("x")).unwrap();
    judge(&first, |_| false);
    let second = with_say(&queue);
    assert_eq!(judge(&second, |_| true), [1]);
    assert_eq!(collect(&first), Err(Error::Empty));
    drop(first);
    queue.try_put(2, to("x")).unwrap();
    assert_eq!(judge(&second, |_| true), [0; 0]);
    assert_eq!([0; 2].map(|_| collect(&second).unwrap()), [1, 2]);
}

#[test]
fn addresses_that_come_once_are_forgotten() {
    let queue = Arc::new(Queue::new(0));
    let mailbox = with_say(&queue);
    for item in 0..10_000 {
        queue.try_put(item, to(&format!("address {item}"))).unwrap();
        assert_eq!(judge(&mailbox, |_| item == 0), [item]);
        match item {
            0 => assert_eq!(collect(&mailbox), Ok(0)),
            _ => assert_eq!(queue.try_take(&Blocking, Default::default()), Ok(item)),
        }
    }
    queue.try_put(1, to("address 1")).unwrap();
    assert_eq!(judge(&mailbox, |_| false), [1], "it was forgotten, and is asked for anew");
    queue.try_put(0, to("address 0")).unwrap();
    assert_eq!(judge(&mailbox, |_| true), [0], "what is owned too, or it would stay for ever");
    assert_eq!(collect(&mailbox), Ok(0));
}

proptest! {
    #![proptest_config(super::config(256))]

    /// F2: whatever comes in whatever order, each mailbox gets just what it says is its own.
    #[test]
    fn each_event_is_its_owners(
        steps in proptest::collection::vec((0..8_usize, 0..4_usize, any::<bool>()), 1..80),
        owners in proptest::collection::vec(0..3_usize, 8),
    ) {
        let queue = Arc::new(Queue::new(0));
        let mut mailboxes: Vec<_> = (0..3).map(|_| with_say(&queue)).collect();
        let mut address_of = BTreeMap::new();
        let mut waiting: [BTreeSet<u32>; 3] = Default::default();
        for (item, (address, action, flag)) in (0_u32..).zip(steps) {
            let mailbox = address % 3;
            let owns = |address_of: &BTreeMap<u32, usize>, item| owners[address_of[&item]] == mailbox;
            match action {
                0 | 1 => {
                    address_of.insert(item, address);
                    queue.try_put(item, to(&address.to_string())).unwrap();
                    waiting[owners[address]].insert(item);
                }
                2 => {
                    judge(&mailboxes[mailbox], |item| owns(&address_of, item));
                    let leased = mailboxes[mailbox].collect(|&item| item);
                    prop_assert_eq!(
                        leased.as_ref().map(|leased| leased.item).ok(),
                        waiting[mailbox].first().copied()
                    );
                    if let Ok(leased) = leased {
                        if flag {
                            waiting[mailbox].remove(&leased.item);
                            prop_assert!(queue.ack(&Blocking, leased.id).held);
                        } else {
                            prop_assert!(queue.give_back(leased.id, Return::Nack, Duration::ZERO));
                        }
                    }
                }
                _ => mailboxes[mailbox] = with_say(&queue),
            }
        }
        prop_assert_eq!(queue.len(), waiting.iter().map(BTreeSet::len).sum::<usize>());
    }
}
