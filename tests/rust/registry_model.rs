//! The registry and its capacity against a map of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use hermes_core::error::Error;
use hermes_core::event::{Owner, Selector};
use hermes_core::queue::DeliveryObserver;
use hermes_core::registry::{Delivery, State, Stats};
use hermes_core::wake::Signal;
use proptest::prelude::*;

use super::config;
use super::queue::woken;
use super::registry::Registry;

const RETENTION: usize = 2;
const IDS: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: [&str; 3] = ["", "x", "y"];

#[derive(Debug, Clone)]
enum Step {
    Dispatch {
        id: Option<usize>,
        limit: usize,
        elsewhere: usize,
        owner: usize,
    },
    /// `is_it`: whether the caller means this record, not a later one with its id.
    Begin {
        id: usize,
        is_it: bool,
    },
    Withdraw(usize),
    /// The steps `during` come between the transition and the end of the call.
    Finish {
        id: usize,
        state: State,
        is_it: bool,
        during: Vec<Step>,
    },
    Taken(usize),
    Dropped(usize),
    Returned(usize),
    Wait(usize),
    Prune,
    Clear,
}

fn step(during: impl Strategy<Value = Vec<Step>> + 'static) -> impl Strategy<Value = Step> {
    let id = || any::<usize>();
    let is_it = || prop::bool::weighted(0.9);
    let elsewhere = prop_oneof![4 => Just(0), 2 => 0_usize..3, 1 => Just(usize::MAX)];
    let limit = prop_oneof![3 => 1_usize..5, 2 => Just(usize::MAX)];
    let own = prop::option::weighted(0.8, 0..IDS.len());
    prop_oneof![
        8 => (own, limit, elsewhere, 0..KEYS.len()).prop_map(|(id, limit, elsewhere, owner)| {
            Step::Dispatch { id, limit, elsewhere, owner }
        }),
        3 => (id(), is_it()).prop_map(|(id, is_it)| Step::Begin { id, is_it }),
        2 => id().prop_map(Step::Withdraw),
        6 => (id(), prop::sample::select(&State::ALL[..]), is_it(), during).prop_map(
            |(id, state, is_it, during)| Step::Finish { id, state, is_it, during }
        ),
        6 => id().prop_map(Step::Taken),
        1 => id().prop_map(Step::Dropped),
        3 => id().prop_map(Step::Returned),
        3 => id().prop_map(Step::Wait),
        3 => Just(Step::Prune),
        1 => prop::bool::weighted(0.2).prop_map(|is_clear| match is_clear {
            true => Step::Clear,
            false => Step::Prune,
        }),
    ]
}

#[derive(Debug)]
struct Record {
    seq: u32,
    state: State,
    delivery: Delivery,
    owner: Owner,
    is_begun: bool,
    /// Puts of the event, less takes.
    in_queue: isize,
    /// When it was delivered, and whether it came back since: then its place is not promised.
    delivered_at: u32,
    is_circulated: bool,
    is_published: bool,
}

#[derive(Default)]
struct Model {
    records: BTreeMap<String, Record>,
    stats: Stats,
    clock: u32,
}

impl Model {
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        self.clock
    }

    fn live(&self) -> usize {
        self.records.values().filter(|record| !record.state.is_terminal()).count()
    }

    fn with_delivery(&self, wanted: &[Delivery]) -> usize {
        self.records.values().filter(|record| wanted.contains(&record.delivery)).count()
    }

    fn retained(&self) -> usize {
        self.with_delivery(&[Delivery::Delivered, Delivery::Dropped])
    }

    fn stats(&self) -> Stats {
        Stats {
            running: self.live(),
            undelivered: self.with_delivery(&[Delivery::Pending]),
            retained: self.retained(),
            ..self.stats
        }
    }

    fn left(&mut self, id: &str, delivery: Delivery) {
        let now = self.tick();
        let Some(record) = self.records.get_mut(id) else { return };
        record.in_queue -= 1;
        if record.delivery == Delivery::Pending && record.in_queue <= 0 {
            record.delivery = delivery;
            record.delivered_at = now;
        }
    }

    fn returned(&mut self, id: &str) {
        let Some(record) = self.records.get_mut(id) else { return };
        record.in_queue += 1;
        if record.delivery != Delivery::NotYet && record.in_queue > 0 {
            record.is_circulated |= record.delivery != Delivery::Pending;
            record.delivery = Delivery::Pending;
        }
    }

    /// Which records may go, oldest delivery first, and whether that order is promised.
    fn prunable(&self) -> (Vec<u32>, bool) {
        let over =
            |record: &&Record| !matches!(record.delivery, Delivery::NotYet | Delivery::Pending);
        let mut over: Vec<_> = self.records.values().filter(over).collect();
        over.sort_by_key(|record| record.delivered_at);
        let is_ordered = !over.iter().any(|record| record.is_circulated);
        (over.iter().map(|record| record.seq).collect(), is_ordered)
    }
}

struct Both {
    registry: Arc<Registry>,
    model: Model,
    ids: Vec<String>,
    waits: Vec<(Arc<Signal>, String, u32, bool)>,
}

impl Both {
    fn id(&self, at: usize) -> String {
        self.ids[at % self.ids.len()].clone()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Dispatch { id, limit, elsewhere, owner } => {
                let owner = Owner { session_key: KEYS[owner].to_owned(), ..Owner::default() };
                self.dispatch(id.map(|id| IDS[id]), limit, elsewhere, owner);
            }
            Step::Begin { id, is_it } => {
                let id = self.id(id);
                let record = self.model.records.get_mut(&id);
                let record = record.filter(|record| is_it && !record.state.is_terminal());
                let is_first = record.map(|record| !std::mem::replace(&mut record.is_begun, true));
                assert_eq!(self.registry.begin(&id, |_| is_it), is_first);
            }
            Step::Withdraw(id) => self.withdraw(&self.id(id)),
            Step::Finish { id, state, is_it, during } => {
                self.finish(&self.id(id), state, is_it, during);
            }
            Step::Taken(id) => {
                let id = self.id(id);
                self.registry.taken(&id);
                self.model.left(&id, Delivery::Delivered);
            }
            Step::Dropped(id) => {
                let id = self.id(id);
                self.registry.dropped(&id);
                self.model.left(&id, Delivery::Dropped);
            }
            Step::Returned(id) => {
                let id = self.id(id);
                self.registry.returned(&id);
                self.model.returned(&id);
            }
            Step::Wait(id) => {
                let id = self.id(id);
                let seq = self.model.records.get(&id).filter(|record| !record.is_published);
                let seq = seq.map(|record| record.seq);
                let signal = self.registry.ended_signal(&id);
                assert_eq!(signal.is_some(), seq.is_some());
                self.waits.extend(signal.zip(seq).map(|(signal, seq)| (signal, id, seq, false)));
            }
            Step::Prune => self.prune(),
            Step::Clear => {
                let mut payloads = self.registry.clear();
                payloads.sort_unstable();
                let mut known: Vec<_> = self.model.records.values().map(|r| r.seq).collect();
                known.sort_unstable();
                assert_eq!(payloads, known);
                self.model.records.clear();
                self.model.stats = Stats::default();
            }
        }
        self.check();
    }

    fn dispatch(&mut self, id: Option<&str>, limit: usize, elsewhere: usize, owner: Owner) {
        let seq = self.model.tick();
        let running = self.model.live().saturating_add(elsewhere);
        let known = id.filter(|id| self.model.records.contains_key(*id));
        let expected = match known {
            Some(id) => Err(Error::DuplicateId { id: id.to_owned() }),
            None if running >= limit => Err(Error::AtCapacity { limit, running }),
            None => Ok(()),
        };
        match (self.registry.dispatch(id, limit, elsewhere, owner.clone(), seq), expected) {
            (Ok(made), Ok(())) => {
                assert!(id.is_none_or(|id| *id == *made));
                let record = Record {
                    seq,
                    state: State::Running,
                    delivery: Delivery::NotYet,
                    owner,
                    is_begun: false,
                    in_queue: 0,
                    delivered_at: 0,
                    is_circulated: false,
                    is_published: false,
                };
                let before = self.model.records.insert(made.to_string(), record);
                assert!(before.is_none(), "a made id is a new one");
                self.model.stats.dispatched += 1;
                if id.is_none() {
                    self.ids.push(made.to_string());
                }
            }
            (Err(refused), Err(error)) => {
                assert_eq!((refused.payload, refused.error), (seq, error));
                self.model.stats.refused += u64::from(known.is_none());
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    fn withdraw(&mut self, id: &str) {
        let seq = self.model.records.get(id).map(|record| record.seq);
        let found = self.registry.withdraw(|record| Some(record.payload) == seq);
        let may = |record: &Record| !record.is_begun && !record.state.is_terminal();
        if self.model.records.get(id).is_some_and(may) {
            assert_eq!(found, seq);
            self.model.records.remove(id);
            self.model.stats.dispatched -= 1;
        } else {
            assert_eq!(found, None);
        }
    }

    fn finish(&mut self, id: &str, state: State, is_it: bool, during: Vec<Step>) {
        let record = self.model.records.get_mut(id);
        let may =
            |record: &&mut Record| is_it && !record.state.is_terminal() && state.is_terminal();
        let seq = record.filter(may).map(|record| {
            record.state = state;
            record.delivery = Delivery::Pending;
            record.in_queue = record.in_queue.max(0) + 1;
            record.seq
        });
        self.model.stats.discarded += u64::from(seq.is_none());
        let registry = self.registry.clone();
        let mut is_published = false;
        let ended = registry.finish_if(
            id,
            state,
            |_| is_it,
            || {
                is_published = true;
                self.check();
                during.into_iter().for_each(|step| self.take(step));
            },
        );
        assert_eq!((ended, is_published), (seq.is_some(), seq.is_some()));
        let record = self.model.records.get_mut(id).filter(|record| Some(record.seq) == seq);
        record.into_iter().for_each(|record| record.is_published = true);
    }

    fn prune(&mut self) {
        let (mut oldest, is_ordered) = self.model.prunable();
        let pruned = self.registry.prune();
        assert_eq!(pruned.len(), oldest.len().saturating_sub(RETENTION));
        if is_ordered {
            oldest.truncate(pruned.len());
            assert_eq!(pruned, oldest);
        }
        assert!(pruned.iter().all(|seq| oldest.contains(seq)), "only a delivered one may go");
        self.model.records.retain(|_, record| !pruned.contains(&record.seq));
    }

    fn check(&mut self) {
        let Self { registry, model, waits, .. } = self;
        assert_eq!(registry.stats(), model.stats());
        assert_eq!(registry.running(), model.live());
        let mut records: Vec<_> = model.records.iter().collect();
        records.sort_by_key(|(_, record)| record.seq);
        let shown = registry.select(|record| {
            Some((record.id.to_string(), record.payload, record.state, record.delivery))
        });
        let known: Vec<_> = (records.iter())
            .map(|(id, record)| ((*id).clone(), record.seq, record.state, record.delivery))
            .collect();
        assert_eq!(shown, known);
        for key in KEYS {
            let selector = Selector { session_key: key.to_owned(), ..Selector::default() };
            let of_key = |record: &Record| !key.is_empty() && record.owner.session_key == key;
            let known: Vec<_> = (records.iter())
                .filter(|(_, record)| of_key(record) && !record.state.is_terminal())
                .map(|(_, record)| record.seq)
                .collect();
            for all_fields in [false, true] {
                assert_eq!(registry.running_of(&selector, all_fields, |r| r.payload), known);
            }
        }
        for (signal, id, seq, is_woken) in waits {
            *is_woken |= woken(signal);
            let record = model.records.get(id).filter(|record| record.seq == *seq);
            let is_over = record.is_none_or(|record| record.is_published);
            assert_eq!(*is_woken, is_over, "who waits for {id} hears of its end, and then only");
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    /// F7, F8, F11: one end each, as many permits as run, and only the delivered are let go.
    #[test]
    fn f7_f8_f11_the_registry_does_what_a_map_of_records_does(
        steps in prop::collection::vec(
            step(prop::collection::vec(step(Just(Vec::new())), 0..3)),
            1..80,
        ),
    ) {
        let mut both = Both {
            registry: Arc::new(Registry::new(RETENTION)),
            model: Model::default(),
            ids: IDS.map(str::to_owned).to_vec(),
            waits: Vec::new(),
        };
        steps.into_iter().for_each(|step| both.take(step));
        both.check();
    }
}
