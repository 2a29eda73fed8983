//! No memory is `MemoryError`, at the call that would begin something.

use std::alloc::System;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::memory::{self, Reserving, Room};

#[global_allocator]
static ALLOCATOR: Reserving = Reserving(System);

/// Fails with `MemoryError` as long as there is no reserve of memory to end an operation with.
#[inline]
pub(super) fn require(py: Python<'_>) -> PyResult<()> {
    if memory::is_short() { Err(error(py)) } else { Ok(()) }
}

/// As [`require`], and where there is no room for so many bytes, which are about to be copied.
pub(super) fn require_for(py: Python<'_>, bytes: usize) -> PyResult<()> {
    if memory::is_short() || !memory::has_room_for(bytes) { Err(error(py)) } else { Ok(()) }
}

/// A copy of a text; raises MemoryError.
pub(super) fn copy(py: Python<'_>, text: &str) -> PyResult<Box<str>> {
    memory::copy(text).map_err(|_| error(py))
}

/// A copy of a text, to be shared; raises MemoryError.
pub(super) fn shared(py: Python<'_>, text: &str) -> PyResult<Arc<str>> {
    memory::shared(text).map_err(|_| error(py))
}

/// An empty text with room for so many bytes; raises MemoryError.
pub(super) fn text_of(py: Python<'_>, bytes: usize) -> PyResult<String> {
    let mut text = String::new();
    text.room_for(bytes).map_err(|_| error(py))?;
    Ok(text)
}

/// The exception that the interpreter keeps for this: making another takes memory.
#[cold]
pub(super) fn error(py: Python<'_>) -> PyErr {
    // SAFETY: attached.
    #[allow(unsafe_code)]
    unsafe {
        ffi::PyErr_NoMemory();
    }
    PyErr::fetch(py)
}
