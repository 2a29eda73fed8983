//! `Handoff` as Python sees it: jobs for worker threads that Python starts and runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::fork;
use crate::sync::handoff::{Handoff, Worker};
use crate::sync::signal::Signal;
use crate::sync::{Forked, HeldLock};

/// Jobs on their way to Python worker threads.
#[pyclass(name = "Handoff", module = "hermes_core._core", frozen)]
pub(super) struct PyHandoff {
    core: Arc<Handoff<Py<PyAny>>>,
}

#[pymethods]
impl PyHandoff {
    #[new]
    fn new() -> Self {
        let core = Arc::new(Handoff::default());
        fork::register(&core);
        Self { core }
    }

    /// Queues a job; whether the caller must start the worker `start`.
    fn submit(&self, job: Py<PyAny>, start: u64) -> bool {
        self.core.submit(job, start)
    }

    fn reserve(&self, wanted: usize, start: u64) -> bool {
        self.core.reserve(wanted, start)
    }

    /// Has the workers that are idle now go.
    fn retire(&self) {
        self.core.retire();
    }

    fn is_awaited(&self, start: u64) -> bool {
        self.core.is_awaited(start)
    }

    fn forget(&self, start: u64) {
        self.core.forget(start);
    }

    /// The worker `start` could not be started: the jobs other than `job` that counted on it.
    fn not_started(&self, start: u64, job: &Bound<'_, PyAny>) -> Vec<Py<PyAny>> {
        self.core.not_started(start, |waiting| waiting.is(job)).orphans
    }

    /// Appends the next job to `hand` for the worker `number`; whether it must start `successor`
    /// before it runs the job. `None` after `timeout` seconds without one.
    ///
    /// Into a list that the caller has: an exception thrown into its thread could lose a result.
    fn take(
        &self,
        timeout: f64,
        hand: &Bound<'_, PyList>,
        number: u64,
        successor: u64,
    ) -> PyResult<Option<bool>> {
        let worker = Worker { number, successor };
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
        let deadline = Instant::now().checked_add(timeout);
        let signal = Arc::new(Signal::for_this_thread());
        loop {
            // Attached: the collector must not see a job in one of its passes and miss it in another.
            if let Some(next) = self.core.poll(worker, &signal) {
                return hand.append(next.job).map(|()| Some(next.needs_worker));
            }
            let woken = hand.py().detach(|| signal.wait_until(deadline));
            if !self.core.stays(&signal, woken) {
                return Ok(None);
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.core.try_visit(|job| visit.call(job))
    }

    fn __clear__(&self) {
        // The lock goes first, at the end of the statement.
        let jobs = Handoff::reset(HeldLock::hold(&self.core).state());
        drop(jobs);
    }
}
