//! Which interpreter of the process may load the module.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Refuses every interpreter but the main one, whose id is 0.
///
/// PyO3's types are the process's, so a second interpreter would share objects with the first; and
/// an interpreter that ends while a worker thread of its own waits ends the process (3.11:
/// `Py_EndInterpreter`). PyO3 itself refuses no interpreter that shares the GIL.
pub(super) fn require_main(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the token says that this thread is attached, so it has an interpreter.
    #[allow(unsafe_code)]
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match id {
        0 => Ok(()),
        _ => Err(PyImportError::new_err("hermes_core works in the main interpreter only")),
    }
}
