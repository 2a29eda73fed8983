//! Rows that were taken over, on their way into a queue.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Claim, Ledger, Row, RowHandle, Write};
use crate::error::Error;

/// Rows that are ours now. Those that nobody takes out of here by [`Adopted::put`] are given back
/// when this is dropped: whatever keeps their events from being put, the rows wait for the next that
/// asks.
pub struct Adopted {
    ledger: Arc<dyn Ledger>,
    rows: Vec<Row>,
    /// The claims of those whose events are not put.
    left: HashMap<Arc<str>, Claim>,
}

impl Adopted {
    /// Takes rows over, see [`Ledger::adopt`].
    ///
    /// # Errors
    /// Those of [`Ledger::adopt`].
    pub fn of(ledger: Arc<dyn Ledger>, ids: &[&str]) -> Result<Self, Error> {
        let rows = ledger.adopt(ids)?;
        let claims = rows.iter().map(|row| (row.claim.id.clone(), row.claim.clone()));
        let left = claims.collect();
        Ok(Self { ledger, rows, left })
    }

    /// The rows, in the order of dispatch.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A row whose event is about to be put; none if it was put, or is not among these.
    pub fn handle(&self, id: &str) -> Option<RowHandle> {
        let claim = self.left.get(id)?.clone();
        Some(RowHandle::new(self.ledger.clone(), claim))
    }

    /// The event of a row was put.
    pub fn put(&mut self, id: &str) {
        self.left.remove(id);
    }

    /// Leaves those whose events were not put to whoever takes them. Nobody waits for that.
    pub fn give_back(&mut self) {
        for (_, claim) in self.left.drain() {
            self.ledger.submit(Write::GiveBack(claim));
        }
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        self.give_back();
    }
}
