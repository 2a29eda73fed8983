//! What a ledger takes for granted about the machine.

use std::sync::Arc;

use crate::ledger::clock::{Clock, SystemClock};

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
