//! Rows as they are read, and taken over.

use std::num::NonZeroU32;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::failure::{no_memory, pass};
use super::liveness::Instances;
use super::queries as sql;
use crate::event::Owner;
use crate::failpoint::Step;
use crate::ledger::clock::Moment;
use crate::ledger::{Claim, Holder, Millis, Row, Which};
use crate::memory::{self, NoMemory};
use crate::state::{Delivery, State};

/// [`Which`] rows are asked for, by a thread that does not wait at the side of the one that reads.
#[derive(Debug)]
pub(super) enum Question {
    One(Box<str>),
    Newest(usize),
    Running,
    Elsewhere,
    ElsewhereOf(Box<str>),
    Free,
    Dead,
}

impl Question {
    /// Whether the answer has to have what is lost as it may be adopted.
    pub(super) fn is_of_free_rows(&self) -> bool {
        matches!(self, Self::ElsewhereOf(_) | Self::Free)
    }
}

impl TryFrom<Which<'_>> for Question {
    type Error = NoMemory;

    fn try_from(which: Which<'_>) -> Result<Self, NoMemory> {
        Ok(match which {
            Which::One(id) => Self::One(memory::copy(id)?),
            Which::Newest(most) => Self::Newest(most),
            Which::Running => Self::Running,
            Which::Elsewhere => Self::Elsewhere,
            Which::ElsewhereOf(key) => Self::ElsewhereOf(memory::copy(key)?),
            Which::Free => Self::Free,
            Which::Dead => Self::Dead,
        })
    }
}

/// Who reads, and by which time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    /// The instance.
    pub(super) us: i64,
    /// It, and those that are another of it.
    pub(super) ours: &'a [i64],
    /// The present.
    pub(super) now: Moment,
    /// Who else there is.
    pub(super) instances: &'a Instances,
}

impl Reader<'_> {
    /// Who holds a row: its holder, and until when that said it does if the file knows it.
    fn holder(&self, holder: Option<i64>, until: Option<Millis>) -> Holder {
        match (holder, until) {
            (Some(holder), _) if self.ours.contains(&holder) => Holder::Us,
            (Some(holder), Some(_)) if self.instances.knows(holder) => {
                let left = self.instances.left(holder, self.now);
                let until = |left| self.now.wall.saturating_add(left);
                left.map_or(Holder::Nobody, |left| Holder::Other { until: until(left) })
            }
            // It has come since.
            (Some(_), Some(until)) => Holder::Other { until },
            _ => Holder::Nobody,
        }
    }
}

/// Reads rows.
pub(super) fn read(
    db: &Connection,
    reader: Reader<'_>,
    question: &Question,
) -> rusqlite::Result<Vec<Row>> {
    pass(Step::Read)?;
    let us = reader.us;
    match question {
        Question::One(id) => Ok(one(db, reader, id)?.into_iter().collect()),
        Question::Newest(most) => {
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            let mut rows = all(db, reader, sql::NEWEST, [most])?;
            rows.reverse();
            Ok(rows)
        }
        Question::Running => {
            let mut rows = all(db, reader, sql::RUNNING, [])?;
            rows.retain(|row| !row.state.is_terminal());
            Ok(rows)
        }
        Question::Elsewhere => Ok(others(all(db, reader, sql::ELSEWHERE, [us])?)),
        Question::ElsewhereOf(key) => {
            Ok(others(all(db, reader, sql::ELSEWHERE_OF, params![us, key])?))
        }
        Question::Free => all(db, reader, sql::FREE, []),
        Question::Dead => all(db, reader, sql::DEAD, []),
    }
}

/// Takes over those rows that nobody holds; returns them in the order of dispatch.
pub(super) fn adopt(
    db: &Connection,
    reader: Reader<'_>,
    ids: &[Box<str>],
) -> rusqlite::Result<Vec<Row>> {
    let mut adopted = Vec::new();
    for id in ids {
        pass(Step::Adopt)?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, to_row(row, reader)?));
        let mut adopt = db.prepare_cached(sql::ADOPT)?;
        adopted.extend(adopt.query_row(params![&**id, 0, reader.us], row).optional()?);
    }
    // By the file's own count: a wall clock may have been set back in between.
    adopted.sort_by_key(|(seq, _)| *seq);
    Ok(adopted.into_iter().map(|(_, row)| row).collect())
}

/// Those of these rows that none of our instances holds.
fn others(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.holder != Holder::Us);
    rows
}

fn one(db: &Connection, reader: Reader, id: &str) -> rusqlite::Result<Option<Row>> {
    let mut statement = db.prepare_cached(sql::ONE)?;
    statement.query_row([id], |row| to_row(row, reader)).optional()
}

fn all(
    db: &Connection,
    reader: Reader<'_>,
    statement: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Row>> {
    db.prepare_cached(statement)?.query_map(params, |row| to_row(row, reader))?.collect()
}

fn to_row(row: &rusqlite::Row<'_>, reader: Reader<'_>) -> rusqlite::Result<Row> {
    let holder = reader.holder(row.get(6)?, row.get(7)?);
    let has_begun = !row.get::<_, bool>(19)?;
    let state = match state(row.get_ref(3)?.as_str()?) {
        State::Running if holder == Holder::Nobody => State::Lost,
        State::Running if !has_begun => State::Queued,
        state => state,
    };
    let fence: i64 = row.get(2)?;
    Ok(Row {
        claim: Claim { id: text(row, 1)?.into(), fence: u64::try_from(fence).unwrap_or_default() },
        owner: Arc::new(Owner {
            session_key: text(row, 9)?,
            origin_ui_session_id: text(row, 10)?,
            parent_session_id: text(row, 11)?,
            epoch: row
                .get::<_, Option<i64>>(12)?
                .and_then(|epoch| NonZeroU32::new(u32::try_from(epoch).ok()?)),
        }),
        idempotency_key: optional_text(row, 13)?,
        state,
        has_begun,
        delivery: delivery(row.get_ref(4)?.as_str_or_null()?),
        attempts: u32::try_from(row.get::<_, i64>(5)?).unwrap_or(u32::MAX),
        holder,
        record: text(row, 17)?,
        event: optional_text(row, 18)?,
        dispatched_at: row.get(14)?,
        completed_at: row.get(15)?,
        settled_at: row.get(16)?,
    })
}

/// A text, also one with bytes that the disk has changed.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Box<str>> {
    copied(row.get_ref(column)?.as_bytes()?)
}

fn optional_text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Box<str>>> {
    row.get_ref(column)?.as_bytes_or_null()?.map(copied).transpose()
}

fn copied(bytes: &[u8]) -> rusqlite::Result<Box<str>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => memory::copy(text).map_err(no_memory),
        Err(_) => Ok(String::from_utf8_lossy(bytes).into()),
    }
}

fn state(name: &str) -> State {
    State::ALL.into_iter().find(|state| state.name() == name).unwrap_or(State::Error)
}

/// What no release has written is kept, and shown to nobody who did not ask.
fn delivery(name: Option<&str>) -> Delivery {
    const ALL: [Delivery; 6] = [
        Delivery::NotYet,
        Delivery::Pending,
        Delivery::Delivered,
        Delivery::Dropped,
        Delivery::Dead,
        Delivery::Parked,
    ];
    ALL.into_iter().find(|delivery| delivery.name() == name).unwrap_or(Delivery::Parked)
}
