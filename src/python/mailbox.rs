//! Mailboxes as Python sees them: leaves that take, wait, and say what became of an event.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::log;
use super::loop_waker::PyWaiter;
use super::memory;
use super::queue::{Core as Queue, PyCompletionQueue, kinds, raise};
use super::registry::PyRegistry;
use super::route::{checked_text, full_address, key_text, owned_text};
use super::wait::{self, Detached, Flag};
use crate::error::Error;
use crate::memory::NoMemory;
use crate::queue::{Acking, Acknowledged, Collector, LeaseId, Leased, Mailbox, Return, Selection};
use crate::sync::signal::Signal;

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
        self.is_settled.store(true, Ordering::Relaxed);
        let Acknowledged { held, item } = self.queue().ack(&Detached(py), self.id);
        (held, item)
    }

    /// Whether it has not ended.
    fn is_held(&self) -> bool {
        self.queue().is_held(self.id)
    }

    /// As `ack`, where nothing is to be written; `None` where something is: nothing was done.
    fn ack_unwritten(&self) -> Option<(bool, Option<Py<PyAny>>)> {
        let Acknowledged { held, item } = self.queue().ack_unwritten(self.id)?;
        self.is_settled.store(true, Ordering::Relaxed);
        Some((held, item))
    }

    /// As `ack`, by somebody who does not wait for the disk here.
    fn begin_ack(&self, py: Python<'_>) -> PyAcking {
        self.is_settled.store(true, Ordering::Relaxed);
        let begun = Mutex::new(Some(self.queue().begin_ack(self.id)));
        PyAcking { mailbox: self.mailbox.clone_ref(py), begun }
    }

    /// Ends it without delivery; whether it still held, and whether there is something to log.
    fn give_back(
        &self,
        is_attempt: bool,
        delay: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(bool, bool)> {
        let how = if is_attempt { Return::Nack } else { Return::Defer };
        let delay = match delay {
            None => None,
            Some(_) => Some(wait::seconds("delay", delay)?.unwrap_or(Duration::MAX)),
        };
        let was_held = self.queue().give_back(self.id, how, delay);
        self.is_settled.store(true, Ordering::Relaxed);
        Ok((was_held, log::is_any()))
    }

    /// Ends it: the event was not for this consumer, and waits again behind all others. Returns
    /// whether it still held.
    fn requeue(&self) -> bool {
        self.is_settled.store(true, Ordering::Relaxed);
        self.queue().requeue(self.id)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.mailbox)
    }
}

/// An ack whose event is pinned and whose row is being written. Dropped, it ends by itself.
#[pyclass(name = "Acking", module = "hermes_core._core", frozen)]
pub(super) struct PyAcking {
    mailbox: Py<PyMailbox>,
    begun: Mutex<Option<Result<Acking, Acknowledged<Py<PyAny>>>>>,
}

#[pymethods]
impl PyAcking {
    /// Whether it is known what becomes of it; if not, the task is woken when it is.
    fn poll(&self, waiter: &PyWaiter) -> bool {
        match &*self.begun.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Ok(acking)) => acking.poll(&waiter.signal),
            _ => true,
        }
    }

    /// Ends it, written or not. Returns whether the ack counts, and the event with those of others
    /// that have ended by themselves, for the Python frame to drop.
    fn end(&self) -> (bool, Vec<Py<PyAny>>) {
        self.settle(|queue, acking| queue.end_ack(acking))
    }

    /// Has it end by itself once its row is written. Returns as `end` whether the lease held.
    fn leave(&self) -> (bool, Vec<Py<PyAny>>) {
        self.settle(|queue, acking| {
            queue.leave_ack(acking);
            Acknowledged { held: true, item: None }
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.mailbox)
    }
}

impl PyAcking {
    fn settle(
        &self,
        end: impl FnOnce(&Arc<Queue>, Acking) -> Acknowledged<Py<PyAny>>,
    ) -> (bool, Vec<Py<PyAny>>) {
        let queue = self.mailbox.get().core.queue();
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(begun) = begun else { return (false, Vec::new()) };
        let Acknowledged { held, item } =
            begun.map_or_else(|done| done, |acking| end(queue, acking));
        let mut items = queue.sweep();
        items.extend(item);
        (held, items)
    }
}

impl Drop for PyAcking {
    fn drop(&mut self) {
        let begun = self.begun.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Ok(acking)) = begun {
            self.mailbox.get().core.queue().leave_ack(acking);
        }
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
            self.queue().give_back(self.id, Return::Drop, None);
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
        has_predicate: bool,
        lease: Option<&Bound<'_, PyAny>>,
        max_attempts: Option<u32>,
    ) -> PyResult<Self> {
        memory::require(queue.py())?;
        let owned = |keys: Vec<Bound<'_, PyString>>| -> PyResult<Vec<String>> {
            keys.iter().map(owned_text).collect()
        };
        let session_keys = session_keys.map(owned).transpose()?;
        let types = types.map(kinds).transpose()?;
        let unaddressed = unaddressed.map(kinds).transpose()?.unwrap_or_default();
        let selection = Selection {
            session_keys: session_keys.as_deref(),
            types: types.as_deref(),
            unaddressed: &unaddressed,
            has_predicate,
            max_attempts,
        };
        let queue_core = &queue.get().core;
        let core = Mailbox::open(queue_core, selection, wait::seconds("lease", lease)?)
            .map_err(|error| raise(queue.py(), &error))?;
        Ok(Self { core: Arc::new(core), queue: queue.unbind() })
    }

    /// Leases the first event, waiting for one if `block` says so; `None` if there is an address to
    /// ask the owner predicate of first.
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

    /// Leases the event of one delegation, if it waits or pauses, wherever it stands in the order.
    fn take_of(
        slf: &Bound<'_, Self>,
        registry: &PyRegistry,
        delegation_id: &Bound<'_, PyString>,
    ) -> PyResult<Option<Row>> {
        let py = slf.py();
        let id = key_text(delegation_id);
        let leased = registry.core.lease(&slf.get().core, &id, |event| event.clone_ref(py));
        leased.map(|leased| row(slf, leased)).transpose()
    }

    /// Waits until an event is there for it, and takes none.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let mut collector = Collector::new(&self.core, Arc::new(Signal::for_this_thread()));
        loop {
            match collector.look() {
                Err(Error::Empty) => wait::wait(py, collector.signal(), None)?,
                looked => return looked.map_err(|error| raise(py, &error)),
            };
        }
    }

    /// The events that were put before anybody asked for their whole address, each with its place.
    fn unfiled(&self, py: Python<'_>) -> Vec<((u32, i64), Py<PyAny>)> {
        self.core.queue().unfiled(|event| event.clone_ref(py))
    }

    /// Files one of them under its whole address.
    fn file(&self, place: (u32, i64), event: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(full) = full_address(event)? else { return Ok(()) };
        self.core.queue().file(place, &full).map_err(|NoMemory| memory::error(event.py()))
    }

    /// An address to decide about, with the first of its events.
    fn next_question(&self, py: Python<'_>) -> PyResult<Option<(Py<PyQuestion>, Py<PyAny>)>> {
        let Some(question) = self.core.next_question(|event| event.clone_ref(py)) else {
            return Ok(None);
        };
        let (mailbox, address) = (self.core.clone(), question.address);
        let asked = PyQuestion { mailbox, address, is_answered: AtomicBool::new(false) };
        Ok(Some((Py::new(py, asked)?, question.item)))
    }

    fn add_key(&self, session_key: &Bound<'_, PyString>) -> PyResult<()> {
        memory::require(session_key.py())?;
        let added = self.core.add_key(&checked_text(session_key)?);
        added.map_err(|error| raise(session_key.py(), &error))
    }

    fn remove_key(&self, session_key: &Bound<'_, PyString>) -> PyResult<()> {
        let removed = self.core.remove_key(&checked_text(session_key)?);
        removed.map_err(|error| raise(session_key.py(), &error))
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
    fn answer(&self, py: Python<'_>, is_own: Option<bool>) -> PyResult<()> {
        self.say(is_own).map_err(|NoMemory| memory::error(py))
    }
}

impl PyQuestion {
    fn say(&self, is_own: Option<bool>) -> Result<(), NoMemory> {
        match self.is_answered.swap(true, Ordering::Relaxed) {
            true => Ok(()),
            false => self.mailbox.answer(self.address, is_own),
        }
    }
}

impl Drop for PyQuestion {
    fn drop(&mut self) {
        // To have it asked again takes no memory.
        let _ = self.say(None);
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
    /// Whether there is an address to ask the owner predicate of; if not, the task is woken when it is to look again.
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
            Err(Error::Undecided) => Ok(Polled::Nothing(true)),
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

/// What a take gives; `None` if there is an address to ask the owner predicate of first.
fn answer(
    mailbox: &Bound<'_, PyMailbox>,
    leased: Result<Leased<Py<PyAny>>, Error>,
) -> PyResult<Option<Row>> {
    match leased {
        Ok(leased) => row(mailbox, leased).map(Some),
        Err(Error::Undecided) => Ok(None),
        Err(error) => Err(raise(mailbox.py(), &error)),
    }
}

fn row(mailbox: &Bound<'_, PyMailbox>, leased: Leased<Py<PyAny>>) -> PyResult<Row> {
    let Leased { item, id, attempt, .. } = leased;
    let (py, mailbox) = (mailbox.py(), mailbox.clone().unbind());
    let lease = PyLease { mailbox, id, is_settled: AtomicBool::new(false) };
    Ok((item, Py::new(py, lease)?, attempt))
}
