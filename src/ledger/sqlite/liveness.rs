//! Whether other instances live, as far as their rows in the file say.

use std::collections::HashMap;

use rusqlite::Connection;

use super::queries as sql;
use super::writes::drop_as_asked;
use crate::ledger::Millis;
use crate::ledger::clock::{ClockId, Moment};

/// What an instance wrote of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    /// By the wall clock: for earlier releases.
    until: Millis,
    term: Millis,
    clock: Option<ClockId>,
    steady_until: Option<Millis>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    lease: Lease,
    /// Since when it is known as it is, on our steady clock.
    since: Millis,
}

/// The instances of a file, and since when each is seen as it is.
#[derive(Debug, Default)]
pub(super) struct Instances {
    seen: HashMap<i64, Seen>,
    /// Which clock we count on; not looked for before the first look.
    clock: Option<ClockId>,
    /// Whether other machines may write to the file.
    is_shared: bool,
    /// Whether a row may run for an instance that is not there.
    may_have_orphans: bool,
}

impl Instances {
    /// Those of another file, which nothing is known of.
    pub(super) fn of(clock: Option<ClockId>, is_shared: bool) -> Self {
        Self { seen: HashMap::new(), clock, is_shared, may_have_orphans: true }
    }

    /// Looks at what they wrote of their leases by now.
    pub(super) fn look(&mut self, db: &Connection, now: Moment) -> rusqlite::Result<()> {
        let mut statement = db.prepare_cached(sql::INSTANCES)?;
        let mut rows = statement.query([])?;
        let mut seen = HashMap::with_capacity(self.seen.len());
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let lease = Lease {
                until: row.get(1)?,
                term: row.get(2)?,
                clock: row.get::<_, Option<i64>>(3)?.map(ClockId::of),
                steady_until: row.get(4)?,
            };
            let known = self.seen.remove(&id).filter(|known| known.lease == lease);
            seen.insert(id, known.unwrap_or(Seen { lease, since: now.steady }));
        }
        // Whoever left under an earlier release left what it ran as it was.
        self.may_have_orphans |= !self.seen.is_empty();
        self.seen = seen;
        Ok(())
    }

    /// Whether the file knew an instance when we last looked.
    pub(super) fn knows(&self, id: i64) -> bool {
        self.seen.contains_key(&id)
    }

    /// How long an instance has its lease at most, if it does not renew; nothing if that is over,
    /// or there is no such instance.
    pub(super) fn left(&self, id: i64, now: Moment) -> Option<Millis> {
        let seen = self.seen.get(&id)?;
        let left = left(seen, self.clock, self.is_shared, now.steady);
        (left > 0).then_some(left)
    }

    /// Those whose lease is not over, and how long it lasts at most.
    pub(super) fn lasting(&self, now: Moment) -> impl Iterator<Item = (i64, Millis)> {
        self.seen.keys().filter_map(move |&id| Some((id, self.left(id, now)?)))
    }

    /// Those whose lease is over.
    pub(super) fn over(&self, now: Moment) -> impl Iterator<Item = i64> {
        self.seen.keys().copied().filter(move |id| self.left(*id, now).is_none())
    }

    /// Whether something is to be taken from those that are gone.
    pub(super) fn is_to_bury(&self, now: Moment) -> bool {
        self.may_have_orphans || self.over(now).next().is_some()
    }

    /// Forgets those whose lease is over, and has what they ran wait as lost, but for what they were
    /// asked to drop: within a transaction,
    /// after a look in it. Whether there was any.
    pub(super) fn bury_in(&self, db: &Connection, now: Moment) -> rusqlite::Result<bool> {
        if !self.is_to_bury(now) {
            return Ok(false);
        }
        let mut buried = 0;
        for id in self.over(now) {
            buried += db.prepare_cached(sql::LEAVE)?.execute([id])?;
        }
        buried += db.prepare_cached(sql::ORPHAN)?.execute([now.wall])?;
        buried += drop_as_asked(db, now.wall)?.len();
        Ok(buried > 0)
    }

    /// What [`Self::bury_in`] did is committed.
    pub(super) fn buried(&mut self, now: Moment) {
        let Self { seen, clock, is_shared, may_have_orphans } = self;
        seen.retain(|_, seen| left(seen, *clock, *is_shared, now.steady) > 0);
        *may_have_orphans = false;
    }
}

/// How long a lease lasts that is not renewed, by our steady clock.
fn left(seen: &Seen, ours: Option<ClockId>, is_shared: bool, now: Millis) -> Millis {
    let Seen { lease, since } = seen;
    if let (Some(theirs), Some(ours)) = (lease.clock, ours) {
        if let (true, Some(until)) = (theirs == ours, lease.steady_until) {
            let left = until.saturating_sub(now);
            // One that ends later was not given on this clock, whatever it says: a machine was
            // restored from an earlier image of it.
            if left <= lease.term {
                return left;
            }
        }
        // No process outlives its kernel.
        if theirs.boot != ours.boot && !is_shared {
            return 0;
        }
    }
    // It counts on a clock that we cannot read: who lives renews within its term.
    since.saturating_add(lease.term).saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: ClockId = ClockId { boot: 1, namespace: 1 };
    const OTHER_BOOT: ClockId = ClockId { boot: 2, namespace: 1 };
    const OTHER_NAMESPACE: ClockId = ClockId { boot: 1, namespace: 2 };

    fn seen(clock: Option<ClockId>, steady_until: Option<Millis>) -> Seen {
        let until = 0;
        Seen { lease: Lease { until, term: 30, clock, steady_until }, since: 1_000 }
    }

    #[test]
    fn a_lease_on_our_clock_ends_when_it_says() {
        let seen = seen(Some(HERE), Some(1_020));
        for now in [1_000, 1_019, 1_020, 2_000] {
            assert_eq!(left(&seen, Some(HERE), false, now), 1_020 - now);
            assert_eq!(left(&seen, Some(HERE), true, now), 1_020 - now);
        }
    }

    /// F38: a lease longer than its term was not given on this clock.
    #[test]
    fn a_lease_that_is_too_long_lasts_its_term() {
        let seen = seen(Some(HERE), Some(1_000_000));
        assert_eq!(left(&seen, Some(HERE), false, 1_000), 30);
        assert_eq!(left(&seen, Some(HERE), false, 1_030), 0);
    }

    #[test]
    fn no_lease_outlives_its_kernel_on_a_disk_of_our_own() {
        let seen = seen(Some(OTHER_BOOT), Some(1_020));
        assert_eq!(left(&seen, Some(HERE), false, 1_000), 0);
        assert_eq!(left(&seen, Some(HERE), true, 1_000), 30);
    }

    #[test]
    fn a_lease_on_a_clock_that_we_cannot_read_lasts_its_term_from_when_it_is_seen() {
        for (theirs, ours) in [
            (None, Some(HERE)),
            (Some(HERE), None),
            (None, None),
            (Some(OTHER_NAMESPACE), Some(HERE)),
        ] {
            for until in [None, Some(1), Some(1_020), Some(Millis::MAX)] {
                let seen = seen(theirs, until);
                assert_eq!(left(&seen, ours, false, 1_000), 30);
                assert_eq!(left(&seen, ours, false, 1_030), 0);
            }
        }
    }
}
