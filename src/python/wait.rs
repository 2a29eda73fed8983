//! Blocking with the interpreter detached, and with Ctrl-C on the main thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyCFunction, PyDict, PyFloat, PyInt};

use crate::error::Error;
use crate::sync::signal::Signal;
use crate::sync::wait::Wait;

/// How long the main thread waits between two looks for a pending signal handler.
const SIGNAL_SLICE: Duration = Duration::from_millis(50);

static MAIN_THREAD: AtomicU64 = AtomicU64::new(0);

/// Says which thread runs signal handlers: `threading.main_thread().ident`.
#[pyfunction]
#[pyo3(name = "_set_main_thread")]
pub(super) fn set_main_thread(ident: u64) {
    MAIN_THREAD.store(ident, Ordering::Relaxed);
}

/// Makes the calling thread the main one, as it is in a forked child.
pub(super) fn become_main_thread() {
    set_main_thread(current_thread());
}

#[allow(unsafe_code)]
fn current_thread() -> u64 {
    // SAFETY: takes nothing, touches no interpreter state.
    let ident = unsafe { pyo3::ffi::PyThread_get_thread_ident() };
    ident as u64
}

/// Whether an event loop runs in this thread: there nothing waits for a disk. Asked by a call of C,
/// which no signal handler interrupts.
pub(super) fn has_event_loop(py: Python<'_>) -> bool {
    let find = || -> PyResult<bool> {
        let Some(events) = modules(py)?.get_item(intern!(py, "asyncio.events"))? else {
            return Ok(false);
        };
        Ok(!events.call_method0(intern!(py, "_get_running_loop"))?.is_none())
    };
    find().unwrap_or(false)
}

/// `sys.modules`.
fn modules(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr(intern!(py, "modules"))?;
        modules.cast_into::<PyDict>().map(Bound::unbind).map_err(PyErr::from)
    })?;
    Ok(modules.bind(py))
}

/// Refuses to wait where `gevent` has every thread be a greenlet of one: what is waited for would be
/// kept from coming.
fn refuse_greenlets(py: Python<'_>) -> PyResult<()> {
    let modules = modules(py)?;
    if !modules.contains(intern!(py, "gevent.monkey"))? {
        return Ok(());
    }
    let Some(threads) = modules.get_item(intern!(py, "_thread"))? else { return Ok(()) };
    if threads.getattr(intern!(py, "start_new_thread"))?.is_instance_of::<PyCFunction>() {
        return Ok(());
    }
    Err(PyRuntimeError::new_err(
        "gevent has replaced the threads of this process: hermes_core waits in real ones, \
         and would keep every greenlet waiting; use monkey.patch_all(thread=False)",
    ))
}

/// Waits, detached, until the signal is set or `deadline` has passed; whether it was set.
///
/// On the main thread it wakes every 50 ms to run pending signal handlers, so that Ctrl-C raises.
pub(super) fn wait(py: Python<'_>, signal: &Signal, deadline: Option<Instant>) -> PyResult<bool> {
    refuse_greenlets(py)?;
    if current_thread() != MAIN_THREAD.load(Ordering::Relaxed) {
        return Ok(py.detach(|| signal.wait_until(deadline)));
    }
    loop {
        let slice = Instant::now() + SIGNAL_SLICE;
        let until = deadline.map_or(slice, |deadline| deadline.min(slice));
        if py.detach(|| signal.wait_until(Some(until))) {
            return Ok(true);
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(false);
        }
    }
}

/// Waits with the interpreter given up: how the binding has the core's operations wait.
#[derive(Clone, Copy)]
pub(super) struct Detached<'py>(pub(super) Python<'py>);

/// What kept an operation from its end.
pub(super) enum Stopped {
    /// An error of the core.
    Core(Error),
    /// What a signal handler raised.
    Raised(PyErr),
}

impl Stopped {
    /// The exception for it; `raise` makes that of an error of the core.
    pub(super) fn raise(self, raise: impl FnOnce(&Error) -> PyErr) -> PyErr {
        match self {
            Self::Core(error) => raise(&error),
            Self::Raised(error) => error,
        }
    }
}

impl Wait for Detached<'_> {
    type Error = Stopped;

    fn error(&self, error: Error) -> Stopped {
        Stopped::Core(error)
    }

    fn wait(&self, signal: &Signal, deadline: Option<Instant>) -> Result<bool, Stopped> {
        wait(self.0, signal, deadline).map_err(Stopped::Raised)
    }

    // With no interrupt: what is written is on its way.
    fn block<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.detach(work)
    }
}

/// A `block` argument: any of the values that code passes for a flag.
#[derive(Clone, Copy)]
pub(super) struct Flag(pub(super) bool);

impl FromPyObject<'_, '_> for Flag {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if let Ok(value) = value.cast::<PyBool>() {
            return Ok(Self(value.is_true()));
        }
        if value.is_none() {
            return Ok(Self(false));
        }
        if let Ok(value) = value.cast_exact::<PyInt>() {
            return Ok(Self(value.extract::<i64>().map_or(true, |value| value != 0)));
        }
        // Not asked for its truth: that may be Python code.
        Err(PyTypeError::new_err("block must be True or False"))
    }
}

/// A `timeout` argument in seconds as a deadline; `None` waits without end.
///
/// Raises ValueError on a negative number, as CPython's `queue.Queue` does, and on NaN, with which
/// that waits for ever.
pub(super) fn deadline(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Instant>> {
    Ok(seconds("timeout", timeout)?.and_then(|duration| Instant::now().checked_add(duration)))
}

/// A number of seconds, the argument `name`; `None` for `None` and for more than the clock can count.
///
/// Raises TypeError and ValueError as `deadline`.
pub(super) fn seconds(name: &str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Duration>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    let seconds = if let Ok(seconds) = value.cast::<PyFloat>() {
        seconds.value()
    } else if let Ok(seconds) = value.cast_exact::<PyInt>() {
        match seconds.extract::<i64>() {
            Ok(seconds) => seconds as f64,
            Err(_) if seconds.lt(0)? => -1.0,
            Err(_) => f64::INFINITY,
        }
    } else if let Ok(flag) = value.cast::<PyBool>() {
        f64::from(u8::from(flag.is_true()))
    } else {
        return Err(PyTypeError::new_err(format!("'{name}' must be a number of seconds or None")));
    };
    if seconds < 0.0 || seconds.is_nan() {
        return Err(PyValueError::new_err(format!("'{name}' must be a non-negative number")));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok())
}
