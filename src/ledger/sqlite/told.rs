//! What is told about a ledger: how it is, and notices to each of its users.

use std::sync::Arc;

use crate::error::Error;
use crate::ledger::notices::Notices;
use crate::ledger::{Health, Notice};
use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

/// What the lock guards.
#[derive(Debug, Default)]
pub(super) struct Telling {
    health: Health,
    readers: Vec<(u64, Notices)>,
    next_reader: u64,
}

/// What is told about a ledger.
#[derive(Debug, Default)]
pub(super) struct Told(Guarded<Telling>);

impl Locked for Told {
    type State = Telling;

    fn state(&self) -> &Guarded<Telling> {
        &self.0
    }
}

impl Told {
    pub(super) fn new(path: String) -> Self {
        let health = Health { path, state: "closed", ..Health::default() };
        Self(Guarded(Lock::new(Telling { health, ..Telling::default() })))
    }

    /// A user more, to whom everything is told from now on; by what number it asks.
    pub(super) fn enter(&self) -> u64 {
        let mut telling = self.0.0.lock();
        let reader = telling.next_reader;
        telling.next_reader += 1;
        telling.readers.push((reader, Notices::default()));
        reader
    }

    pub(super) fn leave(&self, reader: u64) {
        self.0.0.lock().readers.retain(|(number, _)| *number != reader);
    }

    /// The next notice to a user; else `signal` is set when there is one.
    pub(super) fn next(&self, reader: u64, signal: &Arc<Signal>) -> Option<Notice> {
        let mut telling = self.0.0.lock();
        let mut readers = telling.readers.iter_mut();
        readers.find(|(number, _)| *number == reader)?.1.next(signal)
    }

    pub(super) fn health(&self) -> Health {
        self.0.0.lock().health.clone()
    }

    /// Tells everybody.
    pub(super) fn tell(&self, notice: Notice) {
        self.0.0.lock().tell(notice);
    }

    /// The file is open.
    pub(super) fn opened(&self) {
        let mut telling = self.0.0.lock();
        if telling.health.state == "closed" {
            telling.health.state = "ok";
        }
    }

    /// So many writes are committed, in one transaction.
    pub(super) fn committed(&self, writes: usize) {
        let mut telling = self.0.0.lock();
        telling.health.commits += 1;
        telling.health.writes += writes as u64;
    }

    /// So many writes failed, for the first time.
    pub(super) fn failed(&self, writes: usize, error: &Error) {
        let mut telling = self.0.0.lock();
        telling.health.failed += writes as u64;
        telling.health.last_error = error.to_string();
        if std::mem::replace(&mut telling.health.state, "failing") != "failing" {
            telling.tell(Notice::Failing(error.clone()));
        }
    }

    /// Everything is on disk.
    pub(super) fn succeeded(&self) {
        let mut telling = self.0.0.lock();
        if std::mem::replace(&mut telling.health.state, "ok") == "failing" {
            telling.tell(Notice::Recovered);
        }
    }

    /// So many writes wait that have failed before, or are being written.
    pub(super) fn waiting(&self, writes: usize) {
        self.0.0.lock().health.waiting = writes;
    }
}

impl Telling {
    fn tell(&mut self, notice: Notice) {
        for (_, notices) in &mut self.readers {
            notices.push(notice.clone());
        }
    }

    /// Forgets what was to be told, as in a forked child.
    pub(super) fn reset(&mut self) {
        self.readers.iter_mut().for_each(|(_, notices)| notices.clear());
        self.health = Health {
            path: std::mem::take(&mut self.health.path),
            state: "closed",
            ..Health::default()
        };
    }
}
