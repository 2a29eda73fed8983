//! The file that is kept open: opened at the first use, anew where it is replaced, and
//! quarantined where it is damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::failure::{Failure, shown};
use super::file::{File, Names, Place};
use super::header::check_length;
use super::paths::{Identity, identity};
use super::reconcile::{self, Kept};
use super::status::Status;
use super::{disk, look, quarantine, queries as sql};
use crate::ledger::clock::Clock;
use crate::ledger::{Durability, Millis, Notice};

/// How often in a row a file may turn out to be damaged or replaced.
const OPENINGS: usize = 3;
/// How long somebody else's lock is waited for with ours held: before what was committed is left to be
/// written anew later, and before a file is closed that others still write to.
const PATIENCE: Duration = Duration::from_secs(5);
/// What was known so long ago, in milliseconds, says nothing of what others hold now.
const RECENT: Millis = 60_000;

/// What was in a file that has lost its name, or whose log has.
struct Former {
    rows: Kept,
    names: Names,
    /// Whether there was no file at all: a disk may have been away for a while.
    was_away: bool,
}

/// The file that is kept open.
pub(super) struct OpenFile {
    place: Place,
    clock: Arc<dyn Clock>,
    status: Arc<Status>,
    file: Option<File>,
    /// What was in files that have lost their names, or whose logs have: to be written anew.
    former: Vec<Former>,
    /// When the file was last known to be the one in place, on the steady clock.
    seen_at: Millis,
    /// How many files were opened so far, one and the same opened again not counted.
    number: u64,
    /// The first of these whose rows were all carried over into the present one.
    carried_since: u64,
    /// How many times any was.
    openings: u64,
    /// Whether the file was looked at, and found whole.
    is_looked_at: bool,
    /// Whether its user knows how the file has to be kept.
    is_noted: bool,
    /// Whether the file was found whole, and nothing has happened to it since.
    is_checked: bool,
}

impl OpenFile {
    pub(super) fn new(place: Place, clock: Arc<dyn Clock>, status: Arc<Status>) -> Self {
        Self {
            place,
            clock,
            status,
            file: None,
            former: Vec::new(),
            seen_at: Millis::MIN,
            number: 0,
            carried_since: 0,
            openings: 0,
            is_looked_at: false,
            is_noted: false,
            is_checked: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.place.path
    }

    pub(super) fn durability(&self) -> Durability {
        self.place.durability
    }

    /// What tells the file from those that were open before it.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Runs a step on the file, opened if need be; anew if it is replaced or quarantined meanwhile.
    /// The instance is one that the file should know.
    pub(super) fn with<R>(
        &mut self,
        instance: Option<i64>,
        mut step: impl FnMut(&File) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        for _ in 0..OPENINGS {
            let mut file = match self.file.take() {
                Some(file) => file,
                None => {
                    check_length(&self.place.path)?;
                    quarantine::finish(&self.place.path, self.clock.now().wall)?;
                    self.remove_former_logs()?;
                    let suspect = identity(&self.place.path);
                    match self.open(instance) {
                        Err(Failure::Moved) => continue,
                        Err(Failure::Damaged(reason)) => {
                            self.quarantine(suspect, &reason)?;
                            continue;
                        }
                        opened => opened?,
                    }
                }
            };
            let now = self.clock.now().steady;
            let reconciled = self.reconcile(&file);
            file.carried_since = self.carried_since;
            let done = reconciled.and_then(|()| step(&file));
            if !file.db.is_autocommit() {
                // An error has mostly done it already.
                let _ = file.db.execute_batch("ROLLBACK");
            }
            match done {
                Err(Failure::Moved) => {
                    self.file = self.part_with(file);
                    if self.file.is_some() {
                        return Err(Failure::Busy);
                    }
                    self.is_checked = false;
                    self.number += 1;
                }
                Err(Failure::Damaged(reason)) => {
                    let suspect = Some(file.identity());
                    file.leave();
                    self.quarantine(suspect, &reason)?;
                }
                Err(Failure::Failed(error)) => {
                    self.file = self.part_with(file);
                    self.is_checked = false;
                    return Err(Failure::Failed(error));
                }
                done => {
                    if !file.is_moved() {
                        self.seen_at = now;
                    }
                    self.file = Some(file);
                    return done;
                }
            }
        }
        Err(Failure::Moved)
    }

    /// Whether the file is open, or what was in one that was is still to be written anew.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some() || !self.former.is_empty()
    }

    /// Whether other machines may use the disk of the file.
    pub(super) fn is_shared(&self) -> bool {
        self.place.is_shared()
    }

    /// Runs a step that reads the file, which is not open and stays as it is, whatever is wrong with
    /// it; none if there is no file.
    pub(super) fn look<R>(
        &mut self,
        step: impl FnMut(&Connection) -> rusqlite::Result<R>,
    ) -> Result<Option<R>, Failure> {
        let looked = look::look(&self.place.path, !self.is_looked_at, step)?;
        self.is_looked_at = true;
        self.status.opened();
        Ok(looked)
    }

    /// After a commit: if the file or its log has lost its name meanwhile, what was committed is
    /// written anew. If that fails now, it is tried again with the next step.
    pub(super) fn stays(&mut self) {
        if self.former.is_empty() && !self.file.as_ref().is_some_and(File::is_moved) {
            return;
        }
        // With the lock held: this is rarer than anything that waits for that.
        while_busy(|| {
            let written = self.with(None, |file| match file.is_moved() {
                true => Err(Failure::Moved),
                false => Ok(()),
            });
            matches!(written, Err(Failure::Busy))
        });
    }

    /// Closes the file in order.
    pub(super) fn close(&mut self) {
        self.stays();
        match self.file.take() {
            // What is copied from its log into the file would be there beside what others wrote.
            Some(file) if file.is_moved() => file.leave(),
            file => drop(file),
        }
    }

    /// Closes the file as it is.
    pub(super) fn leave(&mut self) {
        while_busy(|| {
            self.file = self.file.take().and_then(|file| self.part_with(file));
            self.file.is_some()
        });
        if let Some(file) = self.file.take() {
            self.keep(&file, false);
            file.leave();
        }
    }

    /// Forgets what was in files that have lost their names, as in a forked child.
    pub(super) fn forget(&mut self) {
        self.former.clear();
    }

    /// Closes a file as it is. What may have no name any more is kept in memory: the file in place
    /// cannot be opened beside one whose log is another. The file, if somebody else still writes to it.
    fn part_with(&mut self, file: File) -> Option<File> {
        if file.is_moved() {
            if !finish_writes(&file) {
                return Some(file);
            }
            self.keep(&file, true);
        }
        file.leave();
        None
    }

    /// Removes the log of a file that another has taken the place of: SQLite would read it into that
    /// one. Who has it open, too, has all that is in it.
    fn remove_former_logs(&self) -> Result<(), Failure> {
        let path = &self.place.path;
        for Former { names, .. } in &self.former {
            let Some(log) = names.log_of_another(path) else { continue };
            let _alone = disk::lock_folder(path)?;
            for (part, of_it) in log {
                if identity(&part) == Some(of_it) {
                    let _ = fs::remove_file(part);
                }
            }
        }
        Ok(())
    }

    /// Keeps what is in a file that has no name any more; `is_all` if nobody will write to it.
    fn keep(&mut self, file: &File, is_all: bool) {
        match reconcile::kept(&file.db, is_all) {
            Ok(rows) => {
                let (names, was_away) = (file.names(), identity(&self.place.path).is_none());
                self.former.push(Former { rows, names, was_away });
            }
            Err(error) => {
                self.carried_since = self.number + 1;
                self.status.publish(Notice::Warning(format!(
                    "the ledger {} was removed or replaced while it was in use, and cannot be read \
                     any more: {error}",
                    shown(&self.place.path)
                )));
            }
        }
    }

    /// Writes anew what only files without a name have, into the one in place.
    fn reconcile(&mut self, file: &File) -> Result<(), Failure> {
        if self.former.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let is_recent = now.steady.saturating_sub(self.seen_at) <= RECENT;
        let mut rows = 0;
        for former in &self.former {
            let seen = (self.seen_at, self.clock.id());
            let place = reconcile::Place { is_recent, seen, now: now.wall };
            let written = reconcile::reconcile(&former.rows, &file.db, place)
                .map_err(|error| file.failure(&error))?;
            rows += written.rows;
            if !written.is_whole {
                self.carried_since = file.number;
            }
        }
        let names = file.names();
        let is_other =
            self.former.drain(..).any(|former| !former.was_away || former.names != names);
        // Else the same came back. A name says little by itself: numbers of files are used again.
        if is_other || rows > 0 {
            let path = shown(&self.place.path);
            self.status.publish(Notice::Warning(format!(
                "the ledger {path}, or its log, was removed or replaced while it was in use; {rows} \
                 of its delegations were written anew"
            )));
        }
        Ok(())
    }

    fn open(&mut self, instance: Option<i64>) -> Result<File, Failure> {
        let (mut file, note) = self.place.open(!self.is_checked)?;
        if let Some(note) = note.filter(|_| !std::mem::replace(&mut self.is_noted, true)) {
            self.status.publish(Notice::Warning(note));
        }
        if let Some(instance) = instance {
            let known = file.db.prepare_cached(sql::IS_KNOWN);
            let known = known.and_then(|mut known| known.exists([instance]));
            if !known.map_err(|error| file.failure(&error))? {
                self.number += 1;
                if self.former.is_empty() {
                    self.carried_since = self.number;
                }
            }
        }
        self.openings += 1;
        (file.number, file.opening) = (self.number, self.openings);
        self.is_checked = true;
        self.status.opened();
        Ok(file)
    }

    fn quarantine(&mut self, suspect: Option<Identity>, reason: &str) -> Result<(), Failure> {
        let Some(suspect) = suspect else { return Ok(()) };
        let now = self.clock.now().wall;
        if let Some(note) = quarantine::set_aside(&self.place, suspect, reason, now)? {
            self.status.publish(Notice::Warning(note));
        }
        self.is_checked = false;
        self.number += 1;
        self.carried_since = self.number;
        Ok(())
    }
}

/// Has those end who write to a file that has lost its names. Whoever gets its lock after that sees
/// that they are gone, and writes nothing: so all who have it read the same. Whether they have ended.
fn finish_writes(file: &File) -> bool {
    let begun = file.db.execute_batch("BEGIN IMMEDIATE").map_err(|error| file.failure(&error));
    // What cannot be locked may be read all the same.
    !matches!(begun, Err(Failure::Busy))
}

/// Does something until it finds nobody else at work, but not for ever.
fn while_busy(mut is_busy: impl FnMut() -> bool) {
    let start = Instant::now();
    while is_busy() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}
