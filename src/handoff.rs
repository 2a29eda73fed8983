//! Jobs for a pool of worker threads: who is idle, who must be started, who may go.
//!
//! The threads themselves belong to the host (Python threads must be started, and must run, in
//! Python frames). Here is only the decision: a job is submitted and either an idle worker will
//! take it, or the host is told to start one; never more than the jobs need.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Guarded, Lock, Locked};
use crate::wake::Signal;

/// What the hand-off's lock guards.
pub struct Jobs<T> {
    waiting: VecDeque<T>,
    // Idle workers, the one that worked last at the end: it is woken first, so that the others
    // reach their idle time and go.
    idle: Vec<Arc<Signal>>,
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
        let jobs =
            Jobs { waiting: VecDeque::new(), idle: Vec::new(), woken: 0, starting: Vec::new() };
        Self { jobs: Guarded(Lock::new(jobs)) }
    }
}

impl<T> Handoff<T> {
    /// Queues a job; whether the caller must start a worker, which it names `start`. That worker
    /// first calls [`Self::started`]; if it cannot be started, the caller says
    /// [`Self::not_started`].
    pub fn submit(&self, job: T, start: u64) -> bool {
        let mut jobs = self.jobs.0.lock();
        jobs.waiting.push_back(job);
        if let Some(signal) = jobs.idle.pop() {
            jobs.woken += 1;
            signal.set();
        }
        let needs_worker = jobs.waiting.len() > jobs.on_the_way();
        if needs_worker {
            jobs.starting.push(start);
        }
        needs_worker
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

    /// The worker `start` runs now; whether it had been asked for.
    pub fn started(&self, start: u64) -> bool {
        let mut jobs = self.jobs.0.lock();
        let place = jobs.starting.iter().position(|&asked| asked == start);
        place.map(|place| jobs.starting.swap_remove(place)).is_some()
    }

    /// The worker `start` could not be started. Returns the jobs that now have none on its way,
    /// among them the one that `is_own` knows; none if it runs after all, or was not asked for.
    pub fn not_started(&self, start: u64, is_own: impl FnMut(&T) -> bool) -> NotStarted<T> {
        if !self.started(start) {
            return NotStarted { own: None, orphans: Vec::new() };
        }
        let mut jobs = self.jobs.0.lock();
        let mut own = None;
        if jobs.waiting.len() > jobs.on_the_way() {
            let place = jobs.waiting.iter().position(is_own);
            own = place.and_then(|place| jobs.waiting.remove(place));
        }
        let served = jobs.on_the_way().min(jobs.waiting.len());
        NotStarted { own, orphans: jobs.waiting.split_off(served).into() }
    }

    /// The next job, for a worker that waits until `deadline` for one; `None` tells it to go.
    pub fn take(&self, deadline: Instant) -> Option<T> {
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            if let Some(job) = self.poll(&signal) {
                return Some(job);
            }
            let woken = signal.wait_until(Some(deadline));
            if !self.stays(&signal, woken) {
                return None;
            }
        }
    }

    /// The next job; if there is none, the worker counts as idle until it calls [`Self::stays`],
    /// and `signal` is set when it should look.
    pub fn poll(&self, signal: &Arc<Signal>) -> Option<T> {
        let mut jobs = self.jobs.0.lock();
        let job = jobs.waiting.pop_front();
        if job.is_none() {
            jobs.idle.push(signal.clone());
        }
        job
    }

    /// Whether a worker that was idle should look again: it was woken, or a job counts on it.
    pub fn stays(&self, signal: &Arc<Signal>, woken: bool) -> bool {
        let mut jobs = self.jobs.0.lock();
        let idle = jobs.idle.len();
        jobs.idle.retain(|other| !Arc::ptr_eq(other, signal));
        let counted_on = jobs.idle.len() == idle;
        if counted_on {
            jobs.woken = jobs.woken.saturating_sub(1);
        }
        counted_on || woken
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

    /// Empties the state for a forked child, where no worker runs.
    pub fn reset(&mut self) -> Vec<T> {
        self.idle.clear();
        self.woken = 0;
        self.starting.clear();
        self.waiting.drain(..).collect()
    }
}
