//! Names of owners and kinds as small numbers, each with the lane of its events.

use std::collections::HashMap;
use std::sync::Arc;

use super::fifo::Lane;

/// Names unused by any event or waiter are kept up to this many, so that a key that comes and goes
/// is not made anew each time.
const KEPT_UNUSED: usize = 1024;

/// A name unused by any is kept only up to this many bytes.
const KEPT_LENGTH: usize = 256;

/// A name's number. Valid while a use of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameId(u32);

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    uses: u32,
    lane: Lane,
}

/// Numbers for names, counted by use.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, NameId, foldhash::fast::RandomState>,
    entries: Vec<Entry>,
    free: Vec<u32>,
    sweep_at: usize,
}

impl Names {
    /// The number of `name`, with one more use.
    pub(super) fn acquire(&mut self, name: &str) -> NameId {
        if let Some(&id) = self.ids.get(name) {
            self.again(id);
            return id;
        }
        if self.ids.len() >= self.sweep_at.max(KEPT_UNUSED) {
            self.sweep();
        }
        let name: Arc<str> = name.into();
        let entry = Entry { name: name.clone(), uses: 1, lane: Lane::default() };
        let id = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                NameId(index)
            }
            None => {
                self.entries.push(entry);
                NameId(u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 names"))
            }
        };
        self.ids.insert(name, id);
        id
    }

    /// One more use of a number in use.
    pub(super) fn again(&mut self, id: NameId) {
        self.entries[id.0 as usize].uses += 1;
    }

    /// One use less.
    pub(super) fn release(&mut self, id: NameId) {
        let entry = &mut self.entries[id.0 as usize];
        entry.uses -= 1;
        if entry.uses == 0 && entry.name.len() > KEPT_LENGTH {
            let name = std::mem::replace(&mut entry.name, "".into());
            self.ids.remove(&name);
            self.free.push(id.0);
        }
    }

    /// The number of `name`, if it has one.
    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    /// The lane of the events with that name.
    pub(super) fn lane(&self, id: NameId) -> &Lane {
        &self.entries[id.0 as usize].lane
    }

    /// The lane of the events with that name.
    pub(super) fn lane_mut(&mut self, id: NameId) -> &mut Lane {
        &mut self.entries[id.0 as usize].lane
    }

    fn sweep(&mut self) {
        let Self { ids, entries, free, sweep_at } = self;
        ids.retain(|_, id| {
            let entry = &mut entries[id.0 as usize];
            if entry.uses == 0 {
                entry.name = "".into();
                free.push(id.0);
            }
            entry.uses > 0
        });
        *sweep_at = 2 * ids.len();
    }
}
