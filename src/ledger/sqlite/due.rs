//! What the writer does of itself when its time has come: renew, try again, look.

use std::time::{Duration, Instant};

use super::desk::{Papers, Retry};
use super::file::set_durability;
use super::statements as sql;
use super::trouble::Trouble;
use crate::error::Error;
use crate::ledger::{Durability, Millis, Notice};

/// When what could not be written is tried again: after this at first, then after twice as long,
/// and so on.
const FIRST_PAUSE: Millis = 100;
const LONGEST_PAUSE: Millis = 5_000;
/// How exact times due are: they are counted in milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

impl Papers {
    /// Does what is due; how long to pause if somebody else has the file locked.
    pub(super) fn do_what_is_due(&mut self) -> Result<(), Duration> {
        let now = self.clock.now();
        if self.retry.is_some_and(|retry| retry.at <= now.steady) {
            self.or_later(|papers| {
                papers.write_backlog()?;
                papers.succeeded();
                Ok(())
            })?;
        }
        if !self.held.is_empty() && self.renew_at.is_none_or(|at| at <= now.steady) {
            self.or_later(Self::renew)?;
        }
        if self.look_at.is_some_and(|at| at <= now.steady) {
            // Also if that fails: whoever looks then sees the leases as they are. Not if it is put off.
            self.or_later(|papers| papers.clamp_leases(now.wall))?;
            self.look_at = None;
            self.told.tell(Notice::Look);
        }
        Ok(())
    }

    /// How long nothing is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let renew_at = if self.held.is_empty() { None } else { Some(self.renew_at.unwrap_or(0)) };
        let retry_at = self.retry.map(|retry| retry.at);
        let at = [renew_at, retry_at, self.look_at].into_iter().flatten().min()?;
        let left = at.saturating_sub(self.clock.now().steady).max(0);
        // What is due but was put off by an error of the clock must not spin.
        Some(Duration::from_millis(left.unsigned_abs().max(1)))
    }

    /// Notes how long the writer waits from now on.
    pub(super) fn will_wake(&mut self, left: Option<Duration>) {
        self.wakes_at = left.and_then(|left| Instant::now().checked_add(left));
    }

    /// Whether something is due before the writer wakes by itself.
    pub(super) fn is_sooner(&self, left: Option<Duration>) -> bool {
        let Some(left) = left else { return false };
        let at = Instant::now().checked_add(left + ROUNDING);
        self.wakes_at.is_none_or(|wakes_at| at.is_some_and(|at| at < wakes_at))
    }

    /// Asks for a notice when this moment is over.
    pub(super) fn look_after(&mut self, at: Millis) {
        let now = self.clock.now();
        let wait = at.saturating_sub(now.wall).max(0);
        let look_at = now.steady.saturating_add(wait);
        self.look_at = Some(self.look_at.map_or(look_at, |earlier| earlier.min(look_at)));
    }

    /// Has the backlog tried again after a while, a longer one each time.
    pub(super) fn put_retry_off(&mut self) {
        let pause = self.retry.map_or(FIRST_PAUSE, |retry| (2 * retry.pause).min(LONGEST_PAUSE));
        let at = self.clock.now().steady.saturating_add(pause);
        self.retry = (!self.backlog.is_empty()).then_some(Retry { at, pause });
    }

    /// Does something that nobody waits for; if it fails, it is tried again later.
    fn or_later(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Trouble>,
    ) -> Result<(), Duration> {
        if let Err(trouble) = step(self) {
            let error: Error = self.patient(trouble)?;
            self.told.failed(0, &error);
            self.put_retry_off();
            if self.renew_at.is_some() || !self.held.is_empty() {
                let soon = self.lease.min(LONGEST_PAUSE) / 3;
                self.renew_at = Some(self.clock.now().steady.saturating_add(soon));
            }
        }
        Ok(())
    }

    /// Renews the lease by itself, which need not survive a loss of power.
    fn renew(&mut self) -> Result<(), Trouble> {
        let durability = self.place.durability;
        let set = |papers: &mut Self, durability| {
            papers.with_file(|papers, file| {
                let set = set_durability(&file.db, durability);
                set.map_err(|error| papers.trouble(&error, file))
            })
        };
        if durability == Durability::Full {
            set(self, Durability::Process)?;
        }
        let renewed = self.write_nothing();
        if durability == Durability::Full {
            set(self, Durability::Full)?;
        }
        renewed?;
        self.succeeded();
        self.look_for_free_rows()
    }

    /// Tells if there is something to adopt that was not there before.
    fn look_for_free_rows(&mut self) -> Result<(), Trouble> {
        let free = self.with_file(|papers, file| {
            let over = papers.reader().pen.over;
            let find = || {
                let mut statement = file.db.prepare_cached(sql::FREE)?;
                statement.query_row([over], |row| Ok((row.get(0)?, row.get(1)?)))
            };
            find().map_err(|error| papers.trouble(&error, file))
        })?;
        if std::mem::replace(&mut self.free, free) != free && free.0 > 0 {
            self.told.tell(Notice::Look);
        }
        Ok(())
    }

    fn clamp_leases(&mut self, now: Millis) -> Result<(), Trouble> {
        self.with_file(|papers, file| {
            let clamp = || file.db.prepare_cached(sql::CLAMP)?.execute([now]);
            clamp().map(drop).map_err(|error| papers.trouble(&error, file))
        })
    }
}
