//! The registry as Python sees it: records are Python objects, their states are the core's.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::ledger::{PyLedger, millis};
use super::loop_waker::PyWaiter;
use super::queue::{Core as Queue, PyCompletionQueue};
use super::receipt::{answer, ledger_error, written};
use super::route::{key_text, with_route};
use super::{fork, wait};
use crate::error::Error;
use crate::event::{Owner, Route, Selector};
use crate::ledger::{Hold, Home, Outcome, Write};
use crate::queue::DeliveryObserver;
use crate::registry::{DelegationRegistry, Dispatched, LiveWork, Record, Request, State};

/// The core registry, of Python objects.
pub(super) type Core = DelegationRegistry<Py<PyAny>>;

/// A record as Python gets it: its payload, its state, where its event stands.
type Row = (Py<PyAny>, &'static str, Option<&'static str>);

/// What a dispatch answers.
#[derive(IntoPyObject)]
enum Answer {
    /// The id of what has begun.
    Id(String),
    /// `"existing"`, and the id of the owner's delegation with that key.
    Existing((&'static str, String)),
    /// The limit, and how many run.
    AtCapacity((usize, usize)),
}

/// What an end answers: the state, what kept it from being written down, and the payloads that
/// retention let go, for the Python frame to drop.
type Ended = (&'static str, Option<String>, Vec<Py<PyAny>>);

/// How long a dispatch waits for its row, and an end for its.
const PATIENCE: Duration = Duration::from_secs(10);

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

    /// Records a running delegation of `owner` (session key, UI session id, parent session id), once
    /// its row is written.
    #[allow(clippy::too_many_arguments)]
    fn dispatch(
        &self,
        py: Python<'_>,
        id: Option<Bound<'_, PyString>>,
        limit: isize,
        elsewhere: usize,
        owner: [Bound<'_, PyString>; 3],
        payload: Bound<'_, PyAny>,
        key: Option<Bound<'_, PyString>>,
        ledger: &PyLedger,
        record: &str,
        dispatched_at: f64,
    ) -> PyResult<Answer> {
        let [session_key, origin_ui_session_id, parent_session_id] = owner.map(text);
        let epoch = Some(self.queue.epoch(&session_key));
        let id = id.as_ref().map(key_text);
        let key = key.as_ref().map(key_text);
        let request = Request {
            id: id.as_deref(),
            limit: usize::try_from(limit).unwrap_or(0),
            elsewhere,
            owner: Owner { session_key, origin_ui_session_id, parent_session_id, epoch },
            idempotency_key: key.as_deref(),
            ledger: Some(ledger.core.clone()),
            record: record.into(),
            dispatched_at: millis(dispatched_at),
        };
        let deadline = Instant::now().checked_add(PATIENCE);
        match self.core.begin_dispatch(request, payload.clone().unbind()) {
            Ok(Dispatched::New { id, row, promise }) => {
                let Some((ledger, row)) = row else { return Ok(Answer::Id((*id).to_owned())) };
                let write = Write::Dispatch(row);
                let receipt = match ledger.keeps_texts() {
                    true => py.detach(|| ledger.write(write)),
                    false => ledger.write(write),
                };
                let written = answer(py, &receipt, deadline);
                let is_it = |record: &Record<Py<PyAny>>| record.payload.is(&payload);
                match &written {
                    Ok(Ok(Outcome::Done)) => {}
                    Ok(Ok(Outcome::Exists(_)) | Err(Error::DuplicateId { .. })) => {
                        self.core.withdraw_unwritten(is_it);
                    }
                    _ => drop(self.core.withdraw(is_it)),
                }
                let written = written?;
                if let Some(promise) = promise {
                    promise.answer(written.clone());
                }
                match written {
                    Ok(Outcome::Exists(id)) => Ok(Answer::Existing(("existing", id.into()))),
                    Ok(_) => Ok(Answer::Id((*id).to_owned())),
                    Err(error @ Error::DuplicateId { .. }) => {
                        Err(PyValueError::new_err(error.to_string()))
                    }
                    Err(error) => Err(ledger_error(&error)),
                }
            }
            Ok(Dispatched::Existing { id, receipt }) => {
                let written = receipt.map(|receipt| answer(py, &receipt, deadline)).transpose()?;
                match written {
                    Some(Err(error)) => Err(ledger_error(&error)),
                    Some(Ok(Outcome::Exists(id))) => Ok(Answer::Existing(("existing", id.into()))),
                    _ => Ok(Answer::Existing(("existing", (*id).to_owned()))),
                }
            }
            Err(refused) => match refused.error {
                Error::AtCapacity { limit, running } => Ok(Answer::AtCapacity((limit, running))),
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

    /// Ends a delegation with the runner's status word, has that written down as `text`, and
    /// publishes its event. `None` if it had ended, here or in the eyes of another process.
    #[allow(clippy::too_many_arguments)]
    fn finish(
        &self,
        py: Python<'_>,
        id: &Bound<'_, PyString>,
        payload: &Bound<'_, PyAny>,
        status: &Bound<'_, PyString>,
        event: Bound<'_, PyDict>,
        text: &str,
        completed_at: f64,
    ) -> Option<Ended> {
        let state = State::from_status(&status.to_string_lossy());
        let id = key_text(id);
        let epoch = self.core.with(&id, |record| record.owner.epoch).flatten();
        let ending = self.core.end(&id, state, |record| record.payload.is(payload))?;
        let mut problem = None;
        if let Some(home) = ending.home.clone() {
            let (event, completed_at) = (text.into(), millis(completed_at));
            let finish = |hold| Write::Finish { hold, state, event, completed_at };
            let written = written(py, &home, finish);
            match written {
                Ok(Outcome::Fenced) => {
                    self.core.supersede(ending);
                    home.look_again();
                    return None;
                }
                Ok(_) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        with_route(&event, self.queue.has_judges(), |route| {
            let route = Route { epoch, ..route };
            let item = event.clone().into_any().unbind();
            self.core.publish(ending, |home| self.queue.publish(item, route, home));
        });
        Some((state.name(), problem, self.core.prune()))
    }

    /// Records what an earlier process left, or is to be delivered again, and puts its event, for
    /// everybody or for those alone who prove that it is their owner's. Returns whether it did, and
    /// what the Python frame is to drop.
    #[allow(clippy::too_many_arguments)]
    fn restore(
        &self,
        ledger: &PyLedger,
        id: &Bound<'_, PyString>,
        fence: u64,
        owner: [Bound<'_, PyString>; 3],
        state: &str,
        attempts: u32,
        payload: Py<PyAny>,
        event: Bound<'_, PyDict>,
        is_exclusive: bool,
    ) -> (bool, Option<Py<PyAny>>) {
        let [session_key, origin_ui_session_id, parent_session_id] = owner.map(text);
        let epoch = Some(self.queue.epoch(&session_key));
        let owner = Owner { session_key, origin_ui_session_id, parent_session_id, epoch };
        let hold = Hold { id: (*key_text(id)).into(), fence };
        let home = Arc::new(Home::new(ledger.core.clone(), hold));
        let state = State::named(state).unwrap_or(State::Lost);
        let restored = with_route(&event, self.queue.has_judges(), |route| {
            let route = Route { epoch, ..route };
            let item = event.clone().into_any().unbind();
            let rehome = |home: &Arc<Home>| self.queue.rehome(&home.hold().id, home);
            let put = |home| self.queue.restore(item, route, home, attempts, is_exclusive);
            self.core.restore(home, owner, state, payload, rehome, put)
        });
        match restored {
            Ok(before) => (true, before),
            Err(payload) => (false, Some(payload)),
        }
    }

    /// Takes the event of a delegation out of the queue: one that waits too, if `waiting` says so.
    /// Returns it, for the Python frame to drop.
    fn take_out(&self, id: &Bound<'_, PyString>, waiting: bool) -> Option<Py<PyAny>> {
        self.queue.discard(&key_text(id), waiting)
    }

    /// Writes down that the event of a delegation of ours was given up; whether it was ours.
    fn drop(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> bool {
        let home = self.core.with(&key_text(id), Record::home).flatten();
        home.is_some_and(|home| written(py, &home, Write::Drop) == Ok(Outcome::Done))
    }

    /// How many delegations of an owner, or of all, are queued, run, have ended and are not
    /// published, and wait for their delivery.
    fn live_work(&self, owner: [Bound<'_, PyString>; 3]) -> (usize, usize, usize, usize) {
        let [session_key, origin_ui_session_id, parent_session_id] = owner.map(text);
        let selector = Selector { session_key, origin_ui_session_id, parent_session_id };
        let LiveWork { queued, running, finalizing, undelivered } = self.core.live_work(&selector);
        (queued, running, finalizing, undelivered)
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
        counts.set_item(intern!(py, "finalizing"), stats.finalizing)?;
        counts.set_item(intern!(py, "dead"), stats.dead)?;
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
