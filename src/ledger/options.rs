//! How a ledger is opened.

use std::path::PathBuf;
use std::time::Duration;

/// What a write that was answered survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power.
    Full,
    /// The death of the process.
    Process,
}

/// How long rows stay whose event was delivered or dropped. All others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// No longer than this.
    pub age: Duration,
    /// No more than so many, or a few.
    pub count: usize,
}

/// How a ledger in a file is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file; made if it is not there.
    pub path: PathBuf,
    /// What a write survives.
    pub durability: Durability,
    /// How long others leave alone what an instance holds that has died.
    pub lease: Duration,
    /// How long settled rows stay.
    pub retention: Retention,
}
