//! The core's `tracing` events on their way to Python's `logging`.
//!
//! A Rust frame must not call a logger, so events are kept here, and Python code that called into
//! the core takes them out in its own frame (`hermes_core.runtime.log`). At a level that is
//! switched off an event costs one atomic load.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::memory::Room;

/// How many events are kept between two takes; the oldest go first.
const KEPT: usize = 1024;

/// Python's level number, the logger's name, the message.
type Line = (u8, String, String);

static LINES: Mutex<VecDeque<Line>> = Mutex::new(VecDeque::new());
static ANY: AtomicBool = AtomicBool::new(false);
static LEVEL: AtomicU8 = AtomicU8::new(30);

/// Makes the core's events go here.
pub(super) fn install() {
    // Another copy of the crate in the process may have its own; then its choice stands.
    let _ = tracing::subscriber::set_global_default(ToPython);
}

/// The lines kept, locked; a fork holds them.
pub(super) type Lines = MutexGuard<'static, VecDeque<Line>>;

/// Waits for the lock of the lines.
pub(super) fn hold() -> Lines {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets what is kept: a forked child's lines are its parent's to tell.
pub(super) fn reset(lines: &mut Lines) {
    lines.clear();
    ANY.store(false, Ordering::Relaxed);
}

/// Sets from which of Python's levels on the core's events are kept.
#[pyfunction]
pub(super) fn set_log_level(level: u8) {
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether there are any to take.
pub(super) fn is_any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// The events kept since the last call, as `(level, logger, message)`; `None` if there are none.
#[pyfunction]
pub(super) fn take_log() -> Option<Vec<Line>> {
    if !is_any() {
        return None;
    }
    let mut lines = hold();
    ANY.store(false, Ordering::Relaxed);
    let lines = std::mem::take(&mut *lines);
    Some(lines.into())
}

fn python_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

struct ToPython;

impl Subscriber for ToPython {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enabled(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("hermes_core")
            && python_level(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0..=5 => LevelFilter::TRACE,
            6..=10 => LevelFilter::DEBUG,
            11..=20 => LevelFilter::INFO,
            21..=30 => LevelFilter::WARN,
            31..=40 => LevelFilter::ERROR,
            _ => LevelFilter::OFF,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = python_level(*event.metadata().level());
        let logger = event.metadata().target().replace("::", ".");
        let Text { mut message, fields } = text;
        let _ = Growing(&mut message).write_str(&fields);
        let mut lines = hold();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back((level, logger, message));
        ANY.store(true, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event as one line: the message, then its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(Growing(&mut self.message), "{value:?}"),
            name => write!(Growing(&mut self.fields), " {name}={value:?}"),
        };
    }
}

/// A text that is cut off where there is no memory for more of it.
struct Growing<'a>(&'a mut String);

impl Write for Growing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.room_for(text.len()).map_err(|_| fmt::Error)?;
        self.0.push_str(text);
        Ok(())
    }
}
