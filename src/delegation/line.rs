//! The line of those that wait for capacity.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::memory::{NoMemory, Room};
use crate::queue::Handle;

/// One that waits, and how many permits it is to have.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) handle: Arc<Handle>,
    pub(super) permits: u32,
}

/// Those that wait for capacity, fair between their session keys: the keys take turns, each with its
/// own in the order of dispatch. Whoever is next waits until there is room; nobody passes it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By session key; the key whose turn is next first. None is empty.
    keys: VecDeque<VecDeque<Waiting>>,
    len: usize,
    /// How many more are accepted, and come once their rows are written.
    coming: usize,
    /// Those whose turn has come, and whose workers are yet to be told, the oldest first.
    started: VecDeque<Arc<Handle>>,
    /// How many permits there are: as the last of them said, or whoever changed that since.
    pub(super) limit: usize,
}

impl Line {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many wait, or are about to.
    pub(super) fn len(&self) -> usize {
        self.len + self.coming
    }

    /// Has room for one more of this key, beside those that are coming: neither its coming nor its
    /// turn needs memory then, but for a key's own first ones.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn room_for_one(&mut self, session_key: &str) -> Result<(), NoMemory> {
        let more = self.coming + 1;
        let all = self.len() + 1;
        self.keys.room_for(more)?;
        self.started.room_for(all)?;
        match self.keys.iter_mut().find(|own| key_of(own) == Some(session_key)) {
            Some(own) => own.room_for(more),
            None => Ok(()),
        }
    }

    /// One more is accepted, and not in the line yet.
    pub(super) fn expect(&mut self) {
        self.coming += 1;
    }

    /// One that was accepted does not come, or does now.
    pub(super) fn expect_no_more(&mut self) {
        self.coming = self.coming.saturating_sub(1);
    }

    /// Puts one at the end of its key's.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let key = &waiting.handle.owner().session_key;
        let own = self.keys.iter_mut().find(|own| key_of(own) == Some(key));
        match own {
            Some(own) => own.push_back(waiting),
            None => self.keys.push_back(VecDeque::from([waiting])),
        }
        self.len += 1;
    }

    /// Whose turn it is.
    pub(super) fn next(&self) -> Option<&Waiting> {
        self.keys.front()?.front()
    }

    /// Takes out whose turn it is, and gives the turn to the next key.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let mut own = self.keys.pop_front()?;
        let next = own.pop_front();
        self.len -= usize::from(next.is_some());
        if !own.is_empty() {
            self.keys.push_back(own);
        }
        next
    }

    /// Takes one out, wherever it stands.
    pub(super) fn remove(&mut self, handle: &Arc<Handle>) {
        let key = &handle.owner().session_key;
        let Some(at) = self.keys.iter().position(|own| key_of(own) == Some(key)) else { return };
        let Some(own) = self.keys.get_mut(at) else { return };
        let before = own.len();
        own.retain(|waiting| !Arc::ptr_eq(&waiting.handle, handle));
        self.len -= before - own.len();
        if own.is_empty() {
            self.keys.remove(at);
        }
    }

    /// Where one stands: 1 is the next.
    pub(super) fn position(&self, handle: &Arc<Handle>) -> Option<usize> {
        let round_of = |own: &VecDeque<Waiting>| {
            own.iter().position(|waiting| Arc::ptr_eq(&waiting.handle, handle))
        };
        let rounds = self.keys.iter().map(round_of).enumerate();
        let (at, round) = rounds.filter_map(|(at, round)| Some((at, round?))).next()?;
        // Of each key as many as there were rounds before; of those ahead in the turn one more.
        let ahead = |(place, own): (usize, &VecDeque<Waiting>)| {
            own.len().min(round + usize::from(place < at))
        };
        Some(1 + self.keys.iter().enumerate().map(ahead).sum::<usize>())
    }

    /// One runs from now on: its worker is to be told.
    pub(super) fn start(&mut self, handle: Arc<Handle>) {
        self.started.push_back(handle);
    }

    /// One has ended, or is taken back: no worker is to be told.
    pub(super) fn forget_started(&mut self, handle: &Arc<Handle>) {
        self.started.retain(|started| !Arc::ptr_eq(started, handle));
    }

    /// Empties it; the records still have the handles.
    pub(super) fn clear(&mut self) {
        *self = Self { limit: self.limit, ..Self::default() };
    }

    /// How many workers are to be told.
    pub(super) fn started(&self) -> usize {
        self.started.len()
    }

    /// The next one that a worker is to be told of.
    pub(super) fn take_started(&mut self) -> Option<Arc<Handle>> {
        self.started.pop_front()
    }
}

fn key_of(own: &VecDeque<Waiting>) -> Option<&str> {
    own.front().map(|waiting| &*waiting.handle.owner().session_key)
}
