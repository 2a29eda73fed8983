//! The registry: dispatch, finish, restore.

use std::sync::Arc;

use hermes_core::delegation::{
    DelegationRegistry, Dispatched, End, NotPut, Request, Restored, Stats, Why,
};
use hermes_core::error::Error;
use hermes_core::event::Owner;
use hermes_core::queue::{CompletionQueue, Mailbox, Selection, Wanted};
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;

use super::allocator::with_blocks;
use super::{long, until_enough};

type Registry = Arc<DelegationRegistry<usize, usize>>;

fn registry() -> Registry {
    DelegationRegistry::new(Arc::new(CompletionQueue::new(0)), 50)
}

fn owner(session_key: &str) -> Owner {
    Owner { session_key: session_key.into(), ..Owner::default() }
}

fn seen(registry: &Registry) -> (Stats, Vec<usize>, Vec<usize>) {
    let records = registry.select(|record| Some(record.payload));
    (registry.stats(), records, registry.queue().pending(None, |&event| event))
}

fn dispatch(
    registry: &Registry,
    payload: usize,
    id: Option<&str>,
    key: Option<&str>,
) -> Result<Arc<str>, Error> {
    dispatch_under(usize::MAX, registry, payload, id, key)
}

/// With so many permits, and a line as long as need be.
fn dispatch_under(
    limit: usize,
    registry: &Registry,
    payload: usize,
    id: Option<&str>,
    key: Option<&str>,
) -> Result<Arc<str>, Error> {
    // What the caller has made is not the registry's.
    let request = with_blocks(usize::MAX, || Request {
        id,
        limit,
        permits: 1,
        max_queued: Some(usize::MAX),
        owner: owner(&long(&payload.to_string())),
        idempotency_key: key,
        ..Request::default()
    });
    match registry.dispatch(&Blocking, request, payload) {
        Ok(Dispatched::New(id) | Dispatched::Queued(id)) => Ok(id),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => {
            assert_eq!(refused.payload, Some(payload));
            Err(refused.error)
        }
    }
}

fn end(id: &str, event: usize) -> End<'_, usize> {
    End { id, state: State::Completed, event, text: "".into(), completed_at: 0 }
}

#[test]
fn a_dispatch_is_dispatched_or_not_and_an_end_needs_no_memory() {
    let registry = registry();
    let selection = Selection { has_predicate: true, ..Selection::default() };
    let judge = Mailbox::open(registry.queue(), selection, None).unwrap();
    let mut refused = 0;
    let mut ids = Vec::new();
    for number in 0..400 {
        let (id, key) = (long(&format!("id {number} ")), long("key"));
        let id = (number % 5 == 0).then_some(&*id);
        let key = (number % 3 == 0).then_some(&*key);
        let step = |registry: &Registry| dispatch(registry, number, id, key);
        let (id, times) = until_enough(&registry, seen, step);
        refused += times;
        ids.push(id);
    }
    assert!(refused > 2 * 400, "{refused}");
    assert_eq!(registry.running(), 400);
    // Others put and take meanwhile: the places stay reserved.
    for item in 0..1500 {
        let put = registry.queue().try_put(item, Default::default());
        assert!(put.is_ok());
    }
    while registry.queue().try_take(&Blocking, Wanted::default()).is_ok() {
        registry.queue().task_done().unwrap();
    }
    for (number, id) in ids.iter().enumerate() {
        let end = end(id, number);
        let finished = with_blocks(0, || registry.finish(&Blocking, end, |_| true, |_| {}));
        assert_eq!(finished.map(|finished| finished.problem), Some(None));
    }
    assert_eq!(registry.running(), 0);
    assert_eq!(registry.stats().undelivered, 400);
    for number in 0..400 {
        let question = judge.next_question(|&event| event).unwrap();
        assert_eq!(question.item, number);
        let key = long(&number.to_string());
        let wanted = Wanted { session_key: Some(&key), types: None };
        let taken = with_blocks(0, || registry.queue().try_take(&Blocking, wanted));
        assert_eq!(taken, Ok(number));
    }
    registry.prune();
    assert_eq!(registry.stats().retained, 50);
}

#[test]
fn a_refused_id_is_refused_on_little_memory_too() {
    let registry = registry();
    let id = long("id");
    dispatch(&registry, 1, Some(&id), None).unwrap();
    let step = |registry: &Registry| match dispatch(registry, 1, Some(&id), None) {
        Err(Error::DuplicateId { id: known }) => {
            assert_eq!(known, id);
            Ok(())
        }
        refused => refused.map(drop),
    };
    assert!(until_enough(&registry, seen, step).1 > 0);
}

#[test]
fn what_was_left_is_restored_or_not() {
    let registry = registry();
    let mut refused = 0;
    for number in 0..400 {
        let key = long(&number.to_string());
        let id: Arc<str> = number.to_string().into();
        let step = |registry: &Registry| {
            let restored = with_blocks(usize::MAX, || Restored {
                id: id.clone(),
                row: None,
                owner: owner(&key),
                state: State::Completed,
                attempts: 2,
                is_exclusive: number % 2 == 0,
                payload: number,
                event: number,
            });
            match registry.restore(restored) {
                Ok(before) => Ok(before),
                Err(NotPut { payload, why: Why::NoMemory }) => {
                    assert_eq!(payload, number);
                    Err(Error::NoMemory)
                }
                Err(refused) => panic!("{refused:?}"),
            }
        };
        refused += until_enough(&registry, seen, step).1;
    }
    assert!(refused > 400);
    assert_eq!(registry.stats().undelivered, 400);
}

#[test]
fn what_is_withdrawn_or_given_up_leaves_no_place_reserved() {
    let registry = registry();
    for number in 0..100 {
        dispatch(&registry, number, None, None).unwrap();
        assert_eq!(registry.withdraw(|&payload| payload == number), Some(number));
    }
    assert!(registry.clear().is_empty());
    // One place is enough, as long as no event waits: with others reserved the table would grow.
    for number in 0..500 {
        let id = dispatch(&registry, number, None, None).unwrap();
        let end = end(&id, number);
        with_blocks(0, || registry.finish(&Blocking, end, |_| true, |_| {})).unwrap();
        assert_eq!(registry.queue().try_take(&Blocking, Wanted::default()), Ok(number));
    }
}

#[test]
fn a_dispatch_that_waits_is_accepted_or_not_and_its_turn_needs_no_memory() {
    let registry = registry();
    let mut refused = 0;
    let mut ids = Vec::new();
    for number in 0..300 {
        let step = |registry: &Registry| dispatch_under(1, registry, number, None, None);
        let (id, times) = until_enough(&registry, seen, step);
        refused += times;
        ids.push(id);
    }
    assert!(refused > 2 * 300);
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(registry.with(id, |record| record.state), Some(State::Running));
        let end = end(id, number);
        with_blocks(0, || registry.finish(&Blocking, end, |_| true, |_| {})).unwrap();
    }
    assert_eq!(registry.running(), 0);
    assert_eq!(registry.stats().undelivered, 300);
}
