//! When the leases of a queue end by themselves, how long what failed pauses, and when the timer is to
//! look.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// How often an event is tried, where nobody says otherwise.
pub const MAX_ATTEMPTS: u32 = 20;

/// The pause after the second failure; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What ends when, and the looks that the timer was asked for.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    ends: BTreeSet<(Instant, u32)>,
    last_number: u64,
    // Other numbers in each process.
    luck: foldhash::fast::RandomState,
    // When the timer is to look, the next one last; it is set only for an earlier end.
    looks: Vec<Instant>,
}

impl Schedule {
    /// The number of a new lease.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// How long an event pauses after so many failures, of which the last has just come: up to a fifth
    /// longer or shorter by chance, so that many that failed together come apart.
    pub(super) fn pause(&self, failures: u8) -> Duration {
        let Some(doubled) = failures.checked_sub(2) else { return Duration::ZERO };
        let pause = FIRST_PAUSE.saturating_mul(1 << doubled.min(20)).min(LONGEST_PAUSE);
        let luck = self.luck.hash_one((self.last_number, self.ends.len())) % 1024;
        pause.mul_f64(0.8 + 0.4 * luck as f64 / 1023.0)
    }

    /// Has a slot's event wait for an end of its lease, or of its pause.
    pub(super) fn add(&mut self, until: Instant, slot: u32) {
        self.ends.insert((until, slot));
    }

    /// Undoes that.
    pub(super) fn remove(&mut self, until: Instant, slot: u32) {
        self.ends.remove(&(until, slot));
    }

    /// The slots of what ends by now.
    pub(super) fn take_over(&mut self, now: Instant) -> Vec<u32> {
        let later = self.ends.split_off(&(now, u32::MAX));
        let over = std::mem::replace(&mut self.ends, later);
        over.into_iter().map(|(_, slot)| slot).collect()
    }

    /// When the timer is to look, if it is to look earlier than it will.
    pub(super) fn arm(&mut self) -> Option<Instant> {
        let first = self.ends.first()?.0;
        if self.looks.last().is_some_and(|&next| next <= first) {
            return None;
        }
        self.looks.push(first);
        Some(first)
    }

    /// The timer has looked.
    pub(super) fn looked(&mut self, now: Instant) {
        self.looks.retain(|&at| at > now);
    }

    /// Forgets everything but the numbers.
    pub(super) fn clear(&mut self) {
        self.ends.clear();
        self.looks.clear();
    }
}
