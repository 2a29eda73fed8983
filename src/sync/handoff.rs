//! Jobs for a pool of worker threads: who is idle, who must be started, who may go.
//!
//! The threads themselves belong to the host (Python threads must be started, and must run, in
//! Python frames). Here is only the decision. While a job waits, one worker is on its way: woken,
//! or asked for. One is enough: a worker that takes a job and leaves others waiting calls the next
//! before it runs its own, which may take for ever. So a burst of short jobs is done by the few
//! workers that come in time, and a burst of long ones gets a worker each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::signal::Signal;
use crate::sync::{Forked, Guarded, Lock, Locked};

/// What the hand-off's lock guards.
pub struct Jobs<T> {
    waiting: VecDeque<T>,
    // Idle workers, the one that worked last at the end: it is woken first, so that the others
    // reach their idle time and go.
    idle: Vec<Arc<Signal>>,
    // Those that were idle, and are to go.
    retired: Vec<Arc<Signal>>,
    // Idle workers that were woken and have not looked yet.
    woken: usize,
    // Workers that were asked for and do not run yet, by the caller's numbers.
    starting: Vec<u64>,
}

/// Jobs on their way to workers.
pub struct Handoff<T> {
    jobs: Guarded<Jobs<T>>,
}

/// The jobs that nobody will take, because a worker could not be started.
#[derive(Debug, PartialEq, Eq)]
pub struct NotStarted<T> {
    /// The job that the worker was asked for, unless another worker has taken it.
    pub own: Option<T>,
    /// Jobs that counted on that worker, too.
    pub orphans: Vec<T>,
}

impl<T: 'static> Locked for Handoff<T> {
    type State = Jobs<T>;

    fn state(&self) -> &Guarded<Jobs<T>> {
        &self.jobs
    }
}

impl<T> Default for Handoff<T> {
    fn default() -> Self {
        let jobs = Jobs {
            waiting: VecDeque::new(),
            idle: Vec::new(),
            retired: Vec::new(),
            woken: 0,
            starting: Vec::new(),
        };
        Self { jobs: Guarded(Lock::new(jobs)) }
    }
}

/// The numbers a worker goes by: its own, and the one under which it may be told to start another.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    /// Under which it was asked for.
    pub number: u64,
    /// Under which it starts its successor, if it must.
    pub successor: u64,
}

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    /// The job to run.
    pub job: T,
    /// Whether to start a successor first: other jobs wait, and nobody is on the way to them.
    pub needs_worker: bool,
}

impl<T> Handoff<T> {
    /// Queues a job; whether the caller must start a worker, which it names `start`. If that cannot
    /// be started, the caller says [`Self::not_started`].
    pub fn submit(&self, job: T, start: u64) -> bool {
        let mut jobs = self.jobs.0.lock();
        jobs.waiting.push_back(job);
        jobs.call_one(start)
    }

    /// Whether a worker, `start`, should be started so that `wanted` are idle or on their way.
    pub fn reserve(&self, wanted: usize, start: u64) -> bool {
        let mut jobs = self.jobs.0.lock();
        let ready = (jobs.idle.len() + jobs.on_the_way()).saturating_sub(jobs.waiting.len());
        let needs_worker = ready < wanted;
        if needs_worker {
            jobs.starting.push(start);
        }
        needs_worker
    }

    /// Whether the worker `start` was asked for and has not come.
    pub fn is_awaited(&self, start: u64) -> bool {
        self.jobs.0.lock().starting.contains(&start)
    }

    /// The worker `start` is not on its way any more, because it is here or because it will not
    /// come; whether it had been asked for. Jobs that counted on it go to an idle worker, or wait
    /// for those that work.
    pub fn forget(&self, start: u64) -> bool {
        let mut jobs = self.jobs.0.lock();
        let was_awaited = jobs.forget(start);
        if !jobs.waiting.is_empty() {
            jobs.call_idle();
        }
        was_awaited
    }

    /// The worker `start` could not be started. Returns the jobs that now have none on its way,
    /// among them the one that `is_own` knows; none if it runs after all, or was not asked for.
    pub fn not_started(&self, start: u64, is_own: impl FnMut(&T) -> bool) -> NotStarted<T> {
        let mut jobs = self.jobs.0.lock();
        if !jobs.forget(start) || jobs.waiting.is_empty() || jobs.call_idle() {
            return NotStarted { own: None, orphans: Vec::new() };
        }
        let place = jobs.waiting.iter().position(is_own);
        let own = place.and_then(|place| jobs.waiting.remove(place));
        NotStarted { own, orphans: jobs.waiting.drain(..).collect() }
    }

    /// The next job, for a worker that waits until `deadline` for one; `None` tells it to go.
    pub fn take(&self, worker: Worker, deadline: Instant) -> Option<Next<T>> {
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            if let Some(next) = self.poll(worker, &signal) {
                return Some(next);
            }
            let woken = signal.wait_until(Some(deadline));
            if !self.stays(&signal, woken) {
                return None;
            }
        }
    }

    /// The next job; if there is none, the worker counts as idle until it calls [`Self::stays`],
    /// and `signal` is set when it should look.
    pub fn poll(&self, worker: Worker, signal: &Arc<Signal>) -> Option<Next<T>> {
        let mut jobs = self.jobs.0.lock();
        jobs.forget(worker.number);
        let Some(job) = jobs.waiting.pop_front() else {
            jobs.idle.push(signal.clone());
            return None;
        };
        let needs_worker = !jobs.waiting.is_empty() && jobs.call_one(worker.successor);
        Some(Next { job, needs_worker })
    }

    /// Whether a worker that was idle should look again: it was woken, or a job counts on it.
    pub fn stays(&self, signal: &Arc<Signal>, woken: bool) -> bool {
        let mut jobs = self.jobs.0.lock();
        if let Some(place) = jobs.retired.iter().position(|other| Arc::ptr_eq(other, signal)) {
            jobs.retired.swap_remove(place);
            return false;
        }
        let idle = jobs.idle.len();
        jobs.idle.retain(|other| !Arc::ptr_eq(other, signal));
        let counted_on = jobs.idle.len() == idle;
        if counted_on {
            jobs.woken = jobs.woken.saturating_sub(1);
        }
        counted_on || woken
    }

    /// Has the workers that are idle now go.
    pub fn retire(&self) {
        let mut jobs = self.jobs.0.lock();
        let idle = std::mem::take(&mut jobs.idle);
        jobs.retired.extend(idle);
        jobs.retired.iter().for_each(|signal| signal.set());
    }

    /// Shows every waiting job to `visit`, unless the lock is held. For the garbage collector:
    /// `visit` must neither call back nor block.
    pub fn try_visit<E>(&self, visit: impl FnMut(&T) -> Result<(), E>) -> Result<(), E> {
        match self.jobs.0.try_lock() {
            Some(jobs) => jobs.waiting.iter().try_for_each(visit),
            None => Ok(()),
        }
    }
}

impl<T> Jobs<T> {
    fn on_the_way(&self) -> usize {
        self.woken + self.starting.len()
    }

    /// Sees to it that a worker is on its way; whether it must be started, as `start`.
    fn call_one(&mut self, start: u64) -> bool {
        let needs_worker = !self.call_idle();
        if needs_worker {
            self.starting.push(start);
        }
        needs_worker
    }

    /// Wakes an idle worker unless one is on its way; whether one is now.
    fn call_idle(&mut self) -> bool {
        if self.on_the_way() > 0 {
            return true;
        }
        let Some(signal) = self.idle.pop() else { return false };
        self.woken += 1;
        signal.set();
        true
    }

    fn forget(&mut self, start: u64) -> bool {
        let place = self.starting.iter().position(|&asked| asked == start);
        place.map(|place| self.starting.swap_remove(place)).is_some()
    }
}

impl<T: 'static> Forked for Handoff<T> {
    type Kept = T;

    /// No worker runs in the child.
    fn reset(jobs: &mut Jobs<T>) -> Vec<T> {
        jobs.idle.clear();
        jobs.retired.clear();
        jobs.woken = 0;
        jobs.starting.clear();
        jobs.waiting.drain(..).collect()
    }
}
