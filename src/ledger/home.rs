//! A row of ours: the ledger it is in, and our hold of it.

use std::fmt;
use std::sync::Arc;

use super::{Hold, Ledger, Receipt, Write};

/// Where a delegation is written down, and under which hold.
#[derive(Clone)]
pub struct Home {
    ledger: Arc<dyn Ledger>,
    hold: Hold,
}

impl Home {
    /// A row of that ledger.
    pub fn new(ledger: Arc<dyn Ledger>, hold: Hold) -> Self {
        Self { ledger, hold }
    }

    /// Its ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Our hold of it.
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Has something written about it.
    pub fn submit(&self, write: impl FnOnce(Hold) -> Write) -> Receipt {
        self.ledger.submit(write(self.hold.clone()))
    }

    /// Has it written how often its event was handed out.
    pub fn count_attempts(&self, attempts: u32) {
        self.submit(|hold| Write::Attempts { hold, attempts });
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("hold", &self.hold).finish_non_exhaustive()
    }
}
