//! The registry, its queue and its capacity against a map of records: where each event stands is
//! the same to the record, the counts, the queue's listings and the map, after every step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::delegation::{
    DelegationRegistry, Dispatched, End, NotPut, Request, Restored, Stats, Why,
};
use hermes_core::error::Error;
use hermes_core::event::{Owner, Route, Selector};
use hermes_core::queue::{CompletionQueue, LeaseId, Mailbox, Return, Selection};
use hermes_core::state::{Stage, State};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;
use proptest::prelude::*;

use super::config;
use super::queue::{ANY, woken};

type Registry = DelegationRegistry<u32, u32>;

const RETENTION: usize = 2;
const ATTEMPTS: u32 = 2;
const HOUR: Duration = Duration::from_secs(3600);
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
    Finish {
        id: usize,
        state: State,
        is_it: bool,
    },
    Take,
    /// Of what was taken.
    PutBack(usize),
    Lease,
    Ack(usize),
    GiveBack {
        lease: usize,
        how: Return,
        delayed: bool,
    },
    /// Every delay is over.
    Due,
    NewEpoch(usize),
    TakeOut {
        id: usize,
        waiting: bool,
    },
    Restore(usize),
    Wait(usize),
    Prune,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || any::<usize>();
    let is_it = || prop::bool::weighted(0.9);
    let elsewhere = prop_oneof![4 => Just(0), 2 => 0_usize..3, 1 => Just(usize::MAX)];
    let limit = prop_oneof![3 => 1_usize..5, 2 => Just(usize::MAX)];
    let own = prop::option::weighted(0.8, 0..IDS.len());
    let how = prop::sample::select(&[Return::Nack, Return::Defer][..]);
    prop_oneof![
        8 => (own, limit, elsewhere, 0..KEYS.len()).prop_map(|(id, limit, elsewhere, owner)| {
            Step::Dispatch { id, limit, elsewhere, owner }
        }),
        2 => (id(), is_it()).prop_map(|(id, is_it)| Step::Begin { id, is_it }),
        1 => id().prop_map(Step::Withdraw),
        8 => (id(), prop::sample::select(&State::ALL[..]), is_it())
            .prop_map(|(id, state, is_it)| Step::Finish { id, state, is_it }),
        3 => Just(Step::Take),
        3 => id().prop_map(Step::PutBack),
        6 => Just(Step::Lease),
        3 => id().prop_map(Step::Ack),
        5 => (id(), how, any::<bool>())
            .prop_map(|(lease, how, delayed)| Step::GiveBack { lease, how, delayed }),
        1 => Just(Step::Due),
        2 => (0..KEYS.len()).prop_map(Step::NewEpoch),
        2 => (id(), any::<bool>()).prop_map(|(id, waiting)| Step::TakeOut { id, waiting }),
        2 => id().prop_map(Step::Restore),
        2 => id().prop_map(Step::Wait),
        1 => Just(Step::Prune),
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
    stage: Option<Stage>,
    key: usize,
    epoch: u32,
    attempts: u32,
    is_begun: bool,
    /// When its event left, and whether it came back since: then its place is not promised.
    left_at: u32,
    is_circulated: bool,
}

impl Record {
    fn has_left(&self) -> bool {
        self.stage.is_some_and(Stage::has_left)
    }
}

#[derive(Default)]
struct Model {
    records: BTreeMap<String, Record>,
    stats: Stats,
    epochs: [u32; KEYS.len()],
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

    fn at(&self, wanted: impl Fn(Stage) -> bool) -> usize {
        self.records.values().filter(|record| record.stage.is_some_and(&wanted)).count()
    }

    fn stats(&self) -> Stats {
        Stats {
            running: self.live(),
            undelivered: self.at(Stage::is_unfinished),
            dead: self.at(|stage| stage == Stage::Dead),
            parked: self.at(|stage| stage == Stage::Parked),
            retained: self.at(Stage::has_left),
            ..self.stats
        }
    }

    fn of(&mut self, seq: u32) -> Option<&mut Record> {
        self.records.values_mut().find(|record| record.seq == seq)
    }

    /// Moves an event whose record is still there.
    fn enter(&mut self, seq: u32, stage: Stage) {
        let (now, epochs) = (self.tick(), self.epochs);
        let Some(record) = self.of(seq) else { return };
        if let Some(before) = record.stage {
            assert!(before.may_become(stage), "{before:?} to {stage:?}");
        }
        let is_stale = record.key > 0 && record.epoch < epochs[record.key];
        let is_back = stage == Stage::Waiting;
        record.is_circulated |= record.has_left();
        record.stage = Some(if is_back && is_stale { Stage::Parked } else { stage });
        if stage.has_left() {
            record.left_at = now;
        }
    }

    /// Which records may go, oldest delivery first, and whether that order is promised.
    fn prunable(&self) -> (Vec<u32>, bool) {
        let mut over: Vec<_> = self.records.values().filter(|record| record.has_left()).collect();
        over.sort_by_key(|record| record.left_at);
        let is_ordered = !over.iter().any(|record| record.is_circulated);
        (over.iter().map(|record| record.seq).collect(), is_ordered)
    }
}

struct Both {
    queue: Arc<CompletionQueue<u32>>,
    registry: Arc<Registry>,
    mailbox: Mailbox<u32>,
    model: Model,
    ids: Vec<String>,
    /// What was taken, each with the delegation's id.
    taken: Vec<(u32, String)>,
    leases: Vec<(LeaseId, u32, u32)>,
    waits: Vec<(Arc<Signal>, String, u32, bool)>,
}

impl Both {
    fn new() -> Self {
        let queue = Arc::new(CompletionQueue::new(0));
        let selection = Selection { max_attempts: Some(ATTEMPTS), ..Selection::default() };
        Self {
            registry: Registry::new(queue.clone(), RETENTION),
            mailbox: Mailbox::open(&queue, selection, None).unwrap(),
            queue,
            model: Model { epochs: [1; KEYS.len()], ..Model::default() },
            ids: IDS.map(str::to_owned).to_vec(),
            taken: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
        }
    }

    fn id(&self, at: usize) -> String {
        self.ids[at % self.ids.len()].clone()
    }

    fn id_of(&self, seq: u32) -> String {
        let mut records = self.model.records.iter();
        records.find(|(_, record)| record.seq == seq).map(|(id, _)| id.clone()).unwrap_or_default()
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Dispatch { id, limit, elsewhere, owner } => {
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
            Step::Finish { id, state, is_it } => self.finish(&self.id(id), state, is_it),
            Step::Take => {
                if let Ok(seq) = self.queue.try_take(&Blocking, ANY) {
                    self.taken.push((seq, self.id_of(seq)));
                    self.model.enter(seq, Stage::Delivered);
                }
            }
            Step::PutBack(place) if !self.taken.is_empty() => {
                let (seq, id) = self.taken.swap_remove(place % self.taken.len());
                // Not where a later delegation has its id: that one would come back.
                if self.model.records.get(&id).is_some_and(|record| record.seq == seq) {
                    let route = Route {
                        session_key: Some(KEYS[self.model.records[&id].key]),
                        kind: Some("async_delegation"),
                        delegation_id: Some(&id),
                        ..Route::default()
                    };
                    assert!(self.queue.try_put(seq, route).unwrap().is_none());
                    let record = self.model.of(seq).unwrap();
                    if record.has_left() {
                        record.attempts = 0;
                        self.model.enter(seq, Stage::Waiting);
                    }
                }
            }
            Step::Lease => {
                if let Ok(leased) = self.mailbox.collect(|&seq| seq) {
                    self.model.enter(leased.item, Stage::Leased);
                    if let Some(record) = self.model.of(leased.item) {
                        record.attempts += 1;
                        assert_eq!(record.attempts, leased.attempt);
                    }
                    self.leases.push((leased.id, leased.item, leased.attempt));
                }
            }
            Step::Ack(place) if !self.leases.is_empty() => {
                let (id, seq, _) = self.leases.swap_remove(place % self.leases.len());
                assert_eq!(self.queue.ack(&Blocking, id).item, Some(seq));
                self.model.enter(seq, Stage::Delivered);
            }
            Step::GiveBack { lease, how, delayed } if !self.leases.is_empty() => {
                let (id, seq, attempt) = self.leases.swap_remove(lease % self.leases.len());
                let delay = if delayed { HOUR } else { Duration::ZERO };
                assert!(self.queue.give_back(id, how, delay));
                // What its owner's new epoch parks has no attempt left to lose.
                let epochs = self.model.epochs;
                let is_stale =
                    |record: &Record| record.key > 0 && record.epoch < epochs[record.key];
                let is_stale = self.model.of(seq).is_some_and(|record| is_stale(record));
                let is_last = how == Return::Nack && attempt >= ATTEMPTS && !is_stale;
                let stage = match delayed {
                    _ if is_last => Stage::Dead,
                    true => Stage::Delayed,
                    false => Stage::Waiting,
                };
                self.model.enter(seq, stage);
                if let Some(record) = self.model.of(seq).filter(|_| how == Return::Defer) {
                    record.attempts -= 1;
                }
            }
            Step::Due => {
                self.queue.due(Instant::now() + 2 * HOUR);
                let records = self.model.records.values();
                let delayed = records.filter(|record| record.stage == Some(Stage::Delayed));
                let delayed: Vec<_> = delayed.map(|record| record.seq).collect();
                delayed.into_iter().for_each(|seq| self.model.enter(seq, Stage::Waiting));
            }
            Step::NewEpoch(key) => {
                self.queue.new_epoch(KEYS[key]).unwrap();
                self.model.epochs[key] += 1;
                let records = self.model.records.values();
                let own = records.filter(|record| record.key == key && key > 0);
                let waiting = own.filter(|record| record.stage == Some(Stage::Waiting));
                let waiting: Vec<_> = waiting.map(|record| record.seq).collect();
                waiting.into_iter().for_each(|seq| self.model.enter(seq, Stage::Parked));
            }
            Step::TakeOut { id, waiting } => {
                let id = self.id(id);
                let may = |record: &&Record| match record.stage {
                    Some(Stage::Dead | Stage::Parked) => true,
                    Some(Stage::Waiting | Stage::Delayed) => waiting,
                    _ => false,
                };
                let known = self.model.records.get(&id);
                let seq = known.filter(may).map(|record| record.seq);
                assert_eq!(self.registry.take_out(&id, waiting), seq);
                seq.into_iter().for_each(|seq| self.model.enter(seq, Stage::Dropped));
            }
            Step::Restore(id) => self.restore(&self.id(id)),
            Step::Wait(id) => {
                let id = self.id(id);
                let known = self.model.records.get(&id).filter(|record| record.stage.is_none());
                let seq = known.map(|record| record.seq);
                let signal = self.registry.ended_signal(&id);
                assert_eq!(signal.is_some(), seq.is_some());
                self.waits.extend(signal.zip(seq).map(|(signal, seq)| (signal, id, seq, false)));
            }
            Step::Prune => {
                let pruned = self.registry.prune();
                self.pruned(pruned);
            }
            Step::Clear => {
                let mut payloads = self.registry.clear();
                payloads.sort_unstable();
                let mut known: Vec<_> = self.model.records.values().map(|r| r.seq).collect();
                known.sort_unstable();
                assert_eq!(payloads, known);
                self.model.records.clear();
                self.model.stats = Stats::default();
            }
            Step::PutBack(_) | Step::Ack(_) | Step::GiveBack { .. } => {}
        }
        self.check();
    }

    fn dispatch(&mut self, id: Option<&str>, limit: usize, elsewhere: usize, key: usize) {
        let seq = self.model.tick();
        let running = self.model.live().saturating_add(elsewhere);
        let known = id.filter(|id| self.model.records.contains_key(*id));
        let expected = match known {
            Some(id) => Err(Error::DuplicateId { id: id.to_owned() }),
            None if running >= limit => Err(Error::AtCapacity { limit, running, queued: 0 }),
            None => Ok(()),
        };
        let owner = Owner { session_key: KEYS[key].into(), ..Owner::default() };
        let request = Request { id, limit, elsewhere, owner, ..Request::default() };
        match (self.registry.dispatch(&Blocking, request, seq), expected) {
            (Ok(Dispatched::New(made)), Ok(())) => {
                assert!(id.is_none_or(|id| *id == *made));
                let before = self.model.records.insert(
                    made.to_string(),
                    Record {
                        seq,
                        state: State::Running,
                        stage: None,
                        key,
                        epoch: self.model.epochs[key],
                        attempts: 0,
                        is_begun: false,
                        left_at: 0,
                        is_circulated: false,
                    },
                );
                assert!(before.is_none(), "a made id is a new one");
                self.model.stats.dispatched += 1;
                if id.is_none() {
                    self.ids.push(made.to_string());
                }
            }
            (Err(refused), Err(error)) => {
                assert_eq!((refused.payload, refused.error), (Some(seq), error));
                self.model.stats.refused += u64::from(known.is_none());
            }
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    fn withdraw(&mut self, id: &str) {
        let seq = self.model.records.get(id).map(|record| record.seq);
        let found = self.registry.withdraw(|&payload| Some(payload) == seq);
        let may = |record: &Record| !record.is_begun && !record.state.is_terminal();
        if self.model.records.get(id).is_some_and(may) {
            assert_eq!(found, seq);
            self.model.records.remove(id);
            self.model.stats.dispatched -= 1;
        } else {
            assert_eq!(found, None);
        }
    }

    fn finish(&mut self, id: &str, state: State, is_it: bool) {
        let record = self.model.records.get_mut(id);
        let may =
            |record: &&mut Record| is_it && !record.state.is_terminal() && state.is_terminal();
        let seq = record.filter(may).map(|record| {
            record.state = state;
            record.seq
        });
        self.model.stats.discarded += u64::from(seq.is_none());
        seq.into_iter().for_each(|seq| self.model.enter(seq, Stage::Waiting));
        let (event, text) = (seq.unwrap_or(u32::MAX), "".into());
        let end = End { id, state, event, text, completed_at: 0 };
        let finished = self.registry.finish(&Blocking, end, |_| is_it, |_| ());
        assert_eq!(finished.is_some(), seq.is_some());
        if let Some(finished) = finished {
            assert_eq!(finished.problem, None);
            self.pruned(finished.dropped);
        }
    }

    /// An event that left, or that nobody gets, is delivered again: its payload is a new one.
    fn restore(&mut self, id: &str) {
        let seq = self.model.tick();
        let known = self.model.records.get(id);
        let (key, before) = known.map_or((1, None), |record| (record.key, Some(record.seq)));
        let runs = known.is_some_and(|record| record.stage.is_none_or(Stage::is_unfinished));
        // What the queue still keeps of it is taken out first, as for a decision by hand.
        if let Some(event) = self.registry.take_out(id, false) {
            self.model.enter(event, Stage::Dropped);
        }
        let restored = Restored {
            id: id.into(),
            row: None,
            owner: Owner { session_key: KEYS[key].into(), ..Owner::default() },
            state: State::Lost,
            attempts: 0,
            is_exclusive: false,
            payload: seq,
            event: seq,
        };
        if runs {
            // One that waits is that of the restored delegation from now on, with its own event.
            let stage = self.model.records[id].stage;
            if stage.is_none() {
                let refused = NotPut { payload: seq, why: Why::Runs };
                assert_eq!(self.registry.restore(restored), Err(refused));
            }
            return;
        }
        assert_eq!(self.registry.restore(restored), Ok(before));
        self.model.records.insert(
            id.to_owned(),
            Record {
                seq,
                state: State::Lost,
                stage: Some(Stage::Waiting),
                key,
                epoch: self.model.epochs[key],
                attempts: 0,
                is_begun: true,
                left_at: 0,
                is_circulated: false,
            },
        );
    }

    fn pruned(&mut self, pruned: Vec<u32>) {
        let (mut oldest, is_ordered) = self.model.prunable();
        assert_eq!(pruned.len(), oldest.len().saturating_sub(RETENTION));
        if is_ordered {
            oldest.truncate(pruned.len());
            assert_eq!(pruned, oldest);
        }
        assert!(pruned.iter().all(|seq| oldest.contains(seq)), "only a delivered one may go");
        self.model.records.retain(|_, record| !pruned.contains(&record.seq));
    }

    fn check(&mut self) {
        let Self { queue, registry, model, waits, .. } = self;
        assert_eq!(registry.stats(), model.stats());
        assert_eq!(registry.running(), model.live());
        let mut records: Vec<_> = model.records.iter().collect();
        records.sort_by_key(|(_, record)| record.seq);
        let mut shown = registry.select(|record| {
            Some((record.id().to_string(), record.payload, record.state, record.delivery()))
        });
        shown.sort_by_key(|(_, payload, ..)| *payload);
        let known: Vec<_> = (records.iter())
            .map(|(id, record)| ((*id).clone(), record.seq, record.state, record.stage.into()))
            .collect();
        assert_eq!(shown, known);
        for (id, record) in &records {
            assert_eq!(registry.stage(id), record.stage, "{id}");
        }
        // What the queue lists is what the records say; the events of a cleared registry aside.
        let listed = |events: Vec<u32>, stage: Stage| {
            let mut own: Vec<_> = events
                .into_iter()
                .filter(|seq| records.iter().any(|(_, r)| r.seq == *seq))
                .collect();
            own.sort_unstable();
            own.dedup();
            let at = records.iter().filter(|(_, record)| record.stage == Some(stage));
            (own, at.map(|(_, record)| record.seq).collect::<Vec<_>>())
        };
        let (parked, known) = listed(queue.parked(|&seq| seq), Stage::Parked);
        assert_eq!(parked, known);
        let (dead, known) = listed(queue.dead_letters(|&seq| seq), Stage::Dead);
        assert_eq!(dead, known);
        let (waiting, known) = listed(queue.pending(None, |&seq| seq), Stage::Waiting);
        assert!(known.iter().all(|seq| waiting.contains(seq)));
        for (place, key) in KEYS.into_iter().enumerate() {
            let selector = Selector { session_key: key.into(), ..Selector::default() };
            let of_key = |record: &Record| place > 0 && record.key == place;
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
            let is_over = record.is_none_or(|record| record.stage.is_some());
            assert_eq!(*is_woken, is_over, "who waits for {id} hears of its end, and then only");
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    /// F7, F8, F11, F45: one end each, as many permits as run, only the delivered are let go, and one
    /// state of each event.
    #[test]
    fn f7_f8_f11_f45_the_registry_does_what_a_map_of_records_does(
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut both = Both::new();
        steps.into_iter().for_each(|step| both.take(step));
        both.check();
    }
}
