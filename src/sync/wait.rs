//! How a caller waits.
//!
//! Every operation that may wait exists once, and is generic over this: a thread of the tests blocks,
//! the binding gives the interpreter up and lets Ctrl-C through. What the operation orders is the
//! same for both.

use std::time::Instant;

use super::signal::Signal;
use crate::error::Error;

/// A way to wait. No core lock is held during any of it.
pub trait Wait {
    /// What an operation fails with: an error of the core, or what ended a wait before its time.
    type Error;

    /// An error of the core, as this caller gets it.
    fn error(&self, error: Error) -> Self::Error;

    /// Waits until the signal is set or `deadline` has passed; whether it was set. `None` waits
    /// without end.
    ///
    /// # Errors
    /// What ended the wait before its time.
    fn wait(&self, signal: &Signal, deadline: Option<Instant>) -> Result<bool, Self::Error>;

    /// Does work that takes as long as a disk does, to its end.
    fn block<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;
}

/// Blocks the calling thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blocking;

impl Wait for Blocking {
    type Error = Error;

    fn error(&self, error: Error) -> Error {
        error
    }

    fn wait(&self, signal: &Signal, deadline: Option<Instant>) -> Result<bool, Error> {
        Ok(signal.wait_until(deadline))
    }

    fn block<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}
