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
mod queue;
mod receipt;
mod registry;
mod route;
mod wait;

use pyo3::prelude::*;

mod notification;
mod value;

/// The extension module `hermes_core._core`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::fork::after_fork_in_child;
    #[pymodule_export]
    use super::handoff::PyHandoff;
    #[pymodule_export]
    use super::ledger::PyLedger;
    #[pymodule_export]
    use super::log::{set_log_level, take_log};
    #[pymodule_export]
    use super::loop_waker::{PyLoopWaker, PyWaiter};
    #[pymodule_export]
    use super::mailbox::{PyCollector, PyLease, PyMailbox, PyQuestion};
    #[pymodule_export]
    use super::notification::{
        PrintedObject, dedup_key_plain, format_plain, format_unreadable_item, notification_keys,
        session_key_plain,
    };
    #[pymodule_export]
    use super::queue::{PyCompletionQueue, PyRoom};
    #[pymodule_export]
    use super::receipt::LedgerError;
    #[pymodule_export]
    use super::registry::PyRegistry;
    #[pymodule_export]
    use super::wait::set_main_thread;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::interpreter::require_main(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        #[cfg(feature = "failpoints")]
        {
            let names = crate::failpoint::Step::ALL.iter().map(|step| step.name());
            module.add("FAIL_POINTS", names.collect::<Vec<_>>())?;
        }
        super::queue::add_exceptions(module)?;
        super::fastcall::install(module.py())?;
        super::log::install();
        #[cfg(unix)]
        super::fork::install()?;
        Ok(())
    }
}
