//! A row of ours: the ledger it is in, and our claim of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::receipt::Answer;
use super::{Claim, Ledger, Outcome, Receipt, Write};
use crate::error::Error;

/// How long an answer is waited for: ten seconds.
const SLICE: Duration = Duration::from_millis(100);
const SLICES: u32 = 100;

/// What became of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// It counts: it is written, or is written later and the row was surely ours.
    Held,
    /// The row had become another process's, which delivers the event.
    Fenced,
    /// It is not written, and the row is not surely ours any more: the event is not delivered.
    Unwritten,
}

/// Where a delegation is written down, and under which claim.
#[derive(Clone)]
pub struct RowHandle {
    ledger: Arc<dyn Ledger>,
    claim: Claim,
}

impl RowHandle {
    /// A row of that ledger.
    pub fn new(ledger: Arc<dyn Ledger>, claim: Claim) -> Self {
        Self { ledger, claim }
    }

    /// The same row under another claim.
    pub fn under(&self, fence: u64) -> Self {
        Self { ledger: self.ledger.clone(), claim: Claim { id: self.claim.id.clone(), fence } }
    }

    /// Its ledger.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Our claim of it.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Has something written about it.
    pub fn submit(&self, write: impl FnOnce(Claim) -> Write) -> Receipt {
        self.ledger.submit(write(self.claim.clone()))
    }

    /// Has something written about it, and waits for the answer, but not for ever: the ledger goes
    /// on.
    ///
    /// # Errors
    /// Those of the write, and [`Error::LedgerSlow`].
    pub fn write(&self, write: impl FnOnce(Claim) -> Write) -> Answer {
        let receipt = self.ledger.write(write(self.claim.clone()));
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

    /// Has it written down that its event was delivered, and waits until the ledger says what became
    /// of that: as long as somebody else is writing and the row is ours, or as the disk is at work.
    pub fn acknowledge(&self) -> Acked {
        let receipt = self.ledger.write(Write::Ack(self.claim.clone()));
        self.acknowledged(&receipt.wait(None))
    }

    /// What became of an acknowledgement, by the answer of the ledger.
    pub fn acknowledged(&self, answer: &Answer) -> Acked {
        match answer {
            Ok(Outcome::Fenced) => {
                self.look_again();
                Acked::Fenced
            }
            // Closed: nobody is there any more to write it.
            Ok(Outcome::Unwritten) | Err(Error::LedgerClosed) => Acked::Unwritten,
            _ => Acked::Held,
        }
    }

    /// Has its owner here look at the ledger: somebody else had it meanwhile, and may let go of it.
    pub fn look_again(&self) {
        self.ledger.look_again(0);
    }

    /// Has it written how often its event was handed out.
    pub fn count_attempts(&self, attempts: u32) {
        self.submit(|claim| Write::Attempts { claim, attempts });
    }
}

impl fmt::Debug for RowHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowHandle").field("claim", &self.claim).finish_non_exhaustive()
    }
}
