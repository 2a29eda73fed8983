//! Transactions: many writes in one, and what follows once it is committed.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::desk::{Held, Job, Papers};
use super::file::File;
use super::rows::{self, Reader};
use super::statements as sql;
use super::trouble::{Trouble, is_its_own, pass};
use super::writes::{self, Effect, Written, hold_of};
use crate::failpoint::{self, Step};
use crate::ledger::clock::millis;
use crate::ledger::{NewDelegation, Notice, Outcome, Row, Write};

/// What one job of a batch came to.
enum Done {
    Written(Written),
    Adopted(Vec<Row>),
    Released,
}

/// How many pages the log may have before it is copied into the file.
const LOG_PAGES: usize = 1_000;
/// After how many writes retention is seen to.
pub(super) const RETENTION_EVERY: usize = 64;
/// How many rows it then deletes at most.
const RETENTION_STEP: i64 = 128;

impl Papers {
    /// Writes what could not be written before.
    pub(super) fn write_backlog(&mut self) -> Result<(), Trouble> {
        while !self.backlog.is_empty() {
            let count = self.backlog.len().min(super::desk::BATCH);
            let written = self.transact(|papers, file, reader| {
                let writes = papers.backlog.iter().take(count);
                writes.map(|write| papers.write_one(&file.db, reader, write)).collect()
            })?;
            let writes: Vec<Write> = self.backlog.drain(..count).collect();
            for (write, written) in writes.into_iter().zip(written) {
                self.follow_up(write, &written);
            }
        }
        self.retry = None;
        Ok(())
    }

    /// Writes nothing but what is due anyway, the lease.
    pub(super) fn write_nothing(&mut self) -> Result<(), Trouble> {
        self.transact(|_, _, _| Ok(Vec::<()>::new())).map(drop)
    }

    /// Leaves, as if this instance had never been.
    pub(super) fn leave(&mut self) -> Result<(), Trouble> {
        self.transact(|papers, file, _| {
            file.db.prepare_cached(sql::LEAVE)?.execute([papers.us])?;
            Ok(Vec::<()>::new())
        })?;
        self.become_another();
        Ok(())
    }

    /// Writes the first jobs of the queue, and answers them.
    pub(super) fn write_jobs(&mut self, count: usize) -> Result<(), Trouble> {
        let done = self.transact(|papers, file, reader| {
            let jobs = papers.queue.iter().take(count);
            jobs.map(|job| papers.do_one(&file.db, reader, job)).collect()
        })?;
        let jobs: Vec<Job> = self.queue.drain(..count).collect();
        // Before anybody is answered, who may ask at once how the ledger is.
        self.succeeded();
        for (job, done) in jobs.into_iter().zip(done) {
            match (job, done) {
                (Job::Write(write, promise), Done::Written(written)) => {
                    self.follow_up(write, &written);
                    promise.answer(written.answer);
                }
                (Job::Adopt(_, promise), Done::Adopted(rows)) => {
                    for row in &rows {
                        self.hold(row.hold.id.clone(), None);
                    }
                    promise.answer(Ok(rows));
                }
                (Job::Release(promise), Done::Released) => {
                    self.become_another();
                    promise.answer(Ok(()));
                }
                _ => {}
            }
        }
        // Whoever waits has been told: an error here has nobody to go to.
        let _ = failpoint::pass(Step::Answered);
        self.tidy_up();
        Ok(())
    }

    /// Has `step` write, in a transaction. Nothing of it is there if it fails.
    fn transact<D>(
        &mut self,
        mut step: impl FnMut(&Self, &File, Reader) -> rusqlite::Result<Vec<D>>,
    ) -> Result<Vec<D>, Trouble> {
        self.with_file(|papers, file| {
            papers.may_be_committed = false;
            papers.begin(file)?;
            let reader = papers.reader();
            let mut write = || {
                let renewed = papers.renew_in(&file.db, reader)?;
                let done = step(papers, file, reader)?;
                papers.retain_in(&file.db, reader, done.len())?;
                pass(Step::Commit)?;
                papers.may_be_committed = true;
                file.db.prepare_cached("COMMIT")?.execute([])?;
                pass(Step::Committed)?;
                papers.may_be_committed = false;
                Ok((done, renewed))
            };
            let (done, renewed) = match write() {
                Ok(written) => written,
                Err(error) => {
                    let trouble = papers.trouble(&error, file);
                    papers.may_be_committed &= matches!(trouble, Trouble::Failed(_));
                    return Err(trouble);
                }
            };
            if renewed {
                let third = papers.lease / 3;
                papers.renew_at = Some(papers.clock.now().steady.saturating_add(third));
            }
            papers.told.committed(done.len());
            papers.log_pages += 2 + 4 * done.len();
            Ok(done)
        })
    }

    fn begin(&mut self, file: &File) -> Result<(), Trouble> {
        let begin = || {
            pass(Step::Begin)?;
            file.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            pass(Step::Begun)
        };
        begin().map_err(|error| self.trouble(&error, file))?;
        // Not before: whoever replaced the file may have held its lock until now.
        if file.is_moved() { Err(Trouble::Moved) } else { Ok(()) }
    }

    fn do_one(&self, db: &Connection, reader: Reader, job: &Job) -> rusqlite::Result<Done> {
        Ok(match job {
            Job::Write(write, _) => Done::Written(self.write_one(db, reader, write)?),
            Job::Adopt(ids, _) => Done::Adopted(rows::adopt(db, reader, ids)?),
            _ => {
                pass(Step::Release)?;
                db.prepare_cached(sql::LEAVE)?.execute([self.us])?;
                Done::Released
            }
        })
    }

    fn write_one(
        &self,
        db: &Connection,
        reader: Reader,
        write: &Write,
    ) -> rusqlite::Result<Written> {
        let memory = |id: &str| Self::memory(&self.held, self.files, id);
        match writes::write(db, reader.pen, write, memory) {
            Err(error) if is_its_own(&error) => {
                let reason = error.to_string();
                let error = super::trouble::io_error(&self.place.path, reason);
                Ok(Written { answer: Err(error), effect: Effect::None })
            }
            written => written,
        }
    }

    /// Takes note of a write that is committed.
    fn follow_up(&mut self, write: Write, written: &Written) {
        let is_done = written.is_done();
        match &written.effect {
            Effect::None => {}
            Effect::Parked(ids) => ids.iter().for_each(|id| {
                self.held.remove(&**id);
            }),
            Effect::Stop => {
                if let Write::Cancel(id) = &write {
                    self.told.tell(Notice::Cancel(id.clone()));
                }
            }
            Effect::Look => self.told.tell(Notice::Look),
        }
        // A put of what was not taken finds nothing to take back, and nothing lost.
        if written.answer == Ok(Outcome::Fenced) && !matches!(write, Write::Reopen(_)) {
            hold_of(&write).and_then(|hold| self.held.remove(&hold.id));
        }
        if !is_done {
            return;
        }
        match write {
            Write::Dispatch(new) => self.hold(new.id.clone(), Some(new)),
            Write::Finish { hold, .. } if written.effect == Effect::None => {
                // It is in this file now, also if that had lost it.
                self.hold(hold.id, None);
            }
            Write::Reopen(hold) => {
                self.hold(hold.id, None);
                self.settled = self.settled.map(|settled| settled - 1);
            }
            Write::Ack(hold) | Write::Drop(hold) => {
                self.held.remove(&hold.id);
                self.settled = self.settled.map(|settled| settled + 1);
            }
            Write::Withdraw(hold) | Write::Bury { hold, .. } => {
                self.held.remove(&hold.id);
            }
            Write::Discard(_) => self.settled = self.settled.map(|settled| settled + 1),
            // It may have been settled, or not: counted anew.
            Write::Redeliver(_) => self.settled = None,
            _ => {}
        }
    }

    fn hold(&mut self, id: Arc<str>, task: Option<NewDelegation>) {
        self.held.insert(id, Held { file: self.files, task });
    }

    /// Whether there is, or is about to be, something to hold.
    fn needs_lease(&self) -> bool {
        !self.held.is_empty()
            || self.queue.iter().any(|job| {
                matches!(job, Job::Adopt(..) | Job::Write(Write::Dispatch(_) | Write::Reopen(_), _))
            })
    }

    /// Renews the lease along with what is written, if a third of it is over.
    fn renew_in(&mut self, db: &Connection, reader: Reader) -> rusqlite::Result<bool> {
        let now = self.clock.now();
        let is_fresh = self.renew_at.is_some_and(|at| now.steady < at) && reader.grace == 0;
        if is_fresh || !self.needs_lease() {
            return Ok(false);
        }
        pass(Step::Renew)?;
        let until = now.wall.saturating_add(self.lease);
        db.prepare_cached(sql::RENEW)?.execute(params![self.us, until, self.lease])?;
        db.prepare_cached(sql::CLAMP)?.execute([now.wall])?;
        db.prepare_cached(sql::BURY_INSTANCES)?.execute([now.wall])?;
        let mut cancels = db.prepare_cached(sql::CANCELS)?;
        for id in cancels.query_map([self.us], |row| row.get(0))? {
            self.told.tell(Notice::Cancel(id?));
        }
        Ok(true)
    }

    /// Deletes a few settled rows every so often, if they are too old or too many.
    fn retain_in(
        &mut self,
        db: &Connection,
        reader: Reader,
        written: usize,
    ) -> rusqlite::Result<()> {
        self.unretained += written;
        self.uncounted += i64::try_from(written).unwrap_or(i64::MAX);
        let Some(settled) = self.settled.filter(|_| self.unretained >= RETENTION_EVERY) else {
            return Ok(());
        };
        pass(Step::Retain)?;
        self.unretained = 0;
        let oldest = reader.pen.now.saturating_sub(millis(self.retention.age));
        let mut delete = db.prepare_cached(sql::DELETE_SETTLED_BEFORE)?;
        let settled = settled - delete.execute([RETENTION_STEP, oldest])? as i64;
        let most = i64::try_from(self.retention.count).unwrap_or(i64::MAX);
        let over = settled.saturating_sub(most).clamp(0, RETENTION_STEP);
        let mut delete = db.prepare_cached(sql::DELETE_SETTLED)?;
        self.settled = Some(settled - delete.execute([over])? as i64);
        Ok(())
    }

    /// What is to be done now and then, and nobody waits for.
    fn tidy_up(&mut self) {
        let copies = self.log_pages >= LOG_PAGES;
        // Counting takes as long as there are rows: once for as many writes, for what other
        // processes have settled or deleted meanwhile.
        let counts = self.settled.is_none_or(|settled| copies && self.uncounted >= settled);
        if !copies && !counts {
            return;
        }
        let tidied = self.with_file(|papers, file| {
            let tidy = || {
                if copies && file.has_log {
                    file.checkpoint()?;
                }
                if !counts {
                    return Ok(papers.settled);
                }
                let mut count = file.db.prepare_cached(sql::COUNT_SETTLED)?;
                count.query_row([], |row| row.get(0)).map(Some)
            };
            tidy().map_err(|error| papers.trouble(&error, file))
        });
        // What could not be tidied up is next time.
        self.log_pages = if copies { 0 } else { self.log_pages };
        self.uncounted = if counts { 0 } else { self.uncounted };
        self.settled = tidied.ok().flatten();
    }
}
