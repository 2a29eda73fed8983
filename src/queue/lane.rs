//! Doubly linked lanes through the queue's slots: an event stands in up to five at once.

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// A lane's ends, as slot numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) head: u32,
    pub(super) tail: u32,
}

impl Default for Lane {
    fn default() -> Self {
        Self { head: NIL, tail: NIL }
    }
}

/// Which of its five links an event uses in a lane.
#[derive(Clone, Copy)]
pub(super) enum Link {
    All = 0,
    Owner = 1,
    Kind = 2,
    Route = 3,
    Full = 4,
}

/// A slot's neighbours in its lanes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    prev: [u32; 5],
    pub(super) next: [u32; 5],
}

impl Links {
    /// In no lane.
    pub(super) const NONE: Self = Self { prev: [NIL; 5], next: [NIL; 5] };
}

/// Something that stands in lanes.
pub(super) trait Linked {
    /// Its neighbours.
    fn links(&mut self) -> &mut Links;

    /// Its number in the order of all.
    fn seq(&self) -> i64;
}

/// At which end of its lanes an event is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Before all others.
    Front,
    /// After all others.
    Back,
}

impl Lane {
    /// Puts the slot `index`, which stands in no such lane, at an end.
    #[inline]
    pub(super) fn link<S: Linked>(&mut self, slots: &mut [S], link: Link, index: u32, end: End) {
        let link = link as usize;
        match end {
            End::Front => {
                let links = slots[index as usize].links();
                (links.prev[link], links.next[link]) = (NIL, self.head);
                match self.head {
                    NIL => self.tail = index,
                    head => slots[head as usize].links().prev[link] = index,
                }
                self.head = index;
            }
            End::Back => {
                let links = slots[index as usize].links();
                (links.prev[link], links.next[link]) = (self.tail, NIL);
                match self.tail {
                    NIL => self.head = index,
                    tail => slots[tail as usize].links().next[link] = index,
                }
                self.tail = index;
            }
        }
    }

    /// Puts the slot `index`, which stands in no such lane, where its number says; for one that was
    /// there before, and so belongs near the head.
    pub(super) fn link_again<S: Linked>(&mut self, slots: &mut [S], link: Link, index: u32) {
        let seq = slots[index as usize].seq();
        let mut next = self.head;
        while next != NIL && slots[next as usize].seq() < seq {
            next = slots[next as usize].links().next[link as usize];
        }
        if next == NIL || next == self.head {
            let end = if next == NIL { End::Back } else { End::Front };
            return self.link(slots, link, index, end);
        }
        let link = link as usize;
        let prev = slots[next as usize].links().prev[link];
        let links = slots[index as usize].links();
        (links.prev[link], links.next[link]) = (prev, next);
        slots[prev as usize].links().next[link] = index;
        slots[next as usize].links().prev[link] = index;
    }

    /// Takes the slot `index` out.
    #[inline]
    pub(super) fn unlink<S: Linked>(&mut self, slots: &mut [S], link: Link, index: u32) {
        let link = link as usize;
        let links = slots[index as usize].links();
        let (prev, next) = (links.prev[link], links.next[link]);
        match prev {
            NIL => self.head = next,
            prev => slots[prev as usize].links().next[link] = next,
        }
        match next {
            NIL => self.tail = prev,
            next => slots[next as usize].links().prev[link] = prev,
        }
    }
}
