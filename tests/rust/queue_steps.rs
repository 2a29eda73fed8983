//! Steps for a queue and for a list that is searched from its front: both must do the same.
//! The fuzz targets include this file too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use hermes_core::error::Error;
use hermes_core::event::{Owner, Route, kind};
use hermes_core::queue::{CompletionQueue, Handle, Putter, Taker, Wanted};
use hermes_core::sync::signal::Signal;
use hermes_core::sync::wait::Blocking;
use hermes_core::sync::{Forked, HeldLock};

/// Where an event goes.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) owner: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) delegation_id: Option<String>,
}

impl Address {
    fn route(&self) -> Route<'_> {
        Route {
            session_key: self.owner.as_deref(),
            kind: self.kind.as_deref(),
            delegation_id: self.delegation_id.as_deref(),
            ..Route::default()
        }
    }
}

/// What a take is for.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    pub(crate) owner: Option<String>,
    pub(crate) kinds: Option<Vec<String>>,
}

impl Filter {
    fn matches(&self, address: &Address) -> bool {
        let is_owner = self.owner.is_none() || self.owner == address.owner;
        let is_kind =
            |kinds: &Vec<String>| address.kind.as_ref().is_some_and(|k| kinds.contains(k));
        is_owner && self.kinds.as_ref().is_none_or(is_kind)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted { session_key: self.owner.as_deref(), types: self.kinds.as_deref() }
    }
}

/// One step. A place among those that wait is counted round.
#[derive(Debug, Clone)]
pub(crate) enum Step {
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
    /// One of the takers that wait looks again.
    Look(usize),
    /// One of the takers that wait goes, by its deadline or an interrupt.
    Leave(usize),
    /// A putter comes and waits for room.
    WaitForRoom,
    /// One of the putters that wait looks again.
    LookForRoom(usize),
    /// One of the putters that wait goes.
    LeaveRoom(usize),
}

/// The list.
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
        let place = self.events.iter().position(|(_, address)| filter.matches(address));
        let Some((item, _)) = place.and_then(|place| self.events.remove(place)) else {
            return Err(if self.shutdown { Error::ShutDown } else { Error::Empty });
        };
        Ok(item)
    }

    fn drain(&mut self) -> Vec<u32> {
        self.events.drain(..).map(|(item, _)| item).collect()
    }

    fn shut_down(&mut self, immediate: bool) -> Vec<u32> {
        self.shutdown = true;
        if !immediate {
            return Vec::new();
        }
        let dropped = self.drain();
        self.unfinished = self.unfinished.saturating_sub(dropped.len());
        dropped
    }
}

/// A taker that found nothing, and whether it was woken since.
struct Waiting<'a> {
    taker: Taker<'a, u32>,
    filter: Filter,
    is_woken: bool,
}

/// The queue and the list, and those that wait at the queue.
struct Both<'a> {
    queue: &'a Arc<CompletionQueue<u32>>,
    model: Model,
    takers: Vec<Waiting<'a>>,
    putters: Vec<(Putter<'a, u32>, bool)>,
}

/// Takes the steps, and checks the two against each other after each.
pub(crate) fn check(steps: impl IntoIterator<Item = Step>) {
    let queue = Arc::new(CompletionQueue::new(0));
    let model = Model::default();
    let mut both = Both { queue: &queue, model, takers: Vec::new(), putters: Vec::new() };
    for step in steps {
        both.take(step);
        both.check();
    }
    // Everything comes out in order, whatever went before.
    let left = std::iter::from_fn(|| queue.try_take(&Blocking, Wanted::default()).ok());
    assert_eq!(left.collect::<Vec<_>>(), both.model.drain());
}

impl Both<'_> {
    fn take(&mut self, step: Step) {
        let Self { queue, model, takers, putters, .. } = self;
        match step {
            Step::Put(address) => {
                let item = model.item();
                let put = queue.try_put(item, address.route());
                assert_eq!(put.map(|receipt| assert!(receipt.is_none())), model.put(item, address));
            }
            Step::Publish(address) => {
                let item = model.item();
                let owner = Owner {
                    session_key: address.owner.unwrap_or_default().into(),
                    ..Owner::default()
                };
                let id = "d".into();
                let handle = Handle::new(id, Arc::new(owner.clone()), None, None, Arc::default());
                queue.publish(item, &Arc::new(handle), 0, false);
                let address = Address {
                    owner: Some(owner.session_key.into()),
                    kind: Some(kind::ASYNC_DELEGATION.to_owned()),
                    delegation_id: None,
                };
                model.append(item, address);
            }
            Step::PutBack(address) => {
                let item = model.item();
                queue.put_back(item, address.route()).unwrap();
                model.events.push_front((item, address));
            }
            Step::Take(filter) => {
                assert_eq!(queue.try_take(&Blocking, filter.wanted()), model.take(&filter));
            }
            Step::Drain => assert_eq!(queue.drain(), model.drain()),
            Step::SetMaxsize(maxsize) => {
                queue.set_maxsize(maxsize);
                model.maxsize = maxsize;
            }
            Step::Shutdown { immediate } => {
                assert_eq!(queue.shutdown(immediate), model.shut_down(immediate));
            }
            Step::TaskDone => {
                let done = model.unfinished.checked_sub(1);
                assert_eq!(queue.task_done(), done.map(drop).ok_or(Error::TooManyDone));
                model.unfinished = done.unwrap_or(0);
            }
            Step::Fork => {
                assert_eq!(CompletionQueue::reset(HeldLock::hold(queue).state()), model.drain());
                model.unfinished = 0;
            }
            Step::Wait(filter) => {
                let taker = queue.taker(filter.wanted()).unwrap();
                takers.push(Waiting { taker, filter, is_woken: false });
                self.look(self.takers.len() - 1);
            }
            Step::Look(at) if !takers.is_empty() => self.look(at % self.takers.len()),
            Step::Leave(at) if !takers.is_empty() => {
                takers.remove(at % takers.len());
            }
            Step::WaitForRoom => {
                let putter = queue.putter();
                let waits = putter.enter();
                assert_eq!(waits, model.is_full() && !model.shutdown);
                if waits {
                    putters.push((putter, false));
                }
            }
            Step::LookForRoom(at) if !putters.is_empty() => {
                let at = at % putters.len();
                let (putter, is_woken) = &mut putters[at];
                *is_woken = false;
                let waits = putter.enter();
                assert_eq!(waits, model.is_full() && !model.shutdown);
                if !waits {
                    putters.remove(at);
                }
            }
            Step::LeaveRoom(at) if !putters.is_empty() => {
                putters.remove(at % putters.len());
            }
            Step::Look(_) | Step::Leave(_) | Step::LookForRoom(_) | Step::LeaveRoom(_) => {}
        }
    }

    fn look(&mut self, at: usize) {
        let one = &mut self.takers[at];
        let found = one.taker.poll(&Blocking);
        assert_eq!(found, self.model.take(&one.filter));
        one.is_woken = false;
        if found != Err(Error::Empty) {
            self.takers.remove(at);
        }
    }

    fn check(&mut self) {
        let Self { queue, model, takers, putters } = self;
        assert_eq!(queue.len(), model.events.len());
        assert_eq!(queue.is_empty(), model.events.is_empty());
        assert_eq!(queue.is_full(), model.is_full());
        assert_eq!(queue.is_shutdown(), model.shutdown);
        assert_eq!(queue.unfinished(), model.unfinished);
        assert_eq!(queue.joiner().is_none(), model.unfinished == 0);
        for one in takers.iter_mut() {
            one.is_woken |= is_set(one.taker.signal());
        }
        for (item, address) in &model.events {
            let mut wanting = takers.iter().filter(|one| one.filter.matches(address)).peekable();
            let is_told = wanting.peek().is_none() || wanting.any(|one| one.is_woken);
            assert!(is_told, "event {item} waits, and nobody who waits for it is awake");
        }
        for (putter, is_woken) in putters.iter_mut() {
            *is_woken |= is_set(putter.signal());
        }
        let has_news = model.shutdown || !model.is_full();
        let is_told = putters.is_empty() || putters.iter().any(|(_, is_woken)| *is_woken);
        assert!(!has_news || is_told, "there is room, and nobody who waits for it is awake");
        if model.shutdown {
            let is_over = takers.iter().all(|one| one.is_woken)
                && putters.iter().all(|(_, is_woken)| *is_woken);
            assert!(is_over, "somebody waits at a queue that was shut down");
        }
    }
}

fn is_set(signal: &Signal) -> bool {
    signal.wait_until(Some(Instant::now()))
}
