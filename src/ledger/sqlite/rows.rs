//! Rows as they are read, and taken over.

use std::num::NonZeroU32;

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::statements as sql;
use super::trouble::pass;
use super::writes::Pen;
use crate::event::Owner;
use crate::failpoint::Step;
use crate::ledger::{Hold, Holder, Millis, Row, Which};
use crate::registry::{Delivery, State};

/// [`Which`] rows are asked for, by a thread that does not wait at the side of the one that reads.
#[derive(Debug)]
pub(super) enum Question {
    One(Box<str>),
    Newest(usize),
    Running,
    Elsewhere,
    Dead,
}

impl From<Which<'_>> for Question {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::One(id) => Self::One(id.into()),
            Which::Newest(most) => Self::Newest(most),
            Which::Running => Self::Running,
            Which::Elsewhere => Self::Elsewhere,
            Which::Dead => Self::Dead,
        }
    }
}

/// Who reads, and by which time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// Who and when.
    pub(super) pen: Pen,
    /// How long others have at least before they are judged.
    pub(super) grace: Millis,
}

/// Reads rows.
pub(super) fn read(
    db: &Connection,
    reader: Reader,
    question: &Question,
) -> rusqlite::Result<Vec<Row>> {
    pass(Step::Read)?;
    let Pen { us, over, .. } = reader.pen;
    match question {
        Question::One(id) => Ok(one(db, reader, id)?.into_iter().collect()),
        Question::Newest(most) => {
            let most = i64::try_from(*most).unwrap_or(i64::MAX);
            let mut rows = all(db, reader, sql::NEWEST, params![most, 0, 0, 0, over])?;
            rows.reverse();
            Ok(rows)
        }
        Question::Running => {
            let mut rows = all(db, reader, sql::RUNNING, params![0, 0, 0, 0, over])?;
            rows.retain(|row| row.state == State::Running);
            Ok(rows)
        }
        Question::Elsewhere => all(db, reader, sql::ELSEWHERE, params![0, 0, us, 0, over]),
        Question::Dead => all(db, reader, sql::DEAD, params![0, 0, 0, 0, over]),
    }
}

/// Takes over those rows that nobody holds.
pub(super) fn adopt(
    db: &Connection,
    reader: Reader,
    ids: &[Box<str>],
) -> rusqlite::Result<Vec<Row>> {
    let Pen { us, now, over } = reader.pen;
    let mut adopted = Vec::new();
    for id in ids {
        pass(Step::Adopt)?;
        if db.prepare_cached(sql::ADOPT)?.execute(params![&**id, 0, us, now, over])? > 0 {
            adopted.extend(one(db, reader, id)?);
        }
    }
    Ok(adopted)
}

fn one(db: &Connection, reader: Reader, id: &str) -> rusqlite::Result<Option<Row>> {
    let mut statement = db.prepare_cached(sql::ONE)?;
    let params = params![id, 0, 0, 0, reader.pen.over];
    statement.query_row(params, |row| to_row(row, reader)).optional()
}

fn all(
    db: &Connection,
    reader: Reader,
    statement: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Row>> {
    db.prepare_cached(statement)?.query_map(params, |row| to_row(row, reader))?.collect()
}

fn to_row(row: &rusqlite::Row<'_>, reader: Reader) -> rusqlite::Result<Row> {
    let Pen { us, now, .. } = reader.pen;
    let holder = match (row.get::<_, Option<i64>>(5)?, row.get::<_, Option<Millis>>(6)?) {
        (Some(holder), _) if holder == us => Holder::Us,
        (Some(_), Some(until)) => {
            // A lease that ends later than it can have been given was given under another clock.
            let latest = now.saturating_add(row.get(7)?);
            Holder::Other { until: until.min(latest).max(now.saturating_add(reader.grace)) }
        }
        _ => Holder::Nobody,
    };
    let state = match state(row.get_ref(2)?.as_str()?) {
        State::Running if holder == Holder::Nobody => State::Lost,
        state => state,
    };
    let fence: i64 = row.get(1)?;
    Ok(Row {
        hold: Hold { id: text(row, 0)?.into(), fence: u64::try_from(fence).unwrap_or_default() },
        owner: Arc::new(Owner {
            session_key: text(row, 8)?.into_string(),
            origin_ui_session_id: text(row, 9)?.into_string(),
            parent_session_id: text(row, 10)?.into_string(),
            epoch: row
                .get::<_, Option<i64>>(11)?
                .and_then(|epoch| NonZeroU32::new(u32::try_from(epoch).ok()?)),
        }),
        idempotency_key: optional_text(row, 12)?,
        state,
        delivery: delivery(row.get_ref(3)?.as_str_or_null()?),
        attempts: u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX),
        holder,
        record: text(row, 16)?,
        event: optional_text(row, 17)?,
        dispatched_at: row.get(13)?,
        completed_at: row.get(14)?,
        settled_at: row.get(15)?,
    })
}

/// A text, also one with bytes that the disk has changed.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Box<str>> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into())
}

fn optional_text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Box<str>>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null()?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into()))
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
