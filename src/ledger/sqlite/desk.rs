//! What the writer has before it: the open file, what it holds, and what is to be written.
//!
//! The desk's lock is held while the disk is at work, and by `fork`; no other thread takes it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::{File, Identity, Place, identity};
use super::rows::{Question, Reader};
use super::told::Told;
use super::trouble::Trouble;
use super::writes::{Memory, Pen};
use super::{rows, salvage, statements as sql};
use crate::error::Error;
use crate::ledger::clock::{Clock, Drift};
use crate::ledger::inbox::Inbox;
use crate::ledger::receipt::Promise;
use crate::ledger::{Hold, Millis, NewDelegation, Notice, Retention, Row, Write};
use crate::sync::{Guarded, Locked};

/// Something for the writer to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Writes.
    Write(Write, Promise),
    /// Takes rows over.
    Adopt(Vec<Box<str>>, Promise<Vec<Row>>),
    /// Gives up all that is held.
    Release(Promise<()>),
    /// Reads.
    Read(Question, Promise<Vec<Row>>),
    /// Answers once everything before it is on disk.
    Flush(Promise<()>),
    /// Looks again then.
    Look(Millis),
}

impl Job {
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Write(write, _) => write.is_urgent(),
            _ => true,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self, Self::Write(..) | Self::Adopt(..) | Self::Release(_))
    }

    /// Tells whoever waits that it was not done.
    pub(super) fn refuse(&self, error: Error) {
        match self {
            Self::Write(_, promise) => promise.answer(Err(error)),
            Self::Adopt(_, promise) | Self::Read(_, promise) => promise.answer(Err(error)),
            Self::Release(promise) | Self::Flush(promise) => promise.answer(Err(error)),
            Self::Look(_) => {}
        }
    }

    /// The same, in a forked child.
    pub(super) fn abandon(self) {
        match self {
            Self::Write(_, promise) => promise.abandon(),
            Self::Adopt(_, promise) | Self::Read(_, promise) => promise.abandon(),
            Self::Release(promise) | Self::Flush(promise) => promise.abandon(),
            Self::Look(_) => {}
        }
    }
}

/// What the writer does after a round.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do.
    Again,
    /// Somebody else is writing: a short pause.
    Pause(Duration),
    /// It waits, at most so long.
    Wait(Option<Duration>),
}

/// What is known of a row that this instance holds.
#[derive(Debug)]
pub(super) struct Held {
    /// Which of the files that were opened it is in.
    pub(super) file: u64,
    /// What it was dispatched as, while it runs.
    pub(super) task: Option<NewDelegation>,
}

/// What the desk's lock guards.
pub(super) struct Papers {
    pub(super) place: Place,
    pub(super) lease: Millis,
    pub(super) retention: Retention,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) inbox: Arc<Inbox<Job>>,
    pub(super) told: Arc<Told>,
    pub(super) drift: Drift,
    pub(super) file: Option<File>,
    /// How many files were opened so far, one and the same opened again not counted.
    pub(super) files: u64,
    /// This instance.
    pub(super) us: i64,
    /// When its lease is to be renewed, on the steady clock; none before it has one.
    pub(super) renew_at: Option<Millis>,
    pub(super) held: HashMap<Arc<str>, Held>,
    pub(super) queue: VecDeque<Job>,
    /// Writes that were answered with an error and are still to be written, the oldest first.
    pub(super) backlog: VecDeque<Write>,
    pub(super) retry: Option<Retry>,
    pub(super) busy_since: Option<Instant>,
    pub(super) flushes: Vec<Promise<()>>,
    /// When to look again, on the steady clock.
    pub(super) look_at: Option<Millis>,
    /// What could be adopted when that was last looked for.
    pub(super) free: (i64, i64),
    /// How many rows are settled; not known before it is counted.
    pub(super) settled: Option<i64>,
    /// How many writes there were since that was counted.
    pub(super) uncounted: i64,
    /// How many writes there were since retention was last seen to.
    pub(super) unretained: usize,
    /// Whether what failed may be on disk all the same.
    pub(super) may_be_committed: bool,
    /// When the waiting writer wakes by itself, if it does.
    pub(super) wakes_at: Option<Instant>,
    /// How many pages the log has got since it was last copied, roughly.
    pub(super) log_pages: usize,
    /// Whether it was told already how the file has to be kept.
    pub(super) is_noted: bool,
    /// Whether the file was found whole, and nothing has happened to it since.
    pub(super) is_checked: bool,
}

/// When the backlog is tried again, on the steady clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) at: Millis,
    pub(super) pause: Millis,
}

/// The writer's desk.
pub(super) struct Desk(pub(super) Guarded<Papers>);

impl Locked for Desk {
    type State = Papers;

    fn state(&self) -> &Guarded<Papers> {
        &self.0
    }
}

/// How many writes go into one transaction at most.
pub(super) const BATCH: usize = 512;
/// How long somebody else's lock is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often in a row a file may turn out to be damaged or replaced.
const OPENINGS: usize = 3;

impl Papers {
    /// One round: takes what waits, does it, and answers.
    pub(super) fn round(&mut self) -> Next {
        let room = BATCH.saturating_sub(self.queue.len());
        let has_more = self.inbox.take(room, &mut self.queue);
        let done = self.work();
        let next = match done {
            Ok(()) if has_more => Next::Again,
            Ok(()) => Next::Wait(self.next_due()),
            Err(pause) => Next::Pause(pause),
        };
        self.told.waiting(self.queue.len() + self.backlog.len());
        next
    }

    /// Works the queue off; how long to pause if somebody else has the file locked.
    fn work(&mut self) -> Result<(), Duration> {
        self.busy_since.get_or_insert_with(Instant::now);
        while let Some(job) = self.queue.front() {
            if job.is_write() {
                self.write_some()?;
                continue;
            }
            match self.queue.pop_front() {
                Some(Job::Read(question, promise)) => match self.answer_question(&question) {
                    Ok(answer) => promise.answer(answer),
                    Err(pause) => {
                        self.queue.push_front(Job::Read(question, promise));
                        return Err(pause);
                    }
                },
                Some(Job::Flush(promise)) => self.flushes.push(promise),
                Some(Job::Look(at)) => self.look_after(at),
                _ => {}
            }
        }
        self.do_what_is_due()?;
        if self.backlog.is_empty() {
            // First: whoever flushed may look.
            self.told.waiting(0);
            self.flushes.drain(..).for_each(|promise| promise.answer(Ok(())));
        }
        self.busy_since = None;
        Ok(())
    }

    /// Writes the jobs at the head of the queue that are writes, in one transaction.
    fn write_some(&mut self) -> Result<(), Duration> {
        let writes = self.queue.iter().take(BATCH).take_while(|job| job.is_write()).count();
        // What comes after a release is another instance's.
        let release = self.queue.iter().position(|job| matches!(job, Job::Release(_)));
        let count = release.map_or(writes, |release| writes.min(release + 1));
        if let Err(trouble) = self.write_backlog().and_then(|()| self.write_jobs(count)) {
            let error = self.patient(trouble)?;
            self.refuse(count, &error);
        }
        self.busy_since = Some(Instant::now());
        Ok(())
    }

    fn answer_question(
        &mut self,
        question: &Question,
    ) -> Result<Result<Vec<Row>, Error>, Duration> {
        let read = self.with_file(|papers, file| {
            if file.is_moved() {
                return Err(Trouble::Moved);
            }
            let reader = papers.reader();
            rows::read(&file.db, reader, question).map_err(|error| papers.trouble(&error, file))
        });
        match read {
            Ok(rows) => Ok(Ok(rows)),
            Err(trouble) => self.patient(trouble).map(Err),
        }
    }

    /// The error that a trouble is to the caller; or how long to pause before it is tried again.
    pub(super) fn patient(&mut self, trouble: Trouble) -> Result<Error, Duration> {
        let path = super::trouble::shown(&self.place.path);
        Ok(match trouble {
            Trouble::Busy => {
                let waited = self.busy_since.get_or_insert_with(Instant::now).elapsed();
                if waited < PATIENCE {
                    // A fifth of what was waited already, as long as that is a short pause.
                    return Err(
                        (waited / 5).clamp(Duration::from_millis(1), Duration::from_millis(50))
                    );
                }
                Error::LedgerBusy { path }
            }
            Trouble::Refused(error) | Trouble::Failed(error) => error,
            Trouble::Damaged(reason) => Error::LedgerDamaged { path, reason },
            Trouble::Moved => Error::LedgerIo { path, reason: "it was replaced meanwhile".into() },
        })
    }

    /// Refuses the first jobs of the queue. What was to be written is kept, but for dispatches.
    fn refuse(&mut self, count: usize, error: &Error) {
        let may_be_committed = std::mem::take(&mut self.may_be_committed);
        let jobs = self.queue.iter().take(count);
        let failed = jobs.filter(|job| matches!(job, Job::Write(..))).count();
        // Before anybody is answered, who may ask at once how the ledger is.
        self.told.failed(failed, error);
        for job in self.queue.drain(..count) {
            job.refuse(error.clone());
            let Job::Write(write, _) = job else { continue };
            match write {
                Write::Dispatch(new) if may_be_committed => {
                    let hold = Hold { id: new.id, fence: NewDelegation::FENCE };
                    self.backlog.push_back(Write::Withdraw(hold));
                }
                Write::Dispatch(_) => {}
                write => self.backlog.push_back(write),
            }
        }
        self.put_retry_off();
    }

    /// Everything that was submitted so far is on disk.
    pub(super) fn succeeded(&mut self) {
        if self.backlog.is_empty() {
            self.retry = None;
            self.told.waiting(self.queue.len());
            self.told.succeeded();
        }
    }

    /// Begins anew as another instance, which holds nothing.
    pub(super) fn become_another(&mut self) {
        self.us = random_id();
        self.held.clear();
        self.renew_at = None;
    }

    /// Ends: what can be written is, and nothing is held any more.
    pub(super) fn close(&mut self) {
        let _ = self.write_backlog();
        if self.renew_at.is_some() {
            let _ = self.leave();
        }
        self.file = None;
    }

    /// Closes the file as it is, before the process is copied.
    pub(super) fn close_for_fork(&mut self) {
        if let Some(file) = self.file.take() {
            file.leave();
        }
    }

    /// Begins anew in a forked child, which holds nothing and has nothing to write.
    pub(super) fn reset(&mut self) {
        self.become_another();
        self.queue.drain(..).for_each(Job::abandon);
        self.flushes.drain(..).for_each(Promise::abandon);
        self.backlog.clear();
        self.retry = None;
        self.look_at = None;
        self.busy_since = None;
    }

    /// Runs a step on the file, opened if need be; anew if it is replaced or set aside meanwhile.
    pub(super) fn with_file<R>(
        &mut self,
        mut step: impl FnMut(&mut Self, &File) -> Result<R, Trouble>,
    ) -> Result<R, Trouble> {
        for _ in 0..OPENINGS {
            let file = match self.file.take() {
                Some(file) => file,
                None => {
                    salvage::finish(&self.place.path, self.clock.now().wall)?;
                    let suspect = identity(&self.place.path);
                    match self.open() {
                        Err(Trouble::Moved) => continue,
                        Err(Trouble::Damaged(reason)) => {
                            self.set_aside(suspect, &reason)?;
                            continue;
                        }
                        opened => opened?,
                    }
                }
            };
            let done = step(self, &file);
            if !file.db.is_autocommit() {
                // An error has mostly done it already.
                let _ = file.db.execute_batch("ROLLBACK");
            }
            match done {
                Err(Trouble::Moved) => {
                    file.leave();
                    self.is_checked = false;
                    self.files += 1;
                }
                Err(Trouble::Damaged(reason)) => {
                    let suspect = Some(file.identity());
                    file.leave();
                    self.set_aside(suspect, &reason)?;
                }
                Err(Trouble::Failed(error)) => {
                    file.leave();
                    self.is_checked = false;
                    return Err(Trouble::Failed(error));
                }
                done => {
                    self.file = Some(file);
                    return done;
                }
            }
        }
        Err(Trouble::Moved)
    }

    fn open(&mut self) -> Result<File, Trouble> {
        let (file, note) = self.place.open(!self.is_checked)?;
        if let Some(note) = note.filter(|_| !std::mem::replace(&mut self.is_noted, true)) {
            self.told.tell(Notice::Warning(note));
        }
        let is_known = file
            .db
            .prepare_cached(sql::IS_KNOWN)
            .and_then(|mut is_known| Ok(self.renew_at.is_none() || is_known.exists([self.us])?));
        let is_known = is_known.map_err(|error| self.trouble(&error, &file))?;
        if !is_known {
            self.files += 1;
            self.renew_at = None;
        }
        self.settled = None;
        self.is_checked = true;
        self.told.opened();
        Ok(file)
    }

    /// What an error of SQLite on the open file means.
    pub(super) fn trouble(&self, error: &rusqlite::Error, file: &File) -> Trouble {
        Trouble::of(error, &self.place.path, Some(&file.db))
    }

    fn set_aside(&mut self, suspect: Option<Identity>, reason: &str) -> Result<(), Trouble> {
        let Some(suspect) = suspect else { return Ok(()) };
        let now = self.clock.now().wall;
        if let Some(note) = salvage::set_aside(&self.place, suspect, reason, now)? {
            self.told.tell(Notice::Warning(note));
        }
        self.is_checked = false;
        self.files += 1;
        Ok(())
    }

    /// Who reads or writes, and by which time.
    pub(super) fn reader(&mut self) -> Reader {
        let now = self.clock.now();
        let grace = self.drift.grace(now, self.lease);
        let over = if grace.is_some() { Millis::MIN } else { now.wall };
        Reader { pen: Pen { us: self.us, now: now.wall, over }, grace: grace.unwrap_or(0) }
    }

    /// What is known of a held row that the open file may have lost.
    pub(super) fn memory<'a>(
        held: &'a HashMap<Arc<str>, Held>,
        files: u64,
        id: &str,
    ) -> Memory<'a> {
        match held.get(id) {
            Some(held) if held.file != files => Memory::OtherFile(held.task.as_ref()),
            _ => Memory::SameFile,
        }
    }
}

/// What tells an instance from every other.
pub(super) fn random_id() -> i64 {
    let bits = getrandom::u64().expect("the operating system gives random bits");
    i64::from_ne_bytes(bits.to_ne_bytes())
}
