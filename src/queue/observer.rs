//! Who is told of delegations' events.

use std::sync::{Arc, Weak};

use crate::event::Route;
use crate::ledger::Home;

/// Is told when the event of a delegation leaves the queue, and when it comes back.
///
/// Called with no core lock held.
pub trait DeliveryObserver: Send + Sync {
    /// The event left: it was acknowledged, or taken with no acknowledgement to wait for.
    fn taken(&self, delegation_id: &str);
    /// The event was given up: nobody gets it.
    fn dropped(&self, delegation_id: &str);
    /// The event was put (again): it waits for its delivery.
    fn returned(&self, delegation_id: &str);
    /// The event had all its attempts: it waits for somebody's decision.
    fn buried(&self, delegation_id: &str);
    /// Where the delegation of an event that is put is written down, if it is one of ours.
    fn home(&self, delegation_id: &str) -> Option<Arc<Home>>;
}

/// Who is to be told; nobody, mostly, for events that end no delegation.
pub(super) type Observers = Option<Arc<[Weak<dyn DeliveryObserver>]>>;

/// Tells those who still live.
pub(super) fn notify(
    observers: Option<&[Weak<dyn DeliveryObserver>]>,
    tell: impl Fn(&dyn DeliveryObserver),
) {
    for observer in observers.into_iter().flatten().filter_map(Weak::upgrade) {
        tell(&*observer);
    }
}

/// Tells of an event that was put.
#[inline]
pub(super) fn notify_returned(route: Route<'_>, observers: Observers) {
    if let (Some(observers), Some(id)) = (observers, route.delegation_id) {
        notify(Some(&observers), |observer| observer.returned(id));
    }
}

/// Where a delegation is written down, of those that one of them knows.
pub(super) fn home_of(
    observers: Option<&[Weak<dyn DeliveryObserver>]>,
    id: &str,
) -> Option<Arc<Home>> {
    let known = observers?.iter().filter_map(Weak::upgrade);
    known.filter_map(|observer| observer.home(id)).next()
}
