//! The file: made, opened, brought up to date, and looked after.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::failure::{Failure, pass, shown};
use super::header::{self, InUse};
use super::paths::{Identity, beside, folder, identity, identity_of, new_name, remove_unfinished};
use super::schema::{APPLICATION, KNOWN, migrate, version};
use super::{disk, queries as sql};
use crate::error::Error;
use crate::failpoint::{self, Step};
use crate::ledger::Durability;

/// A file up to this size is checked when it is opened: that takes a few milliseconds.
const CHECKED_SIZE: i64 = 4 << 20;

/// Where a ledger is, and how it is to be kept there.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The file, by its one path.
    pub(super) path: PathBuf,
    /// What a commit survives.
    pub(super) durability: Durability,
    /// Whether other machines may use the file's disk; as the system says if it is not said here.
    pub(super) shared_disk: Option<bool>,
}

/// An open file.
pub(super) struct File {
    /// The one connection.
    pub(super) db: Connection,
    /// What tells it from the files that were open before it.
    pub(super) number: u64,
    /// The first of these whose rows were all carried over into it.
    pub(super) carried_since: u64,
    /// What tells this opening of it from another.
    pub(super) opening: u64,
    /// None where a rollback journal is kept.
    log: Option<Log>,
    identity: Identity,
    path: PathBuf,
    /// The folder's names when all was in place, once a change of them would be seen.
    names_seen: Cell<Option<ChangedNames>>,
    /// After the connection: see there.
    _in_use: InUse,
}

impl Place {
    /// Opens the file, made if it is not there, and checks it if that is said and cheap. With what
    /// its user should know.
    pub(super) fn open(&self, checks: bool) -> Result<(File, Option<String>), Failure> {
        let path = &self.path;
        set_up_sqlite();
        let is_new = header::look_at(path)?.is_none();
        if is_new {
            self.make()?;
        }
        failpoint::pass(Step::Open).map_err(|error| Failure::of_system(&error, path))?;
        let before = header::look_at(path)?.ok_or(Failure::Moved)?;
        let in_use = InUse::new(before);
        let index = beside(path, "-shm");
        if index.exists() && !beside(path, "-wal").exists() {
            // It is of a log that was removed; who has that open has the index, too.
            fs::remove_file(&index).map_err(|error| Failure::of_system(&error, path))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        let db = opened.map_err(|error| match identity(path) {
            None => Failure::Moved,
            Some(_) => Failure::of(&error, path, None),
        })?;
        if identity(path) != Some(before) {
            return Err(Failure::Moved);
        }
        let path = path.clone();
        let mut file = File {
            db,
            log: None,
            number: 0,
            carried_since: 0,
            opening: 0,
            identity: before,
            path,
            names_seen: Cell::new(None),
            _in_use: in_use,
        };
        match self.prepare(&mut file, checks && !is_new) {
            Ok(note) => Ok((file, note)),
            Err(failure) => {
                // It stays as it is, for whoever can read it.
                file.leave();
                Err(failure)
            }
        }
    }

    /// Makes the file, for its user alone, and whole: under another name, so that nobody opens half
    /// of it. If somebody else was faster, theirs stays. One process of a folder at a time: what is
    /// left of a log goes before there is a file, never a log that is in use.
    fn make(&self) -> Result<(), Failure> {
        let path = &self.path;
        failpoint::pass(Step::Create).map_err(|error| Failure::of_system(&error, path))?;
        let _alone = disk::lock_folder(path)?;
        if identity(path).is_some() {
            return Ok(());
        }
        self.make_alone()
    }

    /// The same, for whoever has the folder locked.
    pub(super) fn make_alone(&self) -> Result<(), Failure> {
        let path = &self.path;
        let of_system = |error: io::Error| Failure::of_system(&error, path);
        remove_unfinished(path, None);
        for ending in ["-wal", "-shm", "-journal"] {
            // Of a file that is gone: SQLite would put what it has into the new one.
            let _ = fs::remove_file(beside(path, ending));
        }
        let new = new_name(path);
        let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
        drop(created.map_err(of_system)?);
        let made = self.fill(&new).and_then(|()| {
            match disk::put_in_place(&new, path, self.durability == Durability::Full) {
                // Taken for left by a crash, by a clock that was set.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Moved),
                put => put.map_err(of_system),
            }
        });
        for ending in ["", "-journal", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(&new, ending));
        }
        made
    }

    fn fill(&self, new: &Path) -> Result<(), Failure> {
        let failure = |error, db: &Connection| Failure::of(&error, &self.path, Some(db));
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(new, flags);
        let mut db = opened.map_err(|error| Failure::of(&error, &self.path, None))?;
        // Nobody else knows of it yet: it goes to the disk at the end.
        let quick = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;";
        db.execute_batch(quick).map_err(|error| failure(error, &db))?;
        migrate(&mut db).map_err(|error| failure(error, &db))?;
        if !self.is_shared() {
            // It stays as it is on a disk that cannot hold a log.
            let wal = db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()));
            wal.map_err(|error| failure(error, &db))?;
        }
        db.close().map_err(|(db, error)| failure(error, &db))?;
        if self.durability == Durability::Full {
            let synced = fs::File::open(new).and_then(|file| file.sync_all());
            synced.map_err(|error| Failure::of_system(&error, &self.path))?;
        }
        Ok(())
    }

    /// Whether other machines may use its disk.
    pub(super) fn is_shared(&self) -> bool {
        self.shared_disk.unwrap_or_else(|| disk::is_shared(folder(&self.path)))
    }

    fn prepare(&self, file: &mut File, checks: bool) -> Result<Option<String>, Failure> {
        let path = &self.path;
        let failure = |error, db: &Connection| Failure::of(&error, path, Some(db));
        let db = &mut file.db;
        // Waiting is for the writer to do, with no lock held.
        db.busy_timeout(Duration::ZERO).map_err(|error| failure(error, db))?;
        let found = version(db).map_err(|error| failure(error, db))?;
        if found.application != APPLICATION {
            let reason = "it is another program's".into();
            return Err(Failure::Failed(Error::NotALedger { path: shown(path), reason }));
        }
        if found.schema > KNOWN {
            let path = shown(path);
            return Err(Failure::Failed(Error::LedgerNewer {
                path,
                found: found.schema,
                known: KNOWN,
            }));
        }
        let is_shared = self.is_shared();
        let mode = configure(db, is_shared, self.durability).map_err(|error| failure(error, db))?;
        if found.schema < KNOWN {
            migrate(db).map_err(|error| failure(error, db))?;
        }
        if checks {
            check(db).map_err(|error| failure(error, db))?.map_err(Failure::Damaged)?;
        }
        if mode == "wal" {
            // With what was read, it is open; but what has the names may be another's by now.
            let log = Log::of(path).filter(Log::is_open_here);
            file.log = Some(log.ok_or(Failure::Moved)?);
        }
        Ok(file.log.is_none().then(|| {
            let why = match is_shared {
                true => "is on a disk that other machines may use",
                false => "is on a disk that cannot hold a write-ahead log",
            };
            format!("the ledger {} {why}: it keeps a rollback journal", shown(path))
        }))
    }
}

/// Has SQLite keep no statistics of its memory, before its first use: they cost it a lock with each
/// allocation, which a fork could copy while another thread has it.
#[allow(unsafe_code)]
pub(super) fn set_up_sqlite() {
    static ONCE: Once = Once::new();
    // SAFETY: the option takes one int. Where SQLite is in use already, it refuses.
    ONCE.call_once(|| unsafe {
        ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0);
    });
}

/// What tells a file and its log from any other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names(Identity, Option<[Identity; 2]>);

impl Names {
    /// The parts of its log, and what tells them from others of their names, if another file is at its
    /// path.
    pub(super) fn log_of_another(&self, path: &Path) -> Option<[(PathBuf, Identity); 2]> {
        let is_another = identity(path).is_some_and(|there| there != self.0);
        let [log, index] = self.1.filter(|_| is_another)?;
        Some([(beside(path, "-wal"), log), (beside(path, "-shm"), index)])
    }
}

/// Which folder it is, and when one of its names last changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChangedNames(Identity, Duration);

impl ChangedNames {
    fn of(folder: &Path) -> Option<Self> {
        let about = fs::metadata(folder).ok()?;
        let seconds = Duration::from_secs(about.ctime().try_into().ok()?);
        let rest = Duration::from_nanos(about.ctime_nsec().try_into().ok()?);
        Some(Self(identity_of(&about), seconds + rest))
    }

    /// Whether a change from now on has another time: a file system counts in ticks.
    fn is_settled(&self) -> bool {
        const TICK: Duration = Duration::from_millis(100);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| now.checked_sub(self.1).is_some_and(|age| age > TICK))
    }
}

/// What lies beside a file while it is open: its write-ahead log, and the index of that.
#[derive(Debug)]
struct Log([(PathBuf, Identity); 2]);

impl Log {
    fn of(path: &Path) -> Option<Self> {
        let part = |ending| {
            let part = beside(path, ending);
            identity(&part).map(|identity| (part, identity))
        };
        Some(Self([part("-wal")?, part("-shm")?]))
    }

    fn is_moved(&self) -> bool {
        self.0.iter().any(|(part, known)| identity(part) != Some(*known))
    }

    /// Whether this process has it open, as far as the system says.
    fn is_open_here(&self) -> bool {
        let Ok(open) = fs::read_dir("/proc/self/fd") else { return true };
        let open = open.filter_map(|open| identity(&open.ok()?.path()));
        let open: HashSet<_> = open.collect();
        self.0.iter().all(|(_, part)| open.contains(part))
    }
}

impl File {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What an error of SQLite on it means.
    pub(super) fn failure(&self, error: &rusqlite::Error) -> Failure {
        Failure::of(error, &self.path, Some(&self.db))
    }

    /// What tells it from another of the same name.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the path names another file by now, or none; or its log has lost its name, and with it
    /// what is in it and not in the file.
    pub(super) fn is_moved(&self) -> bool {
        let Some(log) = &self.log else {
            return identity(&self.path) != Some(self.identity);
        };
        // Mostly one question instead of three: whether any name has changed there.
        let names = ChangedNames::of(folder(&self.path));
        if names.is_some() && names == self.names_seen.get() {
            return false;
        }
        if identity(&self.path) != Some(self.identity) || log.is_moved() {
            return true;
        }
        self.names_seen.set(names.filter(ChangedNames::is_settled));
        false
    }

    /// Whether a log is kept that has to be copied into the file.
    pub(super) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// What tells it and its log from any other.
    pub(super) fn names(&self) -> Names {
        Names(self.identity, self.log.as_ref().map(|log| log.0.each_ref().map(|part| part.1)))
    }

    /// Copies what the log has into the file, as far as nobody reads it.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        pass(Step::Checkpoint)?;
        self.db.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query([])?.next()?;
        Ok(())
    }

    /// Closes the file as it is: nothing is written, whatever the log has.
    pub(super) fn leave(self) {
        // A connection that cannot be told closes as it would; it is then damaged anyway.
        let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

/// Sets the connection up. The journal's mode, which may not be the one that was asked for.
fn configure(db: &Connection, is_shared: bool, durability: Durability) -> rusqlite::Result<String> {
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let wanted = if is_shared { "delete" } else { "wal" };
    let journal = |row: &rusqlite::Row<'_>| row.get(0);
    let mut mode: String = db.pragma_query_value(None, "journal_mode", journal)?;
    if mode != wanted {
        mode = db.pragma_update_and_check(None, "journal_mode", wanted, journal)?;
    }
    db.execute_batch(
        "PRAGMA wal_autocheckpoint = 8000;
        PRAGMA journal_size_limit = 8388608;
        PRAGMA cache_size = -8000;
        PRAGMA temp_store = MEMORY;
        PRAGMA cell_size_check = ON;
        PRAGMA foreign_keys = OFF;",
    )?;
    set_durability(db, durability)?;
    Ok(mode)
}

/// What a commit survives from now on.
pub(super) fn set_durability(db: &Connection, durability: Durability) -> rusqlite::Result<()> {
    db.execute_batch(match durability {
        // In a rollback journal's mode, the folder is synced too.
        Durability::Full => "PRAGMA synchronous = EXTRA; PRAGMA fullfsync = ON;",
        Durability::Process => "PRAGMA synchronous = NORMAL; PRAGMA fullfsync = OFF;",
    })
}

/// Looks for damage, as far as that is cheap. What is damaged.
pub(super) fn check(db: &Connection) -> rusqlite::Result<Result<(), String>> {
    for statement in [sql::ONE, sql::DISPATCH, sql::LONG_EVENT, sql::RENEW] {
        if let Err(error) = db.prepare_cached(statement) {
            let is_schema = error.sqlite_error_code() == Some(ErrorCode::Unknown);
            return if is_schema { Ok(Err(error.to_string())) } else { Err(error) };
        }
    }
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("page_count")?.saturating_mul(number("page_size")?) > CHECKED_SIZE {
        return Ok(Ok(()));
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if found == "ok" { Ok(()) } else { Err(found) })
}
