//! Ledgers as Python sees them: rows are dicts, texts are JSON.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::receipt::{PATIENCE, PyReceipt, ledger_error};
use super::route::{checked_text, key_text, owned_text, unspelled};
use super::wait;
use crate::error::Error;
use crate::ledger::sqlite::{self, SqliteLedger};
use crate::ledger::{
    Adopted, Durability, Health, Holder, Ledger, Millis, Notice, Options, Retention, Row, Which,
    Write,
};
use crate::sync::signal::Signal;

/// A ledger; `hermes_core.Ledger` is its Python face.
#[pyclass(name = "Ledger", module = "hermes_core._core", frozen)]
pub(super) struct PyLedger {
    pub(super) core: Arc<dyn Ledger>,
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new(
        path: std::path::PathBuf,
        durability: &str,
        lease: &Bound<'_, PyAny>,
        keep_seconds: Option<&Bound<'_, PyAny>>,
        keep_rows: Option<usize>,
    ) -> PyResult<Self> {
        let durability = match durability {
            "full" => Durability::Full,
            "process" => Durability::Process,
            other => {
                let message = format!("durability must be \"full\" or \"process\", not {other:?}");
                return Err(PyValueError::new_err(message));
            }
        };
        let lease = wait::seconds("lease", Some(lease))?.unwrap_or(Duration::MAX);
        if lease.is_zero() {
            return Err(PyValueError::new_err("'lease' must be more than no time"));
        }
        let retention = Retention {
            age: wait::seconds("keep_seconds", keep_seconds)?.unwrap_or(Duration::MAX),
            count: keep_rows.unwrap_or(usize::MAX),
        };
        let core = SqliteLedger::new(Options { path, durability, lease, retention });
        Ok(Self { core })
    }

    /// The row of an id, if there is one.
    fn row<'py>(
        &self,
        py: Python<'py>,
        id: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        Ok(self.look(py, Which::One(&key_text(id)))?.pop())
    }

    /// The newest rows.
    fn newest<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.look(py, Which::Newest(limit))
    }

    /// The rows of what runs or waits for capacity.
    fn running<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.look(py, Which::Running)
    }

    /// The rows of dead letters.
    fn dead<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.look(py, Which::Dead)
    }

    /// The rows that may be adopted now or later, all or, without their texts, those of a key; for
    /// whoever only looks, or is about to adopt them.
    #[pyo3(signature = (session_key, *, looks = false))]
    fn elsewhere<'py>(
        &self,
        py: Python<'py>,
        session_key: Option<&Bound<'py, PyString>>,
        looks: bool,
    ) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let session_key = session_key.map(checked_text).transpose()?;
        let which = session_key.as_deref().map_or(Which::Elsewhere, Which::ElsewhereOf);
        if looks { self.look(py, which) } else { self.read(py, which) }
    }

    /// Says what is wrong with where it is, as far as that is seen at once.
    fn check(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.core.check()).map_err(|error| ledger_error(&error))
    }

    /// The rows that may be adopted now, without their texts.
    fn free<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.read(py, Which::Free)
    }

    /// Takes rows over; returns those that are ours now, which are given back with it if their
    /// events are not put.
    fn adopt(&self, py: Python<'_>, ids: Vec<Bound<'_, PyString>>) -> PyResult<PyAdopted> {
        let ids = ids.iter().map(owned_text).collect::<PyResult<Vec<_>>>()?;
        let adopted = py.detach(|| {
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            Adopted::of(self.core.clone(), &ids)
        });
        let adopted = adopted.map_err(|error| ledger_error(&error))?;
        Ok(PyAdopted { core: Mutex::new(adopted) })
    }

    /// Has an event wait again; whether that was possible.
    fn redeliver(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> PyResult<bool> {
        self.action(py, Write::Redeliver(owned_text(id)?.into()))
    }

    /// Gives an event up, or asks whoever holds it to; whether that was possible.
    fn discard(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> PyResult<bool> {
        self.action(py, Write::Discard(owned_text(id)?.into()))
    }

    /// Asks whoever runs a delegation to stop it; whether somebody does.
    fn cancel(&self, py: Python<'_>, id: &Bound<'_, PyString>) -> PyResult<bool> {
        self.action(py, Write::Cancel(owned_text(id)?.into()))
    }

    /// Parks what an owner's earlier epochs left; does not wait for it.
    fn new_epoch(&self, session_key: &Bound<'_, PyString>) -> PyResult<PyReceipt> {
        let write = Write::NewEpoch(owned_text(session_key)?.into());
        Ok(PyReceipt(self.core.submit(write)))
    }

    /// Has a "look" notice come after a time, in seconds since the epoch.
    fn look_again(&self, at: f64) {
        self.core.look_again(millis(at));
    }

    /// Appends the next notice, its kind, its text and a claim's fence, to `hand`, waiting up to `timeout` seconds;
    /// whether one came.
    ///
    /// Into a list that the caller has: an exception thrown into its thread could lose a notice.
    fn notice<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<&Bound<'_, PyAny>>,
        hand: &Bound<'py, PyList>,
    ) -> PyResult<bool> {
        let deadline = wait::deadline(timeout)?;
        let signal = Arc::new(Signal::for_this_thread());
        let mut last = false;
        loop {
            match self.core.notice(&signal) {
                None if !last => last = !wait::wait(py, &signal, deadline)?,
                None => return Ok(false),
                Some(notice) => return hand.append(named(py, notice)?).map(|()| true),
            }
        }
    }

    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Health { path, state, waiting, failed, last_error, commits, writes } =
            self.core.health();
        let shown = PyDict::new(py);
        shown.set_item(intern!(py, "path"), path)?;
        shown.set_item(intern!(py, "state"), state)?;
        shown.set_item(intern!(py, "waiting"), waiting)?;
        shown.set_item(intern!(py, "failed"), failed)?;
        shown.set_item(intern!(py, "last_error"), last_error)?;
        shown.set_item(intern!(py, "commits"), commits)?;
        shown.set_item(intern!(py, "writes"), writes)?;
        Ok(shown)
    }

    /// Waits until everything is on disk; whether it is.
    fn flush(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<bool> {
        let deadline = soon(timeout)?;
        Ok(py.detach(|| self.core.flush(deadline)))
    }

    /// Gives up what is claimed, for others to adopt, and waits for nothing.
    fn leave(&self, py: Python<'_>) {
        py.detach(|| self.core.leave());
    }

    /// Another instance on the same file, with claims and notices of its own.
    fn another(&self, py: Python<'_>) -> Self {
        let core = py.detach(|| self.core.another());
        Self { core: core.unwrap_or_else(|| self.core.clone()) }
    }

    /// Whether it is to hear what comes free also while it holds nothing.
    fn set_interest(&self, py: Python<'_>, has: bool) {
        py.detach(|| self.core.set_interest(has));
    }

    /// Gives up what is claimed, for others to adopt; whether that is on disk.
    fn release(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<bool> {
        let deadline = soon(timeout)?;
        Ok(py.detach(|| self.core.release(deadline)))
    }
}

/// Rows that were taken over, on their way into a queue.
#[pyclass(name = "Adopted", module = "hermes_core._core", frozen)]
pub(super) struct PyAdopted {
    core: Mutex<Adopted>,
}

#[pymethods]
impl PyAdopted {
    /// The rows, in the order of dispatch.
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = self.core().rows().to_vec();
        rows.into_iter().map(|row| dict(py, row)).collect()
    }

    /// Leaves the rows whose events were not put to whoever takes them.
    fn give_back(&self) {
        self.core().give_back();
    }
}

impl PyAdopted {
    /// Held for a look or a change, while no Python runs.
    pub(super) fn core(&self) -> MutexGuard<'_, Adopted> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PyLedger {
    fn read<'py>(&self, py: Python<'py>, which: Which<'_>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = py.detach(|| self.core.read(which));
        shown(py, rows)
    }

    fn look<'py>(&self, py: Python<'py>, which: Which<'_>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = py.detach(|| self.core.look(which));
        shown(py, rows)
    }

    fn action(&self, py: Python<'_>, write: Write) -> PyResult<bool> {
        PyReceipt(self.core.submit(write)).wait(py)
    }
}

/// Gives up what every ledger of the process holds: it ends. Whether that is on disk.
#[pyfunction]
pub(super) fn release_all(py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<bool> {
    let deadline = soon(timeout)?;
    Ok(py.detach(|| sqlite::release_all(deadline)))
}

/// A timeout that has an end.
fn soon(timeout: &Bound<'_, PyAny>) -> PyResult<Instant> {
    let now = Instant::now();
    Ok(wait::deadline(Some(timeout))?.unwrap_or(now + PATIENCE))
}

fn named(py: Python<'_>, notice: Notice) -> PyResult<(&'static str, Bound<'_, PyString>, u64)> {
    let (kind, text) = match notice {
        Notice::Cancel(id) => return Ok(("cancel", unspelled(py, &id)?, 0)),
        Notice::Park(id) => return Ok(("park", unspelled(py, &id)?, 0)),
        Notice::Drop(claim) => return Ok(("drop", unspelled(py, &claim.id)?, claim.fence)),
        Notice::Look => ("look", String::new()),
        Notice::Failing(error) => ("failing", error.to_string()),
        Notice::Recovered => ("recovered", String::new()),
        Notice::Warning(text) => ("warning", text),
    };
    Ok((kind, PyString::new(py, &text), 0))
}

fn shown<'py>(py: Python<'py>, rows: Result<Vec<Row>, Error>) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let rows = rows.map_err(|error| ledger_error(&error))?;
    rows.into_iter().map(|row| dict(py, row)).collect()
}

fn dict(py: Python<'_>, row: Row) -> PyResult<Bound<'_, PyDict>> {
    let (holder, until) = match row.holder {
        Holder::Nobody => ("nobody", None),
        Holder::Us => ("us", None),
        Holder::Other { until } => ("other", Some(until)),
    };
    let dict = PyDict::new(py);
    let text = |text: &str| unspelled(py, text);
    dict.set_item(intern!(py, "delegation_id"), text(&row.claim.id)?)?;
    dict.set_item(intern!(py, "fence"), row.claim.fence)?;
    dict.set_item(intern!(py, "session_key"), text(&row.owner.session_key)?)?;
    dict.set_item(intern!(py, "origin_ui_session_id"), text(&row.owner.origin_ui_session_id)?)?;
    dict.set_item(intern!(py, "parent_session_id"), text(&row.owner.parent_session_id)?)?;
    let idempotency_key = row.idempotency_key.as_deref().map(text).transpose()?;
    dict.set_item(intern!(py, "idempotency_key"), idempotency_key)?;
    dict.set_item(intern!(py, "state"), row.state.name())?;
    dict.set_item(intern!(py, "has_begun"), row.has_begun)?;
    dict.set_item(intern!(py, "delivery"), row.delivery.name())?;
    dict.set_item(intern!(py, "attempts"), row.attempts)?;
    dict.set_item(intern!(py, "holder"), holder)?;
    dict.set_item(intern!(py, "held_until"), until.map(seconds))?;
    dict.set_item(intern!(py, "dispatched_at"), seconds(row.dispatched_at))?;
    dict.set_item(intern!(py, "completed_at"), row.completed_at.map(seconds))?;
    dict.set_item(intern!(py, "settled_at"), row.settled_at.map(seconds))?;
    dict.set_item(intern!(py, "record"), &*row.record)?;
    dict.set_item(intern!(py, "event"), row.event.as_deref())?;
    Ok(dict)
}

/// Seconds since the epoch, as Python counts them.
fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}

/// Milliseconds since the epoch.
pub(super) fn millis(at: f64) -> Millis {
    (at * 1000.0) as Millis
}
