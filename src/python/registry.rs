//! The registry as Python sees it: records are Python objects, their states are the core's.

use std::sync::{Arc, Weak};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::loop_waker::PyWaiter;
use super::queue::{Core as Queue, PyCompletionQueue};
use super::route::{key_text, with_route};
use super::{fork, wait};
use crate::error::Error;
use crate::event::{Owner, Route, Selector};
use crate::queue::DeliveryObserver;
use crate::registry::{DelegationRegistry, Record, State};

/// The core registry, of Python objects.
pub(super) type Core = DelegationRegistry<Py<PyAny>>;

/// A record as Python gets it: its payload, its state, where its event stands.
type Row = (Py<PyAny>, &'static str, Option<&'static str>);

/// What a dispatch answers: an id, or the limit and how many run.
#[derive(IntoPyObject)]
enum Dispatched {
    Id(String),
    AtCapacity((usize, usize)),
}

/// Delegations and the queue their events go to.
#[pyclass(name = "Registry", module = "hermes_core._core", frozen)]
pub(super) struct PyRegistry {
    core: Arc<Core>,
    queue: Arc<Queue>,
}

#[pymethods]
impl PyRegistry {
    #[new]
    fn new(queue: &PyCompletionQueue, retention: usize) -> Self {
        let core = Arc::new(Core::new(retention));
        fork::register(&core);
        let observer: Weak<dyn DeliveryObserver> = Arc::downgrade(&core) as _;
        queue.core.observe(observer);
        Self { core, queue: queue.core.clone() }
    }

    /// Records a running delegation of `owner`: session key, UI session id, parent session id.
    fn dispatch(
        &self,
        id: Option<Bound<'_, PyString>>,
        limit: isize,
        elsewhere: usize,
        owner: [Bound<'_, PyString>; 3],
        payload: Py<PyAny>,
    ) -> PyResult<Dispatched> {
        let [session_key, origin_ui_session_id, parent_session_id] = owner.map(text);
        let epoch = Some(self.queue.epoch(&session_key));
        let owner = Owner { session_key, origin_ui_session_id, parent_session_id, epoch };
        let limit = usize::try_from(limit).unwrap_or(0);
        match self.core.dispatch(
            id.as_ref().map(key_text).as_deref(),
            limit,
            elsewhere,
            owner,
            payload,
        ) {
            Ok(id) => Ok(Dispatched::Id(id.as_ref().to_owned())),
            Err(refused) => match refused.error {
                Error::AtCapacity { limit, running } => {
                    Ok(Dispatched::AtCapacity((limit, running)))
                }
                error => Err(PyValueError::new_err(error.to_string())),
            },
        }
    }

    /// A worker is about to run it: whether it is the first to; `None` if it was withdrawn.
    fn begin(&self, id: &Bound<'_, PyString>, payload: &Bound<'_, PyAny>) -> Option<bool> {
        self.core.begin(&key_text(id), |record| record.payload.is(payload))
    }

    /// Takes back a dispatch that no worker has begun, by its payload; whether there was one.
    fn withdraw(&self, payload: &Bound<'_, PyAny>) -> bool {
        self.core.withdraw(|record| record.payload.is(payload)).is_some()
    }

    /// Ends a delegation with the runner's status word and publishes its event. `None` if it had
    /// ended; else its state, and the payloads that retention let go, for the Python frame to drop.
    fn finish(
        &self,
        id: &Bound<'_, PyString>,
        payload: &Bound<'_, PyAny>,
        status: &Bound<'_, PyString>,
        event: Bound<'_, PyDict>,
    ) -> Option<(&'static str, Vec<Py<PyAny>>)> {
        let state = State::from_status(&status.to_string_lossy());
        // First: this may run Python code, and under the route's borrowed texts none may run.
        let id = key_text(id);
        let epoch = self.core.with(&id, |record| record.owner.epoch).flatten();
        let ended = with_route(&event, self.queue.has_judges(), |route| {
            let route = Route { epoch, ..route };
            let item = event.clone().into_any().unbind();
            let is_it = |record: &Record<Py<PyAny>>| record.payload.is(payload);
            let publish = || self.queue.publish(item, route);
            self.core.finish_if(&id, state, is_it, publish)
        });
        ended.then(|| (state.name(), self.core.prune()))
    }

    fn running(&self) -> usize {
        self.core.running()
    }

    /// Every record kept, in the order of dispatch.
    fn rows(&self, py: Python<'_>) -> Vec<Row> {
        self.core.select(|record| Some(row(py, record)))
    }

    fn get(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> Option<Row> {
        self.core.with(&key_text(id), |record| row(py, record))
    }

    fn state(&self, id: &Bound<'_, PyString>) -> Option<&'static str> {
        self.core.with(&key_text(id), |record| record.state.name())
    }

    /// The payloads of the running delegations that the owner fields select.
    fn running_of(
        &self,
        py: Python<'_>,
        owner: [Bound<'_, PyString>; 3],
        all_fields: bool,
    ) -> Vec<Py<PyAny>> {
        let [session_key, origin_ui_session_id, parent_session_id] = owner.map(text);
        let selector = Selector { session_key, origin_ui_session_id, parent_session_id };
        self.core.running_of(&selector, all_fields, |record| record.payload.clone_ref(py))
    }

    /// The payloads of all running delegations.
    fn running_all(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.core
            .select(|record| (!record.state.is_terminal()).then(|| record.payload.clone_ref(py)))
    }

    /// Waits up to `timeout` seconds for an end; whether it came. An unknown id has ended.
    fn wait(
        &self,
        py: Python<'_>,
        id: &Bound<'_, PyString>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let deadline = wait::deadline(timeout)?;
        match self.core.ended_signal(&key_text(id)) {
            Some(signal) => wait::wait(py, &signal, deadline),
            None => Ok(true),
        }
    }

    /// Has a task's waiter woken at an end; false if it came. An unknown id has ended.
    fn await_end(&self, id: &Bound<'_, PyString>, waiter: &PyWaiter) -> bool {
        self.core.await_end(&key_text(id), &waiter.signal)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.core.stats();
        let counts = PyDict::new(py);
        counts.set_item(intern!(py, "running"), stats.running)?;
        counts.set_item(intern!(py, "undelivered"), stats.undelivered)?;
        counts.set_item(intern!(py, "retained"), stats.retained)?;
        counts.set_item(intern!(py, "dispatched"), stats.dispatched)?;
        counts.set_item(intern!(py, "refused"), stats.refused)?;
        counts.set_item(intern!(py, "discarded"), stats.discarded)?;
        Ok(counts)
    }

    /// Forgets every record; returns the payloads, for the Python frame to drop.
    fn clear(&self) -> Vec<Py<PyAny>> {
        self.core.clear()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.core.try_visit(|payload| visit.call(payload))
    }

    fn __clear__(&self) {
        drop(self.core.clear());
    }
}

/// An owner's field, as the queue compares it.
fn text(field: Bound<'_, PyString>) -> String {
    key_text(&field).into_owned()
}

fn row(py: Python<'_>, record: &Record<Py<PyAny>>) -> Row {
    (record.payload.clone_ref(py), record.state.name(), record.delivery.name())
}
