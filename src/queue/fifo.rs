//! A FIFO that is also a FIFO per owner, per kind, and per owner and kind.
//!
//! Each event stands in up to five doubly linked lanes at once, so taking the first event of any
//! of them is O(1) and moves no other event. The fifth is that of its full address, where a mailbox
//! judges by it.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::Wanted;
use super::lane::{End, Lane, Link, Linked, Links, NIL};
use super::names::NameId;
use super::routes::{Arrival, Place, RouteId, Routes};
use crate::event::Route;
use crate::ledger::Home;

#[derive(Debug)]
struct Slot<T> {
    // `None` in a free slot, whose first `next` link names the next free one.
    item: Option<T>,
    route: RouteId,
    full: Option<NameId>,
    links: Links,
    seq: i64,
    delegation_id: Option<Box<str>>,
    epoch: Option<NonZeroU32>,
    attempts: u32,
    // Only for those who prove that it is their owner's.
    is_exclusive: bool,
    // Where what it ends is written down.
    home: Option<Arc<Home>>,
}

impl<T> Slot<T> {
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

/// An event that left, with the delegation it ends.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) delegation_id: Option<Box<str>>,
    pub(super) home: Option<Arc<Home>>,
}

/// The FIFO with its lanes.
#[derive(Debug)]
pub(super) struct RoutedFifo<T> {
    pub(super) routes: Routes,
    slots: Vec<Slot<T>>,
    free: u32,
    all: Lane,
    // As `all`, of those that not everybody may have.
    exclusive: Lane,
    len: usize,
    // Slots that hold an event, waiting or not.
    used: usize,
    // Events put back come before all others: their numbers go down from zero.
    first_seq: i64,
    next_seq: i64,
}

impl<T> Default for RoutedFifo<T> {
    fn default() -> Self {
        Self {
            routes: Routes::default(),
            slots: Vec::new(),
            free: NIL,
            all: Lane::default(),
            exclusive: Lane::default(),
            len: 0,
            used: 0,
            first_seq: 0,
            next_seq: 0,
        }
    }
}

impl<T> RoutedFifo<T> {
    /// How many events wait that anybody may have.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every event, also those that are out on lease or parked, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.item.as_ref())
    }

    /// The slots of a lane of waiting events, in order.
    pub(super) fn lane(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
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

    /// Adds an event; returns its slot. It waits from [`Self::link`] on. The delegation that it
    /// ends is kept only if asked for.
    pub(super) fn store(
        &mut self,
        item: T,
        route: Route<'_>,
        end: End,
        keeps_delegation: bool,
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
        let stored = self.routes.acquire(route.session_key, route.kind);
        let full = route.full.map(|full| self.routes.full.acquire(full));
        let delegation_id = route.delegation_id.filter(|_| keeps_delegation).map(Into::into);
        let epoch = route.epoch;
        self.used += 1;
        if self.free == NIL {
            let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != NIL);
            let index = index.expect("fewer than 2^32 events wait at once");
            let links = Links::NONE;
            let item = Some(item);
            let route = stored;
            self.slots.push(Slot {
                item,
                route,
                full,
                links,
                seq,
                delegation_id,
                epoch,
                attempts: 0,
                is_exclusive: false,
                home: None,
            });
            return index;
        }
        // In place: the links of a free slot are written when it is linked.
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        self.free = slot.links.next[0];
        slot.item = Some(item);
        (slot.route, slot.full, slot.seq) = (stored, full, seq);
        (slot.delegation_id, slot.epoch, slot.attempts) = (delegation_id, epoch, 0);
        slot.is_exclusive = false;
        index
    }

    /// Lets a stored event wait, at an end of its lanes.
    #[inline]
    pub(super) fn link(&mut self, index: u32, end: End) {
        self.each_lane(index, |lane, slots, link| lane.link(slots, link, index, end));
        self.len += usize::from(!self.slots[index as usize].is_exclusive);
    }

    /// Lets an event that waited before wait again, in its place.
    pub(super) fn link_again(&mut self, index: u32) {
        self.each_lane(index, |lane, slots, link| lane.link_again(slots, link, index));
        self.len += usize::from(!self.slots[index as usize].is_exclusive);
    }

    /// Takes a waiting event out of its lanes; its slot keeps it.
    #[inline]
    pub(super) fn unlink(&mut self, index: u32) {
        self.each_lane(index, |lane, slots, link| lane.unlink(slots, link, index));
        self.len -= usize::from(!self.slots[index as usize].is_exclusive);
    }

    #[inline]
    fn each_lane(&mut self, index: u32, mut visit: impl FnMut(&mut Lane, &mut [Slot<T>], Link)) {
        let slots = &mut self.slots[..];
        let Slot { route, full, is_exclusive, .. } = slots[index as usize];
        let (owner, kind) = self.routes.address(route);
        let owner = owner.filter(|&owner| !is_exclusive || self.routes.is_somebody(owner));
        visit(if is_exclusive { &mut self.exclusive } else { &mut self.all }, slots, Link::All);
        if let Some(owner) = owner {
            visit(self.routes.owners.lane_mut(owner), slots, Link::Owner);
        }
        if let Some(kind) = kind.filter(|_| !is_exclusive) {
            visit(self.routes.kinds.lane_mut(kind), slots, Link::Kind);
        }
        if owner.is_some() && kind.is_some() {
            visit(self.routes.lane_mut(route), slots, Link::Route);
        }
        if let Some(full) = full {
            visit(self.routes.full.lane_mut(full), slots, Link::Full);
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
    pub(super) fn file(&mut self, index: u32, full: &str) {
        let full = self.routes.full.acquire(full);
        self.slots[index as usize].full = Some(full);
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

    /// The owner's epoch when what it ends began, if that counts.
    pub(super) fn epoch(&self, index: u32) -> Option<NonZeroU32> {
        self.slots[index as usize].epoch
    }

    /// The delegation that it ends, if that counts.
    pub(super) fn delegation_id(&self, index: u32) -> Option<&str> {
        self.slots[index as usize].delegation_id.as_deref()
    }

    /// Where what it ends is written down, if it is.
    pub(super) fn home(&self, index: u32) -> Option<&Arc<Home>> {
        self.slots[index as usize].home.as_ref()
    }

    /// Says where what a stored event ends is written down.
    pub(super) fn set_home(&mut self, index: u32, home: Option<Arc<Home>>) {
        self.slots[index as usize].home = home;
    }

    /// Says whether a stored event, which does not wait yet, is for those alone who ask for its
    /// owner's.
    pub(super) fn set_exclusive(&mut self, index: u32, is_exclusive: bool) {
        self.slots[index as usize].is_exclusive = is_exclusive;
    }

    /// How often it was handed out.
    pub(super) fn attempts(&mut self, index: u32) -> &mut u32 {
        &mut self.slots[index as usize].attempts
    }

    /// Removes every waiting event, in order.
    pub(super) fn drain(&mut self) -> Vec<Taken<T>> {
        let waiting: Vec<_> = self.waiting().collect();
        waiting.into_iter().map(|index| self.remove(index)).collect()
    }

    /// The slot of the first event that waits at one of these places.
    pub(super) fn first_at(&self, places: &[Place]) -> Option<u32> {
        let heads = places.iter().map(|&place| self.head(place));
        let waiting = heads.filter(|&index| index != NIL);
        waiting.min_by_key(|&index| self.slots[index as usize].seq)
    }

    // Which lane it is, is known where it is called most.
    #[inline(always)]
    fn head(&self, place: Place) -> u32 {
        let routes = &self.routes;
        match place {
            Place::Filed((None, None)) => self.all.head,
            Place::Filed((Some(owner), None)) => routes.owners.lane(owner).head,
            Place::Filed((None, Some(kind))) => routes.kinds.lane(kind).head,
            Place::Filed((Some(owner), Some(kind))) => {
                routes.find(owner, kind).map_or(NIL, |route| routes.lane(route).head)
            }
            Place::Full(full) => routes.full.lane(full).head,
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

    /// Removes a waiting event.
    pub(super) fn remove(&mut self, index: u32) -> Taken<T> {
        self.unlink(index);
        self.free(index)
    }

    /// Frees the slot of a stored event that stands in no lane.
    pub(super) fn free(&mut self, index: u32) -> Taken<T> {
        let slot = &mut self.slots[index as usize];
        let item = slot.item.take().expect("a stored event");
        let delegation_id = slot.delegation_id.take();
        let home = slot.home.take();
        let (route, full) = (slot.route, slot.full.take());
        slot.links.next[0] = self.free;
        self.free = index;
        self.used -= 1;
        self.routes.release(route);
        full.inspect(|&full| self.routes.full.release(full));
        if self.used == 0 && self.slots.len() > SLOTS_KEPT {
            // Every slot is free: give the memory of a past burst back.
            self.slots = Vec::new();
            self.free = NIL;
        }
        Taken { item, delegation_id, home }
    }
}

/// How many slots an empty queue keeps.
const SLOTS_KEPT: usize = 1024;
