//! The registry: each delegation ends once, and its event is remembered until it is delivered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use hermes_core::delegation::{DelegationRegistry, Dispatched, End, Refused, Request, Stats};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route, Selector};
use hermes_core::queue::CompletionQueue;
use hermes_core::state::{Delivery, State};
use hermes_core::sync::wait::Blocking;
use hermes_core::sync::{Forked, HeldLock};

use super::queue::{ANY, woken};
use super::scripted::Scripted;

pub(super) type Registry = DelegationRegistry<u32, String>;
pub(super) type Events = CompletionQueue<String>;

pub(super) fn ends(id: &str) -> Route<'_> {
    Route {
        session_key: Some("a"),
        kind: Some("async_delegation"),
        delegation_id: Some(id),
        ..Route::default()
    }
}

pub(super) fn registry(retention: usize) -> (Arc<Events>, Arc<Registry>) {
    let queue = Arc::new(Events::new(0));
    (queue.clone(), Registry::new(queue, retention))
}

/// Dispatches with nothing written down.
pub(super) fn dispatch(
    registry: &Registry,
    id: Option<&str>,
    limit: usize,
    payload: u32,
) -> Result<Arc<str>, Refused<u32, Error>> {
    request(registry, Request { id, limit, ..Request::default() }, payload)
}

pub(super) fn request(
    registry: &Registry,
    request: Request<'_>,
    payload: u32,
) -> Result<Arc<str>, Refused<u32, Error>> {
    match registry.dispatch(&Blocking, request, payload)? {
        Dispatched::New(id) | Dispatched::Queued(id) => Ok(id),
        Dispatched::Existing(id) => panic!("{id} was there before"),
    }
}

pub(super) fn start(registry: &Registry, id: &str) -> Arc<str> {
    dispatch(registry, Some(id), usize::MAX, 0).unwrap()
}

pub(super) fn end(id: &str, state: State) -> End<'_, String> {
    End { id, state, event: id.to_owned(), text: "".into(), completed_at: 0 }
}

/// Ends one whose event is its id; whether it was its end.
pub(super) fn finish(registry: &Registry, id: &str, state: State) -> bool {
    registry.finish(&Blocking, end(id, state), |_| true, |_| ()).is_some()
}

/// Dispatches and ends one, its event still to be delivered.
fn run(registry: &Registry, id: &str) {
    start(registry, id);
    assert!(finish(registry, id, State::Completed));
}

pub(super) fn delivery(registry: &Registry, id: &str) -> Option<Delivery> {
    registry.with(id, |record| record.delivery())
}

pub(super) fn ids(registry: &Registry) -> Vec<String> {
    registry.select(|record| Some(record.id().to_string()))
}

/// A dispatch whose rows go to `ledger`.
fn written(registry: &Registry, ledger: &Arc<Scripted>, id: &str) {
    let ledger: Option<Arc<dyn hermes_core::ledger::Ledger>> = Some(ledger.clone());
    let asked = Request { id: Some(id), limit: usize::MAX, ledger, ..Request::default() };
    request(registry, asked, 0).unwrap();
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
    let (_queue, registry) = registry(0);
    start(&registry, "d");
    for state in [State::Queued, State::Running] {
        assert!(!finish(&registry, "d", state));
    }
    assert_eq!((registry.running(), registry.stats().discarded), (1, 2));
    assert!(finish(&registry, "d", State::Lost));
    assert_eq!(registry.with("d", |record| record.state), Some(State::Lost));
}

// One end.

#[test]
fn f11_one_of_many_threads_ends_a_delegation_and_publishes_once() {
    const THREADS: usize = 32;
    let (_queue, registry) = registry(0);
    let winners = AtomicUsize::new(0);
    for round in 0..20 {
        let id = format!("d{round}");
        start(&registry, &id);
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (registry, barrier, id) = (&registry, &barrier, &id);
                let winners = &winners;
                scope.spawn(move || {
                    barrier.wait();
                    let end = [State::Completed, State::Interrupted, State::Timeout][number % 3];
                    let won = finish(registry, id, end);
                    winners.fetch_add(usize::from(won), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(winners.load(Ordering::SeqCst), round + 1);
        assert_eq!(registry.queue().len(), round + 1);
    }
    let discarded = 20 * (THREADS as u64 - 1);
    assert_eq!((registry.running(), registry.stats().discarded), (0, discarded));
}

/// State, row, event: what is seen while the row of an end is written.
#[test]
fn an_end_is_seen_and_its_permit_back_before_its_row_and_its_event_after() {
    let (queue, registry) = registry(0);
    let ledger = Scripted::prompt();
    written(&registry, &ledger, "d");
    let signals = [(); 2].map(|()| registry.ended_signal("d").unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (looks, at, signal) = (seen.clone(), registry.clone(), signals[0].clone());
    ledger.during(move |line| {
        let state = at.with("d", |record| record.state);
        let (delivery, finalizing) = (delivery(&at, "d"), at.stats().finalizing);
        let counts = (at.running(), finalizing, at.queue().len(), woken(&signal));
        looks.lock().unwrap().push((line.to_owned(), state, delivery, counts));
    });
    assert!(finish(&registry, "d", State::Error));
    let state = Some(State::Error);
    let line = "finish d error ".to_owned();
    assert_eq!(*seen.lock().unwrap(), [(line, state, Some(Delivery::NotYet), (0, 1, 0, false))]);
    assert_eq!((delivery(&registry, "d"), queue.len()), (Some(Delivery::Pending), 1));
    assert!(signals.iter().all(|signal| woken(signal)));
    assert!(registry.ended_signal("d").is_none());
    assert!(registry.ended_signal("unknown").is_none());
}

#[test]
fn those_who_wait_are_woken_when_the_delegation_is_forgotten() {
    let (_queue, registry) = registry(0);
    let forget: [fn(&Registry) -> usize; 2] = [
        |registry| registry.withdraw(|_| true).into_iter().count(),
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

/// The table is cleared while the end is written down, and the id given out again: the new
/// delegation has not ended.
#[test]
fn f29_an_end_is_not_taken_for_that_of_a_later_delegation_with_its_id() {
    let (_queue, registry) = registry(0);
    let ledger = Scripted::prompt();
    written(&registry, &ledger, "d");
    let later = Arc::new(Mutex::new(None));
    let (at, seen) = (registry.clone(), later.clone());
    ledger.during(move |_| {
        at.clear();
        start(&at, "d");
        *seen.lock().unwrap() = at.ended_signal("d");
    });
    assert!(finish(&registry, "d", State::Completed));
    assert!(!woken(&later.lock().unwrap().take().unwrap()));
    assert!(registry.ended_signal("d").is_some(), "it runs");
    assert_eq!(delivery(&registry, "d"), Some(Delivery::NotYet));
}

// Capacity.

#[test]
fn f6_a_refusal_hands_the_payload_back_with_the_numbers() {
    let (_queue, registry) = registry(0);
    let dispatch = |limit, elsewhere, payload| {
        request(&registry, Request { limit, elsewhere, ..Request::default() }, payload)
    };
    dispatch(3, 1, 1).unwrap();
    dispatch(3, 1, 2).unwrap();
    let Refused { payload, error } = dispatch(3, 1, 3).unwrap_err();
    assert_eq!((payload, error), (Some(3), Error::AtCapacity { limit: 3, running: 3, queued: 0 }));
    let Refused { payload, error } = dispatch(0, 0, 4).unwrap_err();
    assert_eq!((payload, error), (Some(4), Error::AtCapacity { limit: 0, running: 2, queued: 0 }));
    dispatch(3, 0, 5).unwrap();
    let stats = Stats { running: 3, dispatched: 3, refused: 2, ..Stats::default() };
    assert_eq!(registry.stats(), stats);
}

#[test]
fn an_id_in_use_is_refused_until_its_record_is_let_go() {
    let (queue, registry) = registry(0);
    let again = || {
        dispatch(&registry, Some("d"), 9, 7).map_err(|refused| {
            assert_eq!(refused.payload, Some(7));
            refused.error
        })
    };
    let refused = || assert_eq!(again(), Err(Error::DuplicateId { id: "d".to_owned() }));
    start(&registry, "d");
    refused();
    finish(&registry, "d", State::Completed);
    refused();
    queue.try_take(&Blocking, ANY).unwrap();
    refused();
    registry.prune();
    assert_eq!(again().as_deref(), Ok("d"));
    assert_eq!((registry.running(), registry.stats().refused), (1, 0), "no permit was taken");
}

#[test]
fn an_id_is_made_where_none_is_given() {
    let (_queue, registry) = registry(0);
    let made: Vec<_> =
        (0..100).map(|_| dispatch(&registry, None, usize::MAX, 0).unwrap()).collect();
    for id in &made {
        let digits = id.strip_prefix("deleg_").unwrap();
        assert!(digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    assert_eq!(ids(&registry), made.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[test]
fn f33_a_withdrawn_dispatch_leaves_nothing_behind() {
    let (_queue, registry) = registry(0);
    dispatch(&registry, Some("d"), 1, 5).unwrap();
    assert_eq!(registry.withdraw(|&payload| payload == 5), Some(5));
    assert_eq!(registry.stats(), Stats::default());
    assert_eq!(registry.withdraw(|_| true), None);
    assert!(!finish(&registry, "d", State::Completed));
    run(&registry, "ended");
    assert_eq!(registry.withdraw(|_| true), None, "it has ended");
}

#[test]
fn f33_what_a_worker_has_begun_is_not_withdrawn() {
    let (_queue, registry) = registry(0);
    start(&registry, "d");
    assert_eq!(registry.begin("d", |_| true), Some(true));
    assert_eq!(registry.begin("d", |_| true), Some(false), "once");
    assert_eq!(registry.withdraw(|_| true), None);
    assert_eq!(registry.running(), 1);
    dispatch(&registry, Some("gone"), usize::MAX, 1).unwrap();
    registry.withdraw(|&payload| payload == 1).unwrap();
    assert_eq!(registry.begin("gone", |_| true), None, "its worker leaves it alone");
    assert!(finish(&registry, "d", State::Completed));
    assert_eq!(registry.begin("d", |_| true), None);
}

#[test]
fn f29_a_late_end_does_not_end_a_later_delegation_with_the_same_id() {
    let (_queue, registry) = registry(0);
    dispatch(&registry, Some("d"), 1, 1).unwrap();
    registry.clear();
    dispatch(&registry, Some("d"), 1, 2).unwrap();
    let first = |&payload: &u32| payload == 1;
    assert_eq!(registry.begin("d", first), None);
    let completed = || end("d", State::Completed);
    assert!(registry.finish(&Blocking, completed(), first, |_| ()).is_none());
    assert!(registry.finish(&Blocking, completed(), |&payload| payload == 2, |_| ()).is_some());
}

#[test]
fn permits_come_back_once_whatever_ends_their_delegation() {
    let (_queue, registry) = registry(0);
    for (id, payload) in [("finished", 1), ("withdrawn", 2), ("cleared", 3), ("late", 4)] {
        dispatch(&registry, Some(id), usize::MAX, payload).unwrap();
    }
    let withdraw = |wanted| registry.withdraw(|&payload| payload == wanted);
    assert!(finish(&registry, "finished", State::Completed));
    withdraw(1);
    assert_eq!(registry.running(), 3);
    withdraw(2);
    assert_eq!(registry.running(), 2);
    assert_eq!(registry.clear().len(), 3, "and the finished one's record");
    assert_eq!(registry.running(), 0);
    assert!(!finish(&registry, "late", State::Completed));
    withdraw(3);
    assert_eq!(registry.running(), 0);
}

#[test]
fn f7_of_32_threads_exactly_as_many_run_as_may() {
    const LIMIT: usize = 7;
    let (_queue, registry) = registry(0);
    let barrier = Barrier::new(32);
    let (started, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..32 {
            let (registry, barrier, started, wrong) = (&registry, &barrier, &started, &wrong);
            scope.spawn(move || {
                for round in 0..300 {
                    barrier.wait();
                    let dispatched = dispatch(registry, None, LIMIT, number);
                    started.fetch_add(usize::from(dispatched.is_ok()), Ordering::SeqCst);
                    barrier.wait();
                    // Noted, not asserted: a thread that panics leaves the others at the barrier.
                    let exact = started.load(Ordering::SeqCst) == (round + 1) * LIMIT;
                    let mut right = exact && registry.running() == LIMIT;
                    barrier.wait();
                    if let Ok(id) = dispatched {
                        right &= match round % 2 {
                            0 => finish(registry, &id, State::Completed),
                            _ => registry.withdraw(|&own| own == number) == Some(number),
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
        session_key: session_key.into(),
        origin_ui_session_id: origin_ui_session_id.into(),
        parent_session_id: parent_session_id.into(),
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
    let (_queue, registry) = registry(9);
    let owners = [
        owner("key", "tab", "parent"),
        owner("key", "other", "parent"),
        owner("other", "tab", ""),
        owner("", "", ""),
        owner("key", "tab", "parent"),
    ];
    for (owner, payload) in owners.into_iter().zip(0..) {
        let id = payload.to_string();
        let asked = Request { id: Some(&id), limit: 9, owner, ..Request::default() };
        request(&registry, asked, payload).unwrap();
    }
    finish(&registry, "4", State::Completed);
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
    let (_queue, registry) = registry(9);
    let names: Vec<_> = (0..50_u32).map(|number| format!("d{}", number * 7919 % 50)).collect();
    names.iter().for_each(|id| drop(start(&registry, id)));
    assert_eq!(ids(&registry), names);
    finish(&registry, &names[3], State::Error);
    assert_eq!(ids(&registry), names, "an end does not move a record");
}

// Forks.

#[test]
fn f11_a_forked_child_starts_with_an_empty_registry_that_works() {
    let (_queue, registry) = registry(9);
    dispatch(&registry, Some("d"), 1, 5).unwrap();
    let signal = registry.ended_signal("d").unwrap();
    let mut held = HeldLock::hold(&registry);
    let shown = registry.try_visit(|_| Err("shown"));
    assert_eq!(shown, Ok(()), "the collector does not wait for the lock");
    assert_eq!(Registry::reset(held.state()), [5]);
    drop(held);
    assert!(woken(&signal), "a wait of the forking thread itself ends");
    assert_eq!(registry.stats(), Stats::default());
    assert!(!finish(&registry, "d", State::Completed), "it is the parent's");
    assert_eq!(dispatch(&registry, Some("d"), 1, 6).ok().as_deref(), Some("d"));
    assert_eq!(registry.try_visit(|payload| Err(*payload)), Err(6));
}

#[test]
fn what_has_left_can_be_forgotten_and_a_put_of_it_is_then_a_plain_event() {
    let (queue, registry) = registry(50);
    run(&registry, "d");
    assert_eq!(registry.forget("d"), None, "its event waits");
    assert_eq!(queue.try_take(&Blocking, ANY), Ok("d".to_owned()));
    assert_eq!(registry.forget("d"), Some(0));
    assert_eq!(
        (registry.forget("d"), ids(&registry).len(), registry.stats().retained),
        (None, 0, 0)
    );
    queue.try_put("d".to_owned(), ends("d")).unwrap();
    assert_eq!((registry.stats().undelivered, queue.len()), (0, 1));
    assert!(registry.prune().is_empty());
    start(&registry, "r");
    assert_eq!(registry.forget("r"), None, "it runs");
}
