//! Settled rows are deleted once they are too old or too many: a few at a time, now and then.

use rusqlite::Connection;

use super::failure::pass;
use super::queries as sql;
use crate::failpoint::Step;
use crate::ledger::clock::millis;
use crate::ledger::{Millis, Retention};

/// After how many writes it is seen to.
const EVERY: usize = 64;
/// How many rows are then deleted at most.
const STEP: i64 = 128;

/// What is known of the settled rows.
#[derive(Debug)]
pub(super) struct Retained {
    bounds: Retention,
    /// How many there are; not known before they are counted.
    settled: Option<i64>,
    /// How many writes there were since.
    uncounted: i64,
    /// How many writes there were since rows were last deleted.
    undeleted: usize,
}

impl Retained {
    pub(super) fn new(bounds: Retention) -> Self {
        Self { bounds, settled: None, uncounted: 0, undeleted: EVERY }
    }

    /// So many rows more are settled.
    pub(super) fn settle(&mut self, rows: i64) {
        self.settled = self.settled.map(|settled| settled + rows);
    }

    /// It is not known any more how many rows are settled.
    pub(super) fn forget(&mut self) {
        self.settled = None;
    }

    /// Takes note of so many writes; deletes a few rows if it is time.
    pub(super) fn delete_in(
        &mut self,
        db: &Connection,
        now: Millis,
        written: usize,
    ) -> rusqlite::Result<()> {
        self.undeleted += written;
        self.uncounted += i64::try_from(written).unwrap_or(i64::MAX);
        let Some(settled) = self.settled.filter(|_| self.undeleted >= EVERY) else {
            return Ok(());
        };
        pass(Step::Retain)?;
        self.undeleted = 0;
        let oldest = now.saturating_sub(millis(self.bounds.age));
        let mut delete = db.prepare_cached(sql::DELETE_SETTLED_BEFORE)?;
        let settled = settled - delete.execute([STEP, oldest])? as i64;
        let most = i64::try_from(self.bounds.count).unwrap_or(i64::MAX);
        let over = settled.saturating_sub(most).clamp(0, STEP);
        let mut delete = db.prepare_cached(sql::DELETE_SETTLED)?;
        self.settled = Some(settled - delete.execute([over])? as i64);
        Ok(())
    }

    /// Whether the rows are to be counted. That takes as long as there are rows: at a tidy moment,
    /// once for as many writes, for what other processes have settled or deleted meanwhile.
    pub(super) fn is_due(&self, is_tidy: bool) -> bool {
        self.settled.is_none_or(|settled| is_tidy && self.uncounted >= settled)
    }

    /// Counts the rows.
    pub(super) fn count(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.uncounted = 0;
        self.settled = None;
        let mut count = db.prepare_cached(sql::COUNT_SETTLED)?;
        self.settled = Some(count.query_row([], |row| row.get(0))?);
        Ok(())
    }
}
