//! The states of a delegation, the stages of an event, and the only ways from one to another.
//!
//! ```text
//! queued ──> running ──> completed | error | interrupted | timeout | stalled | lost
//!    └─────────────────> interrupted | timeout
//! ```
//!
//! ```text
//! waiting ──> leased | acking | parked | delivered | dropped
//! leased ───> waiting | delayed | acking | parked | dead | delivered | dropped
//! delayed ──> waiting | parked | dropped
//! acking ───> delivered | waiting | delayed | parked | dropped
//! parked ───> waiting | dropped
//! dead ─────> waiting | dropped
//! delivered > waiting
//! dropped ──> waiting
//! ```

use std::fmt;

/// Where a delegation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted, waiting for capacity.
    Queued,
    /// Its runner was handed to a worker.
    Running,
    /// Ended with a result.
    Completed,
    /// Ended without one.
    Error,
    /// Ended because it was told to.
    Interrupted,
    /// Ended by its deadline.
    Timeout,
    /// Ended for lack of progress.
    Stalled,
    /// Its process is gone, its outcome unknown.
    Lost,
}

impl State {
    /// Every state, in the order of a delegation's life.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Running,
        Self::Completed,
        Self::Error,
        Self::Interrupted,
        Self::Timeout,
        Self::Stalled,
        Self::Lost,
    ];

    /// Whether nothing follows it.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether `next` may follow it.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Interrupted | Self::Timeout),
            Self::Running => next.is_terminal(),
            _ => false,
        }
    }

    /// The name, as the Python surface shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Interrupted => "interrupted",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The terminal state that a runner's own status word means.
    ///
    /// hermes-agent's runners say `completed`, `failed`, `error`, `interrupted`, `timeout` (0.17.0:
    /// `tools/delegate_tool.py`, `_run_single_child`); a word not known is no success.
    pub fn from_status(word: &str) -> Self {
        match word {
            "completed" | "success" => Self::Completed,
            "interrupted" | "cancelled" | "canceled" => Self::Interrupted,
            "timeout" => Self::Timeout,
            "stalled" => Self::Stalled,
            "lost" => Self::Lost,
            _ => Self::Error,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where an event stands. It is written in one place, and everything that lists, counts or stores
/// events reads it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It waits for a consumer.
    Waiting,
    /// A consumer has it.
    Leased,
    /// It was given back, and waits for its next attempt.
    Delayed,
    /// It was delivered, and the ledger has yet to say so.
    Acking,
    /// Its owner has begun a new epoch since it was dispatched.
    Parked,
    /// It had all its attempts.
    Dead,
    /// A consumer has acknowledged it.
    Delivered,
    /// It was given up: dropped by hand, or with a queue that was shut down at once.
    Dropped,
}

impl Stage {
    /// Every stage, in the order of an event's life.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Leased,
        Self::Delayed,
        Self::Acking,
        Self::Parked,
        Self::Dead,
        Self::Delivered,
        Self::Dropped,
    ];

    /// Whether the event has left the queue: nobody waits for it any more.
    pub fn has_left(self) -> bool {
        matches!(self, Self::Delivered | Self::Dropped)
    }

    /// Whether whoever joins the queue waits for it.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Waiting | Self::Leased | Self::Delayed | Self::Acking)
    }

    /// Whether `next` may follow it.
    pub fn may_become(self, next: Self) -> bool {
        use Stage::{Acking, Dead, Delayed, Delivered, Dropped, Leased, Parked, Waiting};
        match self {
            Waiting => matches!(next, Leased | Acking | Parked | Delivered | Dropped),
            Leased => {
                matches!(next, Waiting | Delayed | Acking | Parked | Dead | Delivered | Dropped)
            }
            Delayed => matches!(next, Waiting | Parked | Dropped),
            Acking => matches!(next, Delivered | Waiting | Delayed | Parked | Dropped),
            Parked | Dead => matches!(next, Waiting | Dropped),
            Delivered | Dropped => matches!(next, Waiting),
        }
    }

    /// The name, as the documentation has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Delayed => "delayed",
            Self::Acking => "acking",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
        }
    }
}

/// Where a delegation's completion event stands, as those see it who do not consume events: the
/// Python surface and the ledger's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// There is none yet.
    NotYet,
    /// It waits for its delivery, or is under way.
    Pending,
    /// A consumer has acknowledged it.
    Delivered,
    /// It was given up.
    Dropped,
    /// It had all its attempts.
    Dead,
    /// Its owner has begun a new epoch since it was dispatched.
    Parked,
}

impl From<Option<Stage>> for Delivery {
    fn from(stage: Option<Stage>) -> Self {
        match stage {
            None => Self::NotYet,
            Some(Stage::Waiting | Stage::Leased | Stage::Delayed | Stage::Acking) => Self::Pending,
            Some(Stage::Delivered) => Self::Delivered,
            Some(Stage::Dropped) => Self::Dropped,
            Some(Stage::Dead) => Self::Dead,
            Some(Stage::Parked) => Self::Parked,
        }
    }
}

impl Delivery {
    /// The name, as the Python surface shows it; none before the end.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::NotYet => None,
            Self::Pending => Some("pending"),
            Self::Delivered => Some("delivered"),
            Self::Dropped => Some("dropped"),
            Self::Dead => Some("dead"),
            Self::Parked => Some("parked"),
        }
    }
}
