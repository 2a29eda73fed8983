//! The file: made, opened, brought up to date, and looked after.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::trouble::{Trouble, io_error, pass, shown};
use super::{disk, statements as sql};
use crate::error::Error;
use crate::failpoint::{self, Step};
use crate::ledger::Durability;

/// The schema, one step after the other; a file says how many of them it has.
const MIGRATIONS: [&str; 1] = [include_str!("../sql/0001_delegations.sql")];
/// What tells such a file from another program's.
const APPLICATION: i64 = 0x6863_6c67;
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

/// What tells a file from another of the same name.
pub(super) type Identity = (u64, u64);

/// An open file.
pub(super) struct File {
    /// The one connection.
    pub(super) db: Connection,
    /// Whether a log is kept that has to be copied into the file.
    pub(super) has_log: bool,
    identity: Identity,
    path: PathBuf,
}

impl Place {
    /// Opens the file, made if it is not there, and checks it if that is said and cheap. With what
    /// its user should know.
    pub(super) fn open(&self, checks: bool) -> Result<(File, Option<String>), Trouble> {
        let path = &self.path;
        if path.file_name().is_some_and(|name| name == "state.db") {
            // Two SQLites in one process drop each other's locks, and the gateway opens this one.
            return Err(Trouble::Failed(io_error(path, "the gateway's own file".into())));
        }
        let is_new = self.create().map_err(|error| Trouble::of_system(&error, path))?;
        failpoint::pass(Step::Open).map_err(|error| Trouble::of_system(&error, path))?;
        let before = identity(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        let db = opened.map_err(|error| match identity(path) {
            None => Trouble::Moved,
            Some(_) => Trouble::of(&error, path, None),
        })?;
        match (before, identity(path)) {
            (Some(before), Some(after)) if before == after => {
                let mut file = File { db, has_log: false, identity: after, path: path.clone() };
                match self.prepare(&mut file, checks && !is_new) {
                    Ok(note) => Ok((file, note)),
                    Err(trouble) => {
                        // It stays as it is, for whoever can read it.
                        file.leave();
                        Err(trouble)
                    }
                }
            }
            _ => Err(Trouble::Moved),
        }
    }

    /// Makes the file, for its user alone, if it is not there; SQLite then makes what goes with it
    /// as it finds the file. Whether it was made.
    fn create(&self) -> io::Result<bool> {
        if self.path.try_exists()? {
            return Ok(false);
        }
        failpoint::pass(Step::Create)?;
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn prepare(&self, file: &mut File, checks: bool) -> Result<Option<String>, Trouble> {
        let path = &self.path;
        let trouble = |error, db: &Connection| Trouble::of(&error, path, Some(db));
        let db = &mut file.db;
        let known = MIGRATIONS.len() as i64;
        // Waiting is for the writer to do, with no lock held.
        db.busy_timeout(Duration::ZERO).map_err(|error| trouble(error, db))?;
        let found = version(db).map_err(|error| trouble(error, db))?;
        if found.application != APPLICATION && !(found.application == 0 && found.is_empty) {
            let reason = "it is another program's".into();
            return Err(Trouble::Failed(io_error(path, reason)));
        }
        if found.schema > known {
            let path = shown(path);
            return Err(Trouble::Failed(Error::LedgerNewer { path, found: found.schema, known }));
        }
        let is_shared = self
            .shared_disk
            .unwrap_or_else(|| disk::is_shared(path.parent().unwrap_or(Path::new("/"))));
        let mode = configure(db, is_shared, self.durability).map_err(|error| trouble(error, db))?;
        if found.schema < known {
            migrate(db).map_err(|error| trouble(error, db))?;
        }
        if checks {
            check(db).map_err(|error| trouble(error, db))?.map_err(Trouble::Damaged)?;
        }
        file.has_log = mode == "wal";
        Ok((!file.has_log).then(|| {
            let why = match is_shared {
                true => "is on a disk that other machines may use",
                false => "is on a disk that cannot hold a write-ahead log",
            };
            format!("the ledger {} {why}: it keeps a rollback journal", shown(path))
        }))
    }
}

impl File {
    /// What tells it from another of the same name.
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the path names another file by now, or none.
    pub(super) fn is_moved(&self) -> bool {
        identity(&self.path) != Some(self.identity)
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

struct Version {
    application: i64,
    schema: i64,
    is_empty: bool,
}

fn version(db: &Connection) -> rusqlite::Result<Version> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get(0));
    let objects = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)";
    Ok(Version {
        application: number("application_id")?,
        schema: number("user_version")?,
        is_empty: db.query_row(objects, [], |row| row.get(0))?,
    })
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

fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    pass(Step::Migrate)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    let done = version(&transaction)?.schema;
    for (number, step) in (1..).zip(MIGRATIONS) {
        if number > done {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    pass(Step::Migrated)?;
    transaction.commit()
}

/// Looks for damage, as far as that is cheap. What is damaged.
fn check(db: &Connection) -> rusqlite::Result<Result<(), String>> {
    for statement in [sql::ONE, sql::DISPATCH, sql::FINISH_EVENT, sql::RENEW] {
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

/// What tells the file at a path from another, without opening it: closing it again would drop the
/// locks that SQLite has on it.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}
