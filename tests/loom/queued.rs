//! Waiting for capacity: each one is begun or ended, once, and no place is lost.

use std::sync::Arc;

use hermes_core::delegation::{Dispatched, End, Request};
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;

use super::rows::Rows;
use super::{EVENT, Registry, finish, join_all, model, owner, running, spawn};

/// Dispatches one where one may run, which waits if it has to; whether it does.
fn dispatch(registry: &Registry, id: &str, payload: u8, rows: Option<&Arc<Rows>>) -> bool {
    let ledger = rows.map(|rows| rows.clone() as _);
    let (limit, max_queued) = (1, Some(9));
    let own = owner();
    let request =
        Request { id: Some(id), limit, max_queued, owner: own, ledger, ..Request::default() };
    match registry.dispatch(&Blocking, request, payload) {
        Ok(Dispatched::New(_)) => false,
        Ok(Dispatched::Queued(_)) => true,
        other => panic!("{other:?}"),
    }
}

/// Ends one if it waits still.
fn cancel(registry: &Registry, id: &str) -> bool {
    let waits = registry.leave_line(id, |_| true);
    if waits {
        assert!(end(registry, id, State::Interrupted));
    }
    waits
}

fn end(registry: &Registry, id: &str, state: State) -> bool {
    let end = End { id, state, event: EVENT, text: "".into(), completed_at: 0 };
    registry.finish(&Blocking, end, |_| true, |_| ()).is_some()
}

/// Begins what a worker is to begin next; its payload.
fn begin(registry: &Registry) -> Option<u8> {
    let (id, payload) = registry.next_started(|record| (record.id().clone(), record.payload))?;
    assert_eq!(registry.begin(&id, |_| true), Some(true));
    Some(payload)
}

#[test]
fn f33_what_waits_is_begun_or_cancelled() {
    model(|| {
        let registry = running(9, None);
        assert!(dispatch(&registry, "w", 2, None));
        let ender = spawn(&registry, |registry| {
            assert!(finish(registry, State::Completed).is_some());
            begin(registry)
        });
        let cancelled = cancel(&registry, "w");
        let begun = ender.join().unwrap();
        assert_ne!(begun.is_some(), cancelled);
        assert_eq!(registry.running(), usize::from(!cancelled));
        assert_eq!((registry.started(), registry.stats().queued), (0, 0));
    });
}

#[test]
fn f7_a_place_that_is_freed_goes_to_one_and_is_not_lost() {
    model(|| {
        let registry = running(9, None);
        assert!(dispatch(&registry, "w", 2, None));
        let ender = spawn(&registry, |registry| {
            assert!(finish(registry, State::Completed).is_some());
            begin(registry)
        });
        let canceller = spawn(&registry, |registry| cancel(registry, "w"));
        let waits = dispatch(&registry, "x", 3, None);
        let (begun, cancelled) = (ender.join().unwrap(), canceller.join().unwrap());
        // Whoever was not there to begin it leaves it to the next that looks.
        let begun = begun.or_else(|| begin(&registry));
        assert_eq!(registry.running(), 1, "one of them has the place");
        let first = if cancelled { 3 } else { 2 };
        assert!(begun == Some(first) || (begun.is_none() && !waits && cancelled));
        let next = if cancelled { "x" } else { "w" };
        assert!(end(&registry, next, State::Completed));
        assert_eq!(begin(&registry), (!cancelled).then_some(3));
        assert_eq!(registry.stats().queued, 0);
    });
}

#[test]
fn f7_two_that_end_begin_two_that_wait() {
    model(|| {
        let registry = running(9, None);
        assert!(dispatch(&registry, "v", 2, None) && dispatch(&registry, "w", 3, None));
        registry.set_limit(2);
        assert_eq!(begin(&registry), Some(2));
        let enders = ["d", "v"].map(|id| {
            spawn(&registry, move |registry| {
                assert!(end(registry, id, State::Completed));
                begin(registry)
            })
        });
        let begun = join_all(enders);
        assert_eq!(begun.iter().flatten().collect::<Vec<_>>(), [&3]);
        assert_eq!(registry.running(), 1);
    });
}

/// It comes into the line when its row is written, whenever the place is freed.
#[test]
fn f3_what_is_being_written_down_is_begun_after_that() {
    model(|| {
        let rows = Arc::new(Rows::default());
        let registry = running(9, None);
        let ender = spawn(&registry, |registry| {
            assert!(finish(registry, State::Completed).is_some());
            begin(registry)
        });
        let waits = dispatch(&registry, "w", 2, Some(&rows));
        let begun = ender.join().unwrap().or_else(|| begin(&registry));
        assert_eq!(begun, waits.then_some(2));
        assert_eq!((registry.running(), rows.len(), registry.stats().queued), (1, 1, 0));
    });
}
