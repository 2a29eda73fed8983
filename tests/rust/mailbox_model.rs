//! Mailboxes, leases and epochs against a plain list, over random steps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route};
use hermes_core::queue::{
    Collector, CompletionQueue, Handle, LeaseId, Leased, Mailbox, Return, Selection, Wanted,
};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::timer::Due;
use hermes_core::sync::wait::Blocking;
use proptest::prelude::*;

use super::queue::woken;

const KEYS: [&str; 3] = ["", "a", "b"];
const KINDS: [&str; 2] = ["async_delegation", "watch_match"];
const LONG: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone)]
enum Step {
    Put { key: usize, kind: usize },
    Open { key: usize, kind: Option<usize>, takes_nobodys: bool, ends: bool },
    AddKey { mailbox: usize, key: usize },
    RemoveKey { mailbox: usize, key: usize },
    Close { mailbox: usize },
    Collect { mailbox: usize },
    Ack { lease: usize },
    GiveBack { lease: usize, is_attempt: bool, later: bool },
    Expire,
    Take { key: Option<usize> },
    NewEpoch { key: usize },
    Wait { mailbox: usize },
    Look { waiter: usize },
    Leave { waiter: usize },
    AllLook,
}

fn step() -> impl Strategy<Value = Step> {
    let (key, index) = (0..KEYS.len(), 0..4_usize);
    let kind = 0..KINDS.len();
    prop_oneof![
        6 => (key.clone(), kind.clone()).prop_map(|(key, kind)| Step::Put { key, kind }),
        2 => (1..KEYS.len(), prop::option::of(kind), any::<bool>(), any::<bool>()).prop_map(
            |(key, kind, takes_nobodys, ends)| Step::Open { key, kind, takes_nobodys, ends }
        ),
        1 => (index.clone(), 1..KEYS.len())
            .prop_map(|(mailbox, key)| Step::AddKey { mailbox, key }),
        1 => (index.clone(), 1..KEYS.len())
            .prop_map(|(mailbox, key)| Step::RemoveKey { mailbox, key }),
        1 => index.clone().prop_map(|mailbox| Step::Close { mailbox }),
        6 => index.clone().prop_map(|mailbox| Step::Collect { mailbox }),
        3 => index.clone().prop_map(|lease| Step::Ack { lease }),
        4 => index.clone().prop_map(|mailbox| Step::Wait { mailbox }),
        3 => index.clone().prop_map(|waiter| Step::Look { waiter }),
        2 => index.clone().prop_map(|waiter| Step::Leave { waiter }),
        4 => (index, any::<bool>(), any::<bool>())
            .prop_map(|(lease, is_attempt, later)| Step::GiveBack { lease, is_attempt, later }),
        1 => Just(Step::Expire),
        2 => Just(Step::AllLook),
        1 => prop::option::of(key.clone()).prop_map(|key| Step::Take { key }),
        1 => (1..KEYS.len()).prop_map(|key| Step::NewEpoch { key }),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Waiting,
    /// Handed out; whether that ends by itself.
    Leased(bool),
    /// Given back for later.
    Delayed,
    Parked,
    Gone,
}

#[derive(Debug)]
struct Event {
    key: usize,
    kind: usize,
    place: Place,
    attempts: u32,
    epoch: Option<u32>,
}

struct Box {
    mailbox: Arc<Mailbox<usize>>,
    keys: BTreeSet<usize>,
    kind: Option<usize>,
    takes_nobodys: bool,
    ends: bool,
}

impl Box {
    fn takes(&self, event: &Event) -> bool {
        let is_own = self.keys.contains(&event.key) && self.kind.is_none_or(|k| k == event.kind);
        is_own || (self.takes_nobodys && event.key == 0 && event.kind == 1)
    }
}

/// Somebody who waits at a mailbox.
struct Waiter {
    collector: Collector<usize>,
    mailbox: Arc<Mailbox<usize>>,
    is_woken: bool,
}

/// The queue and the list that says what it should do. An event's number is its place in the list.
struct Run {
    queue: Arc<CompletionQueue<usize>>,
    events: Vec<Event>,
    boxes: Vec<Box>,
    waiters: Vec<Waiter>,
    leases: Vec<(LeaseId, usize)>,
    epochs: [u32; KEYS.len()],
}

impl Run {
    fn new() -> Self {
        let queue = Arc::new(CompletionQueue::new(0));
        let epochs = [1; KEYS.len()];
        Self { queue, events: vec![], boxes: vec![], waiters: vec![], leases: vec![], epochs }
    }

    fn first(&self, takes: impl Fn(&Event) -> bool) -> Option<usize> {
        self.events.iter().position(|event| event.place == Place::Waiting && takes(event))
    }

    /// Lets an event wait again, or parks it.
    fn settle(&mut self, item: usize) {
        let event = &mut self.events[item];
        let is_stale = event.epoch.is_some_and(|epoch| epoch < self.epochs[event.key]);
        event.place = if is_stale { Place::Parked } else { Place::Waiting };
    }

    fn put(&mut self, key: usize, kind: usize) {
        let epoch = (kind == 0).then_some(self.epochs[key]);
        let item = self.events.len();
        if kind == 0 {
            // What a delegation ends that was dispatched in the present epoch.
            let owner = Owner { session_key: KEYS[key].into(), ..Owner::default() };
            let stamp = self.queue.stamp(KEYS[key]).unwrap();
            let handle = Handle::new("d".into(), Arc::new(owner), stamp, None, Arc::default());
            self.queue.publish(item, &Arc::new(handle), 0, false);
        } else {
            let (session_key, kind) = (Some(KEYS[key]), Some(KINDS[kind]));
            let route = Route { session_key, kind, ..Route::default() };
            self.queue.try_put(item, route).unwrap();
        }
        self.events.push(Event { key, kind, place: Place::Waiting, attempts: 0, epoch });
    }

    fn open(&mut self, key: usize, kind: Option<usize>, takes_nobodys: bool, ends: bool) {
        let keys = [KEYS[key].to_owned()];
        let types = kind.map(|kind| [KINDS[kind].to_owned()]);
        let unaddressed = [KINDS[1].to_owned()];
        let selection = Selection {
            session_keys: Some(&keys),
            types: types.as_ref().map(|types| &types[..]),
            unaddressed: if takes_nobodys { &unaddressed } else { &[] },
            has_predicate: false,
            ..Selection::default()
        };
        let mailbox =
            Arc::new(Mailbox::open(&self.queue, selection, ends.then_some(LONG)).unwrap());
        let keys = BTreeSet::from([key]);
        self.boxes.push(Box { mailbox, keys, kind, takes_nobodys, ends });
    }

    fn collect(&mut self, index: usize) {
        let Some(of) = self.boxes.get(index) else { return };
        let mailbox = of.mailbox.clone();
        let collected = mailbox.collect(|&item| item);
        self.collected(&mailbox, collected);
    }

    /// Compares what a mailbox gave with what it should.
    fn collected(&mut self, mailbox: &Arc<Mailbox<usize>>, got: Result<Leased<usize>, Error>) {
        let Some(of) = self.boxes.iter().find(|of| Arc::ptr_eq(&of.mailbox, mailbox)) else {
            return assert_eq!(got.unwrap_err(), Error::ShutDown);
        };
        let expected = self.first(|event| of.takes(event));
        match got {
            Ok(leased) => {
                assert_eq!(Some(leased.item), expected);
                let event = &mut self.events[leased.item];
                event.attempts += 1;
                event.place = Place::Leased(of.ends);
                assert_eq!(leased.attempt, event.attempts);
                self.leases.push((leased.id, leased.item));
            }
            Err(error) => assert_eq!((error, expected), (Error::Empty, None)),
        }
    }

    fn wait(&mut self, index: usize) {
        let Some(of) = self.boxes.get(index) else { return };
        let mailbox = of.mailbox.clone();
        let collector = Collector::new(&mailbox, Arc::new(Signal::for_this_thread()));
        self.look(Waiter { collector, mailbox, is_woken: false });
    }

    /// Has somebody look, who goes on waiting if there is nothing.
    fn look(&mut self, mut waiter: Waiter) {
        let got = waiter.collector.poll(|&item| item);
        let waits = matches!(got, Err(Error::Empty));
        self.collected(&waiter.mailbox, got);
        if waits {
            waiter.is_woken = false;
            self.waiters.push(waiter);
        }
    }

    /// Whether what is said of a lease counts: it is the last one of an event that is out.
    fn holds(&self, lease: usize) -> bool {
        let (_, item) = self.leases[lease];
        let is_last = self.leases.iter().rposition(|&(_, other)| other == item) == Some(lease);
        is_last && matches!(self.events[item].place, Place::Leased(_))
    }

    fn expire(&mut self) {
        // The ends of leases, then those of the pauses that follow some.
        self.queue.due(Instant::now() + 2 * LONG);
        self.queue.due(Instant::now() + 2 * LONG);
        for item in 0..self.events.len() {
            if matches!(self.events[item].place, Place::Leased(true) | Place::Delayed) {
                self.settle(item);
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put { key, kind } => self.put(key, kind),
            Step::Open { key, kind, takes_nobodys, ends } => {
                self.open(key, kind, takes_nobodys, ends);
            }
            Step::AddKey { mailbox, key } => {
                if let Some(of) = self.boxes.get_mut(mailbox) {
                    of.mailbox.add_key(KEYS[key]).unwrap();
                    of.keys.insert(key);
                }
            }
            Step::RemoveKey { mailbox, key } => {
                if let Some(of) = self.boxes.get_mut(mailbox) {
                    of.mailbox.remove_key(KEYS[key]).unwrap();
                    of.keys.remove(&key);
                }
            }
            Step::Close { mailbox } if mailbox < self.boxes.len() => {
                let closed = self.boxes.remove(mailbox).mailbox;
                closed.close();
                assert_eq!(closed.collect(|&item| item).unwrap_err(), Error::ShutDown);
            }
            Step::Close { .. } => {}
            Step::Collect { mailbox } => self.collect(mailbox),
            Step::Wait { mailbox } => self.wait(mailbox),
            Step::Look { waiter } if waiter < self.waiters.len() => {
                let waiter = self.waiters.remove(waiter);
                self.look(waiter);
            }
            Step::Leave { waiter } if waiter < self.waiters.len() => {
                self.waiters.remove(waiter);
            }
            Step::Look { .. } | Step::Leave { .. } => {}
            Step::AllLook => {
                while let Some(index) = self.waiters.iter().position(|waiter| waiter.is_woken) {
                    let waiter = self.waiters.remove(index);
                    self.look(waiter);
                    self.hear();
                }
            }
            Step::Ack { lease } if lease < self.leases.len() => {
                let holds = self.holds(lease);
                let (id, item) = self.leases[lease];
                assert_eq!(self.queue.ack(&Blocking, id).item, holds.then_some(item));
                if holds {
                    self.events[item].place = Place::Gone;
                }
            }
            Step::GiveBack { lease, is_attempt, later } if lease < self.leases.len() => {
                let holds = self.holds(lease);
                let (id, item) = self.leases[lease];
                let how = if is_attempt { Return::Nack } else { Return::Defer };
                let delay = if later { LONG } else { Duration::ZERO };
                assert_eq!(self.queue.give_back(id, how, delay), holds);
                if holds {
                    self.events[item].attempts -= u32::from(!is_attempt);
                    match later {
                        true => self.events[item].place = Place::Delayed,
                        false => self.settle(item),
                    }
                }
            }
            Step::Ack { .. } | Step::GiveBack { .. } => {}
            Step::Expire => self.expire(),
            Step::Take { key } => {
                let expected = self.first(|event| key.is_none_or(|key| event.key == key));
                let wanted = Wanted { session_key: key.map(|key| KEYS[key]), types: None };
                assert_eq!(self.queue.try_take(&Blocking, wanted).ok(), expected);
                if let Some(item) = expected {
                    self.events[item].place = Place::Gone;
                }
            }
            Step::NewEpoch { key } => {
                self.epochs[key] += 1;
                assert_eq!(self.queue.new_epoch(KEYS[key]).unwrap().get(), self.epochs[key]);
                for item in 0..self.events.len() {
                    if self.events[item].place == Place::Waiting {
                        self.settle(item);
                    }
                }
            }
        }
        self.check();
    }

    fn numbers(&self, is: impl Fn(&Event) -> bool) -> Vec<usize> {
        (0..self.events.len()).filter(|&item| is(&self.events[item])).collect()
    }

    fn hear(&mut self) {
        for waiter in &mut self.waiters {
            waiter.is_woken |= woken(waiter.collector.signal());
        }
    }

    fn check(&mut self) {
        self.hear();
        // No event waits while those who wait at its owner's mailboxes sleep, and everybody else: who
        // was woken for it and has lost the key since hands the wake on with its next look.
        let is_heard = self.waiters.iter().any(|waiter| waiter.is_woken);
        for (item, event) in self.events.iter().enumerate() {
            let is_own = |waiter: &Waiter| {
                let of = self.boxes.iter().find(|of| Arc::ptr_eq(&of.mailbox, &waiter.mailbox));
                of.is_some_and(|of| of.takes(event))
            };
            if event.place == Place::Waiting && self.waiters.iter().any(is_own) {
                assert!(is_heard, "event {item} waits, and nobody looks");
            }
        }
        let waiting = self.numbers(|event| event.place == Place::Waiting);
        assert_eq!(self.queue.pending(None, |&item| item), waiting);
        assert_eq!(self.queue.len(), waiting.len());
        let parked = self.numbers(|event| event.place == Place::Parked);
        assert_eq!(self.queue.parked(|&item| item), parked);
        for of in &self.boxes {
            let own = self.numbers(|event| event.place == Place::Waiting && of.takes(event));
            assert_eq!(of.mailbox.pending(), own.len());
        }
    }
}

proptest! {
    #![proptest_config(super::config(256))]

    /// F2, F4, F10, F13, F14: each event to its owner once, in order, and nothing lost.
    #[test]
    fn mailboxes_do_what_a_searched_list_does(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.step(Step::AllLook);
        // Whatever was out comes back, and all of it is there.
        run.waiters.clear();
        run.boxes.clear();
        run.expire();
        run.check();
        let mut left = run.queue.drain();
        left.sort_unstable();
        prop_assert_eq!(left, run.numbers(|event| event.place != Place::Gone));
    }
}
