//! What becomes of an ended delegation's event, and of its record after.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use hermes_core::event::Owner;
use hermes_core::ledger::Home;
use hermes_core::queue::DeliveryObserver;
use hermes_core::registry::{Delivery, State, Stats};

use super::queue::ANY;
use super::registry::{Events, Registry, delivery, ends, ids, observe, observed, start};

#[test]
fn f8_what_runs_or_waits_is_never_let_go() {
    let (queue, registry) = observed(2);
    for number in 0..60 {
        let id = format!("d{number}");
        start(&registry, &id);
        registry.finish(&id, State::Completed, || queue.publish(id.clone(), ends(&id), None));
    }
    start(&registry, "running");
    assert_eq!(registry.prune(), [0; 0]);
    assert_eq!(ids(&registry).len(), 61);
    for _ in 0..5 {
        queue.try_take(ANY).unwrap();
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
    let registry = Registry::new(1);
    for (id, payload) in [("a", 1), ("b", 2), ("c", 3)] {
        registry.dispatch(Some(id), 9, 0, Owner::default(), payload).unwrap();
        registry.finish(id, State::Completed, || ());
    }
    ["c", "a", "b"].iter().for_each(|id| registry.taken(id));
    assert_eq!(registry.prune(), [3, 1]);
    assert_eq!(registry.prune(), [0; 0]);
}

#[test]
fn f8_an_event_put_back_waits_again() {
    let (queue, registry) = observed(0);
    start(&registry, "d");
    registry.finish("d", State::Completed, || queue.publish("d".to_owned(), ends("d"), None));
    let put: [fn(&Events); 2] = [
        |queue| queue.try_put("d".to_owned(), ends("d")).unwrap(),
        |queue| queue.put_back("d".to_owned(), ends("d")),
    ];
    for put in put {
        queue.try_take(ANY).unwrap();
        assert_eq!(delivery(&registry, "d"), Some(Delivery::Delivered));
        put(&queue);
        assert_eq!(delivery(&registry, "d"), Some(Delivery::Pending));
        assert_eq!(registry.prune(), [0; 0]);
        assert_eq!((registry.stats().undelivered, registry.stats().retained), (1, 0));
    }
    queue.take(ANY, None).unwrap();
    assert_eq!(registry.prune(), [0]);
}

#[test]
fn deliveries_of_what_is_not_known_or_not_ended_change_nothing() {
    let registry = Registry::new(0);
    start(&registry, "running");
    for id in ["running", "unknown"] {
        registry.taken(id);
        registry.returned(id);
        registry.taken(id);
    }
    let stats = Stats { running: 1, dispatched: 1, ..Stats::default() };
    assert_eq!(registry.stats(), stats);
    assert!(registry.finish("running", State::Completed, || ()));
    assert_eq!(delivery(&registry, "running"), Some(Delivery::Pending));
}

/// Takes the event as soon as it hears of its return, before the registry hears of it.
struct Eager(Arc<Events>);

impl DeliveryObserver for Eager {
    fn taken(&self, _: &str) {}

    fn dropped(&self, _: &str) {}

    fn returned(&self, _: &str) {
        self.0.try_take(ANY).unwrap();
    }

    fn buried(&self, _: &str) {}

    fn home(&self, _: &str) -> Option<Arc<Home>> {
        None
    }
}

/// Between a put and the registry's hearing of it, another thread may take the event; the registry
/// then hears of the two in the wrong order.
#[test]
fn f31_an_event_taken_before_its_return_was_told_does_not_count_as_waiting() {
    let queue = Arc::new(Events::new(0));
    let (eager, registry) = (Arc::new(Eager(queue.clone())), Arc::new(Registry::new(0)));
    observe(&queue, &eager);
    observe(&queue, &registry);
    start(&registry, "d");
    registry.finish("d", State::Completed, || queue.publish("d".to_owned(), ends("d"), None));
    queue.try_take(ANY).unwrap();
    queue.try_put("d".to_owned(), ends("d")).unwrap();
    assert!(queue.is_empty());
    assert_eq!(delivery(&registry, "d"), Some(Delivery::Delivered));
    assert_eq!((registry.stats().undelivered, registry.stats().retained), (0, 1));
}

/// Calls back into the registry and the queue as it is told.
struct Curious(Arc<Events>, Arc<Registry>);

impl Curious {
    fn look(&self) {
        assert_eq!(self.0.len(), self.1.stats().undelivered);
        self.1.prune();
    }
}

impl DeliveryObserver for Curious {
    fn taken(&self, _: &str) {
        self.look();
    }

    fn dropped(&self, _: &str) {
        self.look();
    }

    fn returned(&self, _: &str) {
        self.look();
    }

    fn buried(&self, _: &str) {
        self.look();
    }

    fn home(&self, _: &str) -> Option<Arc<Home>> {
        None
    }
}

#[test]
fn observers_may_call_the_registry_and_the_queue() {
    let (done, ended) = mpsc::channel();
    let telling = thread::spawn(move || {
        let (queue, registry) = observed(5);
        let curious = Arc::new(Curious(queue.clone(), registry.clone()));
        observe(&queue, &curious);
        start(&registry, "d");
        registry.finish("d", State::Completed, || queue.publish("d".to_owned(), ends("d"), None));
        for _ in 0..3 {
            let event = queue.take(ANY, None).unwrap();
            queue.put_back(event, ends("d"));
        }
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("no deadlock");
    telling.join().unwrap();
}

#[test]
fn f8_f11_many_threads_deliver_each_end_once_and_let_none_go_before() {
    const THREADS: usize = 4;
    const EACH: usize = 200;
    let (queue, registry) = observed(10);
    let delivered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queue, registry, delivered) = (&queue, &registry, &delivered);
            scope.spawn(move || {
                for number in 0..EACH {
                    let id = start(registry, &format!("{thread} {number}"));
                    let publish = || queue.publish(id.to_string(), ends(&id), None);
                    assert!(registry.finish(&id, State::Completed, publish));
                    registry.prune();
                }
            });
            scope.spawn(move || {
                while delivered.load(Ordering::SeqCst) < THREADS * EACH {
                    let Ok(id) = queue.try_take(ANY) else {
                        thread::yield_now();
                        continue;
                    };
                    // Every other one makes a detour.
                    if id.ends_with(['1', '3', '5', '7', '9']) {
                        queue.put_back(id.clone(), ends(&id));
                        if queue.try_take(ANY).is_err() {
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
