//! The Python binding: convert, detach, delegate.

use pyo3::prelude::*;

mod notification;
mod value;

/// The extension module `hermes_core._core`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::notification::{
        PrintedObject, dedup_key_plain, format_plain, format_unreadable_item, notification_keys,
        session_key_plain,
    };
}
