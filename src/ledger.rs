//! The ledger: where delegations and undelivered results survive the process.
//!
//! A ledger is written in order: what is submitted first is on disk first. Whoever needs to know
//! that it is waits for the [`Receipt`]. An opened ledger is one *instance*; it holds what it
//! dispatched or adopted as long as its lease lasts, which it renews while there is anything to
//! hold. Time and a fence decide who holds a row, never a process id: a write under a [`Hold`] that
//! somebody else has taken over since changes nothing.
//!
//! ```text
//! dispatch ──> running ──finish──> pending ──ack──> delivered
//!                 │                  │  └─bury──> dead ──redeliver──> pending
//!                 └─lease over─> lost┘  └─drop──> dropped
//! ```

pub mod clock;
mod home;
pub mod inbox;
pub mod memory;
pub mod notices;
pub mod options;
pub mod receipt;
#[cfg(not(any(loom, fuzzing)))]
pub mod sqlite;

use std::time::Instant;

use crate::error::Error;
use crate::event::Owner;
use crate::registry::{Delivery, State};
use crate::wake::Signal;

pub use self::home::Home;
pub use self::options::{Durability, Options, Retention};
pub use self::receipt::Receipt;

use std::sync::Arc;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// One row in somebody's hold: the fence tells this hold from earlier and later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The delegation.
    pub id: Arc<str>,
    /// Grows each time that the row changes hands.
    pub fence: u64,
}

/// A delegation that is about to run.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// Its id; the row is held under [`NewDelegation::FENCE`].
    pub id: Arc<str>,
    /// Who asked for it.
    pub owner: Arc<Owner>,
    /// What tells it from another of the same owner, if the owner said so.
    pub idempotency_key: Option<Box<str>>,
    /// The task as JSON; empty where [`Ledger::keeps_texts`] says no.
    pub record: Box<str>,
    /// When it was dispatched.
    pub dispatched_at: Millis,
}

impl NewDelegation {
    /// The fence of a row's first hold.
    pub const FENCE: u64 = 1;
}

/// What is to be written down.
#[derive(Debug, Clone)]
pub enum Write {
    /// A delegation starts. [`Outcome::Exists`] if its owner has one with that key already.
    Dispatch(NewDelegation),
    /// It was taken back before it ran: the row goes.
    Withdraw(Hold),
    /// It ended; its event waits from now on.
    Finish {
        /// The row.
        hold: Hold,
        /// How it ended.
        state: State,
        /// The completion event as JSON; empty where [`Ledger::keeps_texts`] says no.
        event: Box<str>,
        /// When it ended.
        completed_at: Millis,
    },
    /// Its event was handed to a consumer, or came back: so often by now. A lost one of these means
    /// a redelivery with a lower count, so it waits for the next write that matters.
    Attempts {
        /// The row.
        hold: Hold,
        /// How often it was handed out and not deferred.
        attempts: u32,
    },
    /// Its event was delivered.
    Ack(Hold),
    /// Its delivered event came back: whoever took it put it back.
    Reopen(Hold),
    /// Its event had all its attempts. Nobody holds the row any more. As late as `Attempts`.
    Bury {
        /// The row.
        hold: Hold,
        /// How often it was handed out.
        attempts: u32,
    },
    /// Its event is given up.
    Drop(Hold),
    /// The owner of this session key began a new epoch: what it dispatched before and what is not
    /// delivered is parked, whoever holds it. An empty key parks nothing.
    NewEpoch(Box<str>),
    /// By hand, whoever held it: an event that was delivered, dropped, buried or parked waits again,
    /// held by nobody. [`Outcome::Fenced`] if there is no such event, or a live instance holds it.
    Redeliver(Box<str>),
    /// By hand: an undelivered event is given up. [`Outcome::Fenced`] as for `Redeliver`.
    Discard(Box<str>),
    /// By hand: the instance that runs it is asked to stop it, and hears of it with its next
    /// renewal. [`Outcome::Fenced`] if nobody runs it.
    Cancel(Box<str>),
}

impl Write {
    /// Whether somebody relies on it being on disk soon. The rest goes along with the next that does,
    /// with the next renewal, or at the end.
    pub fn is_urgent(&self) -> bool {
        !matches!(self, Self::Attempts { .. } | Self::Bury { .. })
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is written.
    Done,
    /// The owner dispatched with that key before: the id of that delegation.
    Exists(Box<str>),
    /// The row is gone, or somebody else's: nothing was changed.
    Fenced,
}

/// Who holds a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// This instance.
    Us,
    /// Another instance, until then unless it renews.
    Other {
        /// When its lease ends.
        until: Millis,
    },
}

/// What the ledger knows of a delegation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id and present fence.
    pub hold: Hold,
    /// Who asked for it.
    pub owner: Arc<Owner>,
    /// As it was dispatched with.
    pub idempotency_key: Option<Box<str>>,
    /// Where it stands. One whose holder's lease is over while it ran is [`State::Lost`].
    pub state: State,
    /// Where its event stands.
    pub delivery: Delivery,
    /// How often its event was handed out and not deferred.
    pub attempts: u32,
    /// Who holds it; an instance whose lease is over is nobody.
    pub holder: Holder,
    /// The task as JSON.
    pub record: Box<str>,
    /// The completion event as JSON; none before the end, and none if it was lost.
    pub event: Option<Box<str>>,
    /// When it was dispatched.
    pub dispatched_at: Millis,
    /// When it ended, or was found lost.
    pub completed_at: Option<Millis>,
    /// When its event was delivered or dropped.
    pub settled_at: Option<Millis>,
}

/// Which rows are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// One, by its id.
    One(&'a str),
    /// This many of the newest at most, in the order of dispatch.
    Newest(usize),
    /// Those that run, in the order of dispatch.
    Running,
    /// Those that run or whose event waits, parked ones not, held by nobody or by another instance;
    /// in the order of dispatch. What may be adopted now or later: a running one once it is lost.
    Elsewhere,
    /// Dead letters.
    Dead,
}

/// What happened that somebody outside the ledger has to act on or to tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This delegation of ours is to be stopped.
    Cancel(Box<str>),
    /// There may be something to adopt that was not there before.
    Look,
    /// Writes fail; why. They are kept and tried again.
    Failing(Error),
    /// They are on disk now.
    Recovered,
    /// Something about the file that its user should know.
    Warning(String),
}

/// How a ledger is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Where it is; empty for memory.
    pub path: String,
    /// `closed` before the first use, `ok`, or `failing`.
    pub state: &'static str,
    /// How many writes wait, those that failed and are tried again included.
    pub waiting: usize,
    /// How many writes failed so far, retries not counted.
    pub failed: u64,
    /// The last failure, in words; empty if there was none.
    pub last_error: String,
    /// How many transactions were committed so far, and how many writes with them.
    pub commits: u64,
    /// See `commits`.
    pub writes: u64,
}

/// Where delegations and undelivered results survive the process.
///
/// Every method may be called from any thread, none holds a core lock meanwhile. `submit` and
/// `health` do not wait; the others may wait for the disk.
pub trait Ledger: Send + Sync {
    /// Whether it keeps texts; where not, they may be left empty.
    fn keeps_texts(&self) -> bool;

    /// Has something written down, after all that was submitted before.
    fn submit(&self, write: Write) -> Receipt;

    /// As [`Self::submit`], by somebody who waits for the answer: the calling thread may do the
    /// writing itself, which takes as long as the disk does.
    fn write(&self, write: Write) -> Receipt {
        self.submit(write)
    }

    /// Reads rows, as they are after all that was submitted before.
    ///
    /// # Errors
    /// One of the ledger's, see [`Error`].
    fn read(&self, which: Which<'_>) -> Result<Vec<Row>, Error>;

    /// Takes rows over, those of these ids that nobody holds and whose event waits or that are lost;
    /// a lost one is [`State::Lost`] on disk from now on. Returns those that are ours now.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error>;

    /// Has [`Notice::Look`] come when this moment is over.
    fn look_after(&self, at: Millis);

    /// The next notice, if there is one; else `signal` is set when there is. One waiter at a time.
    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice>;

    /// How it is.
    fn health(&self) -> Health;

    /// Waits until what was submitted is on disk, `deadline` at most; whether it is.
    fn flush(&self, deadline: Instant) -> bool;

    /// Gives up what it holds, for others to adopt at once, and flushes: the process ends. What
    /// runs is lost. Whether that is on disk by `deadline`.
    fn release(&self, deadline: Instant) -> bool;
}
