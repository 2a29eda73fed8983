//! The transactions on a file: what is written in one, with the leases of those who need them.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::failure::{Failure, io_error, is_its_own, pass};
use super::file::{File, set_durability};
use super::holdings::Holdings;
use super::jobs::Job;
use super::liveness::Instances;
use super::open_file::OpenFile;
use super::queries as sql;
use super::retention::Retained;
use super::rows::{self, Question, Reader};
use super::schedule::Schedule;
use super::status::Status;
use super::user::User;
use super::writes::{self, Effect, WriteContext, Written, claim_of, drop_as_asked};
use crate::failpoint::Step;
use crate::ledger::clock::{ClockId, Moment};
use crate::ledger::{Claim, Durability, Notice, Outcome, Row, Write};

/// How many pages the log may have before it is copied into the file.
const LOG_PAGES: usize = 1_000;

/// What one job of a transaction came to.
pub(super) enum Done {
    Written(Written),
    Adopted(Vec<Row>),
    /// Whether there was anything to give up.
    Released(bool),
}

/// What a transaction needs beside its step.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    /// To know who lives.
    asks_who_lives: bool,
    /// To see whether what is let go of is to be dropped.
    lets_go: bool,
}

/// What a transaction did beside its step.
#[derive(Debug, Default)]
struct Noted {
    /// The lease was renewed.
    renewed: bool,
    /// Others were found dead.
    buried: bool,
    /// Something has come free since the last look.
    looks: bool,
    /// How many changes are known now.
    changes: Option<i64>,
    /// What is asked of us.
    requests: Vec<(User, Notice)>,
    /// What was let go of, and dropped as was asked for.
    dropped: Vec<Claim>,
}

/// The transactions on a file, for all instances of this process.
pub(super) struct Instance {
    pub(super) schedule: Schedule,
    pub(super) holdings: Holdings,
    retained: Retained,
    status: Arc<Status>,
    /// At which opening the settled rows were counted.
    counted_at: u64,
    /// Whether what failed may be on disk all the same.
    may_be_committed: bool,
    /// How many pages the log has got since it was last copied, roughly.
    log_pages: usize,
    /// The instances of the file, us among them.
    instances: Instances,
    /// Which of the files that were opened they are in.
    looked_in: Option<u64>,
    /// The instances of a file that is looked at without being open.
    peeked: Option<Instances>,
    /// How often a row had come free, or its holder was asked for something, when we last looked.
    changes: Option<i64>,
}

impl Instance {
    pub(super) fn new(
        schedule: Schedule,
        holdings: Holdings,
        retained: Retained,
        status: Arc<Status>,
    ) -> Self {
        Self {
            schedule,
            holdings,
            retained,
            status,
            counted_at: 0,
            may_be_committed: false,
            log_pages: 0,
            instances: Instances::default(),
            looked_in: None,
            peeked: None,
            changes: None,
        }
    }

    /// Whether what failed last may be on disk all the same; asked once.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.may_be_committed)
    }

    /// Gives up what every instance of this process holds, where one has a lease.
    pub(super) fn leave(&mut self, file: &mut OpenFile) {
        if self.holdings.known_as().is_some() {
            let needs = Needs { lets_go: true, ..Needs::default() };
            let left = self.transact(file, needs, |instance, file, now| {
                Ok((Vec::<()>::new(), instance.leave_all(&file.db, now)?))
            });
            if left.is_err() {
                return;
            }
        }
        self.holdings.become_others();
    }

    /// Gives up what those held whose user is gone, and that could not be written before.
    pub(super) fn leave_gone(&mut self, file: &mut OpenFile) -> Result<(), Failure> {
        if self.holdings.leaving().next().is_none() {
            return Ok(());
        }
        let needs = Needs { lets_go: true, ..Needs::default() };
        self.transact(file, needs, |instance, file, now| {
            let mut changed = false;
            for one in instance.holdings.leaving() {
                changed |= leave(&file.db, one.us, now)?;
            }
            Ok((Vec::<()>::new(), changed))
        })?;
        self.holdings.left();
        self.status.publish(Notice::Look);
        Ok(())
    }

    /// Reads rows, as a user of this process has them.
    pub(super) fn read(
        &mut self,
        file: &mut OpenFile,
        user: User,
        question: &Question,
    ) -> Result<Vec<Row>, Failure> {
        if question.is_of_free_rows() {
            self.bury(file)?;
        }
        file.with(self.holdings.known_as(), |file| {
            if file.is_moved() {
                return Err(Failure::Moved);
            }
            let now = self.schedule.now();
            let us = self.holdings.of(user).map_or(0, |one| one.us);
            let ours = self.holdings.instances_of(user);
            let mut read = || {
                self.look(file, now)?;
                rows::read(&file.db, self.reader(us, &ours, now), question)
            };
            read().map_err(|error| file.failure(&error))
        })
    }

    /// Has what is lost wait for whoever may have it, if anything is.
    fn bury(&mut self, file: &mut OpenFile) -> Result<(), Failure> {
        let is_to_bury = file.with(self.holdings.known_as(), |file| {
            let now = self.schedule.now();
            self.look(file, now).map_err(|error| file.failure(&error))?;
            Ok(self.instances.is_to_bury(now))
        })?;
        if is_to_bury {
            let needs = Needs { asks_who_lives: true, ..Needs::default() };
            self.transact(file, needs, |_, _, _| Ok((Vec::<()>::new(), false)))?;
        }
        Ok(())
    }

    /// Reads rows; a file that is not open is not opened for it, and stays as it is.
    pub(super) fn peek(
        &mut self,
        file: &mut OpenFile,
        user: User,
        question: &Question,
    ) -> Result<Vec<Row>, Failure> {
        if file.is_open() {
            return self.read(file, user, question);
        }
        let us = self.holdings.of(user).map_or(0, |one| one.us);
        let ours = &*self.holdings.instances_of(user);
        let (now, clock) = (self.schedule.now(), self.schedule.clock_id());
        let others = self.peeked.get_or_insert_with(|| Instances::of(clock, file.is_shared()));
        let rows = file.look(|db| {
            others.look(db, now)?;
            rows::read(db, Reader { us, ours, now, instances: others }, question)
        })?;
        Ok(rows.unwrap_or_default())
    }

    /// Writes, in one transaction.
    pub(super) fn write<'a>(
        &mut self,
        file: &mut OpenFile,
        writes: impl Iterator<Item = (User, &'a Write)> + Clone,
    ) -> Result<Vec<Written>, Failure> {
        let asks_who_lives = writes.clone().any(|(_, write)| write.asks_who_lives());
        for (user, _) in writes.clone() {
            self.holdings.of(user);
        }
        let lets_go = writes.clone().any(|(_, write)| write.lets_go());
        self.transact(file, Needs { asks_who_lives, lets_go }, |instance, file, now| {
            let written =
                writes.clone().map(|(user, write)| instance.write_one(file, user, now, write));
            let written: Vec<_> = written.collect::<rusqlite::Result<_>>()?;
            let changes = written.iter().any(Written::changes_others);
            Ok((written, changes))
        })
    }

    /// Does jobs that write, in one transaction.
    pub(super) fn work<'a>(
        &mut self,
        file: &mut OpenFile,
        jobs: impl Iterator<Item = &'a Job> + Clone,
    ) -> Result<Vec<Done>, Failure> {
        for job in jobs.clone() {
            match job.user() {
                Some(user) if job.claims() => self.holdings.will_claim(user),
                Some(user) => {
                    self.holdings.of(user);
                }
                None => {}
            }
        }
        let needs = Needs {
            asks_who_lives: jobs.clone().any(Job::asks_who_lives),
            lets_go: jobs.clone().any(Job::lets_go),
        };
        self.transact(file, needs, |instance, file, now| {
            let done = jobs.clone().map(|job| instance.do_one(file, now, job));
            let done: Vec<_> = done.collect::<rusqlite::Result<_>>()?;
            let changes = done.iter().any(|done| match done {
                Done::Written(written) => written.changes_others(),
                Done::Adopted(_) => false,
                Done::Released(changed) => *changed,
            });
            Ok((done, changes))
        })
    }

    /// Renews the lease by itself, which need not survive a loss of power; says if there is
    /// something to adopt that was not there before.
    pub(super) fn renew(&mut self, file: &mut OpenFile) -> Result<(), Failure> {
        let durability = file.durability();
        let us = self.holdings.known_as();
        let set = |file: &mut OpenFile, durability| {
            file.with(us, |file| {
                set_durability(&file.db, durability).map_err(|error| file.failure(&error))
            })
        };
        if durability == Durability::Full {
            set(file, Durability::Process)?;
        }
        let needs = Needs::default();
        let renewed = self.transact(file, needs, |_, _, _| Ok((Vec::<()>::new(), false)));
        if durability == Durability::Full {
            set(file, Durability::Full)?;
        }
        renewed.map(drop)
    }

    /// Looks at the other instances, and at what has changed before it first did.
    fn look(&mut self, file: &File, now: Moment) -> rusqlite::Result<()> {
        if self.looked_in != Some(file.number) {
            self.instances = Instances::of(self.schedule.clock_id(), !file.has_log());
            self.looked_in = Some(file.number);
            self.changes = None;
        }
        if self.changes.is_none() {
            self.changes = Some(changes(&file.db)?);
        }
        self.instances.look(&file.db, now)?;
        self.holdings.others_last(self.instances.lasting(now), now);
        Ok(())
    }

    fn reader<'a>(&'a self, us: i64, ours: &'a [i64], now: Moment) -> Reader<'a> {
        Reader { us, ours, now, instances: &self.instances }
    }

    /// What an instance is that has asked for something before.
    fn us(&self, user: User) -> i64 {
        self.holdings.get(user).map_or(0, |one| one.us)
    }

    /// Looks for what has come free, for those who hold nothing; nothing is written.
    pub(super) fn watch(&mut self, file: &mut OpenFile) {
        let now = self.schedule.now();
        self.holdings.looked(now);
        if !file.path().exists() {
            return;
        }
        let watched = file.with(self.holdings.known_as(), |file| {
            // What was never looked at is all new.
            let known = self.changes.filter(|_| self.looked_in == Some(file.number));
            let mut watch = || {
                self.look(file, now)?;
                self.changes = Some(changes(&file.db)?);
                Ok(self.changes != known || self.instances.is_to_bury(now))
            };
            watch().map_err(|error| file.failure(&error))
        });
        // What cannot be read is looked for the next time.
        if watched.unwrap_or(false) {
            self.status.publish(Notice::Look);
        }
    }

    /// What is to be done now and then, and nobody waits for. What cannot be tidied up is next time.
    pub(super) fn tidy_up(&mut self, file: &mut OpenFile) {
        let copies = self.log_pages >= LOG_PAGES;
        let counts = self.retained.is_due(copies);
        if !copies && !counts {
            return;
        }
        if copies {
            self.log_pages = 0;
        }
        let tidied = file.with(self.holdings.known_as(), |file| {
            if copies && file.is_moved() {
                return Err(Failure::Moved);
            }
            let mut tidy = || {
                if copies && file.has_log() {
                    file.checkpoint()?;
                }
                if counts {
                    self.counted_at = file.opening;
                    self.retained.count(&file.db)?;
                }
                Ok(())
            };
            tidy().map_err(|error| file.failure(&error))
        });
        if tidied.is_err() {
            self.retained.forget();
        }
    }

    /// Has `step` write, in a transaction; it says if it did what others wait for. Nothing of it is
    /// there if it fails.
    fn transact<D>(
        &mut self,
        file: &mut OpenFile,
        needs: Needs,
        mut step: impl FnMut(&Self, &File, Moment) -> rusqlite::Result<(Vec<D>, bool)>,
    ) -> Result<Vec<D>, Failure> {
        let done = file.with(self.holdings.known_as(), |file| {
            self.may_be_committed = false;
            self.holdings.in_file(file.number);
            if self.counted_at != file.opening {
                self.retained.forget();
            }
            // A lease counts from here, however long the disk takes.
            let now = self.schedule.now();
            begin(file)?;
            let renews = self.holdings.renews(now);
            let mut noted = Noted { renewed: renews, ..Noted::default() };
            let mut write = || {
                if renews {
                    self.renew_in(&file.db, now, &mut noted)?;
                }
                if renews || needs.asks_who_lives {
                    self.look(file, now)?;
                    noted.buried = self.instances.bury_in(&file.db, now)?;
                }
                noted.changes = self.changes;
                if renews {
                    noted.changes = Some(changes(&file.db)?);
                    noted.looks = noted.changes != self.changes;
                }
                let (done, changed) = step(self, file, now)?;
                if needs.lets_go {
                    noted.dropped = drop_as_asked(&file.db, now.wall)?;
                }
                if changed || noted.buried {
                    let mut statement = file.db.prepare_cached(sql::CHANGED)?;
                    let count: i64 = statement.query_row([], |row| row.get(0))?;
                    // Else others have changed something too, which is still to be looked at.
                    if noted.changes == Some(count - 1) {
                        noted.changes = Some(count);
                    }
                }
                self.retained.delete_in(&file.db, now.wall, done.len())?;
                pass(Step::Commit)?;
                self.may_be_committed = true;
                file.db.prepare_cached("COMMIT")?.execute([])?;
                pass(Step::Committed)?;
                self.may_be_committed = false;
                Ok(done)
            };
            let done = match write() {
                Ok(written) => written,
                Err(error) => {
                    let failure = file.failure(&error);
                    self.may_be_committed &= matches!(failure, Failure::Failed(_));
                    return Err(failure);
                }
            };
            self.note(noted, now, file.number, needs.asks_who_lives);
            self.status.committed(done.len());
            self.log_pages += 2 + 2 * done.len();
            Ok(done)
        });
        self.holdings.over();
        let done = done?;
        // Nobody is answered before what was written has a name.
        file.stays();
        Ok(done)
    }

    /// Takes note of what a transaction did beside its step.
    fn note(&mut self, noted: Noted, now: Moment, file: u64, asked: bool) {
        if noted.renewed {
            self.holdings.renewed(now, file);
        }

        if noted.renewed || asked {
            self.instances.buried(now);
        }
        for (user, request) in noted.requests {
            self.status.tell(user, request);
        }
        if noted.buried || !noted.dropped.is_empty() {
            // What was dropped is settled.
            self.retained.forget();
        }
        // Whoever let go of it has it in memory, perhaps.
        let dropped = noted.dropped.into_iter().map(Notice::Drop);
        dropped.for_each(|notice| self.status.publish(notice));
        self.changes = noted.changes;
        if noted.looks || noted.buried {
            self.status.publish(Notice::Look);
        }
    }

    fn do_one(&self, file: &File, now: Moment, job: &Job) -> rusqlite::Result<Done> {
        Ok(match job {
            Job::Write(user, write, _) => Done::Written(self.write_one(file, *user, now, write)?),
            Job::Adopt(user, ids, _) => {
                let us = self.us(*user);
                Done::Adopted(rows::adopt(&file.db, self.reader(us, &[us], now), ids)?)
            }
            Job::Release(user, _) | Job::Leave(user) => {
                pass(Step::Release)?;
                Done::Released(leave(&file.db, self.us(*user), now)?)
            }
            _ => {
                pass(Step::Release)?;
                Done::Released(self.leave_all(&file.db, now)?)
            }
        })
    }

    /// Gives up what every instance of this process holds. Whether there was anything.
    fn leave_all(&self, db: &Connection, now: Moment) -> rusqlite::Result<bool> {
        let mut changed = false;
        for user in self.holdings.users() {
            changed |= leave(db, self.us(user), now)?;
        }
        Ok(changed)
    }

    fn write_one(
        &self,
        file: &File,
        user: User,
        now: Moment,
        write: &Write,
    ) -> rusqlite::Result<Written> {
        let Some(holding) = self.holdings.get(user) else { return Ok(Written::fenced()) };
        let memory = |id: &str| holding.claims.memory(id, file.carried_since);
        let context = WriteContext { us: holding.us, now: now.wall };
        let mut written = match writes::write(&file.db, context, write, memory) {
            Err(error) if is_its_own(&error) => {
                Written::of(Err(io_error(file.path(), error.to_string())))
            }
            written => written?,
        };
        for &holder in &written.asked {
            // If it is here, it hears at once.
            if let Some(user) = self.holdings.user(holder) {
                let requests = requests(&file.db, holder)?.into_iter();
                written.requests.extend(requests.map(|request| (user, request)));
            }
        }
        Ok(written)
    }

    /// Renews the leases along with what is written, and hears what is asked of their holders.
    fn renew_in(&self, db: &Connection, now: Moment, noted: &mut Noted) -> rusqlite::Result<()> {
        pass(Step::Renew)?;
        let clock = self.schedule.clock_id().map(ClockId::number);
        for (user, one) in self.holdings.due(now) {
            let lease = one.lease();
            let (until, steady_until) =
                (now.wall.saturating_add(lease), now.steady.saturating_add(lease));
            let lease = params![one.us, until, lease, clock, steady_until];
            db.prepare_cached(sql::RENEW)?.execute(lease)?;
            let requests = requests(db, one.us)?.into_iter();
            noted.requests.extend(requests.map(|request| (user, request)));
        }
        Ok(())
    }

    /// Takes note of a user's write that is committed, and of which file it is in.
    pub(super) fn follow_up(&mut self, user: User, write: Write, written: &Written, file: u64) {
        match &written.effect {
            Effect::None | Effect::Again | Effect::LetGo => {}
            Effect::Lost => self.status.publish_to_others(user, &Notice::Look),
            Effect::Parked(ids) => ids.iter().for_each(|id| self.holdings.let_go(id)),
            Effect::Look => self.status.publish(Notice::Look),
        }
        for (user, request) in &written.requests {
            self.status.tell(*user, request.clone());
        }
        let Some(holding) = self.holdings.of(user) else { return };
        let claims = &mut holding.claims;
        // A put of what was not taken finds nothing to take back, and nothing lost.
        if written.answer == Ok(Outcome::Fenced)
            && !matches!(write, Write::Reopen(_))
            && let Some(claim) = claim_of(&write)
        {
            claims.let_go(&claim.id);
        }
        if !written.is_done() {
            return;
        }
        match write {
            Write::Dispatch(new) => claims.keep(new.id.clone(), file, Some(new)),
            Write::Begin(claim) => claims.begin(&claim.id),
            // It is in this file now, also if that had lost it.
            Write::Finish { claim, .. } if written.effect == Effect::None => {
                claims.keep(claim.id, file, None);
                // It may have been settled, or not: counted anew.
                if written.answer != Ok(Outcome::Done) {
                    self.retained.forget();
                }
            }
            Write::Reopen(claim) => {
                claims.keep(claim.id, file, None);
                self.retained.settle(-1);
            }
            Write::Ack(claim) | Write::Drop(claim) => {
                claims.let_go(&claim.id);
                self.retained.settle(i64::from(written.effect != Effect::Again));
            }
            Write::Withdraw(claim)
            | Write::Bury { claim, .. }
            | Write::Park(claim)
            | Write::GiveBack(claim) => {
                claims.let_go(&claim.id);
            }
            Write::Discard(_) => self.retained.settle(1),
            // It may have been settled, or not: counted anew.
            Write::Redeliver(_) => self.retained.forget(),
            _ => {}
        }
    }
}

/// Gives up what an instance holds. Whether there was anything.
fn leave(db: &Connection, us: i64, now: Moment) -> rusqlite::Result<bool> {
    let left = db.prepare_cached(sql::LEAVE)?.execute([us])?;
    let lost = db.prepare_cached(sql::ORPHAN)?.execute([now.wall])?;
    Ok(left + lost > 0)
}

/// What is asked of an instance: that it has not heard of, or, of a drop, that it has not done.
fn requests(db: &Connection, us: i64) -> rusqlite::Result<Vec<Notice>> {
    let mut requests = Vec::new();
    let mut statement = db.prepare_cached(sql::REQUESTS)?;
    let mut rows = statement.query([us])?;
    while let Some(row) = rows.next()? {
        let id: Box<str> = row.get(0)?;
        let (is_running, drops) = (row.get(2)?, row.get(3)?);
        requests.push(match (is_running, drops) {
            (true, _) => Notice::Cancel(id),
            (false, true) => Notice::Drop(writes::claim(&id, row.get(1)?)),
            (false, false) => Notice::Park(id),
        });
    }
    Ok(requests)
}

fn changes(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached(sql::CHANGES)?.query_row([], |row| row.get(0))
}

fn begin(file: &File) -> Result<(), Failure> {
    let begin = || {
        pass(Step::Begin)?;
        file.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        pass(Step::Begun)
    };
    begin().map_err(|error| file.failure(&error))?;
    // Not before: whoever replaced the file may have held its lock until now.
    if file.is_moved() { Err(Failure::Moved) } else { Ok(()) }
}
