//! `CompletionQueue` as Python sees it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple, PyType};

use super::loop_waker::PyWaiter;
use super::receipt::{HermesCoreError, reopened};
use super::route::{RouteTexts, checked_text, full_address, owned_text, with_route};
use super::wait::{Detached, Flag};
use super::{fork, memory, wait};
use crate::error::Error;
use crate::event::Route;
use crate::queue::{CompletionQueue, Room, Wanted};

/// The core queue, of Python objects.
pub(super) type Core = CompletionQueue<Py<PyAny>>;

static EXCEPTIONS: PyOnceLock<[Py<PyType>; 3]> = PyOnceLock::new();

/// Finds `queue.Empty` and `queue.Full`, and `queue.ShutDown` or (before 3.13) makes it.
pub(super) fn add_exceptions(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let stdlib = py.import("queue")?;
    let class = |name| -> PyResult<Py<PyType>> {
        Ok(stdlib.getattr(name)?.cast_into::<PyType>()?.unbind())
    };
    let shut_down = match stdlib.hasattr("ShutDown")? {
        true => class("ShutDown")?,
        false => PyErr::new_type(
            py,
            c"hermes_core.ShutDown",
            Some(c"Raised when put/get with shut-down queue."),
            Some(&py.get_type::<HermesCoreError>()),
            None,
        )?,
    };
    let exceptions = [class("Empty")?, class("Full")?, shut_down];
    // A module imported anew has the class that the first import made: it is what is raised.
    let [_, _, shut_down] = EXCEPTIONS.get_or_init(py, || exceptions);
    module.add("ShutDown", shut_down)
}

/// The exception that `queue.Queue` raises there.
pub(super) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let index = match error {
        Error::Empty => 0,
        Error::Full { .. } => 1,
        Error::ShutDown => 2,
        Error::NoMemory => return memory::error(py),
        other => return PyValueError::new_err(other.to_string()),
    };
    match EXCEPTIONS.get(py) {
        Some(exceptions) => PyErr::from_type(exceptions[index].bind(py).clone(), ()),
        None => PyValueError::new_err(error.to_string()),
    }
}

/// The `types` argument of a take.
pub(super) fn kinds(types: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    // Exactly these: a subclass may iterate in Python code.
    let known = types.is_exact_instance_of::<PyList>()
        || types.is_exact_instance_of::<PyTuple>()
        || types.is_exact_instance_of::<PySet>()
        || types.is_exact_instance_of::<PyFrozenSet>();
    let kinds: Vec<String> = match known {
        true => types
            .try_iter()?
            .map(|kind| owned_text(kind?.cast::<PyString>()?))
            .collect::<PyResult<_>>()?,
        false => Vec::new(),
    };
    if kinds.is_empty() {
        return Err(PyTypeError::new_err(
            "types must be a list, tuple, set or frozenset with at least one str",
        ));
    }
    Ok(kinds)
}

/// The queue itself; `hermes_core.CompletionQueue` is its Python face.
#[pyclass(name = "CompletionQueue", module = "hermes_core._core", subclass, weakref, frozen)]
pub(super) struct PyCompletionQueue {
    pub(super) core: Arc<Core>,
}

#[pymethods]
impl PyCompletionQueue {
    #[new]
    fn new() -> Self {
        let core = Arc::new(Core::new(0));
        fork::register(&core);
        Self { core }
    }

    #[pyo3(
        signature = (item, block = Flag(true), timeout = None),
        text_signature = "($self, item, block=True, timeout=None)"
    )]
    fn put(
        &self,
        py: Python<'_>,
        item: Bound<'_, PyAny>,
        block: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        memory::require(py)?;
        if timeout.is_some() && self.core.maxsize() > 0 && block.0 {
            // As queue.Queue does, also when there is room.
            wait::deadline(timeout)?;
        }
        let put =
            self.with_route(&item, |route| self.core.try_put(item.clone().unbind(), route))?;
        let (refused, error) = match put {
            Ok(receipt) => {
                reopened(py, receipt);
                return Ok(());
            }
            Err(refused) => refused,
        };
        if !matches!(error, Error::Full { .. }) || !block.0 {
            return Err(raise(py, &error));
        }
        let texts = RouteTexts::owned(&item)?;
        let full = full_address(&item)?;
        let route = Route { full: full.as_deref(), ..texts.route() };
        let put = self.core.put(&Detached(py), refused, route, wait::deadline(timeout)?);
        put.map(|receipt| reopened(py, receipt)).map_err(|stopped| stopped.raise(|e| raise(py, e)))
    }

    fn put_nowait(&self, py: Python<'_>, item: Bound<'_, PyAny>) -> PyResult<()> {
        memory::require(py)?;
        let put =
            self.with_route(&item, |route| self.core.try_put(item.clone().unbind(), route))?;
        put.map(|receipt| reopened(py, receipt)).map_err(|(_, error)| raise(py, &error))
    }

    /// Undoes a get: the item is the first again.
    fn put_back(&self, py: Python<'_>, item: Bound<'_, PyAny>) -> PyResult<()> {
        let put = |route: Route<'_>| self.core.put_back(item.clone().unbind(), route);
        let put = self.with_route(&item, put)?;
        put.map(|receipt| reopened(py, receipt)).map_err(|(_, error)| raise(py, &error))
    }

    #[pyo3(
        signature = (
            block = Flag(true), timeout = None, *, types = None, session_key = None,
            unaddressed = false
        ),
        text_signature = "($self, block=True, timeout=None, *, types=None, session_key=None, unaddressed=False)"
    )]
    fn get(
        &self,
        py: Python<'_>,
        block: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
        types: Option<&Bound<'_, PyAny>>,
        session_key: Option<Bound<'_, PyString>>,
        unaddressed: bool,
    ) -> PyResult<Py<PyAny>> {
        let kinds = types.map(kinds).transpose()?;
        let session_key = session_key.as_ref().map(checked_text).transpose()?;
        let wanted = wanted(kinds.as_deref(), session_key.as_deref(), unaddressed)?;
        match block.0 {
            true => self.take(py, wanted, timeout),
            false => self.core.try_take(&Detached(py), wanted).map_err(|error| raise(py, &error)),
        }
    }

    #[pyo3(signature = (*, types = None, session_key = None, unaddressed = false))]
    fn get_nowait(
        &self,
        py: Python<'_>,
        types: Option<&Bound<'_, PyAny>>,
        session_key: Option<Bound<'_, PyString>>,
        unaddressed: bool,
    ) -> PyResult<Py<PyAny>> {
        let kinds = types.map(kinds).transpose()?;
        let session_key = session_key.as_ref().map(checked_text).transpose()?;
        let wanted = wanted(kinds.as_deref(), session_key.as_deref(), unaddressed)?;
        self.core.try_take(&Detached(py), wanted).map_err(|error| raise(py, &error))
    }

    fn qsize(&self) -> usize {
        self.core.len()
    }

    fn empty(&self) -> bool {
        self.core.is_empty()
    }

    fn full(&self) -> bool {
        self.core.is_full()
    }

    #[getter]
    fn get_maxsize(&self) -> isize {
        self.core.maxsize()
    }

    #[setter]
    fn set_maxsize(&self, maxsize: &Bound<'_, PyInt>) -> PyResult<()> {
        self.core.set_maxsize(maxsize.extract()?);
        Ok(())
    }

    #[getter]
    fn is_shutdown(&self) -> bool {
        self.core.is_shutdown()
    }

    #[getter]
    fn unfinished_tasks(&self) -> usize {
        self.core.unfinished()
    }

    fn task_done(&self) -> PyResult<()> {
        self.core.task_done().map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn join(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(signal) = self.core.joiner() {
            wait::wait(py, &signal, None)?;
        }
        Ok(())
    }

    /// The events that wait, in order; with a key, the owner's.
    fn _pending(
        &self,
        py: Python<'_>,
        session_key: Option<Bound<'_, PyString>>,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let session_key = session_key.as_ref().map(checked_text).transpose()?;
        Ok(self.core.pending(session_key.as_deref(), |event| event.clone_ref(py)))
    }

    /// The events that are delivered to nobody any more, in order.
    fn _parked(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.core.parked(|event| event.clone_ref(py))
    }

    /// The events that had all their attempts, in order.
    fn _dead_letters(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.core.dead_letters(|event| event.clone_ref(py))
    }

    fn _new_epoch(&self, session_key: &Bound<'_, PyString>) -> PyResult<u32> {
        let epoch = self.core.new_epoch(&checked_text(session_key)?);
        epoch.map(NonZeroU32::get).map_err(|error| raise(session_key.py(), &error))
    }

    /// Shuts down; returns the events removed, so that the Python frame drops them.
    fn _shutdown(&self, immediate: bool) -> Vec<Py<PyAny>> {
        self.core.shutdown(immediate)
    }

    /// Removes all events; for the Python frame that finalizes the queue to drop.
    fn _drain(&self) -> Vec<Py<PyAny>> {
        self.core.drain()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.core.try_visit(|item| visit.call(item))
    }

    fn __clear__(&self) {
        drop(self.core.drain());
    }
}

/// A task that waits for room in a queue.
#[pyclass(name = "Room", module = "hermes_core._core", frozen)]
pub(super) struct PyRoom {
    core: Room,
    queue: Arc<Core>,
}

#[pymethods]
impl PyRoom {
    #[new]
    fn new(queue: &PyCompletionQueue, waiter: &PyWaiter) -> Self {
        let core = Room::new(&queue.core, waiter.signal.clone());
        Self { core, queue: queue.core.clone() }
    }

    /// Registers the task to be woken when room appears; false if there is some already.
    fn enter(&self) -> bool {
        self.core.enter(&self.queue)
    }

    /// Leaves for good; a wake that it did not need goes to the next one.
    fn leave(&self) {
        self.core.leave(&self.queue);
    }
}

fn wanted<'a>(
    types: Option<&'a [String]>,
    session_key: Option<&'a str>,
    unaddressed: bool,
) -> PyResult<Wanted<'a>> {
    match (session_key, unaddressed) {
        (Some(""), _) => Err(PyValueError::new_err(
            "session_key is empty, and an empty key is nobody's; leave it out to take any event",
        )),
        (Some(_), true) => Err(PyValueError::new_err(
            "an event with a session_key is not unaddressed; give one of the two",
        )),
        (None, true) => Ok(Wanted { session_key: Some(""), types }),
        (session_key, false) => Ok(Wanted { session_key, types }),
    }
}

impl PyCompletionQueue {
    fn with_route<R>(
        &self,
        item: &Bound<'_, PyAny>,
        use_route: impl FnOnce(Route<'_>) -> R,
    ) -> PyResult<R> {
        with_route(item, self.core.has_predicates(), use_route)
    }

    /// Takes the first event wanted, waiting for one up to `timeout` seconds.
    pub(super) fn take(
        &self,
        py: Python<'_>,
        wanted: Wanted<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let timeout = wait::seconds("timeout", timeout)?;
        match self.core.try_take(&Detached(py), wanted) {
            Err(Error::Empty) => {
                let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                let taken = self.core.take(&Detached(py), wanted, deadline);
                taken.map_err(|stopped| stopped.raise(|error| raise(py, error)))
            }
            taken => taken.map_err(|error| raise(py, &error)),
        }
    }
}
