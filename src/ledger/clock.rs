//! What time it is, and whether the wall clock can be trusted to judge others by.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Millis;

/// One moment, on two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the Unix epoch; what instances compare. It may jump.
    pub wall: Millis,
    /// Since some start; never back, and it stands while the machine sleeps.
    pub steady: Millis,
}

/// Says what time it is.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Moment;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        static START: OnceLock<Instant> = OnceLock::new();
        let steady = START.get_or_init(Instant::now).elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment { wall: millis(wall), steady: millis(steady) }
    }
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

/// Watches for the wall clock running ahead of the steady one: the machine slept, or the clock was
/// set. Others then had no chance to renew, and get one full term to do so.
#[derive(Debug, Default)]
pub struct Drift {
    last: Option<Moment>,
    grace_until: Option<Millis>,
}

impl Drift {
    /// More than a clock is slewed between two looks, less than a lease.
    const SLACK: Millis = 1_000;

    /// Looks at both clocks. How long, if at all, others are still to be given time.
    pub fn grace(&mut self, now: Moment, term: Millis) -> Option<Millis> {
        if let Some(last) = self.last.replace(now) {
            let ahead = (now.wall - last.wall) - (now.steady - last.steady);
            if ahead > Self::SLACK {
                self.grace_until = Some(now.steady.saturating_add(term));
            }
        }
        let left = self.grace_until? - now.steady;
        if left <= 0 {
            self.grace_until = None;
        }
        (left > 0).then_some(left)
    }
}
