//! What only the table's own module can see.

use super::*;
use crate::queue::DeliveryObserver;

#[test]
fn events_that_circulate_do_not_grow_the_list_of_delivered_ones() {
    let registry = DelegationRegistry::new(50);
    let ids = ["a", "b", "c"];
    for id in ids {
        registry.dispatch(Some(id), 9, 0, Owner::default(), ()).unwrap();
        registry.finish(id, State::Completed, || ());
    }
    for _ in 0..10_000 {
        ids.iter().for_each(|id| registry.taken(id));
        ids.iter().for_each(|id| registry.returned(id));
    }
    ids.iter().for_each(|id| registry.taken(id));
    assert!(registry.table.0.lock().delivered.len() < 200);
    assert_eq!((registry.stats().retained, registry.stats().undelivered), (3, 0));
}
