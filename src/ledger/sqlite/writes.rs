//! One write, within a transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::statements as sql;
use super::trouble::pass;
use crate::error::Error;
use crate::event::Owner;
use crate::failpoint::Step;
use crate::ledger::{Hold, Millis, NewDelegation, Outcome, Write};
use crate::registry::State;

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pen {
    /// The instance.
    pub(super) us: i64,
    /// The present.
    pub(super) now: Millis,
    /// By when a lease must have ended to be over.
    pub(super) over: Millis,
}

/// What a write came to.
#[derive(Debug)]
pub(super) struct Written {
    /// For whoever asked.
    pub(super) answer: Result<Outcome, Error>,
    /// What else follows from it, once it is committed.
    pub(super) effect: Effect,
}

/// What follows from a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or what the answer says.
    None,
    /// These are not held any more.
    Parked(Vec<Box<str>>),
    /// This instance is to stop it.
    Stop,
    /// There is something to adopt.
    Look,
}

impl Written {
    fn changed(rows: usize) -> Self {
        let outcome = if rows > 0 { Outcome::Done } else { Outcome::Fenced };
        Self { answer: Ok(outcome), effect: Effect::None }
    }

    /// That it changed something.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.answer, Ok(Outcome::Done))
    }
}

/// What is known of a row that is held, should the file have lost it.
pub(super) enum Memory<'a> {
    /// The row was written to the file that is open now.
    SameFile,
    /// It was written to a file that is not there any more.
    OtherFile(Option<&'a NewDelegation>),
}

/// Writes; `memory` says what is known of a held row.
pub(super) fn write<'a>(
    db: &Connection,
    pen: Pen,
    write: &Write,
    memory: impl Fn(&str) -> Memory<'a>,
) -> rusqlite::Result<Written> {
    pass(step(write))?;
    let written = match write {
        Write::Dispatch(new) => return dispatch(db, pen, new),
        Write::Withdraw(hold) => held(db, pen, sql::WITHDRAW, hold)?,
        Write::Finish { hold, state, event, completed_at } => {
            let mut is_parked = finish(db, pen, hold, *state, event, *completed_at)?;
            if is_parked.is_none()
                && let Memory::OtherFile(Some(new)) = memory(&hold.id)
                && !exists(db, &hold.id)?
            {
                restore(db, pen, new, hold.fence)?;
                is_parked = finish(db, pen, hold, *state, event, *completed_at)?;
            }
            let effect = match is_parked {
                Some(true) => Effect::Parked(vec![(*hold.id).into()]),
                _ => Effect::None,
            };
            return Ok(Written { effect, ..Written::changed(is_parked.is_some().into()) });
        }
        Write::Attempts { hold, attempts } => {
            let mut statement = db.prepare_cached(sql::ATTEMPTS)?;
            statement.execute(params![&*hold.id, fence(hold), pen.us, attempts])?
        }
        Write::Bury { hold, attempts } => {
            let mut statement = db.prepare_cached(sql::BURY)?;
            statement.execute(params![&*hold.id, fence(hold), pen.us, attempts])?
        }
        Write::Ack(hold) => settle(db, pen, hold, "delivered")?,
        Write::Drop(hold) => settle(db, pen, hold, "dropped")?,
        Write::Reopen(hold) => held(db, pen, sql::REOPEN, hold)?,
        Write::NewEpoch(session_key) => return park(db, session_key),
        Write::Redeliver(id) => {
            let written = Written::changed(by_hand(db, pen, sql::REDELIVER, id)?);
            let effect = if written.is_done() { Effect::Look } else { Effect::None };
            return Ok(Written { effect, ..written });
        }
        Write::Discard(id) => by_hand(db, pen, sql::DISCARD, id)?,
        Write::Cancel(id) => {
            let mut statement = db.prepare_cached(sql::CANCEL)?;
            let row = params![&**id, 0, pen.us, pen.now, pen.over];
            let ours = statement.query_row(row, |row| row.get(0)).optional()?;
            let effect = if ours == Some(true) { Effect::Stop } else { Effect::None };
            return Ok(Written { effect, ..Written::changed(ours.is_some().into()) });
        }
    };
    let is_about_a_held_row = hold_of(write).is_some_and(|hold| {
        // A file that has never heard of a row has nothing to take back, and will not bring it up.
        matches!(memory(&hold.id), Memory::OtherFile(_))
    });
    if written == 0 && is_about_a_held_row {
        let is_gone = hold_of(write).is_some_and(|hold| !exists(db, &hold.id).unwrap_or(true));
        return Ok(Written::changed(is_gone.into()));
    }
    Ok(Written::changed(written))
}

fn dispatch(db: &Connection, pen: Pen, new: &NewDelegation) -> rusqlite::Result<Written> {
    if insert(db, pen, new, NewDelegation::FENCE)? {
        return Ok(Written::changed(1));
    }
    let same = match &new.idempotency_key {
        Some(key) => {
            let Owner { session_key, origin_ui_session_id, parent_session_id, .. } = &*new.owner;
            let owner = params![&**key, session_key, origin_ui_session_id, parent_session_id];
            let mut statement = db.prepare_cached(sql::SAME_KEY)?;
            statement.query_row(owner, |row| row.get(0)).optional()?
        }
        None => None,
    };
    let answer = match same {
        Some(id) => Ok(Outcome::Exists(id)),
        None => Err(Error::DuplicateId { id: (*new.id).to_owned() }),
    };
    Ok(Written { answer, effect: Effect::None })
}

/// Inserts a row that runs; not if there is one of that id or key.
fn insert(db: &Connection, pen: Pen, new: &NewDelegation, fence: u64) -> rusqlite::Result<bool> {
    let owner = &new.owner;
    let inserted = db.prepare_cached(sql::DISPATCH)?.execute(params![
        &*new.id,
        as_integer(fence),
        pen.us,
        owner.session_key,
        owner.origin_ui_session_id,
        owner.parent_session_id,
        owner.epoch.map(|epoch| epoch.get()),
        new.idempotency_key.as_deref(),
        new.dispatched_at,
    ])?;
    if inserted > 0 {
        let record = params![db.last_insert_rowid(), &*new.record];
        db.prepare_cached(sql::DISPATCH_RECORD)?.execute(record)?;
    }
    Ok(inserted > 0)
}

/// Inserts a row that the file has lost; without its key if another has taken that since.
fn restore(db: &Connection, pen: Pen, new: &NewDelegation, fence: u64) -> rusqlite::Result<()> {
    if !insert(db, pen, new, fence)? {
        let keyless = NewDelegation { idempotency_key: None, ..new.clone() };
        insert(db, pen, &keyless, fence)?;
    }
    Ok(())
}

/// Whether it is parked, and so nobody's; nothing if it was not ours to end.
fn finish(
    db: &Connection,
    pen: Pen,
    hold: &Hold,
    state: State,
    event: &str,
    completed_at: Millis,
) -> rusqlite::Result<Option<bool>> {
    let ended = params![&*hold.id, fence(hold), pen.us, completed_at, state.name()];
    let mut statement = db.prepare_cached(sql::FINISH)?;
    let row = statement.query_row(ended, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((seq, is_parked)): Option<(i64, bool)> = row else { return Ok(None) };
    pass(Step::FinishEvent)?;
    db.prepare_cached(sql::FINISH_EVENT)?.execute(params![seq, event])?;
    Ok(Some(is_parked))
}

fn held(db: &Connection, pen: Pen, statement: &str, hold: &Hold) -> rusqlite::Result<usize> {
    db.prepare_cached(statement)?.execute(params![&*hold.id, fence(hold), pen.us])
}

fn settle(db: &Connection, pen: Pen, hold: &Hold, how: &str) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached(sql::SETTLE)?;
    statement.execute(params![&*hold.id, fence(hold), pen.us, pen.now, how])
}

fn by_hand(db: &Connection, pen: Pen, statement: &str, id: &str) -> rusqlite::Result<usize> {
    db.prepare_cached(statement)?.execute(params![id, 0, pen.us, pen.now, pen.over])
}

fn park(db: &Connection, session_key: &str) -> rusqlite::Result<Written> {
    let mut parked = Vec::new();
    if !session_key.is_empty() {
        let mut statement = db.prepare_cached(sql::PARK)?;
        let mut rows = statement.query([session_key])?;
        while let Some(row) = rows.next()? {
            if row.get_ref(1)?.as_str()? != State::Running.name() {
                parked.push(row.get(0)?);
            }
        }
    }
    Ok(Written { answer: Ok(Outcome::Done), effect: Effect::Parked(parked) })
}

fn exists(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(sql::EXISTS)?.exists([id])
}

fn fence(hold: &Hold) -> i64 {
    as_integer(hold.fence)
}

/// A fence as SQLite has integers; no row changes hands so often that it would not fit.
fn as_integer(fence: u64) -> i64 {
    i64::try_from(fence).unwrap_or(i64::MAX)
}

/// The row that a write is about, if its writer holds it.
pub(super) fn hold_of(write: &Write) -> Option<&Hold> {
    match write {
        Write::Withdraw(hold)
        | Write::Finish { hold, .. }
        | Write::Attempts { hold, .. }
        | Write::Ack(hold)
        | Write::Reopen(hold)
        | Write::Bury { hold, .. }
        | Write::Drop(hold) => Some(hold),
        Write::Dispatch(_)
        | Write::NewEpoch(_)
        | Write::Redeliver(_)
        | Write::Discard(_)
        | Write::Cancel(_) => None,
    }
}

fn step(write: &Write) -> Step {
    match write {
        Write::Dispatch(_) => Step::Dispatch,
        Write::Withdraw(_) => Step::Withdraw,
        Write::Finish { .. } => Step::Finish,
        Write::Attempts { .. } => Step::Attempts,
        Write::Ack(_) => Step::Ack,
        Write::Reopen(_) => Step::Reopen,
        Write::Bury { .. } => Step::Bury,
        Write::Drop(_) => Step::Drop,
        Write::NewEpoch(_) => Step::NewEpoch,
        Write::Redeliver(_) => Step::Redeliver,
        Write::Discard(_) => Step::Discard,
        Write::Cancel(_) => Step::Cancel,
    }
}
