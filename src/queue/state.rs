//! What the queue's lock guards, and the looks and counts that need no more than that.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use super::acking::Acking;
use super::epoch::{Epochs, Stamp};
use super::handle::{Directory, Handle};
use super::list::End;
use super::mailbox::{MailboxId, MailboxState, Predicates};
use super::reservation::Reservation;
use super::routes::{Arrival, Place};
use super::schedule::Schedule;
use super::slots::{Slots, Taken};
use super::waiters::{Places, Ticket, Waiters};
use crate::error::Error;
use crate::event::{Owner, Route, kind};
use crate::memory::{NoMemory, Room};
use crate::state::Stage;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::ready_list::ReadyList;
use crate::sync::signal::Signal;
use crate::sync::{Forked, Guarded, Lock, Locked};

/// Who knows the delegations of events that are put.
pub(super) type Directories = Option<Arc<[Weak<dyn Directory>]>>;

/// What the queue's lock guards.
pub struct State<T> {
    pub(super) events: Slots<T>,
    pub(super) schedule: Schedule,
    pub(super) epochs: Epochs,
    pub(super) mailboxes: HashMap<MailboxId, MailboxState, foldhash::fast::RandomState>,
    pub(super) predicates: Predicates,
    pub(super) maxsize: isize,
    pub(super) unfinished: usize,
    // Deliveries that were dropped unsettled so far.
    pub(super) unsettled: u64,
    pub(super) shutdown: bool,
    // Acks for which nobody waits, by the number of their lease. A tree: it grows in small pieces.
    pub(super) acking: BTreeMap<u64, Acking>,
    // The events of those that have ended, and those dropped as they came back, for whoever may drop
    // them.
    pub(super) swept: Vec<T>,
    pub(super) takers: Waiters,
    // Which event woke a taker that has not looked yet.
    pub(super) woken: HashMap<Ticket, Arrival, foldhash::fast::RandomState>,
    pub(super) putters: VecDeque<(Ticket, Arc<Signal>)>,
    joiners: Vec<Arc<Signal>>,
    pub(super) directories: Directories,
}

/// A FIFO of events with blocking and non-blocking ends, a bound if wanted, and takes by owner and
/// by kind that move nothing else.
pub struct CompletionQueue<T> {
    pub(super) state: Guarded<State<T>>,
    tickets: AtomicU64,
    // The acks for which nobody waits and whose row is written.
    pub(super) written: Arc<ReadyList>,
    // How many mailboxes have an owner predicate; changed under the lock.
    pub(super) predicates: AtomicUsize,
}

impl<T: 'static> Locked for CompletionQueue<T> {
    type State = State<T>;

    fn state(&self) -> &Guarded<State<T>> {
        &self.state
    }
}

impl<T: 'static> Forked for CompletionQueue<T> {
    type Kept = T;

    /// No thread waits in the child, and no event is its own.
    fn reset(state: &mut State<T>) -> Vec<T> {
        state.unfinished = 0;
        // The names stay: a call of the forking thread itself, interrupted by the signal handler that
        // forks, goes on with the numbers it has. It looks again.
        state.takers.wake_all();
        for (_, arrival) in std::mem::take(&mut state.woken) {
            state.events.routes.release_arrival(arrival);
        }
        state.wake_putters();
        state.wake_joiners();
        let mut items = std::mem::take(&mut state.swept);
        items.extend(state.drain().into_iter().map(|taken| taken.item));
        items
    }
}

impl<T> CompletionQueue<T> {
    /// An empty queue; a `maxsize` of zero or less sets no bound.
    pub fn new(maxsize: isize) -> Self {
        let state = State {
            events: Slots::default(),
            schedule: Schedule::default(),
            epochs: Epochs::default(),
            mailboxes: HashMap::default(),
            predicates: Predicates::default(),
            maxsize,
            unfinished: 0,
            unsettled: 0,
            shutdown: false,
            acking: BTreeMap::new(),
            swept: Vec::new(),
            takers: Waiters::default(),
            woken: HashMap::default(),
            putters: VecDeque::new(),
            joiners: Vec::new(),
            directories: None,
        };
        Self {
            state: Guarded(Lock::new(state)),
            tickets: AtomicU64::new(0),
            written: Arc::default(),
            predicates: AtomicUsize::new(0),
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

    /// Has a put of a delegation's event that has left be the return of that event, for the
    /// delegations that `directory` knows, as long as it lives.
    pub fn serve(&self, directory: Weak<dyn Directory>) {
        let mut state = self.state.0.lock();
        let known = state.directories.iter().flat_map(|known| known.iter());
        let alive = known.filter(|known| known.strong_count() > 0).cloned();
        state.directories = Some(alive.chain([directory]).collect());
    }

    /// A new place in the order of those who wait.
    pub(super) fn ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a put has to say the whole address of its event.
    pub fn has_predicates(&self) -> bool {
        self.predicates.load(Ordering::Acquire) > 0
    }

    /// How many events were put and not yet counted as dealt with. Parked events and dead letters
    /// are.
    pub fn unfinished(&self) -> usize {
        self.state.0.lock().unfinished
    }

    /// How many deliveries were dropped unsettled so far.
    pub fn unsettled(&self) -> u64 {
        self.state.0.lock().unsettled
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
    /// With `immediate` the events that no consumer has are removed, counted as dealt with, and
    /// returned.
    pub fn shutdown(&self, immediate: bool) -> Vec<T> {
        let mut state = self.state.0.lock();
        state.shutdown = true;
        let mut dropped = Vec::new();
        if immediate {
            let mut slots: Vec<_> = state.events.waiting().collect();
            slots.extend(state.events.kept(Stage::Parked));
            slots.extend(state.events.kept(Stage::Dead));
            slots.extend(state.events.at(Stage::Delayed));
            dropped.extend(slots.into_iter().map(|index| state.give_up(index)));
            state.wake_joiners();
        }
        state.takers.wake_all();
        state.wake_putters();
        drop(state);
        tracing::debug!(dropped = dropped.len(), "queue shut down");
        dropped.into_iter().map(|taken| taken.item).collect()
    }

    /// Removes every event, whatever its kind or owner, also those that are out on lease or parked.
    pub fn drain(&self) -> Vec<T> {
        let mut state = self.state.0.lock();
        state.wake_putters();
        let taken = state.drain();
        let mut items = std::mem::take(&mut state.swept);
        // First: a delegation may be the last to name its ledger, which takes locks as it goes.
        drop(state);
        items.extend(taken.into_iter().map(|taken| taken.item));
        items
    }

    /// The events that have left with nobody to take them, to be dropped where dropping is safe.
    pub fn sweep(&self) -> Vec<T> {
        std::mem::take(&mut self.state.0.lock().swept)
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
                let list = events.list(Place::Filed((owner, None)));
                list.map(|index| share(events.item(index))).collect()
            }
        }
    }

    /// A stamp of an owner's present epoch, for a delegation that is dispatched now; none for an empty
    /// key, which is nobody's.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn stamp(&self, session_key: &str) -> Result<Option<Stamp>, Error> {
        let is_somebodys = !session_key.is_empty();
        let stamp = is_somebodys.then(|| self.state.0.lock().epochs.stamp(session_key));
        Ok(stamp.transpose()?)
    }

    /// As [`Self::stamp`], of an owner, for whose delegation a place is reserved: its event needs no
    /// memory later.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn reserve(&self, owner: &Owner) -> Result<(Option<Stamp>, Reservation), NoMemory> {
        let mut state = self.state.0.lock();
        let wants_full = !state.predicates.by_mailbox.is_empty();
        if wants_full {
            state.room_for_questions()?;
        }
        let place = state.events.reserve(owner, wants_full)?;
        let is_somebodys = !owner.session_key.is_empty();
        let stamp = is_somebodys.then(|| state.epochs.stamp(&owner.session_key));
        Ok((stamp.transpose()?, place))
    }

    /// Begins a new epoch of an owner: the delegations of earlier ones are parked, those that have
    /// ended now and the others as they end; of an empty key, which is nobody's, none. Returns the
    /// new epoch; the count starts anew for an owner of whom nothing is left.
    ///
    /// # Errors
    /// [`Error::NoMemory`]: the epoch goes on.
    pub fn new_epoch(&self, session_key: &str) -> Result<NonZeroU32, Error> {
        let mut state = self.state.0.lock();
        let routes = &state.events.routes;
        let names = (routes.owners.find(session_key), routes.kinds.find(kind::ASYNC_DELEGATION));
        let mut stale = Vec::new();
        if let (Some(owner), Some(kind)) = names {
            // All that wait are of earlier ones then, but for those that end no delegation.
            for index in state.events.list(Place::Filed((Some(owner), Some(kind)))) {
                if state.events.handle(index).is_some() {
                    stale.room_for(1)?;
                    stale.push(index);
                }
            }
        }
        let epoch = state.epochs.begin(session_key)?;
        stale.retain(|&index| state.events.is_stale(index));
        for index in stale {
            state.park(index);
            state.wake_putter();
        }
        Ok(epoch)
    }

    /// Shows every event to `visit`, unless the lock is held; returns whether it did.
    ///
    /// For the garbage collector: `visit` must neither call back nor block.
    pub fn try_visit<E>(&self, mut visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match self.state.0.try_lock() {
            Some(state) => state.events.iter().chain(&state.swept).try_for_each(&mut visit),
            None => Ok(()),
        }
    }
}

impl<T> State<T> {
    pub(super) fn is_full(&self) -> bool {
        usize::try_from(self.maxsize).is_ok_and(|max| max > 0 && self.events.len() >= max)
    }

    /// Adds an event, which waits at an end of the order, or is parked.
    ///
    /// # Errors
    /// The event handed back, if there is no memory for it.
    #[inline]
    pub(super) fn add(
        &mut self,
        item: T,
        route: Route<'_>,
        end: End,
        handle: Option<Arc<Handle>>,
    ) -> Result<(), T> {
        let Ok(filed) = self.events.file_under(route) else { return Err(item) };
        if route.full.is_some() && self.room_for_questions().is_err() {
            self.events.unfile(filed);
            return Err(item);
        }
        let index = self.events.store(item, filed, end, handle);
        self.admit(index, end, route.full.is_some());
        Ok(())
    }

    /// Has room for one more who waits at these places, and for the wake that it gets.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn room_for_taker(&mut self, places: &Places) -> Result<(), NoMemory> {
        self.takers.room_for(places)?;
        self.woken.room_for(self.takers.len() + 1)
    }

    /// Has a stored event wait, and whoever it is for hear of it; or parks it. Whether it waits.
    #[inline]
    pub(super) fn admit(&mut self, index: u32, end: End, has_full: bool) -> bool {
        if !self.events.admit(index, end) {
            return false;
        }
        self.unfinished += 1;
        if !self.takers.is_empty() {
            self.wake_taker(self.events.arrival(index));
        }
        if has_full {
            self.ask_owners(index);
        }
        true
    }

    /// Lets an event that a consumer had, or that was delayed, wait again in its place; or parks it.
    pub(super) fn wait_again(&mut self, index: u32) {
        if self.events.is_stale(index) {
            self.park(index);
            return;
        }
        self.events.enter(index, Stage::Waiting);
        self.wake_taker(self.events.arrival(index));
        self.ask_owners(index);
    }

    /// Keeps an event that is delivered to nobody any more.
    pub(super) fn park(&mut self, index: u32) {
        self.events.enter(index, Stage::Parked);
        self.done();
    }

    /// Removes an event that no consumer has, and that nobody gets.
    pub(super) fn give_up(&mut self, index: u32) -> Taken<T> {
        let counts = self.events.stage(index).is_some_and(Stage::is_unfinished);
        if let Some(until) = self.events.lease(index).until {
            self.schedule.remove(until, index);
        }
        let taken = self.events.remove(index, Some(Stage::Dropped));
        if counts {
            self.done();
        }
        taken
    }

    pub(super) fn wake_taker(&mut self, arrival: Arrival) {
        if let Some(ticket) = self.takers.wake_one(arrival) {
            self.events.routes.keep_arrival(arrival);
            self.woken.insert(ticket, arrival);
        }
    }

    /// Counts one event as dealt with; false if all were.
    pub(super) fn done(&mut self) -> bool {
        let Some(left) = self.unfinished.checked_sub(1) else { return false };
        self.unfinished = left;
        if left == 0 {
            self.wake_joiners();
        }
        true
    }

    #[inline]
    pub(super) fn wake_putter(&mut self) {
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

    /// Removes every event, at the stage where it stands: the queue itself goes.
    fn drain(&mut self) -> Vec<Taken<T>> {
        self.schedule.clear();
        let waiting: Vec<_> = self.events.waiting().collect();
        let mut taken: Vec<_> =
            waiting.into_iter().map(|index| self.events.remove(index, None)).collect();
        let rest = self.events.stored().into_iter();
        taken.extend(rest.map(|index| self.events.remove(index, None)));
        taken
    }
}
