//! The registry: each delegation ends once, and its event is remembered until it is delivered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Weak};
use std::thread;

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route, Selector};
use hermes_core::queue::{CompletionQueue, DeliveryObserver};
use hermes_core::registry::{DelegationRegistry, Delivery, Record, Refused, State, Stats};
use hermes_core::sync::HeldLock;

use super::queue::{ANY, woken};

pub(super) type Registry = DelegationRegistry<u32>;
pub(super) type Events = CompletionQueue<String>;

pub(super) fn ends(id: &str) -> Route<'_> {
    Route {
        session_key: Some("a"),
        kind: Some("async_delegation"),
        delegation_id: Some(id),
        ..Route::default()
    }
}

pub(super) fn start(registry: &Registry, id: &str) -> Arc<str> {
    registry.dispatch(Some(id), usize::MAX, 0, Owner::default(), 0).unwrap()
}

/// Dispatches and ends one, its event still to be delivered.
fn run(registry: &Registry, id: &str) {
    start(registry, id);
    assert!(registry.finish(id, State::Completed, || ()));
}

pub(super) fn delivery(registry: &Registry, id: &str) -> Option<Delivery> {
    registry.with(id, |record| record.delivery)
}

pub(super) fn ids(registry: &Registry) -> Vec<String> {
    registry.select(|record| Some(record.id.to_string()))
}

pub(super) fn observed(retention: usize) -> (Arc<Events>, Arc<Registry>) {
    let (queue, registry) = (Arc::new(Events::new(0)), Arc::new(Registry::new(retention)));
    observe(&queue, &registry);
    (queue, registry)
}

pub(super) fn observe<O: DeliveryObserver + 'static>(queue: &Events, observer: &Arc<O>) {
    let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(observer) as _;
    queue.observe(observer);
}

// States.

#[test]
fn f29_every_transition_is_legal_or_not() {
    use State::{Completed, Error, Interrupted, Lost, Queued, Running, Stalled, Timeout};
    let ends = [Completed, Error, Interrupted, Timeout, Stalled, Lost];
    for from in State::ALL {
        let legal: &[State] = match from {
            Queued => &[Running, Interrupted, Timeout],
            Running => &ends,
            _ => &[],
        };
        for to in State::ALL {
            assert_eq!(from.may_become(to), legal.contains(&to), "{from} to {to}");
        }
        assert_eq!(from.is_terminal(), ends.contains(&from), "{from}");
    }
}

#[test]
fn f29_every_state_has_a_name_and_every_end_is_named_by_its_own_word() {
    let names =
        ["queued", "running", "completed", "error", "interrupted", "timeout", "stalled", "lost"];
    assert_eq!(State::ALL.map(State::name), names);
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        assert_eq!(State::from_status(&state.to_string()), state);
    }
    let deliveries = [Delivery::NotYet, Delivery::Pending, Delivery::Delivered];
    assert_eq!(deliveries.map(Delivery::name), [None, Some("pending"), Some("delivered")]);
}

#[test]
fn f29_only_known_words_for_success_are_success() {
    let words = [
        ("success", State::Completed),
        ("cancelled", State::Interrupted),
        ("canceled", State::Interrupted),
        ("failed", State::Error),
        ("", State::Error),
        ("Completed", State::Error),
        ("completed ", State::Error),
        ("queued", State::Error),
        ("running", State::Error),
    ];
    for (word, state) in words {
        assert_eq!(State::from_status(word), state, "{word:?}");
    }
}

#[test]
fn f29_a_delegation_cannot_end_in_a_state_that_is_no_end() {
    let registry = Registry::new(0);
    start(&registry, "d");
    for state in [State::Queued, State::Running] {
        assert!(!registry.finish("d", state, || panic!("nothing ended")));
    }
    assert_eq!((registry.running(), registry.stats().discarded), (1, 2));
    assert!(registry.finish("d", State::Lost, || ()));
    assert_eq!(registry.with("d", |record| record.state), Some(State::Lost));
}

// One end.

#[test]
fn f11_one_of_many_threads_ends_a_delegation_and_publishes_once() {
    const THREADS: usize = 32;
    let registry = Registry::new(0);
    let (published, winners) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for round in 0..20 {
        let id = format!("d{round}");
        start(&registry, &id);
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (registry, barrier, id) = (&registry, &barrier, &id);
                let (published, winners) = (&published, &winners);
                scope.spawn(move || {
                    barrier.wait();
                    let end = [State::Completed, State::Interrupted, State::Timeout][number % 3];
                    let publish = || {
                        published.fetch_add(1, Ordering::SeqCst);
                    };
                    let won = registry.finish(id, end, publish);
                    winners.fetch_add(usize::from(won), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(winners.load(Ordering::SeqCst), round + 1);
        assert_eq!(published.load(Ordering::SeqCst), round + 1);
    }
    let discarded = 20 * (THREADS as u64 - 1);
    assert_eq!((registry.running(), registry.stats().discarded), (0, discarded));
}

#[test]
fn the_permit_is_back_and_the_end_is_seen_when_the_event_is_published() {
    let registry = Registry::new(0);
    start(&registry, "d");
    let publish = || {
        assert_eq!(registry.running(), 0);
        assert_eq!(registry.with("d", |record| record.state), Some(State::Error));
        assert_eq!(delivery(&registry, "d"), Some(Delivery::Pending));
        assert!(registry.ended_signal("d").is_some(), "whoever waits, waits for the event");
    };
    assert!(registry.finish("d", State::Error, publish));
    assert!(registry.ended_signal("d").is_none());
}

#[test]
fn those_who_wait_for_an_end_are_woken_after_its_event_is_published() {
    let registry = Registry::new(0);
    start(&registry, "d");
    let signals = [(); 2].map(|()| registry.ended_signal("d").unwrap());
    let any_woken = || signals.iter().any(|signal| woken(signal));
    assert!(registry.finish("d", State::Completed, || assert!(!any_woken())));
    assert!(signals.iter().all(|signal| woken(signal)));
    assert!(registry.ended_signal("unknown").is_none());
}

#[test]
fn those_who_wait_are_woken_when_the_delegation_is_forgotten() {
    let registry = Registry::new(0);
    let forget: [fn(&Registry) -> usize; 2] = [
        |registry| registry.withdraw(|record| &*record.id == "d").into_iter().count(),
        |registry| registry.clear().len(),
    ];
    for forget in forget {
        start(&registry, "d");
        let signal = registry.ended_signal("d").unwrap();
        assert_eq!(forget(&registry), 1);
        assert!(woken(&signal));
        assert!(registry.ended_signal("d").is_none());
    }
}

/// The table is cleared while the event is on its way, and the id given out again: the new
/// delegation has not ended.
#[test]
fn f29_an_end_is_not_taken_for_that_of_a_later_delegation_with_its_id() {
    let registry = Registry::new(0);
    start(&registry, "d");
    let mut later = None;
    registry.finish("d", State::Completed, || {
        registry.clear();
        start(&registry, "d");
        later = registry.ended_signal("d");
    });
    assert!(!woken(&later.unwrap()));
    assert!(registry.ended_signal("d").is_some(), "it runs");
}

// Capacity.

#[test]
fn f6_a_refusal_hands_the_payload_back_with_the_numbers() {
    let registry = Registry::new(0);
    let dispatch = |limit, elsewhere, payload| {
        registry.dispatch(None, limit, elsewhere, Owner::default(), payload)
    };
    dispatch(3, 1, 1).unwrap();
    dispatch(3, 1, 2).unwrap();
    let Refused { payload, error } = dispatch(3, 1, 3).unwrap_err();
    assert_eq!((payload, error), (3, Error::AtCapacity { limit: 3, running: 3 }));
    let Refused { payload, error } = dispatch(0, 0, 4).unwrap_err();
    assert_eq!((payload, error), (4, Error::AtCapacity { limit: 0, running: 2 }));
    dispatch(3, 0, 5).unwrap();
    let stats = Stats { running: 3, dispatched: 3, refused: 2, ..Stats::default() };
    assert_eq!(registry.stats(), stats);
}

#[test]
fn an_id_in_use_is_refused_until_its_record_is_let_go() {
    let (queue, registry) = observed(0);
    let again = || {
        registry.dispatch(Some("d"), 9, 0, Owner::default(), 7).map_err(|refused| {
            assert_eq!(refused.payload, 7);
            refused.error
        })
    };
    let refused = || assert_eq!(again(), Err(Error::DuplicateId { id: "d".to_owned() }));
    start(&registry, "d");
    refused();
    registry.finish("d", State::Completed, || queue.publish("d".to_owned(), ends("d"), None));
    refused();
    queue.try_take(ANY).unwrap();
    refused();
    registry.prune();
    assert_eq!(again().as_deref(), Ok("d"));
    assert_eq!((registry.running(), registry.stats().refused), (1, 0), "no permit was taken");
}

#[test]
fn an_id_is_made_where_none_is_given() {
    let registry = Registry::new(0);
    let made: Vec<_> = (0..100)
        .map(|_| registry.dispatch(None, usize::MAX, 0, Owner::default(), 0).unwrap())
        .collect();
    for id in &made {
        let digits = id.strip_prefix("deleg_").unwrap();
        assert!(digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    assert_eq!(ids(&registry), made.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn f33_a_withdrawn_dispatch_leaves_nothing_behind() {
    let registry = Registry::new(0);
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 5).unwrap();
    assert_eq!(registry.withdraw(|record| &*record.id == "d"), Some(5));
    assert_eq!(registry.stats(), Stats::default());
    assert_eq!(registry.withdraw(|record| &*record.id == "d"), None);
    assert!(!registry.finish("d", State::Completed, || panic!("no end is published")));
    run(&registry, "ended");
    assert_eq!(registry.withdraw(|record| &*record.id == "ended"), None, "its end is on its way");
}

#[test]
fn f33_what_a_worker_has_begun_is_not_withdrawn() {
    let registry = Registry::new(0);
    start(&registry, "d");
    assert_eq!(registry.begin("d", |_| true), Some(true));
    assert_eq!(registry.begin("d", |_| true), Some(false), "once");
    assert_eq!(registry.withdraw(|_| true), None);
    assert_eq!(registry.running(), 1);
    start(&registry, "gone");
    registry.withdraw(|record| &*record.id == "gone").unwrap();
    assert_eq!(registry.begin("gone", |_| true), None, "its worker leaves it alone");
    assert!(registry.finish("d", State::Completed, || ()));
    assert_eq!(registry.begin("d", |_| true), None);
}

#[test]
fn f29_a_late_end_does_not_end_a_later_delegation_with_the_same_id() {
    let registry = Registry::new(0);
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 1).unwrap();
    registry.clear();
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 2).unwrap();
    let first = |record: &Record<u32>| record.payload == 1;
    assert_eq!(registry.begin("d", first), None);
    assert!(!registry.finish_if("d", State::Completed, first, || panic!("not its end")));
    assert!(registry.finish_if("d", State::Completed, |record| record.payload == 2, || ()));
}

#[test]
fn permits_come_back_once_whatever_ends_their_delegation() {
    let registry = Registry::new(0);
    for id in ["finished", "withdrawn", "cleared", "late"] {
        start(&registry, id);
    }
    assert!(registry.finish("finished", State::Completed, || ()));
    registry.withdraw(|record| &*record.id == "finished");
    assert_eq!(registry.running(), 3);
    registry.withdraw(|record| &*record.id == "withdrawn");
    assert_eq!(registry.running(), 2);
    assert_eq!(registry.clear().len(), 3, "and the finished one's record");
    assert_eq!(registry.running(), 0);
    assert!(!registry.finish("late", State::Completed, || panic!("it was forgotten")));
    registry.withdraw(|record| &*record.id == "cleared");
    assert_eq!(registry.running(), 0);
}

#[test]
fn f9_a_publish_that_panics_leaves_no_permit_out_and_no_lock_behind() {
    let registry = Registry::new(0);
    start(&registry, "d");
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        registry.finish("d", State::Completed, || panic!("on purpose"))
    }));
    assert!(outcome.is_err());
    assert_eq!((registry.running(), registry.stats().undelivered), (0, 1));
}

#[test]
fn f7_of_32_threads_exactly_as_many_run_as_may() {
    const LIMIT: usize = 7;
    let registry = Registry::new(0);
    let barrier = Barrier::new(32);
    let (started, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..32 {
            let (registry, barrier, started, wrong) = (&registry, &barrier, &started, &wrong);
            scope.spawn(move || {
                for round in 0..300 {
                    barrier.wait();
                    let dispatched = registry.dispatch(None, LIMIT, 0, Owner::default(), number);
                    started.fetch_add(usize::from(dispatched.is_ok()), Ordering::SeqCst);
                    barrier.wait();
                    // Noted, not asserted: a thread that panics leaves the others at the barrier.
                    let exact = started.load(Ordering::SeqCst) == (round + 1) * LIMIT;
                    let mut right = exact && registry.running() == LIMIT;
                    barrier.wait();
                    if let Ok(id) = dispatched {
                        right &= match round % 2 {
                            0 => registry.finish(&id, State::Completed, || ()),
                            _ => registry.withdraw(|record| record.id == id) == Some(number),
                        };
                    }
                    wrong.fetch_add(usize::from(!right), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!((wrong.into_inner(), registry.running()), (0, 0));
}

// Listing and choosing.

fn owner(session_key: &str, origin_ui_session_id: &str, parent_session_id: &str) -> Owner {
    Owner {
        session_key: session_key.to_owned(),
        origin_ui_session_id: origin_ui_session_id.to_owned(),
        parent_session_id: parent_session_id.to_owned(),
        epoch: None,
    }
}

fn selector(session_key: &str, origin_ui_session_id: &str, parent_session_id: &str) -> Selector {
    let Owner { session_key, origin_ui_session_id, parent_session_id, .. } =
        owner(session_key, origin_ui_session_id, parent_session_id);
    Selector { session_key, origin_ui_session_id, parent_session_id }
}

#[test]
fn f18_f23_only_running_ones_of_the_owner_are_chosen() {
    let registry = Registry::new(9);
    let owners = [
        owner("key", "tab", "parent"),
        owner("key", "other", "parent"),
        owner("other", "tab", ""),
        owner("", "", ""),
        owner("key", "tab", "parent"),
    ];
    for (owner, payload) in owners.into_iter().zip(0..) {
        let id = payload.to_string();
        registry.dispatch(Some(&id), 9, 0, owner, payload).unwrap();
    }
    registry.finish("4", State::Completed, || ());
    let chosen = |selector: &Selector, all_fields| {
        registry.running_of(selector, all_fields, |record| record.payload)
    };
    let cases: [(Selector, &[u32], &[u32]); 6] = [
        (selector("key", "", ""), &[0, 1], &[0, 1]),
        (selector("", "tab", ""), &[0, 2], &[0, 2]),
        (selector("key", "tab", ""), &[0], &[0, 1, 2]),
        (selector("key", "other", "parent"), &[1], &[0, 1]),
        (selector("foreign", "", "parent"), &[], &[0, 1]),
        (selector("", "", ""), &[], &[]),
    ];
    for (selector, all, any) in cases {
        assert_eq!(chosen(&selector, true), all, "all of {selector:?}");
        assert_eq!(chosen(&selector, false), any, "any of {selector:?}");
    }
}

#[test]
fn records_are_listed_in_the_order_of_dispatch() {
    let registry = Registry::new(9);
    let names: Vec<_> = (0..50_u32).map(|number| format!("d{}", number * 7919 % 50)).collect();
    names.iter().for_each(|id| drop(start(&registry, id)));
    assert_eq!(ids(&registry), names);
    registry.finish(&names[3], State::Error, || ());
    assert_eq!(ids(&registry), names, "an end does not move a record");
}

// Forks.

#[test]
fn f11_a_forked_child_starts_with_an_empty_registry_that_works() {
    let registry = Arc::new(Registry::new(9));
    registry.dispatch(Some("d"), 1, 0, Owner::default(), 5).unwrap();
    let signal = registry.ended_signal("d").unwrap();
    let mut held = HeldLock::hold(&registry);
    let shown = registry.try_visit(|_| Err("shown"));
    assert_eq!(shown, Ok(()), "the collector does not wait for the lock");
    assert_eq!(held.state().clear(), [5]);
    drop(held);
    assert!(woken(&signal), "a wait of the forking thread itself ends");
    assert_eq!(registry.stats(), Stats::default());
    assert!(!registry.finish("d", State::Completed, || panic!("it is the parent's")));
    assert_eq!(registry.dispatch(Some("d"), 1, 0, Owner::default(), 6).as_deref().ok(), Some("d"));
    assert_eq!(registry.try_visit(|payload| Err(*payload)), Err(6));
}
