//! Mailboxes as Python sees them: leaves that take, wait, and say what became of an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::loop_waker::PyWaiter;
use super::queue::{Core as Queue, PyCompletionQueue, kinds, raise};
use super::receipt::acked;
use super::route::{full_address, key_text};
use super::wait::{self, Flag};
use crate::error::Error;
use crate::queue::{Acked, Collector, LeaseId, Leased, Mailbox, Return, Selection};
use crate::wake::Signal;

/// A core mailbox, of Python objects.
type Core = Mailbox<Py<PyAny>>;

/// An event under a lease: the event, the lease, which attempt it is.
type Row = (Py<PyAny>, Py<PyLease>, u32);

/// A lease in somebody's hand. Dropped unsettled, it gives its event back: nothing that is thrown
/// into a Python frame, wherever it comes, loses an event.
#[pyclass(name = "Lease", module = "hermes_core._core", frozen)]
pub(super) struct PyLease {
    mailbox: Py<PyMailbox>,
    id: LeaseId,
    is_settled: AtomicBool,
}

#[pymethods]
impl PyLease {
    /// Ends it, once that is written down: the event was delivered. Returns whether the lease held,
    /// and the event, for the Python frame to drop.
    fn ack(&self, py: Python<'_>) -> (bool, Option<Py<PyAny>>) {
        let queue = self.queue();
        let ack = queue.begin_ack(self.id);
        self.is_settled.store(true, Ordering::Relaxed);
        match ack {
            Acked::NotHeld => (false, None),
            Acked::Gone(event) => (true, Some(event)),
            Acked::Writing { id, home } => {
                let is_ours = acked(py, &home);
                (is_ours, queue.finish_ack(id))
            }
        }
    }

    /// Ends it without delivery; whether it still held.
    fn give_back(&self, is_attempt: bool, delay: &Bound<'_, PyAny>) -> PyResult<bool> {
        let how = if is_attempt { Return::Nack } else { Return::Defer };
        let delay = wait::seconds("delay", Some(delay))?.unwrap_or(Duration::MAX);
        let was_held = self.queue().give_back(self.id, how, delay);
        self.is_settled.store(true, Ordering::Relaxed);
        Ok(was_held)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.mailbox)
    }
}

impl PyLease {
    fn queue(&self) -> &Arc<Queue> {
        self.mailbox.get().core.queue()
    }
}

impl Drop for PyLease {
    fn drop(&mut self) {
        if !*self.is_settled.get_mut() {
            self.queue().give_back(self.id, Return::Defer, Duration::ZERO);
        }
    }
}

/// An owner's view of a queue; `hermes_core.Mailbox` is its Python face.
#[pyclass(name = "Mailbox", module = "hermes_core._core", frozen)]
pub(super) struct PyMailbox {
    core: Arc<Core>,
    // Kept, so that what waits is visited and dropped with its queue's Python object.
    queue: Py<PyCompletionQueue>,
}

#[pymethods]
impl PyMailbox {
    #[new]
    fn new(
        queue: Bound<'_, PyCompletionQueue>,
        session_keys: Option<Vec<Bound<'_, PyString>>>,
        types: Option<&Bound<'_, PyAny>>,
        unaddressed: Option<&Bound<'_, PyAny>>,
        has_say: bool,
        lease: Option<&Bound<'_, PyAny>>,
        max_attempts: Option<u32>,
    ) -> PyResult<Self> {
        let owned = |keys: Vec<Bound<'_, PyString>>| -> Vec<String> {
            keys.iter().map(|key| key_text(key).into_owned()).collect()
        };
        let session_keys = session_keys.map(owned);
        let types = types.map(kinds).transpose()?;
        let unaddressed = unaddressed.map(kinds).transpose()?.unwrap_or_default();
        let selection = Selection {
            session_keys: session_keys.as_deref(),
            types: types.as_deref(),
            unaddressed: &unaddressed,
            has_say,
            max_attempts,
        };
        let queue_core = &queue.get().core;
        let core = Mailbox::open(queue_core, selection, wait::seconds("lease", lease)?);
        Ok(Self { core: Arc::new(core), queue: queue.unbind() })
    }

    /// Leases the first event, waiting for one if `block` says so; `None` if there is an address to
    /// judge first.
    fn take(
        slf: &Bound<'_, Self>,
        block: Flag,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Row>> {
        let (py, core) = (slf.py(), &slf.get().core);
        let deadline = wait::deadline(timeout)?;
        let collected = core.collect(|event| event.clone_ref(py));
        if !block.0 || !matches!(collected, Err(Error::Empty)) {
            return answer(slf, collected);
        }
        let mut collector = Collector::new(core, Arc::new(Signal::for_this_thread()));
        let mut last = false;
        loop {
            match collector.poll(|event| event.clone_ref(py)) {
                Err(Error::Empty) if !last => {
                    last = !wait::wait(py, collector.signal(), deadline)?;
                }
                leased => return answer(slf, leased),
            }
        }
    }

    /// The events that were put before anybody asked for their whole address, each with its place.
    fn unfiled(&self, py: Python<'_>) -> Vec<((u32, i64), Py<PyAny>)> {
        self.core.queue().unfiled(|event| event.clone_ref(py))
    }

    /// Files one of them under its whole address.
    fn file(&self, place: (u32, i64), event: &Bound<'_, PyAny>) {
        if let Some(full) = full_address(event) {
            self.core.queue().file(place, &full);
        }
    }

    /// An address to judge, with the first of its events.
    fn next_question(&self, py: Python<'_>) -> PyResult<Option<(Py<PyQuestion>, Py<PyAny>)>> {
        let Some(question) = self.core.next_question(|event| event.clone_ref(py)) else {
            return Ok(None);
        };
        let (mailbox, address) = (self.core.clone(), question.address);
        let asked = PyQuestion { mailbox, address, is_answered: AtomicBool::new(false) };
        Ok(Some((Py::new(py, asked)?, question.item)))
    }

    fn add_key(&self, session_key: &Bound<'_, PyString>) {
        self.core.add_key(&key_text(session_key));
    }

    fn remove_key(&self, session_key: &Bound<'_, PyString>) {
        self.core.remove_key(&key_text(session_key));
    }

    fn pending(&self) -> usize {
        self.core.pending()
    }

    fn close(&self) {
        self.core.close();
    }

    fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.queue)
    }
}

/// Whether an address is the owner's, asked of somebody. Dropped unanswered, it is asked again.
#[pyclass(name = "Question", module = "hermes_core._core", frozen)]
pub(super) struct PyQuestion {
    mailbox: Arc<Core>,
    address: u32,
    is_answered: AtomicBool,
}

#[pymethods]
impl PyQuestion {
    /// Says whether the host owns the address; `None` has it asked again. The first answer counts.
    #[pyo3(signature = (is_own))]
    fn answer(&self, is_own: Option<bool>) {
        if !self.is_answered.swap(true, Ordering::Relaxed) {
            self.mailbox.answer(self.address, is_own);
        }
    }
}

impl Drop for PyQuestion {
    fn drop(&mut self) {
        self.answer(None);
    }
}

/// A task that takes from a mailbox.
#[pyclass(name = "Collector", module = "hermes_core._core")]
pub(super) struct PyCollector {
    core: Option<Collector<Py<PyAny>>>,
    mailbox: Py<PyMailbox>,
}

/// What a task's look at a mailbox gives.
#[derive(IntoPyObject)]
pub(super) enum Polled {
    Event(Row),
    /// Whether there is an address to judge; if not, the task is woken when it is to look again.
    Nothing(bool),
}

#[pymethods]
impl PyCollector {
    #[new]
    fn new(mailbox: Bound<'_, PyMailbox>, waiter: &PyWaiter) -> Self {
        let core = Collector::new(&mailbox.get().core, waiter.signal.clone());
        Self { core: Some(core), mailbox: mailbox.unbind() }
    }

    /// Leases the first event, or registers the task to be woken for one.
    fn poll(&mut self, py: Python<'_>) -> PyResult<Polled> {
        let polled = match &mut self.core {
            Some(core) => core.poll(|event| event.clone_ref(py)),
            None => Err(Error::ShutDown),
        };
        match polled {
            Ok(leased) => row(self.mailbox.bind(py), leased).map(Polled::Event),
            Err(Error::Empty) => Ok(Polled::Nothing(false)),
            Err(Error::Unjudged) => Ok(Polled::Nothing(true)),
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// Leaves for good; a wake that it got goes to the next one.
    fn leave(&mut self) {
        self.core = None;
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.mailbox)
    }
}

/// What a take gives; `None` if there is an address to judge first.
fn answer(
    mailbox: &Bound<'_, PyMailbox>,
    leased: Result<Leased<Py<PyAny>>, Error>,
) -> PyResult<Option<Row>> {
    match leased {
        Ok(leased) => row(mailbox, leased).map(Some),
        Err(Error::Unjudged) => Ok(None),
        Err(error) => Err(raise(mailbox.py(), &error)),
    }
}

fn row(mailbox: &Bound<'_, PyMailbox>, leased: Leased<Py<PyAny>>) -> PyResult<Row> {
    let Leased { item, id, attempt, .. } = leased;
    let (py, mailbox) = (mailbox.py(), mailbox.clone().unbind());
    let lease = PyLease { mailbox, id, is_settled: AtomicBool::new(false) };
    Ok((item, Py::new(py, lease)?, attempt))
}
