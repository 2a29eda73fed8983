//! The one error enum of the core.

/// What can go wrong in the core. Each message says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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
    /// A mailbox has a new owner's event, and its host has not said yet whether it owns it.
    #[error("a new owner's event came; judge what unjudged() gives, then take again")]
    Unjudged,
    /// `task_done` was called more often than events were put.
    #[error("task_done() called too many times; call it once for each event taken")]
    TooManyDone,
    /// Every permit is taken.
    #[error("{running} delegations run and {limit} may; wait for one to end, or raise the limit")]
    AtCapacity {
        /// How many may run at once.
        limit: usize,
        /// How many run now.
        running: usize,
    },
    /// A live or retained delegation has that id.
    #[error("delegation id {id:?} is in use; leave the id out to have one made")]
    DuplicateId {
        /// The id asked for.
        id: String,
    },
}
