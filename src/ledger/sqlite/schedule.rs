//! When the writer does something of itself: try again, look; when it renews, `holdings.rs` says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ledger::Millis;
use crate::ledger::clock::{Clock, ClockId, Moment};

/// When what could not be written is tried again: after this at first, then after twice as long,
/// and so on.
const FIRST_PAUSE: Millis = 100;
const LONGEST_PAUSE: Millis = 5_000;
/// How exact the moments are: they are counted in milliseconds.
const ROUNDING: Duration = Duration::from_millis(2);

/// When what could not be written is tried again, on the steady clock.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Millis,
    pause: Millis,
}

/// What is to be done when. The moments are the steady clock's.
pub(super) struct Schedule {
    clock: Arc<dyn Clock>,
    retry: Option<Retry>,
    look_at: Option<Millis>,
    /// When the waiting writer wakes by itself, if it does.
    wakes_at: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, retry: None, look_at: None, wakes_at: None }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Which steady clock the lease counts on.
    pub(super) fn clock_id(&self) -> Option<ClockId> {
        self.clock.id()
    }

    /// Whether it is time to try again what could not be written.
    pub(super) fn retries(&self) -> bool {
        self.retry.is_some_and(|retry| retry.at <= self.clock.now().steady)
    }

    /// Has what could not be written tried again after a while, a longer one each time.
    pub(super) fn put_retry_off(&mut self) {
        let pause = self.retry.map_or(FIRST_PAUSE, |retry| (2 * retry.pause).min(LONGEST_PAUSE));
        let at = self.clock.now().steady.saturating_add(pause);
        self.retry = Some(Retry { at, pause });
    }

    pub(super) fn forget_retry(&mut self) {
        self.retry = None;
    }

    /// Whether it is time to look.
    pub(super) fn looks(&self) -> bool {
        self.look_at.is_some_and(|at| at <= self.clock.now().steady)
    }

    /// Has the writer look when this moment of the wall clock is over.
    pub(super) fn look_again(&mut self, at: Millis) {
        let now = self.clock.now();
        let wait = at.saturating_sub(now.wall).max(0);
        let look_at = now.steady.saturating_add(wait);
        self.look_at = Some(self.look_at.map_or(look_at, |earlier| earlier.min(look_at)));
    }

    pub(super) fn forget_look(&mut self) {
        self.look_at = None;
    }

    /// How long nothing is to be done, where the instances have something to do at that moment.
    pub(super) fn left(&self, due_at: Option<Millis>) -> Option<Duration> {
        const NEVER: Millis = Millis::MAX;
        let renew_at = due_at.unwrap_or(NEVER);
        let retry_at = self.retry.map_or(NEVER, |retry| retry.at);
        let at = renew_at.min(retry_at).min(self.look_at.unwrap_or(NEVER));
        if at == NEVER {
            return None;
        }
        let left = at.saturating_sub(self.clock.now().steady).max(0);
        // What was put off by an error of the clock must not spin.
        Some(Duration::from_millis(left.unsigned_abs().max(1)))
    }

    /// Notes how long the writer waits from now on.
    pub(super) fn will_wake(&mut self, left: Option<Duration>) {
        self.wakes_at = left.and_then(|left| Instant::now().checked_add(left));
    }

    /// Whether something is to be done before the writer wakes by itself.
    pub(super) fn is_sooner(&self, left: Option<Duration>) -> bool {
        let Some(left) = left else { return false };
        let at = Instant::now().checked_add(left + ROUNDING);
        self.wakes_at.is_none_or(|wakes_at| at.is_some_and(|at| at < wakes_at))
    }
}
