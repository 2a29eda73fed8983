//! No memory is `MemoryError`, at the call that would begin something.

use pyo3::ffi;
use pyo3::prelude::*;

use crate::memory::{self, Reserving};

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

/// Fails with `MemoryError` as long as there is no reserve of memory to end an operation with.
#[inline]
pub(super) fn require(py: Python<'_>) -> PyResult<()> {
    if memory::is_short() { Err(error(py)) } else { Ok(()) }
}

/// As [`require`], and where there is no room for so many bytes, which are about to be copied.
pub(super) fn require_for(py: Python<'_>, bytes: usize) -> PyResult<()> {
    if memory::is_short() || !memory::has_room_for(bytes) { Err(error(py)) } else { Ok(()) }
}

/// The exception that the interpreter keeps for this: making another takes memory.
#[cold]
fn error(py: Python<'_>) -> PyErr {
    // SAFETY: attached.
    #[allow(unsafe_code)]
    unsafe {
        ffi::PyErr_NoMemory();
    }
    PyErr::fetch(py)
}
