//! Waiting for the disk, detached, or in a task of an event loop.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyMemoryError;
use pyo3::import_exception;
use pyo3::prelude::*;

use super::loop_waker::PyWaiter;
use super::wait::{self, Detached};
use crate::error::Error;
use crate::ledger::receipt::Answer;
use crate::ledger::{Outcome, Receipt};

/// How long an action on a ledger may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

import_exception!(hermes_core.errors, HermesCoreError);
import_exception!(hermes_core.errors, LedgerError);
import_exception!(hermes_core.errors, LedgerFull);
import_exception!(hermes_core.errors, LedgerBusy);
import_exception!(hermes_core.errors, LedgerNewerSchema);
import_exception!(hermes_core.errors, NotALedger);

/// Adds the core's own exceptions: a module imported anew has the classes that are raised.
pub(super) fn add_exceptions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("HermesCoreError", py.get_type::<HermesCoreError>())?;
    module.add("LedgerError", py.get_type::<LedgerError>())?;
    module.add("LedgerFull", py.get_type::<LedgerFull>())?;
    module.add("LedgerBusy", py.get_type::<LedgerBusy>())?;
    module.add("LedgerNewerSchema", py.get_type::<LedgerNewerSchema>())?;
    module.add("NotALedger", py.get_type::<NotALedger>())
}

/// What Python raises for an error of the ledger.
pub(super) fn ledger_error(error: &Error) -> PyErr {
    if *error == Error::NoMemory {
        return PyMemoryError::new_err(());
    }
    let message = error.to_string();
    match error.clone() {
        Error::LedgerFull { path, .. } => LedgerFull::new_err((message, path)),
        Error::LedgerBusy { path } => LedgerBusy::new_err((message, path)),
        Error::LedgerNewer { path, found, known } => {
            LedgerNewerSchema::new_err((message, path, found, known))
        }
        Error::NotALedger { path, .. } => NotALedger::new_err((message, path)),
        Error::LedgerReadOnly { path, .. }
        | Error::LedgerDamaged { path, .. }
        | Error::LedgerIo { path, .. } => LedgerError::new_err((message, path)),
        _ => LedgerError::new_err(message),
    }
}

/// A write that is on its way.
#[pyclass(name = "Receipt", module = "hermes_core._core", frozen)]
pub(super) struct PyReceipt(pub(super) Receipt);

#[pymethods]
impl PyReceipt {
    /// Whether it is known what became of it; if not, the task is woken when it is.
    fn poll(&self, waiter: &PyWaiter) -> bool {
        self.0.poll(&waiter.signal).is_some()
    }

    /// Waits until it is, thirty seconds at most; answers as `end`.
    pub(super) fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        let answer = self.0.wait_by(&Detached(py), Instant::now().checked_add(PATIENCE));
        is_done(answer.map_err(|stopped| stopped.raise(ledger_error))?)
    }

    /// Whether it is written; false if there was nothing to change.
    fn end(&self) -> PyResult<bool> {
        is_done(self.0.answer().unwrap_or(Err(Error::LedgerSlow)))
    }
}

fn is_done(answer: Answer) -> PyResult<bool> {
    let is_done = |outcome| matches!(outcome, Outcome::Done | Outcome::Asked);
    answer.map(is_done).map_err(|error| ledger_error(&error))
}

/// Waits for the write that undoes a take, but not where an event loop runs.
pub(super) fn reopened(py: Python<'_>, receipt: Option<Receipt>) {
    if let Some(receipt) = receipt.filter(|receipt| receipt.answer().is_none())
        && !wait::has_event_loop(py)
    {
        // Failed or not, it is the ledger's business from here.
        let _ = py.detach(|| receipt.wait(None));
    }
}
