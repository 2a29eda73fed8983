//! Intrusive lists through the queue's slots: an event stands in up to five at once.

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// A list's ends, as slot numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) head: u32,
    tail: u32,
    // Where an event was put back last: the next one mostly belongs behind it.
    last_back: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL, last_back: NIL }
    }
}

/// Which of its five links an event uses in a list.
#[derive(Clone, Copy)]
pub(super) enum Link {
    All = 0,
    Owner = 1,
    Kind = 2,
    Route = 3,
    Full = 4,
}

/// A slot's neighbours in its lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links {
    prev: [u32; 5],
    pub(super) next: [u32; 5],
}

impl Links {
    /// In no list.
    pub(super) const NONE: Self = Self { prev: [NIL; 5], next: [NIL; 5] };
}

/// Something that stands in lists.
pub(super) trait Linked {
    /// Its neighbours.
    fn links(&mut self) -> &mut Links;

    /// Its number in the order of all.
    fn seq(&self) -> i64;
}

/// At which end of its lists an event is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Before all others.
    Front,
    /// After all others.
    Back,
}

impl List {
    /// Puts the slot `index`, which stands in no such list, at an end.
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

    /// Puts the slot `index`, which stands in no such list, where its number says: those that come
    /// back in their order, or in the opposite one, cost the same each, however many they are.
    pub(super) fn link_again<S: Linked>(&mut self, slots: &mut [S], link: Link, index: u32) {
        let seq = slots[index as usize].seq();
        let is_before = |slots: &[S], other: u32| slots[other as usize].seq() < seq;
        let mut next = match self.last_back {
            NIL => self.head,
            last if is_before(slots, last) => slots[last as usize].links().next[link as usize],
            _ => self.head,
        };
        while next != NIL && is_before(slots, next) {
            next = slots[next as usize].links().next[link as usize];
        }
        self.last_back = index;
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
        if self.last_back == index {
            self.last_back = prev;
        }
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
