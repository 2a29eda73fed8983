//! A ledger in an SQLite file of its own.
//!
//! All work on the file is done by one thread per file and process, in the order in which it was
//! asked for. It takes all that waits into one transaction, and answers when that is committed. It
//! starts, and the file is opened, at the first use.

mod batch;
mod carry;
mod desk;
mod disk;
mod due;
mod file;
mod rows;
mod salvage;
mod statements;
mod store;
mod told;
mod trouble;
mod writes;

use std::sync::Arc;
use std::time::Instant;

use self::desk::Job;
use self::store::Store;
use super::clock::{Clock, SystemClock};
use super::{Health, Ledger, Millis, Notice, Options, Receipt, Row, Which, Write};
use crate::error::Error;
use crate::wake::Signal;

pub use self::store::{AllHeld, hold};

/// What a ledger takes for granted about the machine; tests say otherwise.
#[derive(Clone)]
pub struct Machine {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Whether other machines may use the file's disk; as the system says if it is not said here.
    pub shared_disk: Option<bool>,
    /// Whether ledgers of one file share its writer, as they must in one process.
    pub shares_writer: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), shared_disk: None, shares_writer: true }
    }
}

/// A ledger in an SQLite file. Those of one file in one process are one instance.
pub struct SqliteLedger {
    store: Arc<Store>,
    reader: u64,
}

impl SqliteLedger {
    /// A ledger in this file, which is opened at the first use.
    pub fn new(options: Options) -> Arc<Self> {
        Self::on(options, Machine::default())
    }

    /// The same, on another machine.
    #[doc(hidden)]
    pub fn on(options: Options, machine: Machine) -> Arc<Self> {
        let store = Store::of(options, machine);
        let reader = store.told.enter();
        Arc::new(Self { store, reader })
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        self.store.told.leave(self.reader);
        self.store.inbox.leave();
    }
}

impl Ledger for SqliteLedger {
    fn keeps_texts(&self) -> bool {
        true
    }

    fn submit(&self, write: Write) -> Receipt {
        let (receipt, promise) = Receipt::pending();
        self.store.put(Job::Write(write, promise));
        receipt
    }

    fn write(&self, write: Write) -> Receipt {
        let (receipt, promise) = Receipt::pending();
        self.store.put_and_help(Job::Write(write, promise));
        receipt
    }

    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        let (receipt, promise) = Receipt::pending();
        self.store.put(Job::Read(which.into(), promise));
        receipt.wait(None)
    }

    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error> {
        let (receipt, promise) = Receipt::pending();
        self.store.put(Job::Adopt(ids.iter().map(|id| (*id).into()).collect(), promise));
        receipt.wait(None)
    }

    fn look_after(&self, at: Millis) {
        self.store.put(Job::Look(at));
    }

    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice> {
        self.store.told.next(self.reader, signal)
    }

    fn health(&self) -> Health {
        let health = self.store.told.health();
        Health { waiting: health.waiting + self.store.inbox.len(), ..health }
    }

    fn flush(&self, deadline: Instant) -> bool {
        if self.store.inbox.is_unused() {
            return true;
        }
        let (receipt, promise) = Receipt::pending();
        self.store.put(Job::Flush(promise));
        receipt.wait(Some(deadline)).is_ok()
    }

    fn release(&self, deadline: Instant) -> bool {
        if self.store.inbox.is_unused() {
            return true;
        }
        let (receipt, promise) = Receipt::pending();
        self.store.put(Job::Release(promise));
        receipt.wait(Some(deadline)).is_ok()
    }
}
