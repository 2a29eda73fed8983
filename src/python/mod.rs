//! The Python binding: convert, detach, delegate.

use pyo3::prelude::*;

/// The extension module `hermes_core._core`.
#[pymodule]
mod _core {}
