//! The one error enum of the core.

/// What can go wrong in the core. Each message says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no memory for it; nothing was changed.
    #[error("there is no memory for it; take or end something first, then try again")]
    NoMemory,
    /// A take found no matching event within its time.
    #[error("no matching event is waiting; wait longer, or widen the filter")]
    Empty,
    /// A put found no room within its time.
    #[error("the queue holds {maxsize} events, its maximum; take one first, or wait longer")]
    Full {
        /// The bound in force, in events.
        maxsize: usize,
    },
    /// The queue was shut down.
    #[error("the queue was shut down; make a new one to go on")]
    ShutDown,
    /// A mailbox's owner predicate has not been asked yet of an event's address.
    #[error("an event of a new address came; answer what next_question() gives, then take again")]
    Undecided,
    /// `task_done` was called more often than events were put.
    #[error("task_done() called too many times; call it once for each event taken")]
    TooManyDone,
    /// Every permit is taken.
    #[error(
        "{running} delegations run and {limit} may, {queued} wait; wait for one to end, or raise \
         the limit"
    )]
    AtCapacity {
        /// How many permits there are.
        limit: usize,
        /// How many are taken now.
        running: usize,
        /// How many delegations wait for one.
        queued: usize,
    },
    /// A delegation asks for more permits than there are.
    #[error(
        "{permits} permits are asked for and there are {limit}; ask for fewer, or raise the limit"
    )]
    TooManyPermits {
        /// How many it asks for.
        permits: u32,
        /// How many there are.
        limit: usize,
    },
    /// A live or retained delegation has that id.
    #[error("delegation id {id:?} is in use; leave the id out to have one made")]
    DuplicateId {
        /// The id asked for.
        id: String,
    },
    /// The ledger's file has a schema that a newer release made.
    #[error(
        "the ledger {path} has schema {found}, and this release knows {known}; use the newer \
         release, or another path"
    )]
    LedgerNewer {
        /// The file.
        path: String,
        /// The schema's number.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The file is another program's.
    #[error("{path} is not a ledger: {reason}; use another path")]
    NotALedger {
        /// The file.
        path: String,
        /// Whose it is.
        reason: String,
    },
    /// The ledger's file, or its folder, cannot be written.
    #[error("the ledger {path} cannot be written: {reason}; make it writable, or use another path")]
    LedgerReadOnly {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// The disk of the ledger is full.
    #[error("the ledger {path} cannot grow: {reason}; free some space")]
    LedgerFull {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// Another process keeps the ledger's file locked.
    #[error("the ledger {path} is locked by another process; see who has it open")]
    LedgerBusy {
        /// The file.
        path: String,
    },
    /// The ledger's file is damaged.
    #[error("the ledger {path} is damaged: {reason}; it is set aside at the next use")]
    LedgerDamaged {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
    /// Anything else that keeps the ledger from being read or written.
    #[error("the ledger {path} cannot be used: {reason}; see to its disk, or use another path")]
    LedgerIo {
        /// The file.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A write takes long; it may still come to be.
    #[error("the ledger has not answered yet; it goes on, or see to its disk")]
    LedgerSlow,
    /// The dispatch with the same key was given up before its row was written.
    #[error("the dispatch with the same key was interrupted before it began; dispatch it again")]
    Withdrawn,
    /// The ledger was closed before the write was done.
    #[error("the ledger was closed; open it anew")]
    LedgerClosed,
}
