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
    starting: usize,
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
        let jobs = Jobs { waiting: VecDeque::new(), idle: Vec::new(), starting: 0 };
        Self { jobs: Guarded(Lock::new(jobs)) }
    }
}

impl<T> Handoff<T> {
    /// Queues a job; whether the caller must start a worker. That worker first calls
    /// [`Self::started`]; if it cannot be started, the caller says [`Self::not_started`].
    pub fn submit(&self, job: T) -> bool {
        let mut jobs = self.jobs.0.lock();
        jobs.waiting.push_back(job);
        if let Some(signal) = jobs.idle.pop() {
            // Counted as starting until it looks.
            jobs.starting += 1;
            signal.set();
        }
        let needs_worker = jobs.waiting.len() > jobs.starting;
        if needs_worker {
            jobs.starting += 1;
        }
        needs_worker
    }

    /// Whether a worker should be started so that `wanted` are idle or on their way; counts it as
    /// on its way.
    pub fn reserve(&self, wanted: usize) -> bool {
        let mut jobs = self.jobs.0.lock();
        let ready = (jobs.idle.len() + jobs.starting).saturating_sub(jobs.waiting.len());
        let needs_worker = ready < wanted;
        if needs_worker {
            jobs.starting += 1;
        }
        needs_worker
    }

    /// A worker that was asked for runs now.
    pub fn started(&self) {
        let mut jobs = self.jobs.0.lock();
        jobs.starting = jobs.starting.saturating_sub(1);
    }

    /// A worker that was asked for could not be started. Returns the jobs that now have none on its
    /// way, among them the one that `is_own` knows.
    pub fn not_started(&self, is_own: impl FnMut(&T) -> bool) -> NotStarted<T> {
        let mut jobs = self.jobs.0.lock();
        jobs.starting = jobs.starting.saturating_sub(1);
        let place = jobs.waiting.iter().position(is_own);
        let own = place.and_then(|place| jobs.waiting.remove(place));
        let served = jobs.starting.min(jobs.waiting.len());
        NotStarted { own, orphans: jobs.waiting.split_off(served).into() }
    }

    /// The next job, for a worker that waits until `deadline` for one; `None` tells it to go.
    pub fn take(&self, deadline: Instant) -> Option<T> {
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            let mut jobs = self.jobs.0.lock();
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            jobs.idle.push(signal.clone());
            drop(jobs);
            let woken = signal.wait_until(Some(deadline));
            let mut jobs = self.jobs.0.lock();
            let idle = jobs.idle.len();
            jobs.idle.retain(|other| !Arc::ptr_eq(other, &signal));
            if jobs.idle.len() == idle {
                jobs.starting = jobs.starting.saturating_sub(1);
            } else if !woken {
                return None;
            }
        }
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
    /// Empties the state for a forked child, where no worker runs.
    pub fn reset(&mut self) -> Vec<T> {
        self.idle.clear();
        self.starting = 0;
        self.waiting.drain(..).collect()
    }
}
