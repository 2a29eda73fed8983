//! The registry as Python sees it: records are Python objects, their states are the core's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::ledger::{PyAdopted, PyLedger, millis};
use super::loop_waker::PyWaiter;
use super::queue::PyCompletionQueue;
use super::receipt::ledger_error;
use super::route::{Spelled, checked_text, key_text, owned_text};
use super::wait::{Detached, Stopped};
use super::{fork, memory, wait};
use crate::delegation::{
    Begun, DelegationRegistry, Dispatched, Dispatching, End, Finished, LiveWork, NotPut, PATIENCE,
    Record, Refused, Request, Restored, Why,
};
use crate::error::Error;
use crate::event::{Owner, Selector};
use crate::ledger::{Ledger, Outcome};
use crate::state::State;

/// The core registry, of Python objects.
type Core = DelegationRegistry<Py<PyAny>, Py<PyAny>>;

/// A record as Python gets it: its payload, its state, where its event stands.
type Row = (Py<PyAny>, &'static str, Option<&'static str>);

/// What a dispatch answers.
#[derive(IntoPyObject)]
enum Answer {
    /// The id of what has begun.
    Id(Spelled),
    /// `"queued"`, and the id of what waits for capacity.
    Queued((&'static str, Spelled)),
    /// `"existing"`, and the id of the owner's delegation with that key.
    Existing((&'static str, Spelled)),
    /// `"refused"`, and the limit, how many permits are taken, and how many wait for one.
    AtCapacity((&'static str, (usize, usize, usize))),
}

/// What a dispatch answers that does not wait.
#[derive(IntoPyObject)]
enum BegunAnswer {
    /// The id, whether it is that of this dispatch and not of the owner's with the same key, and what
    /// ends it.
    Writing((Spelled, bool, Py<PyDispatching>)),
    Done(Answer),
}

fn answer(dispatched: Dispatched) -> Answer {
    match dispatched {
        Dispatched::New(id) => Answer::Id(Spelled(id)),
        Dispatched::Queued(id) => Answer::Queued(("queued", Spelled(id))),
        Dispatched::Existing(id) => Answer::Existing(("existing", Spelled(id))),
    }
}

/// What a refusal answers, or raises.
fn refused(error: Error) -> PyResult<Answer> {
    match error {
        Error::AtCapacity { limit, running, queued } => {
            Ok(Answer::AtCapacity(("refused", (limit, running, queued))))
        }
        Error::DuplicateId { .. } | Error::TooManyPermits { .. } => {
            Err(PyValueError::new_err(error.to_string()))
        }
        error => Err(ledger_error(&error)),
    }
}

/// What an end answers: the state, what kept it from being written down, the payloads that retention
/// let go, for the Python frame to drop, and how many workers are to be told of what waited.
type Ended = (&'static str, Option<String>, Vec<Py<PyAny>>, usize);

/// Delegations and the queue their events go to.
#[pyclass(name = "Registry", module = "hermes_core._core", frozen)]
pub(super) struct PyRegistry {
    pub(super) core: Arc<Core>,
}

#[pymethods]
impl PyRegistry {
    #[new]
    fn new(queue: &PyCompletionQueue, retention: usize) -> Self {
        let core = Core::new(queue.core.clone(), retention);
        fork::register(&core);
        Self { core }
    }

    /// Records a delegation that runs or waits, of `owner` (session key, UI session id, parent session id), once
    /// its row is written.
    #[pyo3(signature = (
        id, limit, elsewhere, owner, payload, key, ledger, record, dispatched_at, permits = 1,
        max_queued = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn dispatch(
        &self,
        py: Python<'_>,
        id: Option<Bound<'_, PyString>>,
        limit: isize,
        elsewhere: usize,
        owner: [Bound<'_, PyString>; 3],
        payload: Py<PyAny>,
        key: Option<Bound<'_, PyString>>,
        ledger: Option<&PyLedger>,
        record: &str,
        dispatched_at: f64,
        permits: u32,
        max_queued: Option<usize>,
    ) -> PyResult<Answer> {
        memory::require_for(py, record.len())?;
        let id = id.as_ref().map(checked_text).transpose()?;
        let key = key.as_ref().map(checked_text).transpose()?;
        let request = Request {
            id: id.as_deref(),
            limit: usize::try_from(limit).unwrap_or(0),
            elsewhere,
            permits,
            max_queued,
            owner: owner_of(owner)?,
            idempotency_key: key.as_deref(),
            ledger: ledger.map(|ledger| ledger.core.clone()),
            record: memory::copy(py, record)?,
            dispatched_at: millis(dispatched_at),
        };
        let dispatched = self.core.dispatch(&Detached(py), request, payload);
        match dispatched {
            Ok(dispatched) => Ok(answer(dispatched)),
            Err(Refused { error: Stopped::Core(error), .. }) => refused(error),
            Err(Refused { error, .. }) => Err(error.raise(ledger_error)),
        }
    }

    /// As `dispatch`, by somebody who does not wait for the row here: what is to end the dispatch, or
    /// the answer if there is nothing to wait for.
    #[pyo3(signature = (
        id, limit, elsewhere, owner, payload, key, ledger, record, dispatched_at, permits = 1,
        max_queued = None,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn begin_dispatch(
        slf: &Bound<'_, Self>,
        id: Option<Bound<'_, PyString>>,
        limit: isize,
        elsewhere: usize,
        owner: [Bound<'_, PyString>; 3],
        payload: Py<PyAny>,
        key: Option<Bound<'_, PyString>>,
        ledger: Option<&PyLedger>,
        record: &str,
        dispatched_at: f64,
        permits: u32,
        max_queued: Option<usize>,
    ) -> PyResult<BegunAnswer> {
        memory::require_for(slf.py(), record.len())?;
        let id = id.as_ref().map(checked_text).transpose()?;
        let key = key.as_ref().map(checked_text).transpose()?;
        let request = Request {
            id: id.as_deref(),
            limit: usize::try_from(limit).unwrap_or(0),
            elsewhere,
            permits,
            max_queued,
            owner: owner_of(owner)?,
            idempotency_key: key.as_deref(),
            ledger: ledger.map(|ledger| ledger.core.clone()),
            record: memory::copy(slf.py(), record)?,
            dispatched_at: millis(dispatched_at),
        };
        let submit = |ledger: &dyn Ledger, write| ledger.submit(write);
        match slf.get().core.begin_dispatch(request, payload, submit) {
            Ok(Begun::Done(dispatched)) => Ok(BegunAnswer::Done(answer(dispatched))),
            Ok(Begun::Writing(dispatching)) => {
                let (id, is_own) = (Spelled(dispatching.id().clone()), dispatching.is_own());
                let begun = Mutex::new(Some(dispatching));
                let dispatching = PyDispatching { registry: slf.clone().unbind(), begun };
                Ok(BegunAnswer::Writing((id, is_own, Py::new(slf.py(), dispatching)?)))
            }
            Err(Refused { error, .. }) => refused(error).map(BegunAnswer::Done),
        }
    }

    /// Puts the next delegation whose turn has come, and that a worker is to begin, into the place that
    /// is kept for it in `hand`; its id, or `None` if there is none.
    ///
    /// Into a list that the caller has: an exception thrown into its thread could lose it.
    fn next_started(&self, py: Python<'_>, hand: &Bound<'_, PyList>) -> PyResult<Option<Spelled>> {
        let share =
            |record: &Record<Py<PyAny>>| (record.payload.clone_ref(py), record.id().clone());
        let Some((payload, id)) = self.core.next_started(share) else { return Ok(None) };
        hand.set_item(0, payload)?;
        Ok(Some(Spelled(id)))
    }

    /// How many delegations there are whose turn has come, and that no worker has been told of.
    fn started(&self) -> usize {
        self.core.started()
    }

    /// Has it written down that a delegation that has waited begins; false if another process took it
    /// for lost.
    fn begin_row(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> PyResult<bool> {
        let begun = self.core.begin_row(&Detached(py), &key_text(id));
        begun.map_err(|error| ledger_error(&error))
    }

    /// Takes a delegation out of the line that waits for capacity, for the caller to end: then `True`
    /// is in the place that is kept for it in `hand`, also if an exception is thrown into its thread.
    fn leave_line(
        &self,
        id: &Bound<'_, PyString>,
        payload: &Bound<'_, PyAny>,
        hand: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        match self.core.leave_line(&key_text(id), |own| own.is(payload)) {
            true => hand.set_item(0, true),
            false => Ok(()),
        }
    }

    /// Where a delegation stands that waits for capacity, from 1.
    fn position(&self, id: &Bound<'_, PyString>) -> Option<usize> {
        self.core.position(&key_text(id))
    }

    /// Sets how many permits there are, for those that wait; how many workers are to be told.
    fn set_limit(&self, limit: isize) -> usize {
        self.core.set_limit(usize::try_from(limit).unwrap_or(0))
    }

    /// A worker is about to run it: whether it is the first to; `None` if it was withdrawn.
    fn begin(&self, id: &Bound<'_, PyString>, payload: &Bound<'_, PyAny>) -> Option<bool> {
        self.core.begin(&key_text(id), |own| own.is(payload))
    }

    /// Takes back a dispatch that no worker has begun, by its payload; whether there was one.
    fn withdraw(&self, payload: &Bound<'_, PyAny>) -> bool {
        self.core.withdraw(|own| own.is(payload)).is_some()
    }

    /// Ends a delegation with the runner's status word, has that written down as `text`, and
    /// publishes its event. `None` if it had ended, here or in the eyes of another process. Raises
    /// MemoryError where there is none for a copy of the text, and nothing is done; never of a short one.
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
    ) -> PyResult<Option<Ended>> {
        let end = End {
            id: &key_text(id),
            state: State::from_status(&status.to_string_lossy()),
            event: event.into_any().unbind(),
            text: memory::copy(py, text)?,
            completed_at: millis(completed_at),
        };
        let state = end.state.name();
        let mark_late = |event: &Py<PyAny>| {
            // No memory for it: the event is told all the same.
            let _ = event.bind(py).set_item(intern!(py, "late"), true);
        };
        let finished = self.core.finish(&Detached(py), end, |own| own.is(payload), mark_late);
        Ok(finished.map(|Finished { problem, dropped, started }| {
            (state, problem.map(|error| error.to_string()), dropped, started)
        }))
    }

    /// Records what an earlier process left, or is to be delivered again, and puts its event, for
    /// everybody or for those alone who prove that it is their owner's. Returns whether it did, and
    /// what the Python frame is to drop.
    #[allow(clippy::too_many_arguments)]
    fn restore(
        &self,
        py: Python<'_>,
        adopted: Option<&PyAdopted>,
        id: &Bound<'_, PyString>,
        owner: [Bound<'_, PyString>; 3],
        state: &str,
        attempts: u32,
        payload: Py<PyAny>,
        event: Bound<'_, PyDict>,
        is_exclusive: bool,
    ) -> PyResult<(bool, Option<Py<PyAny>>)> {
        let id = memory::shared(py, &checked_text(id)?)?;
        let row = adopted.and_then(|adopted| adopted.core().handle(&id));
        if adopted.is_some() && row.is_none() {
            return Ok((false, Some(payload)));
        }
        let restored = self.core.restore(Restored {
            id: id.clone(),
            row,
            owner: owner_of(owner)?,
            state: State::named(state).unwrap_or(State::Lost),
            attempts,
            is_exclusive,
            payload,
            event: event.into_any().unbind(),
        });
        if let Some(adopted) = adopted
            && !matches!(restored, Err(NotPut { why: Why::Runs | Why::NoMemory, .. }))
        {
            adopted.core().put(&id);
        }
        match restored {
            Ok(before) => Ok((true, before)),
            Err(NotPut { why: Why::NoMemory, .. }) => Err(memory::error(py)),
            Err(refused) => Ok((false, Some(refused.payload))),
        }
    }

    /// Forgets a delegation whose event has left; returns its payload, for the Python frame to drop.
    fn forget(&self, id: &Bound<'_, PyString>) -> Option<Py<PyAny>> {
        self.core.forget(&key_text(id))
    }

    /// Takes the event of a delegation out of the queue: one that waits too, if `waiting` says so.
    /// Returns it, for the Python frame to drop.
    fn take_out(&self, id: &Bound<'_, PyString>, waiting: bool) -> Option<Py<PyAny>> {
        self.core.take_out(&key_text(id), waiting)
    }

    /// Gives up the event of a delegation that no consumer has. Returns it, for the Python frame to
    /// drop, and whether its row was ours and says so.
    fn drop_event(
        &self,
        py: Python<'_>,
        id: &Bound<'_, PyString>,
    ) -> Option<(Option<Py<PyAny>>, bool)> {
        self.core.drop_event(&Detached(py), &key_text(id))
    }

    /// Parks the event of a delegation, whose owner began a new epoch elsewhere.
    fn park(&self, id: &Bound<'_, PyString>) {
        self.core.park(&key_text(id));
    }

    /// Gives up the event of a delegation that is held under a claim of this fence, now or should its
    /// consumer give it back. Returns what the Python frame is to drop.
    fn drop_as_asked(&self, id: &Bound<'_, PyString>, fence: u64) -> Vec<Py<PyAny>> {
        self.core.drop_as_asked(&key_text(id), fence)
    }

    /// How many delegations of an owner, or of all, are queued, run, have ended and are not
    /// published, and wait for their delivery.
    fn live_work(&self, owner: [Bound<'_, PyString>; 3]) -> PyResult<(usize, usize, usize, usize)> {
        let selector = selector_of(owner)?;
        let LiveWork { queued, running, finalizing, undelivered } = self.core.live_work(&selector);
        Ok((queued, running, finalizing, undelivered))
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

    /// The payloads of the delegations that run or wait, of those that the owner fields select.
    fn running_of(
        &self,
        py: Python<'_>,
        owner: [Bound<'_, PyString>; 3],
        all_fields: bool,
    ) -> PyResult<Vec<Py<PyAny>>> {
        let selector = selector_of(owner)?;
        Ok(self.core.running_of(&selector, all_fields, |record| record.payload.clone_ref(py)))
    }

    /// The payloads of all delegations that run or wait.
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
        counts.set_item(intern!(py, "queued"), stats.queued)?;
        counts.set_item(intern!(py, "running"), stats.running)?;
        counts.set_item(intern!(py, "undelivered"), stats.undelivered)?;
        counts.set_item(intern!(py, "finalizing"), stats.finalizing)?;
        counts.set_item(intern!(py, "dead"), stats.dead)?;
        counts.set_item(intern!(py, "parked"), stats.parked)?;
        counts.set_item(intern!(py, "retained"), stats.retained)?;
        counts.set_item(intern!(py, "dispatched"), stats.dispatched)?;
        counts.set_item(intern!(py, "refused"), stats.refused)?;
        counts.set_item(intern!(py, "discarded"), stats.discarded)?;
        counts.set_item(intern!(py, "unsettled"), stats.unsettled)?;
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

/// A dispatch whose row is being written. Somebody ends it, whatever happens.
#[pyclass(name = "Dispatching", module = "hermes_core._core", frozen)]
pub(super) struct PyDispatching {
    registry: Py<PyRegistry>,
    begun: Mutex<Option<Dispatching<Py<PyAny>>>>,
}

#[pymethods]
impl PyDispatching {
    /// Whether the row is written, or could not be; if not, the task is woken when it is.
    fn poll(&self, waiter: &PyWaiter) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.as_ref().is_none_or(|begun| begun.receipt().poll(&waiter.signal).is_some())
    }

    /// Waits until it is, ten seconds at most.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let receipt = begun.as_ref().map(|begun| begun.receipt().clone());
        drop(begun);
        let deadline = Instant::now().checked_add(PATIENCE);
        let answer = receipt.map(|receipt| receipt.wait_by(&Detached(py), deadline));
        answer.transpose().map(drop).map_err(|stopped| stopped.raise(ledger_error))
    }

    /// Whether it waits for capacity once its row is written.
    fn is_queued(&self) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.as_ref().is_some_and(Dispatching::is_queued)
    }

    /// Whether its row is written, and is its own.
    fn is_written(&self) -> bool {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = begun.as_ref().and_then(|begun| begun.receipt().answer());
        answer == Some(Ok(Outcome::Done))
    }

    /// The id of the delegation that the owner dispatched before with the same key, if the ledger
    /// says that there is one.
    fn existing(&self) -> Option<Spelled> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        match begun.as_ref()?.receipt().answer() {
            Some(Ok(Outcome::Exists(id))) => Some(Spelled(id.into())),
            _ => None,
        }
    }

    /// Ends the dispatch, written or not; answers and raises as `Registry.dispatch`. What could not be
    /// written is taken back, or, if `keeps` says so, stays without a row. `None` if it was ended
    /// before.
    fn end(&self, keeps: bool) -> PyResult<Option<Answer>> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(begun) = begun else { return Ok(None) };
        let written = begun.receipt().answer().unwrap_or(Err(Error::LedgerSlow));
        let core = &self.registry.get().core;
        let ended = match keeps {
            true => core.keep_dispatch(begun, written),
            false => core.end_dispatch(begun, written),
        };
        match ended {
            Ok(dispatched) => Ok(Some(answer(dispatched))),
            Err(Refused { error, .. }) => refused(error).map(Some),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.registry)
    }
}

/// An owner's fields, as the queue compares them.
fn owner_of(fields: [Bound<'_, PyString>; 3]) -> PyResult<Owner> {
    let [session_key, origin_ui_session_id, parent_session_id] = fields.each_ref().map(owned_text);
    Ok(Owner {
        session_key: session_key?.into(),
        origin_ui_session_id: origin_ui_session_id?.into(),
        parent_session_id: parent_session_id?.into(),
        epoch: None,
    })
}

fn selector_of(fields: [Bound<'_, PyString>; 3]) -> PyResult<Selector> {
    let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = owner_of(fields)?;
    Ok(Selector { session_key, origin_ui_session_id, parent_session_id })
}

fn row(py: Python<'_>, record: &Record<Py<PyAny>>) -> Row {
    (record.payload.clone_ref(py), record.state.name(), record.delivery().name())
}
