//! A FIFO that is also a FIFO per owner, per kind, and per owner and kind.
//!
//! Each event stands in up to four doubly linked lanes at once, so taking the first event of any
//! of them is O(1) and moves no other event.

use std::collections::HashMap;

use super::names::{NameId, Names};
use crate::event::Route;

const NIL: u32 = u32::MAX;

/// A lane's ends, as slot numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    head: u32,
    tail: u32,
}

impl Default for Lane {
    fn default() -> Self {
        Self { head: NIL, tail: NIL }
    }
}

/// Which of its four links an event uses in a lane.
#[derive(Clone, Copy)]
enum Link {
    All = 0,
    Owner = 1,
    Kind = 2,
    Pair = 3,
}

#[derive(Debug)]
struct Slot<T> {
    // `None` in a free slot, whose first `next` link names the next free one.
    item: Option<T>,
    owner: Option<NameId>,
    kind: Option<NameId>,
    delegation_id: Option<Box<str>>,
    seq: i64,
    prev: [u32; 4],
    next: [u32; 4],
}

/// An event that left, with the delegation it ends and the numbers of its owner and kind.
#[derive(Debug)]
pub(super) struct Taken<T> {
    pub(super) item: T,
    pub(super) delegation_id: Option<Box<str>>,
    pub(super) address: (Option<NameId>, Option<NameId>),
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
    pub(super) owners: Names,
    pub(super) kinds: Names,
    slots: Vec<Slot<T>>,
    free: u32,
    all: Lane,
    pairs: HashMap<(NameId, NameId), Lane, foldhash::fast::RandomState>,
    len: usize,
    // Events put back come before all others: their numbers go down from zero.
    first_seq: i64,
    next_seq: i64,
}

/// At which end of its lanes an event is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Before all others.
    Front,
    /// After all others.
    Back,
}

impl<T> Default for RoutedFifo<T> {
    fn default() -> Self {
        Self {
            owners: Names::default(),
            kinds: Names::default(),
            slots: Vec::new(),
            free: NIL,
            all: Lane::default(),
            pairs: HashMap::default(),
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

    /// Adds an event; returns the numbers of its owner and kind.
    pub(super) fn push(
        &mut self,
        item: T,
        route: Route<'_>,
        end: End,
    ) -> (Option<NameId>, Option<NameId>) {
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
        let owner = route.session_key.map(|name| self.owners.acquire(name));
        let kind = route.kind.map(|name| self.kinds.acquire(name));
        let slot = Slot {
            item: Some(item),
            owner,
            kind,
            delegation_id: route.delegation_id.map(Into::into),
            seq,
            prev: [NIL; 4],
            next: [NIL; 4],
        };
        let index = match self.free {
            NIL => {
                self.slots.push(slot);
                let index = u32::try_from(self.slots.len() - 1).ok().filter(|&index| index != NIL);
                index.expect("fewer than 2^32 events wait at once")
            }
            index => {
                self.free = self.slots[index as usize].next[0];
                self.slots[index as usize] = slot;
                index
            }
        };
        self.len += 1;
        link(&mut self.slots, &mut self.all, Link::All, index, end);
        if let Some(owner) = owner {
            link(&mut self.slots, self.owners.lane_mut(owner), Link::Owner, index, end);
        }
        if let Some(kind) = kind {
            link(&mut self.slots, self.kinds.lane_mut(kind), Link::Kind, index, end);
        }
        if let (Some(owner), Some(kind)) = (owner, kind) {
            let lane = self.pairs.entry((owner, kind)).or_default();
            link(&mut self.slots, lane, Link::Pair, index, end);
        }
        (owner, kind)
    }

    /// Removes the first event that the filter matches.
    pub(super) fn pop(&mut self, filter: &Filter) -> Option<Taken<T>> {
        let index = self.first(filter)?;
        Some(self.remove(index))
    }

    /// Removes every event, in order.
    pub(super) fn drain(&mut self) -> Vec<Taken<T>> {
        let all = Filter::default();
        std::iter::from_fn(|| self.pop(&all)).collect()
    }

    fn first(&self, filter: &Filter) -> Option<u32> {
        let head = |lane: Option<&Lane>| lane.map_or(NIL, |lane| lane.head);
        let index = match (filter.owner, &filter.kinds) {
            (None, None) => self.all.head,
            (Some(owner), None) => self.owners.lane(owner).head,
            (owner, Some(kinds)) => kinds
                .iter()
                .map(|&kind| match owner {
                    None => self.kinds.lane(kind).head,
                    Some(owner) => head(self.pairs.get(&(owner, kind))),
                })
                .filter(|&index| index != NIL)
                .min_by_key(|&index| self.slots[index as usize].seq)
                .unwrap_or(NIL),
        };
        (index != NIL).then_some(index)
    }

    fn remove(&mut self, index: u32) -> Taken<T> {
        let (owner, kind) = {
            let slot = &self.slots[index as usize];
            (slot.owner, slot.kind)
        };
        unlink(&mut self.slots, &mut self.all, Link::All, index);
        if let Some(owner) = owner {
            unlink(&mut self.slots, self.owners.lane_mut(owner), Link::Owner, index);
        }
        if let Some(kind) = kind {
            unlink(&mut self.slots, self.kinds.lane_mut(kind), Link::Kind, index);
        }
        if let (Some(owner), Some(kind)) = (owner, kind)
            && let Some(lane) = self.pairs.get_mut(&(owner, kind))
        {
            unlink(&mut self.slots, lane, Link::Pair, index);
            if lane.head == NIL {
                self.pairs.remove(&(owner, kind));
            }
        }
        owner.inspect(|&owner| self.owners.release(owner));
        kind.inspect(|&kind| self.kinds.release(kind));
        let slot = &mut self.slots[index as usize];
        let item = slot.item.take().expect("a linked slot holds an event");
        let delegation_id = slot.delegation_id.take();
        slot.next[0] = self.free;
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

fn link<T>(slots: &mut [Slot<T>], lane: &mut Lane, link: Link, index: u32, end: End) {
    let link = link as usize;
    match end {
        End::Front => {
            slots[index as usize].next[link] = lane.head;
            match lane.head {
                NIL => lane.tail = index,
                head => slots[head as usize].prev[link] = index,
            }
            lane.head = index;
        }
        End::Back => {
            slots[index as usize].prev[link] = lane.tail;
            match lane.tail {
                NIL => lane.head = index,
                tail => slots[tail as usize].next[link] = index,
            }
            lane.tail = index;
        }
    }
}

fn unlink<T>(slots: &mut [Slot<T>], lane: &mut Lane, link: Link, index: u32) {
    let link = link as usize;
    let (prev, next) = (slots[index as usize].prev[link], slots[index as usize].next[link]);
    match prev {
        NIL => lane.head = next,
        prev => slots[prev as usize].next[link] = next,
    }
    match next {
        NIL => lane.tail = prev,
        next => slots[next as usize].prev[link] = prev,
    }
}
