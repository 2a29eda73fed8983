//! Waiting for capacity: fair between owners, never more than there is, and each one is begun, ended
//! or taken back, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use hermes_core::delegation::{Dispatched, Request};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Selector};
use hermes_core::ledger::Outcome;
use hermes_core::state::State;
use hermes_core::sync::wait::Blocking;
use proptest::prelude::*;

use super::config;
use super::registry::{Registry, end, finish, registry, request};
use super::scripted::Scripted;

/// One that waits if it has to, with two others at most.
fn of<'a>(id: &'a str, key: &str, permits: u32) -> Request<'a> {
    let owner = Owner { session_key: key.into(), ..Owner::default() };
    let max_queued = Some(2);
    Request { id: Some(id), limit: 2, permits, owner, max_queued, ..Request::default() }
}

fn state(registry: &Registry, id: &str) -> State {
    registry.with(id, |record| record.state).unwrap()
}

/// The ids of those whose workers are to be told.
fn started(registry: &Registry) -> Vec<String> {
    let next = || registry.next_started(|record| record.id().to_string());
    std::iter::from_fn(next).collect()
}

#[test]
fn f6_what_does_not_fit_waits_and_a_full_line_refuses() {
    let (_, registry) = registry(0);
    for id in ["a", "b", "c", "d"] {
        request(&registry, of(id, "k", 1), 0).unwrap();
    }
    assert_eq!([state(&registry, "b"), state(&registry, "c")], [State::Running, State::Queued]);
    assert_eq!(["b", "c", "d"].map(|id| registry.position(id)), [None, Some(1), Some(2)]);
    let refused = request(&registry, of("e", "k", 1), 7).unwrap_err();
    let error = Error::AtCapacity { limit: 2, running: 2, queued: 2 };
    assert_eq!((refused.payload, refused.error), (Some(7), error));
    let rejecting = Request { max_queued: None, ..of("e", "k", 1) };
    assert!(request(&registry, rejecting, 7).is_err());
    let live = registry.live_work(&Selector::default());
    assert_eq!((live.queued, live.running), (2, 2));
    assert_eq!((registry.stats().queued, registry.stats().refused), (2, 2));
    assert_eq!(registry.begin("c", |_| true), None, "it waits");
}

#[test]
fn whoever_ends_says_that_a_worker_is_to_be_told() {
    let (_, registry) = registry(9);
    for id in ["a", "b", "c", "d"] {
        request(&registry, of(id, "k", 1), 0).unwrap();
    }
    let ended = registry.finish(&Blocking, end("a", State::Completed), |_| true, |_| ());
    assert_eq!((ended.unwrap().started, registry.started()), (1, 1));
    assert_eq!(state(&registry, "c"), State::Running);
    assert_eq!(started(&registry), ["c"]);
    assert_eq!(registry.begin("c", |_| true), Some(true));
    // One that ends before a worker was told is none to be told of.
    assert!(finish(&registry, "b", State::Completed));
    assert!(finish(&registry, "d", State::Interrupted));
    assert_eq!((registry.started(), registry.running()), (0, 1));
}

#[test]
fn one_that_waits_may_end_only_as_if_it_had_never_begun() {
    let (queue, registry) = registry(9);
    for id in ["a", "b", "c", "d"] {
        request(&registry, of(id, "k", 1), 0).unwrap();
    }
    for wrong in [State::Completed, State::Error, State::Lost, State::Running] {
        assert!(!finish(&registry, "c", wrong), "{wrong}");
    }
    assert!(registry.leave_line("c", |_| true));
    assert_eq!(registry.position("d"), Some(1));
    assert!(finish(&registry, "a", State::Completed));
    assert_eq!(started(&registry), ["d"], "it is not begun any more");
    assert!(registry.leave_line("c", |_| true), "until it ends");
    assert!(finish(&registry, "c", State::Interrupted));
    assert!(!registry.leave_line("c", |_| true) && !registry.leave_line("d", |_| true));
    assert_eq!((queue.len(), registry.running(), registry.stats().queued), (2, 2, 0));
}

#[test]
fn f7_one_with_several_permits_waits_for_as_many_and_is_not_passed() {
    let (_, registry) = registry(0);
    request(&registry, of("a", "k", 1), 0).unwrap();
    request(&registry, of("wide", "k", 2), 0).unwrap();
    request(&registry, of("small", "other", 1), 0).unwrap();
    assert_eq!((registry.running(), registry.position("small")), (1, Some(2)));
    let too_many = request(&registry, of("e", "k", 3), 0).unwrap_err().error;
    assert_eq!(too_many, Error::TooManyPermits { permits: 3, limit: 2 });
    finish(&registry, "a", State::Completed);
    assert_eq!((started(&registry), registry.running()), (vec!["wide".to_owned()], 1));
    finish(&registry, "wide", State::Completed);
    assert_eq!(started(&registry), ["small"]);
}

#[test]
fn what_leaves_from_the_front_lets_those_behind_it_through() {
    let (_, registry) = registry(0);
    request(&registry, of("a", "k", 1), 0).unwrap();
    request(&registry, of("wide", "k", 2), 0).unwrap();
    request(&registry, of("small", "k", 1), 1).unwrap();
    assert_eq!(registry.withdraw(|payload| *payload == 1), Some(1));
    request(&registry, of("small", "k", 1), 0).unwrap();
    assert!(registry.leave_line("wide", |_| true));
    assert_eq!(started(&registry), ["small"]);
}

#[test]
fn more_permits_let_those_through_that_wait() {
    let (_, registry) = registry(0);
    for id in ["a", "b", "c", "d"] {
        request(&registry, of(id, "k", 1), 0).unwrap();
    }
    assert_eq!(registry.set_limit(3), 1);
    assert_eq!((started(&registry), registry.set_limit(0)), (vec!["c".to_owned()], 0));
    // Nobody waits for what runs elsewhere: its end is not heard of here.
    let elsewhere = Request { elsewhere: 1, ..of("e", "k", 1) };
    assert!(request(&registry, elsewhere, 0).is_err());
    registry.clear();
    assert_eq!((registry.stats().queued, registry.running()), (0, 0));
}

/// It must not run before its row is written, nor keep its place from others meanwhile.
#[test]
fn f3_one_comes_into_the_line_once_its_row_is_written() {
    let (_, registry) = registry(0);
    let ledger = Scripted::prompt();
    let with_row = |id| Request { ledger: Some(ledger.clone()), limit: 1, ..of(id, "k", 1) };
    request(&registry, Request { limit: 1, ..of("a", "k", 1) }, 0).unwrap();
    let begun = registry.begin_dispatch(with_row("b"), 1, |ledger, row| ledger.submit(row));
    let Ok(hermes_core::delegation::Begun::Writing(b)) = begun else { panic!("it has a row") };
    assert!(b.is_queued());
    request(&registry, Request { limit: 1, ..of("c", "k", 1) }, 2).unwrap();
    assert_eq!((registry.position("b"), registry.position("c")), (None, Some(1)));
    assert_eq!(registry.stats().queued, 2);
    assert!(finish(&registry, "a", State::Completed));
    assert_eq!(started(&registry), ["c"]);
    let dispatched = registry.end_dispatch(b, Ok(Outcome::Done)).unwrap();
    assert_eq!(dispatched, Dispatched::Queued("b".into()));
    assert_eq!(registry.position("b"), Some(1));
    assert!(finish(&registry, "c", State::Completed));
    assert_eq!(started(&registry), ["b"]);
    assert_eq!(registry.begin_row(&Blocking, "b"), Ok(true));
    assert_eq!(ledger.told(), ["dispatch b", "begin b"]);
    // One that could not be written leaves nothing.
    let begun = registry.begin_dispatch(with_row("d"), 1, |ledger, row| ledger.submit(row));
    let Ok(hermes_core::delegation::Begun::Writing(d)) = begun else { panic!("it has a row") };
    assert!(registry.end_dispatch(d, Err(Error::LedgerClosed)).is_err());
    assert_eq!((registry.stats().queued, registry.started()), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Dispatch { key: usize, permits: u32, waits: bool },
    Finish(usize),
    Cancel(usize),
    Withdraw(usize),
    SetLimit(usize),
}

const KEYS: [&str; 3] = ["", "x", "y"];
const LIMIT: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS.len(), 0..=LIMIT as u32, prop::bool::weighted(0.9))
            .prop_map(|(key, permits, waits)| Step::Dispatch { key, permits, waits }),
        5 => any::<usize>().prop_map(Step::Finish),
        2 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Withdraw),
        1 => (1..=LIMIT).prop_map(Step::SetLimit),
    ]
}

#[derive(Debug)]
struct One {
    key: usize,
    permits: u32,
    state: State,
}

struct Test {
    registry: Arc<Registry>,
    limit: usize,
    all: BTreeMap<u32, One>,
    /// For each pair of keys: how often the first has had a turn since the second has waited and had
    /// none.
    passed: [[u32; KEYS.len()]; KEYS.len()],
    taken: usize,
    next: u32,
}

impl Test {
    fn ids(&self, state: State) -> Vec<u32> {
        self.all.iter().filter(|(_, one)| one.state == state).map(|(id, _)| *id).collect()
    }

    fn some(&self, state: State, which: usize) -> Option<u32> {
        let ids = self.ids(state);
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    fn taken(&self) -> usize {
        let running = self.ids(State::Running);
        running.iter().map(|id| self.all[id].permits.max(1) as usize).sum()
    }

    fn waits(&self, key: usize) -> bool {
        self.all.values().any(|one| one.key == key && one.state == State::Queued)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Dispatch { key, permits, waits } => self.dispatch(key, permits, waits),
            Step::Finish(which) => {
                if let Some(id) = self.some(State::Running, which) {
                    assert!(finish(&self.registry, &id.to_string(), State::Completed));
                    self.all.remove(&id);
                }
            }
            Step::Cancel(which) => {
                if let Some(id) = self.some(State::Queued, which) {
                    assert!(self.registry.leave_line(&id.to_string(), |_| true));
                    assert!(finish(&self.registry, &id.to_string(), State::Interrupted));
                    self.all.remove(&id);
                }
            }
            Step::Withdraw(which) => {
                if let Some(id) = self.some(State::Queued, which) {
                    assert_eq!(self.registry.withdraw(|payload| *payload == id), Some(id));
                    self.all.remove(&id);
                }
            }
            Step::SetLimit(limit) => {
                self.limit = limit;
                self.registry.set_limit(limit);
            }
        }
        self.hand_on();
        self.check();
    }

    fn dispatch(&mut self, key: usize, permits: u32, waits: bool) {
        let (id, limit) = (self.next.to_string(), self.limit);
        let owner = Owner { session_key: KEYS[key].into(), ..Owner::default() };
        let max_queued = waits.then_some(6);
        let request =
            Request { id: Some(&id), limit, permits, owner, max_queued, ..Request::default() };
        let (queued, fits) = (self.ids(State::Queued).len(), self.taken());
        let fits = queued == 0 && fits + permits.max(1) as usize <= limit;
        let state = match self.registry.dispatch(&Blocking, request, self.next) {
            Ok(Dispatched::New(_)) => {
                assert!(fits);
                State::Running
            }
            Ok(Dispatched::Queued(_)) => {
                assert!(!fits && waits && queued < 6);
                State::Queued
            }
            Ok(Dispatched::Existing(_)) => panic!("it has no key"),
            Err(refused) if permits as usize > limit => {
                assert_eq!(refused.error, Error::TooManyPermits { permits, limit });
                return;
            }
            Err(refused) => {
                assert!(!fits && (!waits || queued == 6), "{refused:?}");
                return;
            }
        };
        self.all.insert(self.next, One { key, permits, state });
        self.next += 1;
    }

    /// Takes note of those whose turn has come: the oldest of their keys, and no key twice before
    /// another that waits.
    fn hand_on(&mut self) {
        while let Some(id) = self.registry.next_started(|record| record.payload) {
            assert_eq!(self.registry.begin(&id.to_string(), |_| true), Some(true));
            let key = self.all[&id].key;
            let mut own = self.all.iter().filter(|(_, one)| one.key == key);
            let first = own.find(|(_, one)| one.state == State::Queued).unwrap().0;
            assert_eq!(*first, id, "each key's own in their order");
            self.all.get_mut(&id).unwrap().state = State::Running;
            for other in (0..KEYS.len()).filter(|other| *other != key) {
                self.passed[other][key] = 0;
                self.passed[key][other] += 1;
                // Whoever has waited since before the last turn of this key has had one since.
                assert!(self.passed[key][other] <= 1 || !self.waits(other), "they take turns");
            }
        }
        for other in (0..KEYS.len()).filter(|other| !self.waits(*other)).collect::<Vec<_>>() {
            self.passed.iter_mut().for_each(|passed| passed[other] = 0);
        }
    }

    fn check(&mut self) {
        let (before, taken) = (self.taken, self.taken());
        self.taken = taken;
        let is_alone = self.ids(State::Running).len() == 1;
        assert!(self.taken <= self.limit.max(before) || is_alone, "there are no more");
        let waiting = self.ids(State::Queued);
        let mut places: Vec<_> = waiting
            .iter()
            .map(|id| (self.registry.position(&id.to_string()).unwrap(), *id))
            .collect();
        places.sort_unstable();
        assert!(places.iter().map(|(place, _)| *place).eq(1..=waiting.len()));
        if let Some((_, first)) = places.first() {
            let permits = self.all[first].permits.max(1) as usize;
            assert!(self.taken() + permits > self.limit.max(permits), "a place is left free");
        }
        assert_eq!(self.registry.running(), self.ids(State::Running).len());
        assert_eq!(self.registry.stats().queued, waiting.len());
    }
}

proptest! {
    #![proptest_config(config(512))]

    /// F6, F7: with any order of dispatches, ends, cancels and limits.
    #[test]
    fn f7_places_are_handed_on_in_turns_and_there_are_never_more(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let (_, registry) = registry(0);
        let passed = Default::default();
        let mut test = Test { registry, limit: 2, all: BTreeMap::new(), passed, taken: 0, next: 0 };
        test.registry.set_limit(2);
        steps.iter().for_each(|step| test.take(step));
        // All of them end: none is left behind, and every place comes back.
        while let Some(id) = test.some(State::Running, 0) {
            assert!(finish(&test.registry, &id.to_string(), State::Completed));
            test.all.remove(&id);
            test.hand_on();
        }
        assert_eq!((test.all.len(), test.registry.running()), (0, 0));
    }
}
