//! `Handoff` as Python sees it: jobs for worker threads that Python starts and runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::fork;
use crate::handoff::{Handoff, NotStarted};

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

    /// Queues a job; whether the caller must start a worker.
    fn submit(&self, job: Py<PyAny>) -> bool {
        self.core.submit(job)
    }

    fn reserve(&self, wanted: usize) -> bool {
        self.core.reserve(wanted)
    }

    fn started(&self) {
        self.core.started();
    }

    /// A worker asked for could not be started: whether `job` still waited, and which others did.
    fn not_started(&self, job: &Bound<'_, PyAny>) -> (bool, Vec<Py<PyAny>>) {
        let NotStarted { own, orphans } = self.core.not_started(|waiting| waiting.is(job));
        (own.is_some(), orphans)
    }

    /// Appends the next job to `hand`; false after `timeout` seconds without one.
    ///
    /// Into a list that the caller has: an exception thrown into its thread could lose a result.
    fn take(&self, timeout: f64, hand: &Bound<'_, PyList>) -> PyResult<bool> {
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX);
        let core = &*self.core;
        let job = hand.py().detach(|| {
            let deadline = Instant::now().checked_add(timeout)?;
            core.take(deadline)
        });
        match job {
            Some(job) => hand.append(job).map(|()| true),
            None => Ok(false),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.core.try_visit(|job| visit.call(job))
    }
}
