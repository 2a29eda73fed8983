//! A FIFO that is also a FIFO per owner, per kind, and per owner and kind.
//!
//! Each event stands in up to four doubly linked lanes at once, so taking the first event of any
//! of them is O(1) and moves no other event.

use super::Wanted;
use super::lane::{End, Lane, Link, Linked, Links, NIL};
use super::names::NameId;
use super::routes::{Address, RouteId, Routes};
use crate::event::Route;

#[derive(Debug)]
struct Slot<T> {
    // `None` in a free slot, whose first `next` link names the next free one.
    item: Option<T>,
    route: RouteId,
    links: Links,
    seq: i64,
    delegation_id: Option<Box<str>>,
}

impl<T> Linked for Slot<T> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// An event that left, with the delegation it ends and the numbers of its owner and kind.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) delegation_id: Option<Box<str>>,
    pub(super) address: Address,
}

/// Which events a take is for, by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// The owner's number; `None` takes anybody's.
    pub(super) owner: Option<NameId>,
    /// The kinds' numbers; `None` takes every kind.
    pub(super) kinds: Option<Box<[NameId]>>,
}

/// The FIFO with its lanes.
#[derive(Debug)]
pub(super) struct RoutedFifo<T> {
    pub(super) routes: Routes,
    slots: Vec<Slot<T>>,
    free: u32,
    all: Lane,
    len: usize,
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
            len: 0,
            first_seq: 0,
            next_seq: 0,
        }
    }
}

impl<T> RoutedFifo<T> {
    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every waiting event, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.item.as_ref())
    }

    /// Adds an event; returns its route, in use until the event leaves. The delegation that it ends
    /// is kept only if asked for.
    pub(super) fn push(
        &mut self,
        item: T,
        route: Route<'_>,
        end: End,
        keeps_delegation: bool,
    ) -> RouteId {
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
        let delegation_id = route.delegation_id.filter(|_| keeps_delegation).map(Into::into);
        let route = self.routes.acquire(route.session_key, route.kind);
        let slot = Slot { item: Some(item), route, links: Links::NONE, seq, delegation_id };
        let index = match self.free {
            NIL => {
                self.slots.push(slot);
                let index = u32::try_from(self.slots.len() - 1).ok().filter(|&index| index != NIL);
                index.expect("fewer than 2^32 events wait at once")
            }
            index => {
                self.free = self.slots[index as usize].links.next[0];
                self.slots[index as usize] = slot;
                index
            }
        };
        self.len += 1;
        let slots = &mut self.slots[..];
        let (owner, kind) = self.routes.address(route);
        self.all.link(slots, Link::All, index, end);
        if let Some(owner) = owner {
            self.routes.owners.lane_mut(owner).link(slots, Link::Owner, index, end);
        }
        if let Some(kind) = kind {
            self.routes.kinds.lane_mut(kind).link(slots, Link::Kind, index, end);
        }
        if owner.is_some() && kind.is_some() {
            self.routes.lane_mut(route).link(slots, Link::Route, index, end);
        }
        route
    }

    /// Removes every event, in order.
    pub(super) fn drain(&mut self) -> Vec<Taken<T>> {
        let next = |fifo: &mut Self| (fifo.all.head != NIL).then(|| fifo.remove(fifo.all.head));
        std::iter::from_fn(|| next(self)).collect()
    }

    /// The slot of the first event that the filter matches.
    pub(super) fn first(&self, filter: &Filter) -> Option<u32> {
        let kinds = filter.kinds.as_deref();
        self.first_of(filter.owner, kinds.map(|kinds| kinds.iter().copied()))
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
        let routes = &self.routes;
        let index = match (owner, kinds) {
            (None, None) => self.all.head,
            (Some(owner), None) => routes.owners.lane(owner).head,
            (owner, Some(kinds)) => kinds
                .map(|kind| match owner {
                    None => routes.kinds.lane(kind).head,
                    Some(owner) => {
                        let route = routes.find(owner, kind);
                        route.map_or(NIL, |route| routes.lane(route).head)
                    }
                })
                .filter(|&index| index != NIL)
                .min_by_key(|&index| self.slots[index as usize].seq)
                .unwrap_or(NIL),
        };
        (index != NIL).then_some(index)
    }

    /// Removes the event in a slot that holds one.
    pub(super) fn remove(&mut self, index: u32) -> Taken<T> {
        let slots = &mut self.slots[..];
        let route = slots[index as usize].route;
        let (owner, kind) = self.routes.address(route);
        self.all.unlink(slots, Link::All, index);
        if let Some(owner) = owner {
            self.routes.owners.lane_mut(owner).unlink(slots, Link::Owner, index);
        }
        if let Some(kind) = kind {
            self.routes.kinds.lane_mut(kind).unlink(slots, Link::Kind, index);
        }
        if owner.is_some() && kind.is_some() {
            self.routes.lane_mut(route).unlink(slots, Link::Route, index);
        }
        self.routes.release(route);
        let slot = &mut slots[index as usize];
        let item = slot.item.take().expect("a linked slot holds an event");
        let delegation_id = slot.delegation_id.take();
        slot.links.next[0] = self.free;
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.slots.len() > SLOTS_KEPT {
            // Every slot is free: give the memory of a past burst back.
            self.slots = Vec::new();
            self.free = NIL;
        }
        Taken { item, delegation_id, address: (owner, kind) }
    }
}

/// How many slots an empty queue keeps.
const SLOTS_KEPT: usize = 1024;
