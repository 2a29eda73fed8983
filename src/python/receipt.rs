//! Waiting for the disk, detached.

use std::sync::Arc;
use std::time::Instant;

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::wait;
use crate::error::Error;
use crate::ledger::{Outcome, Receipt};
use crate::queue::{Departed, is_ours};
use crate::wake::Signal;

create_exception!(
    hermes_core,
    LedgerError,
    PyRuntimeError,
    "The ledger cannot be read or written. The message says why, and what to do."
);

/// What Python raises for an error of the ledger.
pub(super) fn ledger_error(error: &Error) -> PyErr {
    LedgerError::new_err(error.to_string())
}

/// Waits for the write that an event's departure is, with no interrupt: it is on its way. False if
/// the event had become another process's.
pub(super) fn settled(py: Python<'_>, receipt: &Receipt) -> bool {
    match receipt.answer() {
        Some(answer) => answer != Ok(Outcome::Fenced),
        None => py.detach(|| is_ours(receipt)),
    }
}

/// The event that has left; `None` if it was another process's.
#[inline]
pub(super) fn arrived(py: Python<'_>, departed: Departed<Py<PyAny>>) -> Option<Py<PyAny>> {
    let Departed { item, receipt } = departed;
    receipt.is_none_or(|receipt| settled(py, &receipt)).then_some(item)
}

/// Waits for a write, with Ctrl-C on the main thread, until `deadline`.
///
/// Raises what a signal handler raises.
pub(super) fn answer(
    py: Python<'_>,
    receipt: &Receipt,
    deadline: Option<Instant>,
) -> PyResult<Result<Outcome, Error>> {
    if let Some(answer) = receipt.answer() {
        return Ok(answer);
    }
    let signal = Arc::new(Signal::for_this_thread());
    loop {
        match receipt.poll(&signal) {
            Some(answer) => return Ok(answer),
            None if wait::wait(py, &signal, deadline)? => {}
            None => return Ok(receipt.answer().unwrap_or(Err(Error::LedgerSlow))),
        }
    }
}
