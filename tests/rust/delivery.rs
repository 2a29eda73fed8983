//! What becomes of an ended delegation's event, and of its record after.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hermes_core::delegation::{Request, Stats};
use hermes_core::event::{Owner, Route};
use hermes_core::queue::{Mailbox, Selection};
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::wait::Blocking;

use super::queue::{ANY, of, put};
use super::registry::{Events, delivery, dispatch, ends, finish, ids, registry, request, start};

#[test]
fn f8_what_runs_or_waits_is_never_let_go() {
    let (queue, registry) = registry(2);
    for number in 0..60 {
        let id = format!("d{number}");
        start(&registry, &id);
        finish(&registry, &id, State::Completed);
    }
    start(&registry, "running");
    assert_eq!(registry.prune(), [0; 0]);
    assert_eq!(ids(&registry).len(), 61);
    for _ in 0..5 {
        queue.try_take(&Blocking, ANY).unwrap();
    }
    assert_eq!(registry.prune().len(), 3, "two of the five are kept");
    let left = ids(&registry);
    assert_eq!(left[..3], ["d3", "d4", "d5"], "the last ones delivered");
    let stats = registry.stats();
    assert_eq!((stats.undelivered, stats.retained, stats.running), (55, 2, 1));
    assert_eq!(left.len(), 58);
}

#[test]
fn prune_returns_the_payloads_oldest_delivery_first() {
    let (queue, registry) = registry(1);
    for (id, payload) in [("a", 1), ("b", 2), ("c", 3)] {
        dispatch(&registry, Some(id), 9, payload).unwrap();
        finish(&registry, id, State::Completed);
    }
    let mailbox = Mailbox::open(&queue, Selection::default(), None).unwrap();
    let leases = [0; 3].map(|_| mailbox.collect(|_| ()).unwrap().id);
    for place in [2, 0, 1] {
        assert!(queue.ack(&Blocking, leases[place]).held);
    }
    assert_eq!(registry.prune(), [3, 1]);
    assert_eq!(registry.prune(), [0; 0]);
}

#[test]
fn f8_an_event_put_back_waits_again() {
    let (queue, registry) = registry(0);
    start(&registry, "d");
    finish(&registry, "d", State::Completed);
    let ways: [fn(&Events); 2] = [
        |queue| put(queue, "d".to_owned(), ends("d")),
        |queue| assert!(queue.put_back("d".to_owned(), ends("d")).unwrap().is_none()),
    ];
    for put in ways {
        queue.try_take(&Blocking, ANY).unwrap();
        assert_eq!(delivery(&registry, "d"), Some(Delivery::Delivered));
        put(&queue);
        assert_eq!(delivery(&registry, "d"), Some(Delivery::Pending));
        assert_eq!(registry.prune(), [0; 0]);
        assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    }
    queue.take(&Blocking, ANY, None).unwrap();
    assert_eq!(registry.prune(), [0]);
}

/// A copy of an event that is in the queue is an event like any other: which of the two is taken
/// first does not matter, and the delegation is delivered once.
#[test]
fn f53_a_copy_of_an_event_that_waits_is_delivered_apart() {
    let (queue, registry) = registry(9);
    start(&registry, "d");
    put(&queue, "early".to_owned(), ends("d"));
    assert_eq!(delivery(&registry, "d"), Some(Delivery::NotYet), "it runs");
    finish(&registry, "d", State::Completed);
    put(&queue, "copy".to_owned(), ends("d"));
    assert_eq!(queue.try_take(&Blocking, ANY).as_deref(), Ok("early"));
    assert_eq!(delivery(&registry, "d"), Some(Delivery::Pending));
    assert_eq!(queue.try_take(&Blocking, ANY).as_deref(), Ok("d"));
    assert_eq!(delivery(&registry, "d"), Some(Delivery::Delivered));
    assert_eq!(queue.try_take(&Blocking, ANY).as_deref(), Ok("copy"));
    let stats = Stats { retained: 1, dispatched: 1, ..Stats::default() };
    assert_eq!(registry.stats(), stats);
}

/// F45: what is parked waits for nobody, and is counted so by everybody.
#[test]
fn f45_what_a_new_epoch_parks_is_parked_to_the_queue_the_registry_and_the_counts() {
    let (queue, registry) = registry(0);
    for id in ["waits", "runs"] {
        let owner = Owner { session_key: "a".into(), ..Owner::default() };
        let asked = Request { id: Some(id), limit: 9, owner, ..Request::default() };
        request(&registry, asked, 0).unwrap();
    }
    finish(&registry, "waits", State::Completed);
    let joiner = queue.joiner().expect("one waits");
    queue.new_epoch("a").unwrap();
    assert!(joiner.take(), "whoever joins waits for it no more");
    finish(&registry, "runs", State::Completed);
    for id in ["waits", "runs"] {
        assert_eq!(delivery(&registry, id), Some(Delivery::Parked), "{id}");
        assert_eq!(registry.stage(id), Some(Stage::Parked));
    }
    assert_eq!(queue.parked(String::clone), ["waits", "runs"]);
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
    let live = registry.live_work(&Default::default());
    assert_eq!((live.undelivered, live.finalizing), (0, 0));
    let stats = registry.stats();
    assert_eq!((stats.undelivered, stats.parked, stats.retained), (0, 2, 0));
    assert_eq!(registry.take_out("waits", false).as_deref(), Some("waits"));
    assert_eq!(delivery(&registry, "waits"), Some(Delivery::Dropped));
    assert_eq!((registry.prune(), queue.unfinished()), (vec![0], 0));
}

#[test]
fn deliveries_of_what_is_not_known_change_nothing() {
    let (queue, registry) = registry(0);
    start(&registry, "running");
    for id in ["running", "unknown"] {
        put(&queue, id.to_owned(), ends(id));
        let taken = queue.try_take(&Blocking, of("a")).unwrap();
        assert!(queue.put_back(taken, ends(id)).unwrap().is_none());
        queue.try_take(&Blocking, ANY).unwrap();
    }
    let stats = Stats { running: 1, dispatched: 1, ..Stats::default() };
    assert_eq!(registry.stats(), stats);
    assert!(finish(&registry, "running", State::Completed));
    assert_eq!(delivery(&registry, "running"), Some(Delivery::Pending));
}

#[test]
fn f8_f11_many_threads_deliver_each_end_once_and_let_none_go_before() {
    const THREADS: usize = 4;
    const EACH: usize = 200;
    let (queue, registry) = registry(10);
    let delivered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queue, registry, delivered) = (&queue, &registry, &delivered);
            scope.spawn(move || {
                for number in 0..EACH {
                    let id = start(registry, &format!("{thread} {number}"));
                    assert!(finish(registry, &id, State::Completed));
                }
            });
            scope.spawn(move || {
                while delivered.load(Ordering::SeqCst) < THREADS * EACH {
                    let Ok(id) = queue.try_take(&Blocking, ANY) else {
                        thread::yield_now();
                        continue;
                    };
                    // Every other one makes a detour.
                    if id.ends_with(['1', '3', '5', '7', '9']) {
                        queue.put_back(id.clone(), ends(&id)).unwrap();
                        if queue.try_take(&Blocking, ANY).is_err() {
                            continue;
                        }
                    }
                    delivered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    registry.prune();
    let expected = Stats { retained: 10, dispatched: (THREADS * EACH) as u64, ..Stats::default() };
    assert_eq!(registry.stats(), expected);
    assert!(ids(&registry).iter().all(|id| delivery(&registry, id) == Some(Delivery::Delivered)));
}

/// What circulates is remembered once, however often it goes round.
#[test]
fn events_that_circulate_do_not_grow_what_the_registry_keeps() {
    let (queue, registry) = registry(50);
    let known = ["a", "b", "c"];
    for id in known {
        start(&registry, id);
        finish(&registry, id, State::Completed);
    }
    for _ in 0..1_000 {
        let taken = known.map(|_| queue.try_take(&Blocking, ANY).unwrap());
        taken.into_iter().for_each(|id| put(&queue, id.clone(), ends(&id)));
    }
    known.iter().for_each(|_| drop(queue.try_take(&Blocking, ANY).unwrap()));
    assert_eq!((registry.stats().retained, registry.stats().undelivered), (3, 0));
    assert_eq!(queue.try_put(String::new(), Route::default()).unwrap().map(drop), None);
}
