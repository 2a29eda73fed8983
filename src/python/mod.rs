//! The Python binding: convert, detach, delegate.
//!
//! Every function here is a leaf: it calls no Python code that could give up the interpreter while
//! a Rust frame stands beneath it (the exceptions, each on the main thread only, say so). Work that
//! must call back (runners, `interrupt_fn`, loggers) is done by Python functions that call these.

mod fastcall;
mod fork;
mod handoff;
mod interpreter;
mod ledger;
mod log;
mod loop_waker;
mod mailbox;
mod memory;
mod notification;
mod plain;
mod queue;
mod receipt;
mod registry;
mod route;
mod text;
mod wait;

use pyo3::prelude::*;

/// The extension module `hermes_core._core`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::fork::{after_fork_in_child, after_fork_in_parent, before_fork};
    #[pymodule_export]
    use super::handoff::PyHandoff;
    #[pymodule_export]
    use super::ledger::{PyAdopted, PyLedger, release_all};
    #[pymodule_export]
    use super::log::{set_log_level, take_log};
    #[pymodule_export]
    use super::loop_waker::{PyLoopWaker, PyWaiter};
    #[pymodule_export]
    use super::mailbox::{PyAcking, PyCollector, PyLease, PyMailbox, PyQuestion};
    #[pymodule_export]
    use super::notification::{
        PrintedObject, dedup_key_plain, format_plain, format_unreadable_item, notification_keys,
        session_key_plain,
    };
    #[pymodule_export]
    use super::plain::{list_texts, replace_texts, to_json};
    #[pymodule_export]
    use super::queue::{PyCompletionQueue, PyRoom};
    #[pymodule_export]
    use super::receipt::PyReceipt;
    #[pymodule_export]
    use super::registry::{PyDispatching, PyRegistry};
    #[pymodule_export]
    use super::wait::set_main_thread;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::require_main(module.py())?;
        // Without one, nothing is refused before memory is gone.
        crate::memory::keep_reserve();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("MAX_ATTEMPTS", crate::queue::MAX_ATTEMPTS)?;
        #[cfg(feature = "failpoints")]
        {
            let names = crate::failpoint::Step::ALL.iter().map(|step| step.name());
            module.add("FAIL_POINTS", names.collect::<Vec<_>>())?;
        }
        super::receipt::add_exceptions(module)?;
        super::queue::add_exceptions(module)?;
        super::fastcall::install(module.py())?;
        super::log::install();
        #[cfg(unix)]
        super::fork::install()?;
        Ok(())
    }
}
