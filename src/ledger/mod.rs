//! The ledger: where delegations and undelivered results survive the process.
//!
//! A ledger is written in order: what is submitted first is on disk first. Whoever needs to know
//! that it is waits for the [`Receipt`]. An opened ledger is one *instance*; it claims what it
//! dispatched or adopted as long as its lease lasts, which it renews while there is anything to
//! claim. Time and a fence decide whose a row is, never a process id: a write under a [`Claim`] that
//! somebody else has taken over since changes nothing.
//!
//! ```text
//! queued ──begin──┐
//! dispatch ──> running ──finish──> pending ──ack──> delivered
//!                 │                  │  └─bury──> dead ──redeliver──> pending
//!                 └─lease over─> lost┘  └─drop──> dropped
//! ```

mod adopted;
pub mod clock;
pub mod notices;
pub mod options;
pub mod receipt;
mod row_handle;
#[cfg(not(any(loom, fuzzing)))]
pub mod sqlite;
pub mod write_queue;

use std::time::Instant;

use crate::error::Error;
use crate::event::Owner;
use crate::state::{Delivery, State};
use crate::sync::signal::Signal;

pub use self::adopted::Adopted;
pub use self::options::{Durability, Options, Retention};
pub use self::receipt::Receipt;
pub use self::row_handle::{Acked, RowHandle};

use std::sync::Arc;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// One row as somebody claims it: the fence tells this claim from earlier and later ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The delegation.
    pub id: Arc<str>,
    /// Grows each time that the row changes hands.
    pub fence: u64,
}

/// A delegation that is about to run, or to wait for capacity.
#[derive(Debug, Clone)]
pub struct NewDelegation {
    /// Its id; the row is claimed under [`NewDelegation::FENCE`].
    pub id: Arc<str>,
    /// Who asked for it.
    pub owner: Arc<Owner>,
    /// What tells it from another of the same owner, if the owner said so.
    pub idempotency_key: Option<Box<str>>,
    /// The task as JSON.
    pub record: Box<str>,
    /// When it was dispatched.
    pub dispatched_at: Millis,
    /// Whether it waits for capacity, and begins by [`Write::Begin`].
    pub is_queued: bool,
}

impl NewDelegation {
    /// The fence of a row's first claim.
    pub const FENCE: u64 = 1;
}

/// What is to be written down.
#[derive(Debug, Clone)]
pub enum Write {
    /// A delegation starts. [`Outcome::Exists`] if its owner has one with that key already.
    Dispatch(NewDelegation),
    /// It has waited for capacity, and is about to run.
    Begin(Claim),
    /// It was taken back before it ran: the row goes.
    Withdraw(Claim),
    /// It ended; its event waits from now on, or is parked: [`Outcome::Parked`]. [`Outcome::Late`] if it
    /// was taken for lost before.
    Finish {
        /// The row.
        claim: Claim,
        /// How it ended.
        state: State,
        /// The completion event as JSON.
        event: Box<str>,
        /// When it ended.
        completed_at: Millis,
    },
    /// Its event was handed to a consumer, or came back: so often by now. It is not
    /// urgent, and waits for the next write that is: if it is lost, fewer attempts are counted after
    /// a restart.
    Attempts {
        /// The row.
        claim: Claim,
        /// How often it was handed out and not deferred.
        attempts: u32,
    },
    /// Its event was delivered. An error means that it is written later, and that the row was surely
    /// ours when it was said; if that is not sure any more, the answer is [`Outcome::Unwritten`]. As
    /// long as the row is ours and somebody else is writing, it is waited for.
    Ack(Claim),
    /// Its delivered event came back: whoever took it put it back.
    Reopen(Claim),
    /// Its event, which waits, is parked: it came back after its owner had begun a new epoch. Nobody
    /// holds the row any more.
    Park(Claim),
    /// It was taken over, and its event not put anywhere: it waits, held by nobody. One that runs, and
    /// whose end nobody will hear of, is lost.
    GiveBack(Claim),
    /// Its event had all its attempts. Nobody holds the row any more. As late as `Attempts`.
    Bury {
        /// The row.
        claim: Claim,
        /// How often it was handed out.
        attempts: u32,
    },
    /// Its event is given up.
    Drop(Claim),
    /// The owner of this session key began a new epoch: what it dispatched before and what is not
    /// delivered is parked, whoever holds it. What another instance holds stays held until that has
    /// heard of it. An empty key parks nothing.
    NewEpoch(Box<str>),
    /// A person asks, whoever held it: an event that was delivered, dropped, buried or parked waits again,
    /// held by nobody. [`Outcome::Fenced`] if there is no such event, or a live instance holds it.
    Redeliver(Box<str>),
    /// A person asks: an undelivered event is given up. [`Outcome::Asked`] if a live instance holds
    /// it: that is to drop it, and where it lets go of it first, nobody gets it any more.
    /// [`Outcome::Fenced`] if there is no such event yet, or any more.
    Discard(Box<str>),
    /// A person asks: the instance that runs it is asked to stop it, and hears of it with its next
    /// renewal. [`Outcome::Fenced`] if nobody runs it.
    Cancel(Box<str>),
}

impl Write {
    /// Whether somebody relies on it being on disk soon. The rest goes along with the next that does,
    /// with the next renewal, or at the end.
    pub fn is_urgent(&self) -> bool {
        !matches!(self, Self::Attempts { .. } | Self::Bury { .. })
    }

    /// Whether it is asked of a row that another may hold.
    pub fn asks_who_lives(&self) -> bool {
        matches!(self, Self::Redeliver(_) | Self::Discard(_) | Self::Cancel(_))
    }

    /// Whether nobody may hold an event after it that is not delivered.
    pub fn lets_go(&self) -> bool {
        matches!(self, Self::Bury { .. } | Self::Park(_) | Self::GiveBack(_) | Self::NewEpoch(_))
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
    /// Of a [`Write::Finish`]: it is written, and its event parked. Nobody holds the row any more.
    Parked,
    /// Of a [`Write::Finish`]: the row was taken for lost, whether or not that was told. The end is
    /// written, marked as late, and the row is ours again under this fence.
    Late {
        /// The fence of the new claim.
        fence: u64,
        /// Whether its event is parked: then nobody holds the row.
        is_parked: bool,
    },
    /// Of an [`Write::Ack`]: it could not be written while the row was surely ours, and will not be.
    Unwritten,
    /// Of a [`Write::Discard`]: whoever holds the event is asked to drop it.
    Asked,
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
        /// When its lease ends, by the wall clock as it is now.
        until: Millis,
    },
}

/// What the ledger knows of a delegation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id and present fence.
    pub claim: Claim,
    /// Who asked for it.
    pub owner: Arc<Owner>,
    /// As it was dispatched with.
    pub idempotency_key: Option<Box<str>>,
    /// Where it stands. One whose holder's lease is over while it ran is [`State::Lost`].
    pub state: State,
    /// Whether it ever ran: not if it waited for capacity until its end.
    pub has_begun: bool,
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
    /// Those that run or wait for capacity, in the order of dispatch.
    Running,
    /// Those that run or whose event waits, parked ones not, held by nobody or by another instance;
    /// in the order of dispatch. What may be adopted now or later: a running one once it is lost.
    Elsewhere,
    /// The events that wait, parked ones not, held by nobody or by another instance, dispatched
    /// under this session key; without their texts. What was lost is among them.
    ElsewhereOf(&'a str),
    /// What may be adopted now, without the texts.
    Free,
    /// Dead letters.
    Dead,
}

/// What happened that somebody outside the ledger has to act on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Notice {
    /// This delegation of ours is to be stopped.
    Cancel(Box<str>),
    /// The event of this delegation of ours is parked: its owner began a new epoch elsewhere. It stays
    /// ours until [`Write::Park`] lets go of it.
    Park(Box<str>),
    /// The event that we hold under this claim is to be dropped; said again until it has left.
    Drop(Claim),
    /// There may be something to adopt that was not there before.
    Look,
    /// Writes fail; why. They are kept and tried again.
    Failing(Error),
    /// They are on disk now.
    Recovered,
    /// Something about the file that its user should know.
    Warning(String),
}

impl Notice {
    /// Whether it asks something of whoever holds a row.
    pub fn is_request(&self) -> bool {
        matches!(self, Self::Cancel(_) | Self::Park(_) | Self::Drop(_))
    }
}

/// How a ledger is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Where it is.
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

    /// As [`Self::read`], by somebody who only looks: what is not open yet is not opened to be written,
    /// not made and not mended.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn look(&self, which: Which<'_>) -> Result<Vec<Row>, Error> {
        self.read(which)
    }

    /// Whether it can be used, as far as that is seen at once and without a change.
    ///
    /// # Errors
    /// What is wrong with where it is.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes rows over, those of these ids that nobody holds and whose event waits or that are lost;
    /// a lost one is [`State::Lost`] on disk from now on. Returns those that are ours now, in the
    /// order of dispatch.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn adopt(&self, ids: &[&str]) -> Result<Vec<Row>, Error>;

    /// Whether nobody can have taken over what this instance holds: its lease is written down, and
    /// lasts for some time yet by a clock that does not step. Waits for nobody.
    fn is_surely_ours(&self) -> bool;

    /// Has another [`Notice::Look`] come when this moment is over.
    fn look_again(&self, at: Millis);

    /// The next notice, if there is one; else `signal` is set when there is. One waiter at a time.
    fn notice(&self, signal: &Arc<Signal>) -> Option<Notice>;

    /// How it is.
    fn health(&self) -> Health;

    /// Waits until what was submitted is on disk, `deadline` at most; whether it is.
    fn flush(&self, deadline: Instant) -> bool;

    /// Gives up what it holds, for others to adopt at once, and flushes: the process ends. What
    /// runs is lost. Whether that is on disk by `deadline`.
    fn release(&self, deadline: Instant) -> bool;

    /// Gives up what this instance holds, for others to adopt at once; what runs is lost. Waits for
    /// nothing. What is submitted later is another instance's.
    fn leave(&self) {}

    /// Another instance on the same file, with its own claims and notices; none where there is but one.
    /// As this one reads it, what that holds is held by [`Holder::Us`].
    fn another(&self) -> Option<Arc<dyn Ledger>> {
        None
    }

    /// Whether this instance is to hear, by [`Notice::Look`], of what comes free also while it holds
    /// nothing: within a third of its lease.
    fn set_interest(&self, _has: bool) {}
}
