//! One write, within a transaction.

use rusqlite::{Connection, OptionalExtension, params};

use super::failure::pass;
use super::queries as sql;
use super::user::User;
use crate::error::Error;
use crate::event::Owner;
use crate::failpoint::Step;
use crate::ledger::{Claim, Millis, NewDelegation, Notice, Outcome, Write};
use crate::state::State;

/// A text of more bytes has a table of its own, so that its row stays small.
pub(super) const LONG: usize = 1024;

/// Who writes, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteContext {
    /// The instance.
    pub(super) us: i64,
    /// The present.
    pub(super) now: Millis,
}

/// What a write came to.
#[derive(Debug)]
pub(super) struct Written {
    /// For whoever asked.
    pub(super) answer: Result<Outcome, Error>,
    /// What else follows from it, once it is committed.
    pub(super) effect: Effect,
    /// The instances that are asked for something.
    pub(super) asked: Vec<i64>,
    /// What users of this process are to be told is asked of them.
    pub(super) requests: Vec<(User, Notice)>,
}

/// What follows from a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing, or what the answer says.
    None,
    /// It was so before.
    Again,
    /// These are not claimed any more.
    Parked(Vec<Box<str>>),
    /// There is something to adopt.
    Look,
    /// There is something that others may adopt; whoever let go of it has had his chance.
    LetGo,
    /// The same of what ran, and comes free this once: the others of this process hear of it.
    Lost,
}

impl Written {
    fn changed(rows: usize) -> Self {
        Self::of(Ok(if rows > 0 { Outcome::Done } else { Outcome::Fenced }))
    }

    /// An answer from which nothing follows.
    pub(super) fn of(answer: Result<Outcome, Error>) -> Self {
        Self { answer, effect: Effect::None, asked: Vec::new(), requests: Vec::new() }
    }

    fn with(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// That it changed nothing.
    pub(super) fn fenced() -> Self {
        Self::changed(0)
    }

    /// Whether others wait for what it did.
    pub(super) fn changes_others(&self) -> bool {
        matches!(self.effect, Effect::Look | Effect::LetGo | Effect::Lost)
    }

    /// That it changed something.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.answer, Ok(Outcome::Done | Outcome::Parked | Outcome::Late { .. }))
    }
}

/// What is known of a row that is claimed, should the file have lost it.
pub(super) enum Memory<'a> {
    /// The row was written to the file that is open now, or carried over into it.
    SameFile,
    /// It was written to a file that is not there any more, and may have been lost with it.
    OtherFile(Option<&'a NewDelegation>),
}

/// Writes; `memory` says what is known of a claimed row.
pub(super) fn write<'a>(
    db: &Connection,
    context: WriteContext,
    write: &Write,
    memory: impl Fn(&str) -> Memory<'a>,
) -> rusqlite::Result<Written> {
    pass(step(write))?;
    let written = match write {
        Write::Dispatch(new) => return dispatch(db, context, new),
        Write::Begin(claim) => claimed(db, context, sql::BEGIN, claim)?,
        Write::Withdraw(claim) => claimed(db, context, sql::WITHDRAW, claim)?,
        Write::Finish { claim, state, event, completed_at } => {
            let end = (*state, &**event, *completed_at);
            let mut is_parked = finish(db, context, claim, end)?;
            if is_parked.is_none()
                && let Memory::OtherFile(Some(new)) = memory(&claim.id)
                && !exists(db, &claim.id)?
            {
                restore(db, context, new, claim.fence)?;
                is_parked = finish(db, context, claim, end)?;
            }
            return match is_parked {
                None => finish_late(db, context, claim, end),
                Some(true) => Ok(Written::of(Ok(Outcome::Parked)).with(parked(claim))),
                Some(false) => Ok(Written::changed(1)),
            };
        }
        Write::Attempts { claim, attempts } => {
            let mut statement = db.prepare_cached(sql::ATTEMPTS)?;
            statement.execute(params![&*claim.id, fence(claim), context.us, attempts])?
        }
        Write::Bury { claim, attempts } => {
            let mut statement = db.prepare_cached(sql::BURY)?;
            statement.execute(params![&*claim.id, fence(claim), context.us, attempts])?
        }
        Write::Ack(claim) => {
            let settled = settle(db, context, claim, "delivered")?;
            // It may be on disk from an attempt that failed as it was committed.
            if settled == 0 && is_delivered(db, claim)? {
                return Ok(Written::changed(1).with(Effect::Again));
            }
            settled
        }
        Write::Drop(claim) => settle(db, context, claim, "dropped")?,
        Write::Reopen(claim) => claimed(db, context, sql::REOPEN, claim)?,
        Write::Park(claim) => claimed(db, context, sql::PARK, claim)?,
        Write::GiveBack(claim) => {
            if claimed(db, context, sql::GIVE_BACK, claim)? > 0 {
                return Ok(Written::changed(1).with(Effect::LetGo));
            }
            let mut give_up = db.prepare_cached(sql::GIVE_UP)?;
            let given_up = params![&*claim.id, fence(claim), context.us, context.now];
            return Ok(match give_up.execute(given_up)? {
                0 => Written::fenced(),
                lost => Written::changed(lost).with(Effect::Lost),
            });
        }
        Write::NewEpoch(session_key) => return park(db, context, session_key),
        Write::Redeliver(id) => {
            let written = Written::changed(db.prepare_cached(sql::REDELIVER)?.execute([&**id])?);
            let effect = if written.is_done() { Effect::Look } else { Effect::None };
            return Ok(written.with(effect));
        }
        Write::Discard(id) => {
            let mut statement = db.prepare_cached(sql::DISCARD)?;
            match statement.execute(params![&**id, 0, 0, context.now])? {
                0 => return ask_to_drop(db, id),
                dropped => dropped,
            }
        }
        Write::Cancel(id) => {
            let mut statement = db.prepare_cached(sql::CANCEL)?;
            let holder: Option<i64> = statement.query_row([&**id], |row| row.get(0)).optional()?;
            let asked: Vec<_> = holder.into_iter().collect();
            return Ok(Written { asked, ..Written::changed(holder.is_some().into()) });
        }
    };
    let is_about_a_claimed_row = claim_of(write).is_some_and(|claim| {
        // A file that has never heard of a row has nothing to take back, and will not bring it up.
        matches!(memory(&claim.id), Memory::OtherFile(_))
    });
    if written == 0 && is_about_a_claimed_row {
        let is_gone = claim_of(write).is_some_and(|claim| !exists(db, &claim.id).unwrap_or(true));
        return Ok(Written::changed(is_gone.into()));
    }
    Ok(Written::changed(written))
}

fn dispatch(
    db: &Connection,
    context: WriteContext,
    new: &NewDelegation,
) -> rusqlite::Result<Written> {
    if insert(db, context, new, NewDelegation::FENCE)? {
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
    Ok(Written::of(answer))
}

/// Inserts a row that runs; not if there is one of that id or key.
fn insert(
    db: &Connection,
    context: WriteContext,
    new: &NewDelegation,
    fence: u64,
) -> rusqlite::Result<bool> {
    let owner = &new.owner;
    let is_long = new.record.len() > LONG;
    let inserted = db.prepare_cached(sql::DISPATCH)?.execute(params![
        &*new.id,
        as_integer(fence),
        context.us,
        owner.session_key,
        owner.origin_ui_session_id,
        owner.parent_session_id,
        owner.epoch.map(|epoch| epoch.get()),
        new.idempotency_key.as_deref(),
        new.dispatched_at,
        (!is_long).then_some(&*new.record),
        new.is_queued,
    ])?;
    if inserted > 0 && is_long {
        let record = params![db.last_insert_rowid(), &*new.record];
        db.prepare_cached(sql::LONG_RECORD)?.execute(record)?;
    }
    Ok(inserted > 0)
}

/// Inserts a row that the file has lost; without its key if another has taken that since.
fn restore(
    db: &Connection,
    context: WriteContext,
    new: &NewDelegation,
    fence: u64,
) -> rusqlite::Result<()> {
    if !insert(db, context, new, fence)? {
        let keyless = NewDelegation { idempotency_key: None, ..new.clone() };
        insert(db, context, &keyless, fence)?;
    }
    Ok(())
}

/// How something ended, its event, and when.
type Ended<'a> = (State, &'a str, Millis);

/// Whether it is parked, and so nobody's; nothing if it was not ours to end.
fn finish(
    db: &Connection,
    context: WriteContext,
    claim: &Claim,
    (state, event, completed_at): Ended<'_>,
) -> rusqlite::Result<Option<bool>> {
    let is_long = event.len() > LONG;
    let short = (!is_long).then_some(event);
    let ended = params![&*claim.id, fence(claim), context.us, completed_at, state.name(), short];
    let mut statement = db.prepare_cached(sql::FINISH)?;
    let row = statement.query_row(ended, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((seq, is_parked)): Option<(i64, bool)> = row else { return Ok(None) };
    pass(Step::FinishEvent)?;
    if is_long {
        db.prepare_cached(sql::LONG_EVENT)?.execute(params![seq, event])?;
    }
    Ok(Some(is_parked))
}

/// Ends what was taken for lost, marks its event as late, and claims it anew; what comes of it.
fn finish_late(
    db: &Connection,
    context: WriteContext,
    claim: &Claim,
    (state, event, completed_at): Ended<'_>,
) -> rusqlite::Result<Written> {
    let event = marked_late(event);
    let is_long = event.len() > LONG;
    let short = (!is_long).then_some(&*event);
    let ended = params![&*claim.id, fence(claim), context.us, completed_at, state.name(), short];
    let mut statement = db.prepare_cached(sql::FINISH_LATE)?;
    let row = statement.query_row(ended, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let row: Option<(i64, bool, i64)> = row.optional()?;
    let Some((seq, is_parked, fence)) = row else { return Ok(Written::changed(0)) };
    pass(Step::FinishEvent)?;
    if is_long {
        db.prepare_cached(sql::LONG_EVENT)?.execute(params![seq, &*event])?;
    }
    let effect = if is_parked { parked(claim) } else { Effect::None };
    let fence = fence.unsigned_abs();
    Ok(Written::of(Ok(Outcome::Late { fence, is_parked })).with(effect))
}

fn parked(claim: &Claim) -> Effect {
    Effect::Parked(vec![(*claim.id).into()])
}

/// A JSON object with one more field.
fn marked_late(event: &str) -> String {
    match event.strip_suffix('}') {
        Some(open) if open.len() > 1 => format!("{open},\"late\":true}}"),
        _ => event.to_owned(),
    }
}

fn claimed(
    db: &Connection,
    context: WriteContext,
    statement: &str,
    claim: &Claim,
) -> rusqlite::Result<usize> {
    db.prepare_cached(statement)?.execute(params![&*claim.id, fence(claim), context.us])
}

fn settle(
    db: &Connection,
    context: WriteContext,
    claim: &Claim,
    how: &str,
) -> rusqlite::Result<usize> {
    let mut statement = db.prepare_cached(sql::SETTLE)?;
    statement.execute(params![&*claim.id, fence(claim), context.us, context.now, how])
}

fn park(db: &Connection, context: WriteContext, session_key: &str) -> rusqlite::Result<Written> {
    let (mut parked, mut asked) = (Vec::new(), Vec::new());
    if !session_key.is_empty() {
        db.prepare_cached(sql::PARK_RUNNING)?.execute([session_key])?;
        let mut statement = db.prepare_cached(sql::PARK_PENDING)?;
        let mut rows = statement.query(params![session_key, context.us])?;
        while let Some(row) = rows.next()? {
            match row.get(1)? {
                Some(holder) => asked.push(holder),
                None => parked.push(row.get(0)?),
            }
        }
    }
    asked.sort_unstable();
    asked.dedup();
    Ok(Written { effect: Effect::Parked(parked), asked, ..Written::changed(1) })
}

/// Asks whoever holds an event to give it up.
fn ask_to_drop(db: &Connection, id: &str) -> rusqlite::Result<Written> {
    let mut statement = db.prepare_cached(sql::ASK_TO_DROP)?;
    Ok(match statement.query_row([id], |row| row.get(0)).optional()? {
        Some(holder) => Written { asked: vec![holder], ..Written::of(Ok(Outcome::Asked)) },
        None => Written::changed(0),
    })
}

/// Gives up what its holder was asked to, and let go of.
pub(super) fn drop_as_asked(db: &Connection, now: Millis) -> rusqlite::Result<Vec<Claim>> {
    let mut statement = db.prepare_cached(sql::DROP_AS_ASKED)?;
    statement.query_map([now], |row| Ok(claim(&row.get::<_, String>(0)?, row.get(1)?)))?.collect()
}

/// A claim as it is read.
pub(super) fn claim(id: &str, fence: i64) -> Claim {
    Claim { id: id.into(), fence: fence.unsigned_abs() }
}

fn is_delivered(db: &Connection, claim: &Claim) -> rusqlite::Result<bool> {
    db.prepare_cached(sql::IS_DELIVERED)?.exists(params![&*claim.id, fence(claim)])
}

fn exists(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(sql::EXISTS)?.exists([id])
}

fn fence(claim: &Claim) -> i64 {
    as_integer(claim.fence)
}

/// A fence as SQLite has integers; no row changes hands so often that it would not fit.
fn as_integer(fence: u64) -> i64 {
    i64::try_from(fence).unwrap_or(i64::MAX)
}

/// The row that a write is about, if its writer claims it.
pub(super) fn claim_of(write: &Write) -> Option<&Claim> {
    match write {
        Write::Begin(claim)
        | Write::Withdraw(claim)
        | Write::Finish { claim, .. }
        | Write::Attempts { claim, .. }
        | Write::Ack(claim)
        | Write::Reopen(claim)
        | Write::Park(claim)
        | Write::GiveBack(claim)
        | Write::Bury { claim, .. }
        | Write::Drop(claim) => Some(claim),
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
        Write::Begin(_) => Step::BeginRow,
        Write::Withdraw(_) => Step::Withdraw,
        Write::Finish { .. } => Step::Finish,
        Write::Attempts { .. } => Step::Attempts,
        Write::Ack(_) => Step::Ack,
        Write::Reopen(_) => Step::Reopen,
        Write::Park(_) => Step::NewEpoch,
        Write::GiveBack(_) => Step::Release,
        Write::Bury { .. } => Step::Bury,
        Write::Drop(_) => Step::Drop,
        Write::NewEpoch(_) => Step::NewEpoch,
        Write::Redeliver(_) => Step::Redeliver,
        Write::Discard(_) => Step::Discard,
        Write::Cancel(_) => Step::Cancel,
    }
}
