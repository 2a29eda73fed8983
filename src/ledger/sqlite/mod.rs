//! A ledger in an SQLite file of its own.
//!
//! Each file has one writer in a process. What is asked for goes into its queue, and is done in that
//! order, in rounds: a round takes all that waits into one transaction, and answers when that is
//! committed. The writer's thread does a round, or a caller that waits for an answer while nobody
//! else does one ([`Ledger::write`]); one at a time, under the writer's lock. The thread starts, and
//! the file is opened, at the first use.

mod claims;
mod disk;
mod failure;
mod file;
pub mod fork;
mod fork_flag;
mod header;
mod holdings;
mod instance;
mod jobs;
mod liveness;
mod look;
mod machine;
mod open_file;
mod paths;
mod quarantine;
mod queries;
mod reconcile;
mod recover;
mod retention;
mod rows;
mod schedule;
mod schema;
mod status;
mod user;
mod writer;
mod writer_state;
mod writes;

use std::sync::{Arc, Weak};
use std::time::Instant;

use self::jobs::Job;
use self::user::{Sure, User};
use self::writer::Writer;

use super::clock::millis;
use super::{Health, Ledger, Millis, Notice, Options, Receipt, Row, Which, Write};
use crate::error::Error;
use crate::memory;
use crate::sync::signal::Signal;

pub use self::machine::Machine;

/// A ledger in an SQLite file. Those of one file in one process share its writer; each is an instance
/// of its own, which gives up what it holds when it is dropped.
pub struct SqliteLedger {
    writer: Arc<Writer>,
    user: User,
    /// The one that it is another instance of.
    of: Option<User>,
    lease: Millis,
    sure: Arc<Sure>,
}

impl SqliteLedger {
    /// A ledger in this file, which is opened at the first use.
    pub fn new(options: Options) -> Arc<Self> {
        Self::on(options, Machine::default())
    }

    /// The same, on another machine.
    #[doc(hidden)]
    pub fn on(options: Options, machine: Machine) -> Arc<Self> {
        let lease = millis(options.lease);
        Self::of(Writer::of(options, machine), lease, None)
    }

    /// One more user of a writer, which is counted in already.
    fn of(writer: Arc<Writer>, lease: Millis, of: Option<User>) -> Arc<Self> {
        let (user, sure) = writer.user(lease, of);
        Arc::new(Self { writer, user, of, lease, sure })
    }
}

/// Gives up what every ledger of the process holds, for others to adopt at once, and flushes them: the
/// process ends. Whether that is on disk by `deadline`.
pub fn release_all(deadline: Instant) -> bool {
    let writers: Vec<_> = writer::writers().iter().filter_map(Weak::upgrade).collect();
    // All are asked first: those that answer are not to wait for one that does not. None is kept: one
    // that has just ended, with nothing held, drops what it is asked.
    let asked: Vec<Receipt<()>> = writers
        .into_iter()
        .filter(|writer| !writer.write_queue.is_unused())
        .map(|writer| {
            let (receipt, promise) = Receipt::pending();
            writer.put(Job::ReleaseAll(promise));
            receipt
        })
        .collect();
    let released = asked.iter().filter(|receipt| {
        matches!(receipt.wait(Some(deadline)), Ok(()) | Err(Error::LedgerClosed))
    });
    released.count() == asked.len()
}

/// Sets SQLite up, for tests that use it beside the ledger's.
#[doc(hidden)]
pub fn set_up() {
    file::set_up_sqlite();
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        match self.writer.write_queue.is_unused() {
            true => self.writer.status.unsubscribe(self.user),
            false => self.writer.put(Job::Leave(self.user)),
        }
        self.writer.write_queue.leave();
    }
}

impl Ledger for SqliteLedger {
    fn submit(&self, write: Write) -> Receipt {
        let (receipt, promise) = Receipt::pending();
        self.writer.put(Job::Write(self.user, write, promise));
        receipt
    }

    fn write(&self, write: Write) -> Receipt {
        let (receipt, promise) = Receipt::pending();
        self.writer.put_and_help(Job::Write(self.user, write, promise));
        receipt
    }

    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        let (receipt, promise) = Receipt::pending();
        self.writer.put(Job::Read(self.user, which.try_into()?, promise));
        receipt.wait(None)
    }

    fn look(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        let (receipt, promise) = Receipt::pending();
        self.writer.put(Job::Peek(self.user, which.try_into()?, promise));
        receipt.wait(None)
    }

    fn check(&self) -> Result<(), Error> {
        header::check(&self.writer.path).map_err(|failure| failure.into_error(&self.writer.path))
    }

    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error> {
        let (receipt, promise) = Receipt::pending();
        let ids = ids.iter().map(|id| memory::copy(id)).collect::<Result<_, _>>()?;
        self.writer.put(Job::Adopt(self.user, ids, promise));
        receipt.wait(None)
    }

    fn is_surely_ours(&self) -> bool {
        self.sure.is_ours()
    }

    fn look_again(&self, at: Millis) {
        self.writer.put(Job::Look(at));
    }

    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice> {
        self.writer.status.next(self.user, signal)
    }

    fn health(&self) -> Health {
        let health = self.writer.status.health();
        Health { waiting: health.waiting + self.writer.write_queue.len(), ..health }
    }

    fn flush(&self, deadline: Instant) -> bool {
        if self.writer.write_queue.is_unused() {
            return true;
        }
        let (receipt, promise) = Receipt::pending();
        self.writer.put(Job::Flush(promise));
        receipt.wait(Some(deadline)).is_ok()
    }

    fn release(&self, deadline: Instant) -> bool {
        if self.writer.write_queue.is_unused() {
            return true;
        }
        let (receipt, promise) = Receipt::pending();
        self.writer.put(Job::Release(self.user, promise));
        receipt.wait(Some(deadline)).is_ok()
    }

    fn leave(&self) {
        if !self.writer.write_queue.is_unused() {
            let (_, promise) = Receipt::pending();
            self.writer.put(Job::Release(self.user, promise));
        }
    }

    fn another(&self) -> Option<Arc<dyn Ledger>> {
        // There is a user: us.
        let is_open = self.writer.write_queue.enter();
        let of = self.of.or(Some(self.user));
        is_open.then(|| Self::of(self.writer.clone(), self.lease, of) as Arc<dyn Ledger>)
    }

    fn set_interest(&self, has: bool) {
        self.writer.put(Job::Interest(self.user, has));
    }
}
