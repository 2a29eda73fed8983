//! The queue's events: a FIFO that is also one per owner, per kind, and per owner and kind.
//!
//! Each waiting event stands in up to five intrusive lists at once, so taking the first event of any
//! of them is O(1) and moves no other event. The fifth is that of its full address, where a mailbox
//! owns by it. A parked event and a dead letter stand in a list of their own.

use std::sync::Arc;
use std::time::Instant;

use super::handle::Handle;
use super::list::{End, Link, Linked, Links, List, NIL};
use super::names::{Name, NameId};
use super::reservation::{Long, Reservation};
use super::routes::{Arrival, Place, RouteId, Routes};
use super::waiters::Wanted;
use crate::event::{Owner, Route};
use crate::memory::{NoMemory, Room};
use crate::state::Stage;

/// Where an event stands: the one place that says so.
#[derive(Debug)]
enum Standing {
    /// An event that ends no delegation of ours.
    Plain(Stage),
    /// One that does: its registry sees the same.
    Shared(Arc<Handle>),
}

/// A lease of an event, in its slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    /// Tells it from every other one of the queue; 0 where there is none.
    pub(super) number: u64,
    /// When it ends by itself.
    pub(super) until: Option<Instant>,
    /// Whether there is to be no other attempt if this one fails.
    pub(super) is_last: bool,
}

#[derive(Debug)]
struct Slot<T> {
    // `None` in a free slot, whose first `next` link names the next free one.
    item: Option<T>,
    standing: Standing,
    route: RouteId,
    full: Option<NameId>,
    links: Links,
    seq: i64,
    lease: Lease,
    attempts: u32,
    // How often a consumer failed with it; restored with its attempts.
    failures: u8,
    // Only for those who prove that it is their owner's.
    is_exclusive: bool,
}

impl<T> Slot<T> {
    fn stage(&self) -> Option<Stage> {
        match &self.standing {
            Standing::Plain(stage) => Some(*stage),
            Standing::Shared(handle) => handle.stage(),
        }
    }

    fn is_unfiled(&self) -> bool {
        self.item.is_some() && self.full.is_none()
    }
}

impl<T> Linked for Slot<T> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }

    fn seq(&self) -> i64 {
        self.seq
    }
}

/// What files an event: one use of each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filed {
    route: RouteId,
    full: Option<NameId>,
}

/// An event that left, with the delegation that it ends.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    // To be dropped without the lock: it may be the last to name its ledger.
    pub(super) _handle: Option<Arc<Handle>>,
}

/// The events, with their lists.
#[derive(Debug)]
pub(super) struct Slots<T> {
    pub(super) routes: Routes,
    slots: Vec<Slot<T>>,
    free: u32,
    all: List,
    // As `all`, of those that not everybody may have.
    exclusive: List,
    parked: List,
    dead: List,
    len: usize,
    // Slots that hold an event, waiting or not.
    used: usize,
    // Events put back come before all others: their numbers go down from zero.
    first_seq: i64,
    next_seq: i64,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            routes: Routes::default(),
            slots: Vec::new(),
            free: NIL,
            all: List::default(),
            exclusive: List::default(),
            parked: List::default(),
            dead: List::default(),
            len: 0,
            used: 0,
            first_seq: 0,
            next_seq: 0,
        }
    }
}

impl<T> Slots<T> {
    /// How many events wait that anybody may have.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every event, also those that are out on lease or parked, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.item.as_ref())
    }

    /// The slots of a list of waiting events, in order.
    pub(super) fn list(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let link = match place {
            Place::Filed((None, None)) => Link::All,
            Place::Filed((Some(_), None)) => Link::Owner,
            Place::Filed((None, Some(_))) => Link::Kind,
            Place::Filed((Some(_), Some(_))) => Link::Route,
            Place::Full(_) => Link::Full,
        };
        self.follow(self.head(place), link)
    }

    fn follow(&self, head: u32, link: Link) -> impl Iterator<Item = u32> + '_ {
        let some = |index: u32| (index != NIL).then_some(index);
        let next = move |&index: &u32| some(self.slots[index as usize].links.next[link as usize]);
        std::iter::successors(some(head), next)
    }

    /// The slots of all waiting events, in order.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        let mut open = self.follow(self.all.head, Link::All).peekable();
        let mut exclusive = self.follow(self.exclusive.head, Link::All).peekable();
        std::iter::from_fn(move || match (open.peek(), exclusive.peek()) {
            (Some(&one), Some(&other)) if self.seq(other) < self.seq(one) => exclusive.next(),
            (Some(_), _) => open.next(),
            (None, _) => exclusive.next(),
        })
    }

    /// The parked events' slots, or the dead letters', in order.
    pub(super) fn kept(&self, stage: Stage) -> Vec<u32> {
        let list = if stage == Stage::Dead { &self.dead } else { &self.parked };
        let mut kept: Vec<_> = self.follow(list.head, Link::All).collect();
        kept.sort_unstable_by_key(|&index| self.seq(index));
        kept
    }

    /// The slots of all events, in no order.
    pub(super) fn stored(&self) -> Vec<u32> {
        let stored = (0..).zip(&self.slots).filter(|(_, slot)| slot.item.is_some());
        stored.map(|(index, _)| index).collect()
    }

    /// The slots of the events at a stage, in no order; looks at all.
    pub(super) fn at(&self, stage: Stage) -> Vec<u32> {
        let stored = self.stored().into_iter();
        stored.filter(|&index| self.stage(index) == Some(stage)).collect()
    }

    /// Has room for one more event, beside those for which a place is reserved.
    #[inline]
    fn room(&mut self) -> Result<(), NoMemory> {
        let wanted = self.routes.reserved() + 1;
        if self.slots.capacity() - self.used >= wanted {
            return Ok(());
        }
        self.slots.room_for(wanted - (self.slots.len() - self.used))
    }

    /// Reserves a place for the event of a delegation of this owner, from which nobody has it taken.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn reserve(
        &mut self,
        owner: &Owner,
        wants_full: bool,
    ) -> Result<Reservation, NoMemory> {
        self.room()?;
        self.routes.room_for_place(wants_full)?;
        Reservation::new(&self.routes.reserved, owner)
    }

    /// What files an event for which there is room, with one more use of each.
    ///
    /// # Errors
    /// [`NoMemory`].
    #[inline]
    pub(super) fn file_under(&mut self, route: Route<'_>) -> Result<Filed, NoMemory> {
        self.room()?;
        self.file_reserved(route, None)
    }

    /// The same of an event for which a place is reserved, under copies of its texts that are there.
    ///
    /// # Errors
    /// [`NoMemory`].
    #[inline]
    pub(super) fn file_reserved(
        &mut self,
        route: Route<'_>,
        long: Option<&Long>,
    ) -> Result<Filed, NoMemory> {
        let stored = match long {
            None => self.routes.acquire(route.session_key, route.kind)?,
            Some(long) => self.routes.acquire_shared(&long.session_key, route.kind)?,
        };
        let Some(full) = route.full else { return Ok(Filed { route: stored, full: None }) };
        let shared = long.and_then(|long| long.full.as_ref());
        let full = shared.map_or(Name::Text(full), Name::Shared);
        let others = self.routes.reserved();
        match self.routes.full.acquire(full, others) {
            Ok(full) => Ok(Filed { route: stored, full: Some(full) }),
            Err(error) => {
                self.routes.release(stored);
                Err(error)
            }
        }
    }

    /// Gives the uses back, of an event that is not added.
    pub(super) fn unfile(&mut self, filed: Filed) {
        self.routes.release(filed.route);
        filed.full.inspect(|&full| self.routes.full.release(full));
    }

    /// Adds an event that is filed; returns its slot. It waits, or is parked, from [`Self::admit`] on.
    // Every event passes here, from two places.
    #[inline(always)]
    pub(super) fn store(
        &mut self,
        item: T,
        filed: Filed,
        end: End,
        handle: Option<Arc<Handle>>,
    ) -> u32 {
        let seq = match end {
            End::Front => {
                self.first_seq -= 1;
                self.first_seq
            }
            End::Back => {
                self.next_seq += 1;
                self.next_seq
            }
        };
        let Filed { route, full } = filed;
        let standing = match handle {
            None => Standing::Plain(Stage::Waiting),
            Some(handle) => Standing::Shared(handle),
        };
        self.used += 1;
        if self.free == NIL {
            let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != NIL);
            let index = index.expect("fewer than 2^32 events wait at once");
            self.slots.push(Slot {
                item: Some(item),
                standing,
                route,
                full,
                links: Links::NONE,
                seq,
                lease: Lease::default(),
                attempts: 0,
                failures: 0,
                is_exclusive: false,
            });
            return index;
        }
        // In place: the links of a free slot are written when it is linked.
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.links.next[0];
        slot.item = Some(item);
        slot.standing = standing;
        (slot.route, slot.full, slot.seq) = (route, full, seq);
        (slot.attempts, slot.failures, slot.is_exclusive) = (0, 0, false);
        index
    }

    /// Lets a stored event wait, at an end of its lists, or parks it if it is stale; whether it waits.
    #[inline]
    pub(super) fn admit(&mut self, index: u32, end: End) -> bool {
        let slot = &mut self.slots[index as usize];
        if let Standing::Shared(handle) = &slot.standing {
            handle.set_slot(index);
            if handle.is_stale() {
                handle.enter(Stage::Parked);
                self.parked.link(&mut self.slots, Link::All, index, End::Back);
                return false;
            }
            handle.enter(Stage::Waiting);
        }
        self.link(index, end);
        true
    }

    /// Moves a stored event to another stage, in its place of the order.
    pub(super) fn enter(&mut self, index: u32, next: Stage) {
        match self.stage(index) {
            Some(Stage::Waiting) => self.unlink(index),
            Some(Stage::Parked) => self.parked.unlink(&mut self.slots, Link::All, index),
            Some(Stage::Dead) => self.dead.unlink(&mut self.slots, Link::All, index),
            _ => {}
        }
        match &mut self.slots[index as usize].standing {
            Standing::Plain(stage) => *stage = next,
            Standing::Shared(handle) => handle.enter(next),
        }
        match next {
            Stage::Waiting => self.link_again(index),
            Stage::Parked => self.parked.link(&mut self.slots, Link::All, index, End::Back),
            Stage::Dead => self.dead.link(&mut self.slots, Link::All, index, End::Back),
            _ => {}
        }
    }

    #[inline]
    fn link(&mut self, index: u32, end: End) {
        self.each_list(index, |list, slots, link| list.link(slots, link, index, end));
        self.len += usize::from(!self.slots[index as usize].is_exclusive);
    }

    fn link_again(&mut self, index: u32) {
        self.each_list(index, |list, slots, link| list.link_again(slots, link, index));
        self.len += usize::from(!self.slots[index as usize].is_exclusive);
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        self.each_list(index, |list, slots, link| list.unlink(slots, link, index));
        self.len -= usize::from(!self.slots[index as usize].is_exclusive);
    }

    #[inline]
    fn each_list(&mut self, index: u32, mut visit: impl FnMut(&mut List, &mut [Slot<T>], Link)) {
        let slots = &mut self.slots[..];
        let Slot { route, full, is_exclusive, .. } = slots[index as usize];
        let (owner, kind) = self.routes.address(route);
        let owner = owner.filter(|&owner| !is_exclusive || self.routes.is_somebody(owner));
        visit(if is_exclusive { &mut self.exclusive } else { &mut self.all }, slots, Link::All);
        if let Some(owner) = owner {
            visit(self.routes.owners.list_mut(owner), slots, Link::Owner);
        }
        if let Some(kind) = kind.filter(|_| !is_exclusive) {
            visit(self.routes.kinds.list_mut(kind), slots, Link::Kind);
        }
        if owner.is_some() && kind.is_some() {
            visit(self.routes.list_mut(route), slots, Link::Route);
        }
        if let Some(full) = full {
            visit(self.routes.full.list_mut(full), slots, Link::Full);
        }
    }

    /// Where a stored event arrived.
    pub(super) fn arrival(&self, index: u32) -> Arrival {
        let Slot { route, full, is_exclusive, .. } = self.slots[index as usize];
        let (owner, kind) = self.routes.address(route);
        let owner = owner.filter(|&owner| !is_exclusive || self.routes.is_somebody(owner));
        Arrival { address: (owner, kind), full, is_exclusive }
    }

    /// Files a stored event under its full address too.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn file(&mut self, index: u32, full: &str) -> Result<(), NoMemory> {
        let others = self.routes.reserved();
        let full = self.routes.full.acquire(Name::Text(full), others)?;
        let waits = self.stage(index) == Some(Stage::Waiting);
        if waits {
            self.unlink(index);
        }
        self.slots[index as usize].full = Some(full);
        if waits {
            self.link_again(index);
        }
        Ok(())
    }

    /// The slots of all events that have no full address.
    pub(super) fn unfiled(&self) -> impl Iterator<Item = u32> + '_ {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.is_unfiled()).map(|(index, _)| index)
    }

    /// Whether a slot holds an event that has no full address.
    pub(super) fn is_unfiled(&self, index: u32) -> bool {
        self.slots.get(index as usize).is_some_and(Slot::is_unfiled)
    }

    /// A stored event.
    pub(super) fn item(&self, index: u32) -> &T {
        self.slots[index as usize].item.as_ref().expect("a stored event")
    }

    /// Its number in the order of all.
    pub(super) fn seq(&self, index: u32) -> i64 {
        self.slots[index as usize].seq
    }

    /// Gives a stored event that does not wait a new number: it comes behind all others.
    pub(super) fn place_last(&mut self, index: u32) {
        self.next_seq += 1;
        self.slots[index as usize].seq = self.next_seq;
    }

    /// Where it stands.
    pub(super) fn stage(&self, index: u32) -> Option<Stage> {
        self.slots[index as usize].stage()
    }

    /// The delegation that it ends, if that is one of ours.
    pub(super) fn handle(&self, index: u32) -> Option<&Arc<Handle>> {
        match &self.slots[index as usize].standing {
            Standing::Plain(_) => None,
            Standing::Shared(handle) => Some(handle),
        }
    }

    /// Whether its owner has begun a new epoch since what it ends was dispatched.
    pub(super) fn is_stale(&self, index: u32) -> bool {
        self.handle(index).is_some_and(|handle| handle.is_stale())
    }

    /// Whether it is to be dropped, should its consumer give it back.
    pub(super) fn drops_when_back(&self, index: u32) -> bool {
        self.handle(index).is_some_and(|handle| handle.drops_when_back())
    }

    /// The slot of a delegation's event, if one of it is here.
    pub(super) fn slot_of(&self, handle: &Arc<Handle>) -> Option<u32> {
        let index = handle.slot();
        let slot = self.slots.get(index as usize)?;
        let is_it = matches!(&slot.standing, Standing::Shared(own) if Arc::ptr_eq(own, handle));
        is_it.then_some(index)
    }

    /// Has a stored event end another delegation from now on: the same one, written down anew.
    pub(super) fn share(&mut self, index: u32, handle: Arc<Handle>) {
        handle.set_slot(index);
        handle.place().inspect(|place| place.take_up());
        if let Some(stage) = self.stage(index) {
            handle.enter(stage);
        }
        self.slots[index as usize].standing = Standing::Shared(handle);
    }

    /// Says of a stored event, which does not wait yet, how often it was handed out, and whether it
    /// is for those alone who ask for its owner's.
    pub(super) fn set_terms(&mut self, index: u32, attempts: u32, is_exclusive: bool) {
        let slot = &mut self.slots[index as usize];
        (slot.attempts, slot.is_exclusive) = (attempts, is_exclusive);
        slot.failures = u8::try_from(attempts).unwrap_or(u8::MAX);
    }

    /// How often it was handed out.
    pub(super) fn attempts(&mut self, index: u32) -> &mut u32 {
        &mut self.slots[index as usize].attempts
    }

    /// How often a consumer failed with it.
    pub(super) fn failures(&mut self, index: u32) -> &mut u8 {
        &mut self.slots[index as usize].failures
    }

    /// Its lease; of no number if it has none, or is not here any more.
    pub(super) fn lease(&self, index: u32) -> Lease {
        self.slots.get(index as usize).map(|slot| slot.lease).unwrap_or_default()
    }

    /// Gives a stored event a lease, or takes it away.
    pub(super) fn set_lease(&mut self, index: u32, lease: Lease) {
        self.slots[index as usize].lease = lease;
    }

    /// The slot of the first event that waits at one of these places.
    pub(super) fn first_at(&self, places: &[Place]) -> Option<u32> {
        let heads = places.iter().map(|&place| self.head(place));
        let waiting = heads.filter(|&index| index != NIL);
        waiting.min_by_key(|&index| self.slots[index as usize].seq)
    }

    // Which list it is, is known where it is called most.
    #[inline(always)]
    fn head(&self, place: Place) -> u32 {
        let routes = &self.routes;
        match place {
            Place::Filed((None, None)) => self.all.head,
            Place::Filed((Some(owner), None)) => routes.owners.list(owner).head,
            Place::Filed((None, Some(kind))) => routes.kinds.list(kind).head,
            Place::Filed((Some(owner), Some(kind))) => {
                routes.find(owner, kind).map_or(NIL, |route| routes.list(route).head)
            }
            Place::Full(full) => routes.full.list(full).head,
        }
    }

    /// The slot of the first event wanted.
    #[inline]
    pub(super) fn first_wanted(&self, wanted: Wanted<'_>) -> Option<u32> {
        let owner = match wanted.session_key {
            // A name that nothing has is no owner's.
            Some(key) => Some(self.routes.owners.find(key)?),
            None => None,
        };
        let kind = |kind: &String| self.routes.kinds.find(kind);
        self.first_of(owner, wanted.types.map(|types| types.iter().filter_map(kind)))
    }

    #[inline]
    fn first_of(
        &self,
        owner: Option<NameId>,
        kinds: Option<impl Iterator<Item = NameId>>,
    ) -> Option<u32> {
        match kinds {
            None => Some(self.head(Place::Filed((owner, None)))).filter(|&index| index != NIL),
            Some(kinds) => kinds
                .map(|kind| self.head(Place::Filed((owner, Some(kind)))))
                .filter(|&index| index != NIL)
                .min_by_key(|&index| self.slots[index as usize].seq),
        }
    }

    /// Removes a waiting event: it is delivered.
    pub(super) fn take(&mut self, index: u32) -> Taken<T> {
        self.unlink(index);
        self.free(index, Some(Stage::Delivered))
    }

    /// Removes a stored event, wherever it stands; at the stage that it had, unless at another.
    pub(super) fn remove(&mut self, index: u32, stage: Option<Stage>) -> Taken<T> {
        match self.stage(index) {
            Some(Stage::Waiting) => self.unlink(index),
            Some(Stage::Parked) => self.parked.unlink(&mut self.slots, Link::All, index),
            Some(Stage::Dead) => self.dead.unlink(&mut self.slots, Link::All, index),
            _ => {}
        }
        self.free(index, stage)
    }

    fn free(&mut self, index: u32, stage: Option<Stage>) -> Taken<T> {
        let slot = &mut self.slots[index as usize];
        let item = slot.item.take().expect("a stored event");
        let handle = match std::mem::replace(&mut slot.standing, Standing::Plain(Stage::Delivered))
        {
            Standing::Plain(_) => None,
            Standing::Shared(handle) => Some(handle),
        };
        let (route, full) = (slot.route, slot.full.take());
        slot.lease = Lease::default();
        slot.links.next[0] = self.free;
        self.free = index;
        self.used -= 1;
        self.routes.release(route);
        full.inspect(|&full| self.routes.full.release(full));
        if self.used == 0 && self.slots.len() > SLOTS_KEPT {
            // Every slot is free: give the memory of a past burst back, but for what is reserved.
            let mut slots = Vec::new();
            if slots.room_for(self.routes.reserved()).is_ok() {
                (self.slots, self.free) = (slots, NIL);
            }
        }
        if let (Some(handle), Some(stage)) = (&handle, stage) {
            handle.enter(stage);
        }
        Taken { item, _handle: handle }
    }
}

/// How many slots an empty queue keeps.
const SLOTS_KEPT: usize = 1024;
