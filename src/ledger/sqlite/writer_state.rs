//! The writer's rounds: it takes what waits, does it, answers, and does what is due.
//!
//! The lock is held while the disk is at work, by the writer's thread or by a caller that waits, and
//! by `fork`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::instance::{Done, Instance};
use super::jobs::Job;
use super::open_file::OpenFile;
use super::status::Status;
use super::user::User;
use crate::error::Error;
use crate::failpoint::{self, Step};
use crate::ledger::receipt::{Promise, Receipt};
use crate::ledger::write_queue::WriteQueue;
use crate::ledger::{Claim, NewDelegation, Notice, Outcome, Row, Write};
use crate::sync::{Guarded, Lock, Locked};

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

/// What the writer's lock guards.
pub(super) struct WriterState {
    file: OpenFile,
    pub(super) instance: Instance,
    status: Arc<Status>,
    write_queue: Arc<WriteQueue<Job>>,
    /// What was taken from the write queue and is not done yet.
    queue: VecDeque<Job>,
    /// What could not be written and is still to be, the oldest first.
    backlog: VecDeque<Kept>,
    busy_since: Option<Instant>,
    flushes: Vec<Promise<()>>,
}

/// A write that failed and is kept.
struct Kept {
    user: User,
    write: Write,
    /// Of an acknowledgement that nothing but somebody else's lock keeps: it is answered when it is
    /// written, or when the row is not surely ours any more. All others were answered.
    promise: Option<Promise>,
}

/// The writer's lock.
pub(super) struct WriterLock(pub(super) Guarded<WriterState>);

impl Locked for WriterLock {
    type State = WriterState;

    fn state(&self) -> &Guarded<WriterState> {
        &self.0
    }
}

/// How many writes go into one transaction at most.
const BATCH: usize = 512;
/// How many of those that are not urgent go along with one that is.
const ALONG: usize = 64;
/// How long somebody else's lock is waited for; by an acknowledgement until the row is not surely
/// ours any more, if that is longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl WriterLock {
    pub(super) fn new(
        file: OpenFile,
        instance: Instance,
        status: Arc<Status>,
        write_queue: Arc<WriteQueue<Job>>,
    ) -> Self {
        let (queue, backlog) = (VecDeque::new(), VecDeque::new());
        let (busy_since, flushes) = (None, Vec::new());
        let state = WriterState {
            file,
            instance,
            status,
            write_queue,
            queue,
            backlog,
            busy_since,
            flushes,
        };
        Self(Guarded(Lock::new(state)))
    }
}

impl WriterState {
    /// One round: takes what waits, does it, and answers.
    pub(super) fn round(&mut self) -> Next {
        let room = BATCH.saturating_sub(self.queue.len());
        let has_more = self.write_queue.take(room, &mut self.queue);
        if !has_more && self.instance.holdings.renews(self.instance.schedule.now()) {
            self.write_queue.take_along(BATCH, &mut self.queue);
        } else if !has_more && self.queue.iter().any(Job::is_write) {
            self.write_queue.take_along(ALONG, &mut self.queue);
        }
        let done = self.work();
        self.give_up_acks();
        let next = match done {
            Ok(()) if has_more => Next::Again,
            Ok(()) => {
                let left = self.instance.schedule.left(self.instance.holdings.due_at());
                Next::Wait(left.into_iter().chain(self.acks_for()).min())
            }
            Err(pause) => Next::Pause(pause),
        };
        self.status.waiting(self.queue.len() + self.backlog.len());
        next
    }

    /// Works the queue off; how long to pause if somebody else has the file locked.
    fn work(&mut self) -> Result<(), Duration> {
        self.busy_since.get_or_insert_with(Instant::now);
        while let Some(job) = self.queue.front() {
            if job.is_release() && !self.instance.holdings.has_lease(job.user()) {
                // The file is not opened to give nothing up.
                let done = self.queue.pop_front().map(|job| (job, Done::Released(false)));
                done.into_iter().for_each(|(job, done)| self.answer(job, done));
                continue;
            }
            if matches!(job, Job::Adopt(user, ..) if self.instance.holdings.is_over(*user)) {
                if let Some(Job::Adopt(_, _, promise)) = self.queue.pop_front() {
                    promise.answer(Ok(Vec::new()));
                }
                continue;
            }
            if job.is_write() {
                self.write_some()?;
                continue;
            }
            match self.queue.pop_front() {
                Some(Job::Read(user, question, promise)) => {
                    let rows = self.instance.read(&mut self.file, user, &question);
                    self.answer_read(rows, promise, |promise| Job::Read(user, question, promise))?;
                }
                Some(Job::Peek(user, question, promise)) => {
                    let rows = self.instance.peek(&mut self.file, user, &question);
                    self.answer_read(rows, promise, |promise| Job::Peek(user, question, promise))?;
                }
                Some(Job::Flush(promise)) => self.flushes.push(promise),
                Some(Job::Interest(user, has)) => {
                    self.instance.holdings.set_interest(user, has);
                }
                Some(Job::Look(at)) => self.instance.schedule.look_again(at),
                _ => {}
            }
        }
        self.do_what_is_due()?;
        if self.backlog.is_empty() {
            // First: whoever flushed may look.
            self.status.waiting(0);
            self.flushes.drain(..).for_each(|promise| promise.answer(Ok(())));
        }
        self.busy_since = None;
        Ok(())
    }

    /// Answers who reads; or how long to pause before `again` is done.
    fn answer_read(
        &mut self,
        rows: Result<Vec<Row>, Failure>,
        promise: Promise<Vec<Row>>,
        again: impl FnOnce(Promise<Vec<Row>>) -> Job,
    ) -> Result<(), Duration> {
        let answer = match rows {
            Ok(rows) => Ok(rows),
            Err(failure) => match self.patient(failure) {
                Ok(error) => Err(error),
                Err(pause) => {
                    self.queue.push_front(again(promise));
                    return Err(pause);
                }
            },
        };
        promise.answer(answer);
        Ok(())
    }

    /// Writes the jobs at the head of the queue that are writes, in one transaction.
    fn write_some(&mut self) -> Result<(), Duration> {
        let writes = self.queue.iter().take(BATCH).take_while(|job| job.is_write()).count();
        // What comes after a release is another instance's.
        let release = self.queue.iter().position(Job::is_release);
        let count = release.map_or(writes, |release| writes.min(release + 1));
        if let Err(failure) = self.write_backlog().and_then(|()| self.write_jobs(count)) {
            let error = self.patient(failure)?;
            self.refuse(count, &error);
        }
        self.busy_since = Some(Instant::now());
        Ok(())
    }

    /// Writes what could not be written before.
    fn write_backlog(&mut self) -> Result<(), Failure> {
        while !self.backlog.is_empty() {
            let count = self.backlog.len().min(BATCH);
            let writes = self.backlog.iter().take(count).map(|kept| (kept.user, &kept.write));
            let written = self.instance.write(&mut self.file, writes)?;
            let mut late = Vec::new();
            for (kept, written) in self.backlog.drain(..count).zip(written) {
                let Kept { user, write, promise } = kept;
                // Its event is out under a claim that is over: whoever wants it gets it anew.
                if let Write::Finish { claim, .. } = &write {
                    let id = claim.id.clone();
                    match written.answer {
                        Ok(Outcome::Late { fence, .. }) => {
                            let claim = Claim { id, fence };
                            late.push(Kept { user, write: Write::GiveBack(claim), promise: None });
                        }
                        Ok(Outcome::Parked) => self.status.tell(user, Notice::Park((*id).into())),
                        _ => {}
                    }
                }
                self.instance.follow_up(user, write, &written, self.file.number());
                promise.inspect(|promise| promise.answer(written.answer));
            }
            self.backlog.extend(late);
        }
        self.instance.leave_gone(&mut self.file)?;
        self.instance.schedule.forget_retry();
        Ok(())
    }

    /// Writes the first jobs of the queue, and answers them.
    fn write_jobs(&mut self, count: usize) -> Result<(), Failure> {
        let done = self.instance.work(&mut self.file, self.queue.iter().take(count))?;
        let jobs: Vec<Job> = self.queue.drain(..count).collect();
        // Before anybody is answered, who may ask at once how the ledger is.
        self.succeeded();
        jobs.into_iter().zip(done).for_each(|(job, done)| self.answer(job, done));
        // Whoever waits has been answered: an error here has nobody to go to.
        let _ = failpoint::pass(Step::Answered);
        self.instance.tidy_up(&mut self.file);
        Ok(())
    }

    /// Takes note of what was done, and answers whoever asked for it.
    fn answer(&mut self, job: Job, done: Done) {
        let file = self.file.number();
        match (job, done) {
            (Job::Write(user, write, promise), Done::Written(written)) => {
                self.instance.follow_up(user, write, &written, file);
                promise.answer(written.answer);
            }
            (Job::Adopt(user, _, promise), Done::Adopted(rows)) => {
                if let Some(holding) = self.instance.holdings.of(user) {
                    for row in &rows {
                        holding.claims.keep(row.claim.id.clone(), file, None);
                    }
                }
                promise.answer(Ok(rows));
            }
            (job, Done::Released(changed)) => {
                match job {
                    Job::Release(user, promise) => {
                        self.instance.holdings.become_another(user);
                        promise.answer(Ok(()));
                    }
                    Job::ReleaseAll(promise) => {
                        self.instance.holdings.end();
                        promise.answer(Ok(()));
                    }
                    Job::Leave(user) => self.instance.holdings.remove(user),
                    _ => {}
                }
                if changed {
                    self.status.publish(Notice::Look);
                }
            }
            _ => {}
        }
    }

    /// Does what is due; how long to pause if somebody else has the file locked.
    fn do_what_is_due(&mut self) -> Result<(), Duration> {
        if self.instance.schedule.retries() {
            self.or_later(|state| {
                state.write_backlog()?;
                state.succeeded();
                Ok(())
            })?;
        }
        let now = self.instance.schedule.now();
        if self.instance.holdings.renews(now) {
            self.or_later(|state| {
                state.instance.renew(&mut state.file)?;
                state.succeeded();
                Ok(())
            })?;
        }
        if self.instance.holdings.looks(now) {
            self.instance.watch(&mut self.file);
        }
        if self.instance.schedule.looks() {
            self.instance.schedule.forget_look();
            self.status.publish(Notice::Look);
        }
        Ok(())
    }

    /// Does something that nobody waits for; if it fails, it is tried again later.
    fn or_later(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<(), Duration> {
        if let Err(failure) = step(self) {
            let error = self.patient(failure)?;
            self.status.failed(0, &error);
            self.put_retry_off();
            self.instance.holdings.put_renewal_off();
        }
        Ok(())
    }

    fn put_retry_off(&mut self) {
        let is_all_there = self.backlog.is_empty() && !self.instance.holdings.has_leaving();
        match is_all_there {
            true => self.instance.schedule.forget_retry(),
            false => self.instance.schedule.put_retry_off(),
        }
    }

    /// The error that a failure is to the caller; or how long to pause before it is tried again.
    fn patient(&mut self, failure: Failure) -> Result<Error, Duration> {
        if let Failure::Busy = failure {
            let waited = self.busy_since.get_or_insert_with(Instant::now).elapsed();
            if waited < PATIENCE {
                // A fifth of what was waited already, as long as that is a short pause.
                return Err((waited / 5).clamp(Duration::from_millis(1), Duration::from_millis(50)));
            }
        }
        Ok(failure.into_error(self.file.path()))
    }

    /// Refuses the first jobs of the queue. What was to be written is kept, but for dispatches.
    fn refuse(&mut self, count: usize, error: &Error) {
        let may_be_committed = self.instance.take_doubt();
        let jobs = self.queue.iter().take(count);
        let failed = jobs.filter(|job| matches!(job, Job::Write(..))).count();
        // Before anybody is answered, who may ask at once how the ledger is.
        self.status.failed(failed, error);
        for job in self.queue.drain(..count) {
            let (user, write, promise) = match job {
                Job::Write(user, write, promise) => (user, write, promise),
                Job::Leave(user) => {
                    self.instance.holdings.leave_later(user);
                    continue;
                }
                job => {
                    job.refuse(error.clone());
                    continue;
                }
            };
            let mut keep = |write, promise| self.backlog.push_back(Kept { user, write, promise });
            match write {
                Write::Ack(_) if !self.instance.holdings.is_surely_ours(user) => {
                    promise.answer(Ok(Outcome::Unwritten));
                }
                Write::Ack(_) if matches!(error, Error::LedgerBusy { .. }) => {
                    keep(write, Some(promise));
                }
                write => {
                    promise.answer(Err(error.clone()));
                    match write {
                        Write::Dispatch(new) if may_be_committed => {
                            let claim = Claim { id: new.id, fence: NewDelegation::FENCE };
                            keep(Write::Withdraw(claim), None);
                        }
                        Write::Dispatch(_) => {}
                        // One for each row, however often it fails.
                        attempts @ Write::Attempts { .. } => {
                            let (_, promise) = Receipt::pending();
                            self.write_queue.put_back(Job::Write(user, attempts, promise));
                        }
                        write => keep(write, None),
                    }
                }
            }
        }
        self.put_retry_off();
    }

    /// How long the first of the acknowledgements that wait for somebody else's lock can wait.
    fn acks_for(&self) -> Option<Duration> {
        let waiting = self.backlog.iter().filter(|kept| kept.promise.is_some());
        waiting.map(|kept| self.instance.holdings.sure_for(kept.user)).min()
    }

    /// Answers the acknowledgements that wait for somebody else's lock, and whose rows are not surely
    /// ours any more: they are not written.
    fn give_up_acks(&mut self) {
        if self.acks_for().is_none_or(|left| !left.is_zero()) {
            return;
        }
        let holdings = &self.instance.holdings;
        self.backlog.retain(|kept| match &kept.promise {
            Some(promise) if !holdings.is_surely_ours(kept.user) => {
                promise.answer(Ok(Outcome::Unwritten));
                false
            }
            _ => true,
        });
        if self.backlog.is_empty() {
            self.instance.schedule.forget_retry();
        }
    }

    /// Everything that was submitted so far is on disk.
    fn succeeded(&mut self) {
        if self.backlog.is_empty() && !self.instance.holdings.has_leaving() {
            self.instance.schedule.forget_retry();
            self.status.waiting(self.queue.len());
            self.status.succeeded();
        }
    }

    /// Ends: what can be written is, and nothing is claimed any more.
    pub(super) fn close(&mut self) {
        let _ = self.write_backlog();
        self.instance.leave(&mut self.file);
        self.file.close();
    }

    /// Closes the file as it is, before the process is copied.
    pub(super) fn close_for_fork(&mut self) {
        self.file.leave();
    }

    /// Begins anew in a forked child, which has claimed nothing and has nothing to write.
    pub(super) fn reset(&mut self) {
        self.file.forget();
        self.instance.holdings.become_others();
        self.queue.drain(..).for_each(Job::abandon);
        self.flushes.drain(..).for_each(Promise::abandon);
        let kept = self.backlog.drain(..);
        kept.filter_map(|kept| kept.promise).for_each(Promise::abandon);
        self.instance.schedule.forget_retry();
        self.instance.schedule.forget_look();
        self.busy_since = None;
    }
}
