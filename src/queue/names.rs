//! Names of owners and kinds as small numbers, each with the list of its events.

use std::collections::HashMap;
use std::sync::Arc;

use super::list::List;
use crate::memory::{self, NoMemory, Room};

/// A name's number. Valid while a use of it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NameId(u32);

impl NameId {
    /// The number itself, for those who show it outside of the queue.
    pub(super) fn number(self) -> u32 {
        self.0
    }

    /// The name of a number that came from outside: it need not be in use.
    pub(super) fn of_number(number: u32) -> Self {
        Self(number)
    }
}

/// A name that is to have a number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Name<'a> {
    /// Its text, to be copied.
    Text(&'a str),
    /// A copy that is there already.
    Shared(&'a Arc<str>),
}

impl<'a> Name<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Shared(text) => text,
        }
    }

    fn shared(self) -> Result<Arc<str>, NoMemory> {
        match self {
            Self::Text(text) => memory::shared(text),
            Self::Shared(text) => Ok(text.clone()),
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    uses: u32,
    list: List,
}

/// Numbers for names, counted by use; a name goes with its last use.
#[derive(Debug, Default)]
pub(super) struct Names {
    ids: HashMap<Arc<str>, NameId, foldhash::fast::RandomState>,
    entries: Vec<Entry>,
    free: Vec<u32>,
}

impl Names {
    /// The number of `name`, with one more use. Room for `others` is left to them.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(super) fn acquire(&mut self, name: Name<'_>, others: usize) -> Result<NameId, NoMemory> {
        if let Some(&id) = self.ids.get(name.text()) {
            self.again(id);
            return Ok(id);
        }
        self.room_for(others + 1)?;
        let name = name.shared()?;
        let entry = Entry { name: name.clone(), uses: 1, list: List::default() };
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
        Ok(id)
    }

    /// Has room for so many more names, but for their texts; and for every number to come free.
    pub(super) fn room_for(&mut self, more: usize) -> Result<(), NoMemory> {
        let new = more.saturating_sub(self.free.len());
        self.entries.room_for(new)?;
        self.free.room_for(self.entries.len() + new - self.free.len())?;
        self.ids.room_for(more)
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// One more use of a number in use.
    pub(super) fn again(&mut self, id: NameId) {
        self.entries[id.0 as usize].uses += 1;
    }

    /// One use less.
    pub(super) fn release(&mut self, id: NameId) {
        let entry = &mut self.entries[id.0 as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            let name = std::mem::take(&mut entry.name);
            self.ids.remove(&name);
            self.free.push(id.0);
        }
    }

    /// The number of `name`, if it has one.
    pub(super) fn find(&self, name: &str) -> Option<NameId> {
        self.ids.get(name).copied()
    }

    /// The name of a number in use.
    pub(super) fn name(&self, id: NameId) -> &str {
        &self.entries[id.0 as usize].name
    }

    /// The list of the events with that name.
    pub(super) fn list(&self, id: NameId) -> &List {
        &self.entries[id.0 as usize].list
    }

    /// The list of the events with that name.
    pub(super) fn list_mut(&mut self, id: NameId) -> &mut List {
        &mut self.entries[id.0 as usize].list
    }
}
