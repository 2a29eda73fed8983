//! The states of a delegation and of its completion event.

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

/// Where a delegation's completion event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// There is none yet.
    NotYet,
    /// It waits in the queue.
    Pending,
    /// A consumer has it.
    Delivered,
    /// It was given up: dropped by hand, or with a queue that was shut down at once.
    Dropped,
    /// It had all its attempts.
    Dead,
    /// Its owner has begun a new epoch since it was dispatched.
    Parked,
}

impl Delivery {
    /// Whether nobody waits for the event any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Delivered | Self::Dropped)
    }

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
