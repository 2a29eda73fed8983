//! What the registry knows of its events, told by threads in any order.

use std::sync::{Arc, Weak};

use hermes_core::event::{Owner, Route};
use hermes_core::queue::{CompletionQueue, DeliveryObserver};
use hermes_core::registry::{DelegationRegistry, Delivery, State};

use super::{ANY, model, spawn, to};

type Registry = DelegationRegistry<u8>;
type Queue = CompletionQueue<u8>;

const EVENT: u8 = 7;

fn ends() -> Route<'static> {
    Route { delegation_id: Some("d"), ..to("a", "k") }
}

/// A registry that keeps nothing delivered, and the queue that tells it.
struct Shared {
    registry: Arc<Registry>,
    queue: Queue,
}

impl Shared {
    /// With `d` running.
    fn running() -> Arc<Self> {
        let (registry, queue) = (Arc::new(Registry::new(0)), Queue::new(0));
        let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(&registry) as _;
        queue.observe(observer);
        registry.dispatch(Some("d"), 1, 0, Owner::default(), 1).unwrap();
        Arc::new(Self { registry, queue })
    }

    /// With the event of `d` in the queue.
    fn ended() -> Arc<Self> {
        let shared = Self::running();
        shared.finish();
        shared
    }

    fn finish(&self) {
        let publish = || self.queue.publish(EVENT, ends(), None);
        assert!(self.registry.finish("d", State::Completed, publish));
    }

    fn detour(&self) {
        if let Ok(event) = self.queue.try_take(ANY) {
            self.queue.put_back(event, ends());
        }
    }

    fn counts(&self) -> (usize, usize) {
        let stats = self.registry.stats();
        (stats.undelivered, stats.retained)
    }

    fn delivery(&self) -> Option<Delivery> {
        self.registry.with("d", |record| record.delivery)
    }
}

#[test]
fn f31_the_order_in_which_takes_and_returns_are_told_does_not_count() {
    model(|| {
        let shared = Shared::running();
        assert!(shared.registry.finish("d", State::Completed, || ()));
        let returner = spawn(&shared, |shared| {
            shared.registry.taken("d");
            shared.registry.returned("d");
        });
        shared.registry.taken("d");
        returner.join().unwrap();
        assert_eq!(shared.delivery(), Some(Delivery::Delivered));
        assert_eq!(shared.counts(), (0, 1));
        assert_eq!(shared.registry.prune(), [1]);
        assert_eq!(shared.counts(), (0, 0));
    });
}

#[test]
fn f8_an_event_that_is_back_waits_whatever_was_told_first() {
    model(|| {
        let shared = Shared::running();
        assert!(shared.registry.finish("d", State::Completed, || ()));
        let returner = spawn(&shared, |shared| shared.registry.returned("d"));
        shared.registry.taken("d");
        returner.join().unwrap();
        assert_eq!(shared.delivery(), Some(Delivery::Pending));
        assert_eq!(shared.counts(), (1, 0));
        assert_eq!(shared.registry.prune(), [0; 0]);
    });
}

#[test]
fn f8_f31_a_detour_through_a_consumer_changes_no_count() {
    model(|| {
        let shared = Shared::ended();
        let detour = spawn(&shared, Shared::detour);
        let taker = spawn(&shared, |shared| shared.queue.take(ANY, None));
        assert_eq!(taker.join().unwrap(), Ok(EVENT));
        detour.join().unwrap();
        assert_eq!(shared.delivery(), Some(Delivery::Delivered));
        assert_eq!(shared.counts(), (0, 1));
    });
}

#[test]
fn f8_two_detours_leave_the_event_waiting() {
    model(|| {
        let shared = Shared::ended();
        let detour = spawn(&shared, Shared::detour);
        shared.detour();
        detour.join().unwrap();
        assert_eq!(shared.delivery(), Some(Delivery::Pending));
        assert_eq!((shared.counts(), shared.queue.len()), ((1, 0), 1));
        assert_eq!(shared.registry.prune(), [0; 0]);
    });
}

#[test]
fn f8_pruning_leaves_an_end_alone_until_it_is_taken() {
    model(|| {
        let shared = Shared::running();
        let ender = spawn(&shared, Shared::finish);
        assert_eq!(shared.registry.prune(), [0; 0]);
        ender.join().unwrap();
        assert_eq!(shared.delivery(), Some(Delivery::Pending));
        let consumer = spawn(&shared, |shared| shared.queue.try_take(ANY));
        let pruned = shared.registry.prune();
        assert_eq!(consumer.join().unwrap(), Ok(EVENT));
        let pruned_after = shared.registry.prune();
        assert_eq!([pruned, pruned_after].concat(), [1], "once, and not before the take");
        assert_eq!(shared.counts(), (0, 0));
    });
}

/// A record pruned while its event is out may stay away; one that is there counts right.
#[test]
fn f8_pruning_beside_a_detour_keeps_the_counts() {
    model(|| {
        let shared = Shared::ended();
        let detour = spawn(&shared, Shared::detour);
        let pruned = shared.registry.prune().len();
        detour.join().unwrap();
        assert_eq!(shared.queue.len(), 1);
        assert_eq!(shared.delivery(), (pruned == 0).then_some(Delivery::Pending));
        assert_eq!(shared.counts(), (1 - pruned, 0));
    });
}

#[test]
fn f11_an_end_is_delivered_or_dropped_by_a_shutdown() {
    model(|| {
        let shared = Shared::ended();
        let consumer = spawn(&shared, |shared| shared.queue.try_take(ANY).is_ok());
        let dropped = shared.queue.shutdown(true);
        let expected = match consumer.join().unwrap() {
            true => (vec![], Delivery::Delivered),
            false => (vec![EVENT], Delivery::Dropped),
        };
        assert_eq!((dropped, shared.delivery().unwrap()), expected);
        assert_eq!(shared.counts(), (0, 1));
    });
}

#[test]
fn f1_an_end_beside_a_shutdown_is_dropped_or_waits() {
    model(|| {
        let shared = Shared::running();
        let ender = spawn(&shared, Shared::finish);
        let dropped = shared.queue.shutdown(true).len();
        ender.join().unwrap();
        let expected = [Delivery::Pending, Delivery::Dropped][dropped];
        assert_eq!(shared.delivery(), Some(expected));
        assert_eq!((shared.counts(), shared.queue.len()), ((1 - dropped, dropped), 1 - dropped));
    });
}
