//! The completion queue: a FIFO that knows whose each event is.
//!
//! One lock guards everything. Any thread may hold it, for a few instructions; nothing is called,
//! dropped or waited for under it. It orders events, waiters and the count of unfinished work.
//!
//! A put wakes the one waiter that has waited longest among those the event is for. The wake
//! carries nothing: the woken thread looks again, and whoever looks first takes the event, as with
//! CPython's `queue.Queue`. A woken waiter that leaves without an event (timeout, interrupt) hands
//! its wake on, so none is lost.

mod fifo;
mod lane;
mod lease;
mod letters;
mod mailbox;
mod names;
mod observer;
mod ownership;
mod putter;
mod routes;
mod settle;
mod taker;
mod waiters;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use self::fifo::{RoutedFifo, Taken};
use self::lane::End;
use self::lease::Leases;
use self::mailbox::{Epochs, MailboxId, MailboxState, is_stale};
use self::observer::{Observers, notify};
use self::ownership::Judges;
use self::routes::{Arrival, Place};
use self::waiters::{Places, Ticket, Waiters};
use crate::error::Error;
use crate::event::Route;
use crate::ledger::Home;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

pub use self::lease::{Acked, LeaseId, Leased, Return};
pub use self::mailbox::{Collector, Mailbox, Selection};
pub use self::observer::DeliveryObserver;
pub use self::ownership::Question;
pub use self::putter::{Putter, Room};
pub use self::settle::{Departed, is_acked};
pub use self::taker::Taker;

/// What a take is for; the default takes anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Only events of this session key; the empty one takes only what is nobody's.
    pub session_key: Option<&'a str>,
    /// Only events of these kinds.
    pub types: Option<&'a [String]>,
}

/// What the queue's lock guards.
pub struct State<T> {
    events: RoutedFifo<T>,
    leases: Leases,
    // By place in the order: what is delivered to nobody any more.
    parked: BTreeSet<(i64, u32)>,
    dead: BTreeSet<(i64, u32)>,
    epochs: Epochs,
    mailboxes: HashMap<MailboxId, MailboxState, foldhash::fast::RandomState>,
    judges: Judges,
    maxsize: isize,
    unfinished: usize,
    shutdown: bool,
    takers: Waiters,
    // Which event woke a taker that has not looked yet.
    woken: HashMap<Ticket, Arrival, foldhash::fast::RandomState>,
    putters: VecDeque<(Ticket, Arc<Signal>)>,
    joiners: Vec<Arc<Signal>>,
    observers: Observers,
}

/// A FIFO of events with blocking and non-blocking ends, a bound if wanted, and takes by owner and
/// by kind that move nothing else.
pub struct CompletionQueue<T> {
    state: Guarded<State<T>>,
    tickets: AtomicU64,
    // How many mailboxes have a say of their own; changed under the lock.
    judges: AtomicUsize,
}

impl<T: 'static> Locked for CompletionQueue<T> {
    type State = State<T>;

    fn state(&self) -> &Guarded<State<T>> {
        &self.state
    }
}

impl<T> CompletionQueue<T> {
    /// An empty queue; a `maxsize` of zero or less sets no bound.
    pub fn new(maxsize: isize) -> Self {
        let state = State {
            events: RoutedFifo::default(),
            leases: Leases::default(),
            parked: BTreeSet::new(),
            dead: BTreeSet::new(),
            epochs: Epochs::default(),
            mailboxes: HashMap::default(),
            judges: Judges::default(),
            maxsize,
            unfinished: 0,
            shutdown: false,
            takers: Waiters::default(),
            woken: HashMap::default(),
            putters: VecDeque::new(),
            joiners: Vec::new(),
            observers: None,
        };
        Self {
            state: Guarded(Lock::new(state)),
            tickets: AtomicU64::new(0),
            judges: AtomicUsize::new(0),
        }
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.state.0.lock().events.len()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a put would have to wait.
    pub fn is_full(&self) -> bool {
        self.state.0.lock().is_full()
    }

    /// The bound, in events; zero or less for none.
    pub fn maxsize(&self) -> isize {
        self.state.0.lock().maxsize
    }

    /// Changes the bound; events beyond it stay.
    pub fn set_maxsize(&self, maxsize: isize) {
        let mut state = self.state.0.lock();
        state.maxsize = maxsize;
        state.wake_putters();
    }

    /// Whether the queue was shut down.
    pub fn is_shutdown(&self) -> bool {
        self.state.0.lock().shutdown
    }

    /// Tells `observer` of delegations' events that leave and return, as long as it lives.
    pub fn observe(&self, observer: Weak<dyn DeliveryObserver>) {
        let mut state = self.state.0.lock();
        let known = state.observers.iter().flat_map(|known| known.iter());
        let alive = known.filter(|known| known.strong_count() > 0).cloned();
        state.observers = Some(alive.chain([observer]).collect());
    }

    /// Starts a blocking take by the calling thread.
    pub fn taker<'a>(&'a self, wanted: Wanted<'_>) -> Taker<'a, T> {
        let places = match wanted {
            Wanted { session_key: None, types: None } => Places::ALL,
            _ => Places::acquire(&mut self.state.0.lock().events.routes, wanted),
        };
        Taker::new(self, places)
    }

    /// A new place in the order of those who wait.
    fn ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Starts a blocking put by the calling thread.
    pub fn putter(&self) -> Putter<'_, T> {
        Putter::new(self)
    }

    /// How many events were put and not yet counted as dealt with.
    pub fn unfinished(&self) -> usize {
        self.state.0.lock().unfinished
    }

    /// Counts one taken event as dealt with.
    ///
    /// # Errors
    /// [`Error::TooManyDone`] if every event put was counted already.
    pub fn task_done(&self) -> Result<(), Error> {
        match self.state.0.lock().done() {
            true => Ok(()),
            false => Err(Error::TooManyDone),
        }
    }

    /// Asks to be woken when all events put are dealt with; `None` if they are.
    pub fn joiner(&self) -> Option<Arc<Signal>> {
        let mut state = self.state.0.lock();
        if state.unfinished == 0 {
            return None;
        }
        let signal = Arc::new(Signal::for_this_thread());
        state.joiners.retain(|joiner| Arc::strong_count(joiner) > 1);
        state.joiners.push(signal.clone());
        Some(signal)
    }

    /// Ends the queue: puts fail from now on, takes once nothing waits (3.13: `Queue.shutdown`).
    ///
    /// With `immediate` the waiting events are removed, counted as dealt with, and returned.
    pub fn shutdown(&self, immediate: bool) -> Vec<T> {
        let mut state = self.state.0.lock();
        state.shutdown = true;
        let mut dropped = Vec::new();
        let mut observers = None;
        if immediate {
            dropped = state.events.drain();
            let kept = state.take_kept();
            dropped.extend(kept.into_iter().map(|index| state.events.free(index)));
            observers = state.observers.clone();
            state.unfinished = state.unfinished.saturating_sub(dropped.len());
            state.wake_joiners();
        }
        state.takers.wake_all();
        state.wake_putters();
        drop(state);
        tracing::debug!(dropped = dropped.len(), "queue shut down");
        for id in dropped.iter().filter_map(|taken| taken.delegation_id.as_deref()) {
            notify(observers.as_deref(), |observer| observer.dropped(id));
        }
        dropped.into_iter().map(|taken| taken.item).collect()
    }

    /// Removes every event, whatever its kind or owner, also those that are out on lease or parked.
    pub fn drain(&self) -> Vec<T> {
        let mut state = self.state.0.lock();
        state.wake_putters();
        state.drain_all()
    }

    /// What `share` makes of each waiting event of an owner, or of all, in order.
    ///
    /// It runs under the lock: it may copy a reference, and must not call back or drop anything.
    pub fn pending<R>(&self, session_key: Option<&str>, mut share: impl FnMut(&T) -> R) -> Vec<R> {
        let state = self.state.0.lock();
        let events = &state.events;
        match session_key.map(|key| events.routes.owners.find(key)) {
            None => events.waiting().map(|index| share(events.item(index))).collect(),
            Some(None) => Vec::new(),
            Some(owner) => {
                let lane = events.lane(Place::Filed((owner, None)));
                lane.map(|index| share(events.item(index))).collect()
            }
        }
    }

    /// The same of each parked event.
    pub fn parked<R>(&self, mut share: impl FnMut(&T) -> R) -> Vec<R> {
        let state = self.state.0.lock();
        state.parked.iter().map(|&(_, index)| share(state.events.item(index))).collect()
    }

    /// Shows every event to `visit`, unless the lock is held; returns whether it did.
    ///
    /// For the garbage collector: `visit` must neither call back nor block.
    pub fn try_visit<E>(&self, mut visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match self.state.0.try_lock() {
            Some(state) => state.events.iter().try_for_each(&mut visit),
            None => Ok(()),
        }
    }
}

impl<T> State<T> {
    fn is_full(&self) -> bool {
        usize::try_from(self.maxsize).is_ok_and(|max| max > 0 && self.events.len() >= max)
    }

    fn add(&mut self, item: T, route: Route<'_>, end: End, home: Option<Arc<Home>>) -> Observers {
        let index = self.events.store(item, route, end, self.observers.is_some());
        if home.is_some() {
            self.events.set_home(index, home);
        }
        self.let_wait(index, route, end);
        self.observers_of(route.delegation_id)
    }

    fn add_again(
        &mut self,
        item: T,
        route: Route<'_>,
        home: Arc<Home>,
        attempts: u32,
        is_exclusive: bool,
    ) {
        let index = self.events.store(item, route, End::Back, true);
        self.events.set_home(index, Some(home));
        self.events.set_exclusive(index, is_exclusive);
        *self.events.attempts(index) = attempts;
        self.let_wait(index, route, End::Back);
    }

    fn let_wait(&mut self, index: u32, route: Route<'_>, end: End) {
        if !self.epochs.is_empty() && is_stale(&self.epochs, &self.events, index) {
            self.park(index);
        } else {
            self.events.link(index, end);
            if !self.takers.is_empty() {
                self.wake_taker(self.events.arrival(index));
            }
            if route.full.is_some() {
                self.ask_judges(index);
            }
        }
    }

    /// Whether a stored event stands in its lanes.
    fn waits(&self, index: u32) -> bool {
        let place = (self.events.seq(index), index);
        let is_kept = self.parked.contains(&place) || self.dead.contains(&place);
        !is_kept && !self.leases.holds(index)
    }

    fn observers_of(&self, delegation_id: Option<&str>) -> Observers {
        delegation_id.and_then(|_| self.observers.clone())
    }

    fn wake_taker(&mut self, arrival: Arrival) {
        if let Some(ticket) = self.takers.wake_one(arrival) {
            self.events.routes.keep_arrival(arrival);
            self.woken.insert(ticket, arrival);
        }
    }

    fn take(&mut self, index: u32) -> (Taken<T>, Observers) {
        let taken = self.events.remove(index);
        self.wake_putter();
        let observers = self.observers_of(taken.delegation_id.as_deref());
        (taken, observers)
    }

    /// Counts one event as dealt with; false if all were.
    fn done(&mut self) -> bool {
        let Some(left) = self.unfinished.checked_sub(1) else { return false };
        self.unfinished = left;
        if left == 0 {
            self.wake_joiners();
        }
        true
    }

    fn wake_putter(&mut self) {
        if let Some((_, signal)) = self.putters.pop_front() {
            signal.set();
        }
    }

    fn wake_putters(&mut self) {
        for (_, signal) in self.putters.drain(..) {
            signal.set();
        }
    }

    fn wake_joiners(&mut self) {
        for signal in self.joiners.drain(..) {
            signal.set();
        }
    }

    /// Empties the state for a forked child, where no thread waits and no event is its own.
    /// Returns the events, for the caller to drop where dropping is safe.
    pub fn reset(&mut self) -> Vec<T> {
        self.unfinished = 0;
        // The names stay: a call of the forking thread itself, interrupted by the signal handler that
        // forks, goes on with the numbers it has. It looks again.
        self.takers.wake_all();
        for (_, arrival) in std::mem::take(&mut self.woken) {
            self.events.routes.release_arrival(arrival);
        }
        self.wake_putters();
        self.wake_joiners();
        self.drain_all()
    }

    fn drain_all(&mut self) -> Vec<T> {
        let mut items: Vec<_> = self.events.drain().into_iter().map(|taken| taken.item).collect();
        let mut kept = self.take_kept();
        kept.extend(self.leases.drain());
        items.extend(kept.into_iter().map(|index| self.events.free(index).item));
        items
    }

    /// The slots of what waits for no consumer: parked events, dead letters, and those whose next
    /// attempt is yet to come.
    fn take_kept(&mut self) -> Vec<u32> {
        let parked = std::mem::take(&mut self.parked).into_iter();
        let dead = std::mem::take(&mut self.dead).into_iter();
        let mut kept: Vec<_> = parked.chain(dead).map(|(_, index)| index).collect();
        kept.extend(self.leases.take_pauses());
        kept
    }
}
