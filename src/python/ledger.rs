//! Ledgers as Python sees them: rows are dicts, texts are JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::receipt::{answer, ledger_error};
use super::{fork, wait};
use crate::error::Error;
use crate::ledger::memory::MemoryLedger;
use crate::ledger::sqlite::SqliteLedger;
use crate::ledger::{
    Durability, Health, Holder, Ledger, Millis, Notice, Options, Outcome, Retention, Row, Which,
    Write,
};
use crate::wake::Signal;

/// How long a question to a ledger, or a change by hand, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger; `hermes_core.Ledger` is its Python face.
#[pyclass(name = "Ledger", module = "hermes_core._core", frozen)]
pub(super) struct PyLedger {
    pub(super) core: Arc<dyn Ledger>,
}

#[pymethods]
impl PyLedger {
    #[new]
    fn new(
        path: Option<std::path::PathBuf>,
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
        let core: Arc<dyn Ledger> = match path {
            None => {
                let ledger = MemoryLedger::new(retention);
                fork::register(&ledger);
                ledger
            }
            Some(path) => SqliteLedger::new(Options { path, durability, lease, retention }),
        };
        Ok(Self { core })
    }

    #[getter]
    fn keeps_texts(&self) -> bool {
        self.core.keeps_texts()
    }

    /// The row of an id, if there is one.
    fn row<'py>(&self, py: Python<'py>, id: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
        Ok(self.read(py, Which::One(id))?.pop())
    }

    /// The newest rows.
    fn newest<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.read(py, Which::Newest(limit))
    }

    /// The rows of what runs.
    fn running<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.read(py, Which::Running)
    }

    /// The rows of dead letters.
    fn dead<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.read(py, Which::Dead)
    }

    /// The rows that may be adopted now or later.
    fn elsewhere<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.read(py, Which::Elsewhere)
    }

    /// Takes rows over; returns those that are ours now.
    fn adopt<'py>(&self, py: Python<'py>, ids: Vec<String>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = py.detach(|| {
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            self.core.adopt(&ids)
        });
        shown(py, rows)
    }

    /// Has an event wait again; whether that was possible.
    fn redeliver(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        self.by_hand(py, Write::Redeliver(id.into()))
    }

    /// Gives an event up; whether that was possible.
    fn discard(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        self.by_hand(py, Write::Discard(id.into()))
    }

    /// Asks whoever runs a delegation to stop it; whether somebody does.
    fn cancel(&self, py: Python<'_>, id: &str) -> PyResult<bool> {
        self.by_hand(py, Write::Cancel(id.into()))
    }

    /// Parks what an owner's earlier epochs left.
    fn new_epoch(&self, py: Python<'_>, session_key: &str) -> PyResult<bool> {
        self.by_hand(py, Write::NewEpoch(session_key.into()))
    }

    /// Has a "look" notice come after a time, in seconds since the epoch.
    fn look_after(&self, at: f64) {
        self.core.look_after(millis(at));
    }

    /// The next notice, waiting up to `timeout` seconds: its kind and its text; `None` if none came.
    fn notice(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(&'static str, String)>> {
        let deadline = wait::deadline(timeout)?;
        let signal = Arc::new(Signal::for_this_thread());
        let mut last = false;
        loop {
            match self.core.notice(&signal) {
                None if !last => last = !wait::wait(py, &signal, deadline)?,
                notice => return Ok(notice.map(told)),
            }
        }
    }

    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Health { path, state, waiting, failed, last_error, commits, writes } =
            self.core.health();
        let shown = PyDict::new(py);
        shown.set_item(intern!(py, "path"), (!path.is_empty()).then_some(path))?;
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

    /// Gives up what is held, for others to adopt; whether that is on disk.
    fn release(&self, py: Python<'_>, timeout: &Bound<'_, PyAny>) -> PyResult<bool> {
        let deadline = soon(timeout)?;
        Ok(py.detach(|| self.core.release(deadline)))
    }
}

impl PyLedger {
    fn read<'py>(&self, py: Python<'py>, which: Which<'_>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let rows = py.detach(|| self.core.read(which));
        shown(py, rows)
    }

    fn by_hand(&self, py: Python<'_>, write: Write) -> PyResult<bool> {
        let receipt = self.core.submit(write);
        match answer(py, &receipt, Instant::now().checked_add(PATIENCE))? {
            Ok(outcome) => Ok(outcome == Outcome::Done),
            Err(error) => Err(ledger_error(&error)),
        }
    }
}

/// A timeout that has an end.
fn soon(timeout: &Bound<'_, PyAny>) -> PyResult<Instant> {
    let now = Instant::now();
    Ok(wait::deadline(Some(timeout))?.unwrap_or(now + PATIENCE))
}

fn told(notice: Notice) -> (&'static str, String) {
    match notice {
        Notice::Cancel(id) => ("cancel", id.into()),
        Notice::Look => ("look", String::new()),
        Notice::Failing(error) => ("failing", error.to_string()),
        Notice::Recovered => ("recovered", String::new()),
        Notice::Warning(text) => ("warning", text),
    }
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
    dict.set_item(intern!(py, "delegation_id"), &*row.hold.id)?;
    dict.set_item(intern!(py, "fence"), row.hold.fence)?;
    dict.set_item(intern!(py, "session_key"), &row.owner.session_key)?;
    dict.set_item(intern!(py, "origin_ui_session_id"), &row.owner.origin_ui_session_id)?;
    dict.set_item(intern!(py, "parent_session_id"), &row.owner.parent_session_id)?;
    dict.set_item(intern!(py, "idempotency_key"), row.idempotency_key.as_deref())?;
    dict.set_item(intern!(py, "state"), row.state.name())?;
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
