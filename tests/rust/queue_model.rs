//! The queue against a list that is searched from its front, and against many threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hermes_core::error::Error;
use hermes_core::event::Route;
use hermes_core::queue::{Taker, Wanted};
use hermes_core::sync::HeldLock;
use proptest::prelude::*;

use super::queue::{ANY, Queue, kinds, of, of_kinds, to, woken};

/// Names by number; the empty one is nobody's.
const NAMES: [&str; 4] = ["", "a", "b", "c"];

#[derive(Debug, Clone, Copy)]
struct Address {
    owner: Option<usize>,
    kind: Option<usize>,
}

impl Address {
    fn route(&self) -> Route<'_> {
        Route {
            session_key: self.owner.map(|name| NAMES[name]),
            kind: self.kind.map(|name| NAMES[name]),
            delegation_id: None,
        }
    }
}

#[derive(Debug, Clone)]
struct Filter {
    owner: Option<usize>,
    kinds: Option<Vec<usize>>,
}

impl Filter {
    fn matches(&self, address: Address) -> bool {
        self.owner.is_none_or(|owner| address.owner == Some(owner))
            && (self.kinds.as_ref())
                .is_none_or(|kinds| address.kind.is_some_and(|kind| kinds.contains(&kind)))
    }

    fn with<R>(&self, use_it: impl FnOnce(Wanted<'_>) -> R) -> R {
        let names = |kinds: &Vec<usize>| kinds.iter().map(|&kind| NAMES[kind].to_owned()).collect();
        let types: Option<Vec<String>> = self.kinds.as_ref().map(names);
        let session_key = self.owner.map(|name| NAMES[name]);
        use_it(Wanted { session_key, types: types.as_deref() })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(Address),
    Publish(Address),
    PutBack(Address),
    Take(Filter),
    Drain,
    SetMaxsize(isize),
    Shutdown {
        immediate: bool,
    },
    TaskDone,
    Fork,
    /// A taker comes and looks.
    Wait(Filter),
    /// One of those that wait looks again.
    Look(prop::sample::Index),
    /// One of those that wait goes, by its deadline or an interrupt.
    Leave(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::option::weighted(0.8, 0..NAMES.len());
    let address = move || (name(), name()).prop_map(|(owner, kind)| Address { owner, kind });
    let kinds = prop::option::of(prop::collection::vec(0..NAMES.len(), 0..4));
    let filter = (prop::option::of(0..NAMES.len()), kinds)
        .prop_map(|(owner, kinds)| Filter { owner, kinds });
    prop_oneof![
        8 => address().prop_map(Step::Put),
        4 => address().prop_map(Step::Publish),
        4 => address().prop_map(Step::PutBack),
        6 => filter.clone().prop_map(Step::Take),
        8 => filter.prop_map(Step::Wait),
        8 => any::<prop::sample::Index>().prop_map(Step::Look),
        4 => any::<prop::sample::Index>().prop_map(Step::Leave),
        2 => Just(Step::TaskDone),
        2 => (-1_isize..6).prop_map(Step::SetMaxsize),
        1 => Just(Step::Drain),
        1 => Just(Step::Fork),
        1 => prop::bool::weighted(0.3).prop_map(|immediate| Step::Shutdown { immediate }),
    ]
}

#[derive(Default)]
struct Model {
    events: VecDeque<(u32, Address)>,
    maxsize: isize,
    unfinished: usize,
    shutdown: bool,
    next_item: u32,
}

impl Model {
    fn item(&mut self) -> u32 {
        self.next_item += 1;
        self.next_item
    }

    fn is_full(&self) -> bool {
        self.maxsize > 0 && self.events.len() >= self.maxsize as usize
    }

    fn append(&mut self, item: u32, address: Address) {
        self.events.push_back((item, address));
        self.unfinished += 1;
    }

    fn put(&mut self, item: u32, address: Address) -> Result<(), (u32, Error)> {
        if self.shutdown {
            return Err((item, Error::ShutDown));
        }
        if self.is_full() {
            return Err((item, Error::Full { maxsize: self.maxsize as usize }));
        }
        self.append(item, address);
        Ok(())
    }

    fn take(&mut self, filter: &Filter) -> Result<u32, Error> {
        let place = self.events.iter().position(|&(_, address)| filter.matches(address));
        let event = place.and_then(|place| self.events.remove(place));
        event.map(|(item, _)| item).ok_or(if self.shutdown {
            Error::ShutDown
        } else {
            Error::Empty
        })
    }

    fn drain(&mut self) -> Vec<u32> {
        self.events.drain(..).map(|(item, _)| item).collect()
    }
}

/// A taker that found nothing, and whether it was woken since.
struct Waiting<'a> {
    taker: Taker<'a, u32>,
    filter: Filter,
    is_woken: bool,
}

struct Both<'a> {
    queue: &'a Arc<Queue>,
    model: Model,
    waiting: Vec<Waiting<'a>>,
}

impl<'a> Both<'a> {
    fn take(&mut self, step: Step) {
        let Self { queue, model, waiting } = self;
        match step {
            Step::Put(address) => {
                let item = model.item();
                assert_eq!(queue.try_put(item, address.route()), model.put(item, address));
            }
            Step::Publish(address) => {
                let item = model.item();
                queue.publish(item, address.route());
                model.append(item, address);
            }
            Step::PutBack(address) => {
                let item = model.item();
                queue.put_back(item, address.route());
                model.events.push_front((item, address));
            }
            Step::Take(filter) => {
                assert_eq!(filter.with(|wanted| queue.try_take(wanted)), model.take(&filter));
            }
            Step::Drain => assert_eq!(queue.drain(), model.drain()),
            Step::SetMaxsize(maxsize) => {
                queue.set_maxsize(maxsize);
                model.maxsize = maxsize;
            }
            Step::Shutdown { immediate } => {
                let mut dropped = Vec::new();
                if immediate {
                    dropped = model.drain();
                    model.unfinished = model.unfinished.saturating_sub(dropped.len());
                }
                model.shutdown = true;
                assert_eq!(queue.shutdown(immediate), dropped);
            }
            Step::TaskDone => {
                let done = model.unfinished.checked_sub(1);
                assert_eq!(queue.task_done(), done.map(drop).ok_or(Error::TooManyDone));
                model.unfinished = done.unwrap_or(0);
            }
            Step::Fork => {
                assert_eq!(HeldLock::hold(queue).state().reset(), model.drain());
                model.unfinished = 0;
            }
            Step::Wait(filter) => {
                let taker = filter.with(|wanted| queue.taker(wanted));
                waiting.push(Waiting { taker, filter, is_woken: false });
                self.look(self.waiting.len() - 1);
            }
            Step::Look(index) if !waiting.is_empty() => self.look(index.index(self.waiting.len())),
            Step::Leave(index) if !waiting.is_empty() => {
                waiting.remove(index.index(waiting.len()));
            }
            Step::Look(_) | Step::Leave(_) => {}
        }
    }

    fn look(&mut self, index: usize) {
        let one = &mut self.waiting[index];
        let found = one.taker.poll();
        assert_eq!(found, self.model.take(&one.filter));
        one.is_woken = false;
        if found != Err(Error::Empty) {
            self.waiting.remove(index);
        }
    }

    fn check(&mut self) {
        let Self { queue, model, waiting } = self;
        assert_eq!(queue.len(), model.events.len());
        assert_eq!(queue.is_full(), model.is_full());
        assert_eq!(queue.unfinished(), model.unfinished);
        assert_eq!(queue.joiner().is_none(), model.unfinished == 0);
        for one in waiting.iter_mut() {
            one.is_woken |= woken(one.taker.signal());
        }
        for &(item, address) in &model.events {
            let mut wanting = waiting.iter().filter(|one| one.filter.matches(address)).peekable();
            let is_told = wanting.peek().is_none() || wanting.any(|one| one.is_woken);
            assert!(is_told, "event {item} waits, and nobody who waits for it is awake");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    /// Same events, same order, same refusals; and F1: no event waits beside a sleeping taker.
    #[test]
    fn f1_f2_the_queue_does_what_a_searched_list_does(steps in prop::collection::vec(step(), 1..80)) {
        let queue = Arc::new(Queue::new(0));
        let mut both = Both { queue: &queue, model: Model::default(), waiting: Vec::new() };
        for step in steps {
            both.take(step);
            both.check();
        }
    }
}

/// Producers wait for room, consumers for their own events; in the end each event came once.
#[test]
fn f1_f11_many_threads_lose_and_double_nothing() {
    const EACH: u32 = 400;
    const PRODUCERS: u32 = 4;
    let queue = Queue::new(8);
    let taken = Mutex::new(Vec::new());
    let (x, yz) = (kinds(&["x"]), kinds(&["y", "z"]));
    let filters = [
        ANY,
        of("a"),
        of("b"),
        of_kinds(&x),
        of_kinds(&yz),
        Wanted { types: Some(&yz), ..of("a") },
    ];
    let put = |item: u32| {
        let route = to(NAMES[item as usize % 3], ["x", "y", "z", "w"][item as usize / 3 % 4]);
        let mut putter = queue.putter();
        while queue.try_put(item, route).is_err() {
            if putter.enter() {
                assert!(putter.signal().wait_until(deadline()), "a put was left waiting");
            }
        }
    };
    let consume = |filter| {
        while let Ok(item) = queue.take(filter, None) {
            taken.lock().unwrap().push(item);
            queue.task_done().unwrap();
        }
    };
    thread::scope(|scope| {
        for filter in filters {
            scope.spawn(move || consume(filter));
        }
        let producers = [(); PRODUCERS as usize];
        let producers: Vec<_> = (0..)
            .zip(producers)
            .map(|(number, ())| {
                scope.spawn(move || (0..EACH).for_each(|item| put(number * EACH + item)))
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        while let Some(all_done) = queue.joiner() {
            assert!(all_done.wait_until(deadline()), "an event was left waiting");
        }
        queue.shutdown(false);
    });
    let mut taken = taken.into_inner().unwrap();
    taken.sort_unstable();
    assert_eq!(taken, (0..PRODUCERS * EACH).collect::<Vec<_>>());
}

/// Takers that give up all the time hand every wake on to those that stay.
#[test]
fn f1_many_threads_that_leave_take_no_wake_with_them() {
    const EVENTS: u32 = 2000;
    let queue = Queue::new(0);
    let (xy, yz) = (kinds(&["x", "y"]), kinds(&["y", "z"]));
    let filters = [of_kinds(&xy), of_kinds(&yz), of("a"), ANY];
    let give_up = |filter| {
        while !queue.is_shutdown() {
            let mut taker = queue.taker(filter);
            if let Ok(item) = taker.poll() {
                queue.publish(item, to("a", "y"));
                queue.task_done().unwrap();
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        for filter in filters {
            scope.spawn(move || give_up(filter));
        }
        let stay = scope.spawn(|| {
            for _ in 0..EVENTS {
                queue.take(of("a"), deadline()).expect("an event for it waits");
                queue.task_done().unwrap();
            }
        });
        for item in 0..EVENTS {
            queue.publish(item, to("a", "y"));
        }
        stay.join().unwrap();
        queue.shutdown(false);
    });
    assert_eq!((queue.len(), queue.unfinished()), (0, 0));
}

fn deadline() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}
