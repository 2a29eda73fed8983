//! Events on their way out and back, and when their records may go.

use std::sync::Arc;

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::state::{Delivery, Stage, State};
use hermes_core::sync::wait::Blocking;

use super::rows::Rows;
use super::{ANY, ENDS, EVENT, Registry, counts, detour, ended, finish, model, running, spawn};

/// Takes what waits and has retention, which is none, do its work: the record is gone then, as often
/// as the event was there.
fn settle(registry: &Registry) {
    while registry.queue().try_take(&Blocking, ANY).is_ok() {}
    registry.prune();
    assert_eq!(counts(registry), (0, 0));
    assert_eq!(registry.stage("d"), None, "kept for ever");
}

#[test]
fn f8_f31_a_detour_through_a_consumer_changes_no_count() {
    model(|| {
        let registry = ended(1, None);
        let other = spawn(&registry, detour);
        let taker = spawn(&registry, |registry| registry.queue().take(&Blocking, ANY, None));
        assert_eq!(taker.join().unwrap(), Ok(EVENT));
        other.join().unwrap();
        assert_eq!(registry.stage("d"), Some(Stage::Delivered));
        assert_eq!(counts(&registry), (0, 1));
    });
}

#[test]
fn f8_two_detours_leave_the_event_waiting() {
    model(|| {
        let registry = ended(0, None);
        let other = spawn(&registry, detour);
        detour(&registry);
        other.join().unwrap();
        assert_eq!(registry.stage("d"), Some(Stage::Waiting));
        assert_eq!((counts(&registry), registry.queue().len()), ((1, 0), 1));
        assert_eq!(registry.queue().unfinished(), 1);
        assert_eq!(registry.prune(), [0; 0]);
        settle(&registry);
    });
}

#[test]
fn f8_pruning_leaves_an_end_alone_until_it_is_taken() {
    model(|| {
        let registry = ended(0, None);
        let consumer = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        let pruned = registry.prune();
        assert_eq!(consumer.join().unwrap(), Ok(EVENT));
        let pruned_after = registry.prune();
        assert_eq!([pruned, pruned_after].concat(), [1], "once, and not before the take");
        assert_eq!(counts(&registry), (0, 0));
    });
}

#[test]
fn f8_pruning_beside_an_end_leaves_it_alone() {
    model(|| {
        let registry = running(0, None);
        let ender = spawn(&registry, |registry| finish(registry, State::Completed).unwrap());
        assert_eq!(registry.prune(), [0; 0]);
        assert_eq!(ender.join().unwrap().dropped, [0; 0]);
        assert_eq!(registry.stage("d"), Some(Stage::Waiting));
        settle(&registry);
    });
}

/// Either the record is there, and its event waits as its own, or the record went first, and the
/// event is one like any other.
#[test]
fn f8_an_event_that_comes_back_beside_a_prune_is_its_record_s_or_has_none() {
    model(|| {
        let registry = ended(0, Some(Arc::new(Rows::default())));
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let pruner = spawn(&registry, |registry| registry.prune());
        // Its row is told only where the event is the record's.
        let is_its_own = registry.queue().put_back(event, ENDS).unwrap().is_some();
        let pruned = pruner.join().unwrap();
        assert_eq!(pruned.is_empty(), is_its_own);
        assert_eq!(registry.stage("d"), is_its_own.then_some(Stage::Waiting));
        assert_eq!(counts(&registry), (usize::from(is_its_own), 0));
        assert_eq!(registry.queue().len(), 1);
        settle(&registry);
    });
}

#[test]
fn f8_pruning_beside_a_detour_keeps_the_counts() {
    model(|| {
        let registry = ended(0, None);
        let pruner = spawn(&registry, |registry| registry.prune().len());
        detour(&registry);
        let pruned = pruner.join().unwrap();
        assert_eq!(registry.queue().len(), 1);
        assert_eq!(registry.stage("d"), (pruned == 0).then_some(Stage::Waiting));
        assert_eq!(counts(&registry), (1 - pruned, 0));
        settle(&registry);
    });
}

#[test]
fn f8_an_event_that_comes_back_beside_a_take_and_a_prune_is_kept_as_long_as_it_waits() {
    model(|| {
        let registry = ended(0, Some(Arc::new(Rows::default())));
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let pruner = spawn(&registry, |registry| registry.prune().len());
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        let is_its_own = registry.queue().put_back(event, ENDS).unwrap().is_some();
        let (pruned, is_taken) = (pruner.join().unwrap(), taker.join().unwrap().is_ok());
        assert_eq!(registry.queue().len(), usize::from(!is_taken));
        let stage = match registry.stage("d") {
            // Before it came back, or after it was taken.
            None => {
                assert!(pruned == 1 && (is_taken || !is_its_own));
                return;
            }
            stage => stage,
        };
        assert_eq!((pruned, is_its_own), (0, true));
        assert_eq!(stage, Some(if is_taken { Stage::Delivered } else { Stage::Waiting }));
        settle(&registry);
    });
}

#[test]
fn f8_two_that_prune_let_a_record_go_once() {
    model(|| {
        let registry = ended(0, None);
        let other = spawn(&registry, |registry| registry.prune());
        detour(&registry);
        registry.queue().try_take(&Blocking, ANY).unwrap();
        let pruned = registry.prune();
        let pruned = [other.join().unwrap(), pruned, registry.prune()].concat();
        assert_eq!(pruned, [1]);
        assert_eq!(counts(&registry), (0, 0));
    });
}

/// The event has left, and there is no room for it any more: it stays delivered, and its record goes
/// like any other.
#[test]
fn f8_a_return_that_finds_no_room_beside_a_prune_keeps_no_record() {
    model(|| {
        let registry = ended(0, None);
        let queue = registry.queue();
        queue.try_take(&Blocking, ANY).unwrap();
        queue.set_maxsize(1);
        super::put(queue, 1, "b");
        let returner = spawn(&registry, |registry| {
            registry.queue().try_put(EVENT, ENDS).map_err(|(_, error)| error).map(drop)
        });
        let pruned = registry.prune().len();
        assert_eq!(returner.join().unwrap(), Err(Error::Full { maxsize: 1 }));
        assert_eq!(registry.stage("d"), (pruned == 0).then_some(Stage::Delivered));
        settle(&registry);
    });
}

#[test]
fn a_copy_that_is_put_while_the_event_leaves_is_had_too() {
    model(|| {
        let registry = ended(0, None);
        let putter = spawn(&registry, |registry| registry.queue().try_put(EVENT, ENDS).is_ok());
        assert_eq!(registry.queue().try_take(&Blocking, ANY), Ok(EVENT));
        assert!(putter.join().unwrap());
        assert_eq!(registry.queue().try_take(&Blocking, ANY), Ok(EVENT));
        assert!(registry.queue().is_empty());
        settle(&registry);
    });
}

/// What was taken last is written last: the row says what the queue says.
#[test]
fn f12_the_row_of_an_event_that_comes_back_beside_a_take_says_what_became_of_it() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = ended(1, Some(rows.clone()));
        let other = spawn(&registry, detour);
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        other.join().unwrap();
        let (delivery, stage) = match taker.join().unwrap() {
            Ok(_) => (Delivery::Delivered, Stage::Delivered),
            Err(_) => (Delivery::Pending, Stage::Waiting),
        };
        assert_eq!(rows.delivery("d"), Some(delivery));
        assert_eq!(registry.stage("d"), Some(stage));
    });
}

#[test]
fn an_event_is_dropped_or_taken() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = ended(1, Some(rows.clone()));
        let taker = spawn(&registry, |registry| registry.queue().try_take(&Blocking, ANY));
        let dropped = registry.drop_event(&Blocking, "d");
        let (delivery, stage) = match taker.join().unwrap() {
            Ok(_) => (Delivery::Delivered, Stage::Delivered),
            Err(_) => (Delivery::Dropped, Stage::Dropped),
        };
        assert_eq!(dropped, (stage == Stage::Dropped).then_some((Some(EVENT), true)));
        assert_eq!((rows.delivery("d"), registry.stage("d")), (Some(delivery), Some(stage)));
        assert_eq!((counts(&registry), registry.queue().len()), ((0, 1), 0));
    });
}

#[test]
fn an_event_that_is_dropped_on_its_way_back_waits_or_is_gone() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = ended(1, Some(rows.clone()));
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let returner =
            spawn(&registry, move |registry| drop(registry.queue().put_back(event, ENDS).unwrap()));
        let dropped = registry.drop_event(&Blocking, "d").is_some();
        returner.join().unwrap();
        let (delivery, stage) = match dropped {
            true => (Delivery::Dropped, Stage::Dropped),
            false => (Delivery::Pending, Stage::Waiting),
        };
        assert_eq!((rows.delivery("d"), registry.stage("d")), (Some(delivery), Some(stage)));
        assert_eq!(registry.queue().len(), usize::from(!dropped));
    });
}

/// An event of a registry that is gone, or of none, goes through the queue like any other.
#[test]
fn an_event_comes_back_beside_the_end_of_its_registry() {
    model(|| {
        let registry = ended(0, None);
        let event = registry.queue().try_take(&Blocking, ANY).unwrap();
        let returner =
            spawn(&registry, move |registry| drop(registry.queue().put_back(event, ENDS).unwrap()));
        registry.clear();
        returner.join().unwrap();
        assert_eq!(registry.queue().pending(Some("a"), |&item| item), [EVENT]);
        assert_eq!(registry.queue().try_take(&Blocking, ANY), Ok(EVENT));
        assert_eq!(counts(&registry), (0, 0));
        let other = Route { delegation_id: Some("e"), ..ENDS };
        assert!(registry.queue().try_put(EVENT, other).is_ok());
    });
}
