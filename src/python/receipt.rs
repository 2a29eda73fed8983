//! Waiting for the disk, detached.

use std::sync::Arc;
use std::time::Instant;

use pyo3::create_exception;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::wait;
use crate::error::Error;
use crate::ledger::receipt::Answer;
use crate::ledger::{Hold, Home, Outcome, Receipt, Write};
use crate::queue::Departed;
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

/// Has something written about a delegation of ours, and waits for it: with no interrupt, for it is
/// on its way.
pub(super) fn written(
    py: Python<'_>,
    home: &Home,
    write: impl FnOnce(Hold) -> Write + Send,
) -> Answer {
    match home.ledger().keeps_texts() {
        true => py.detach(|| home.write(write)),
        // Nothing to wait for, and so no reason to give the interpreter up.
        false => home.write(write),
    }
}

/// Writes down that an event was delivered; false if it had become another process's.
pub(super) fn acked(py: Python<'_>, home: &Home) -> bool {
    let is_ours = written(py, home, Write::Ack) != Ok(Outcome::Fenced);
    if !is_ours {
        home.look_again();
    }
    is_ours
}

/// The event that has left; `None` if it was another process's.
#[inline]
pub(super) fn arrived(py: Python<'_>, departed: Departed<Py<PyAny>>) -> Option<Py<PyAny>> {
    let Departed { item, home } = departed;
    home.is_none_or(|home| acked(py, &home)).then_some(item)
}

/// Waits for the write that undoes a take.
pub(super) fn reopened(py: Python<'_>, receipt: Option<Receipt>) {
    if let Some(receipt) = receipt.filter(|receipt| receipt.answer().is_none()) {
        // Failed or not, it is the ledger's business from here.
        let _ = py.detach(|| receipt.wait(None));
    }
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
