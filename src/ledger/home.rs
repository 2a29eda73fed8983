//! A row of ours: the ledger it is in, and our hold of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::receipt::Answer;
use super::{Hold, Ledger, Receipt, Write};
use crate::error::Error;

/// How long an answer is waited for: ten seconds.
const SLICE: Duration = Duration::from_millis(100);
const SLICES: u32 = 100;

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

    /// Has something written about it, and waits for the answer, but not for ever: the ledger goes
    /// on.
    ///
    /// # Errors
    /// Those of the write, and [`Error::LedgerSlow`].
    pub fn write(&self, write: impl FnOnce(Hold) -> Write) -> Answer {
        let receipt = self.ledger.write(write(self.hold.clone()));
        let mut answer = receipt.answer();
        // In slices: a process that stood still for a while has not waited so long.
        for _ in 0..SLICES {
            match answer {
                None | Some(Err(Error::LedgerSlow)) => {
                    answer = Some(receipt.wait(Instant::now().checked_add(SLICE)));
                }
                Some(answer) => return answer,
            }
        }
        answer.unwrap_or(Err(Error::LedgerSlow))
    }

    /// Has its owner here look at the ledger: somebody else had it meanwhile, and may let go of it.
    pub fn look_again(&self) {
        self.ledger.look_after(0);
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
