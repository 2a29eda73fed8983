//! Every row of a damaged file that can be read, into another file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params, params_from_iter};

use super::salvage::beside;
use super::trouble::Trouble;

/// What was carried over.
pub(super) struct Carried {
    /// How many delegations.
    pub(super) rows: usize,
    /// Keeps others from writing to the damaged file.
    pub(super) lock: Option<Connection>,
}

/// The columns of a delegation but for `seq`, in the order of the schema.
const COLUMNS: &str = "id, holder, fence, state, delivery, attempts, session_key,
    origin_ui_session_id, parent_session_id, epoch, idempotency_key, dispatched_at, completed_at,
    settled_at, cancel_requested";
const STATE: usize = 4;

/// Carries over what can be read.
pub(super) fn carry_over(path: &Path, into: &Connection) -> Result<Carried, Trouble> {
    let mut lock = open(path).ok();
    if let Some(db) = &lock {
        match db.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return Err(Trouble::Busy);
            }
            Err(_) => lock = None,
        }
    }
    let copy = beside(path, ".salvage-copy");
    let is_readable =
        lock.as_ref().is_some_and(|db| db.prepare("SELECT count(*) FROM delegations").is_ok());
    let copied = if is_readable { None } else { with_another_first_page(path, &copy, into) };
    let source = copied.as_ref().or(lock.as_ref());
    let rows = source.map_or(Ok(0), |from| carry(from, into));
    drop(copied);
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(&copy, ending));
    }
    let rows = rows.map_err(|error| Trouble::of(&error, path, Some(into)))?;
    Ok(Carried { rows, lock })
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(Duration::ZERO)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(db)
}

/// A copy of a file whose first page is damaged, with that of a new file in its place: it says
/// where the tables begin, which is the same in every file of one schema.
fn with_another_first_page(path: &Path, copy: &PathBuf, new: &Connection) -> Option<Connection> {
    const PAGE: u64 = 4096;
    let from: PathBuf = new.path()?.into();
    let mut first = vec![0; PAGE as usize];
    fs::File::open(from).ok()?.read_exact_at(&mut first, 0).ok()?;
    let pages = u32::try_from(fs::metadata(path).ok()?.len() / PAGE).ok()?;
    fs::copy(path, copy).ok()?;
    let has_log = fs::copy(beside(path, "-wal"), beside(copy, "-wal")).is_ok();
    // The header's fields: how it is written and read, how long it is, and what of it is free.
    let mode = if has_log { 2 } else { 1 };
    first[18..20].copy_from_slice(&[mode, mode]);
    first[28..32].copy_from_slice(&pages.to_be_bytes());
    first[32..40].fill(0);
    fs::OpenOptions::new().write(true).open(copy).ok()?.write_all_at(&first, 0).ok()?;
    open(copy).ok()
}

fn carry(from: &Connection, into: &Connection) -> rusqlite::Result<usize> {
    into.execute_batch("BEGIN IMMEDIATE")?;
    let mut target = Target { from, into, rows: 0 };
    target.carry_instances()?;
    let all = format!("SELECT seq, {COLUMNS} FROM delegations NOT INDEXED");
    // What is damaged ends a reading: so one from each end, then each that an index knows of.
    let is_whole = target.carry_rows(&format!("{all} ORDER BY seq"), None)?;
    if !is_whole {
        target.carry_rows(&format!("{all} ORDER BY seq DESC"), None)?;
        for seq in target.indexed() {
            target.carry_rows(&format!("{all} WHERE seq = ?1"), Some(seq))?;
        }
    }
    into.execute_batch("COMMIT")?;
    Ok(target.rows)
}

struct Target<'a> {
    from: &'a Connection,
    into: &'a Connection,
    rows: usize,
}

impl Target<'_> {
    fn carry_instances(&self) -> rusqlite::Result<()> {
        let Ok(mut all) = self.from.prepare("SELECT id, lease_until, term FROM instances") else {
            return Ok(());
        };
        let Ok(mut rows) = all.query([]) else { return Ok(()) };
        let mut insert =
            self.into.prepare_cached("INSERT OR IGNORE INTO instances VALUES (?, ?, ?)")?;
        while let Ok(Some(row)) = rows.next() {
            unless_unfit(insert.execute(params_from_iter(values(row, 3))))?;
        }
        Ok(())
    }

    /// Carries over what a statement reads until there is damage; whether there was none.
    fn carry_rows(&mut self, statement: &str, seq: Option<i64>) -> rusqlite::Result<bool> {
        let Ok(mut statement) = self.from.prepare_cached(statement) else { return Ok(false) };
        let Ok(mut rows) = statement.query(params_from_iter(seq)) else { return Ok(false) };
        loop {
            match rows.next() {
                Ok(Some(row)) => self.carry_row(values(row, 16))?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn carry_row(&mut self, mut row: Vec<Value>) -> rusqlite::Result<()> {
        let Value::Integer(seq) = row[0] else { return Ok(()) };
        let record = self.text("SELECT record FROM records WHERE seq = ?1", seq);
        let event = self.text("SELECT event FROM events WHERE seq = ?1", seq);
        let runs = row[STATE] == Value::Text("running".into());
        if !runs && event.is_none() {
            // How it ended is not known any more.
            row[STATE] = Value::Text("lost".into());
        }
        let insert = format!(
            "INSERT OR IGNORE INTO delegations (seq, {COLUMNS})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let inserted = self.into.prepare_cached(&insert)?.execute(params_from_iter(row));
        if unless_unfit(inserted)? == 0 {
            return Ok(());
        }
        self.rows += 1;
        if let Some(record) = record {
            let insert = "INSERT OR IGNORE INTO records VALUES (?1, ?2)";
            self.into.prepare_cached(insert)?.execute(params![seq, record])?;
        }
        if let Some(event) = event {
            let insert = "INSERT OR IGNORE INTO events VALUES (?1, ?2)";
            self.into.prepare_cached(insert)?.execute(params![seq, event])?;
        }
        Ok(())
    }

    fn text(&self, statement: &str, seq: i64) -> Option<String> {
        let mut statement = self.from.prepare_cached(statement).ok()?;
        let text = |row: &rusqlite::Row<'_>| {
            Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
        };
        statement.query_row([seq], text).ok()
    }

    /// Every row that an index knows of.
    fn indexed(&self) -> BTreeSet<i64> {
        let mut known = BTreeSet::new();
        let indexes = [
            ("sqlite_autoindex_delegations_1", "1"),
            ("unsettled", "settled_at IS NULL"),
            ("settled", "settled_at IS NOT NULL"),
        ];
        for (index, which) in indexes {
            let statement = format!("SELECT seq FROM delegations INDEXED BY {index} WHERE {which}");
            let Ok(mut statement) = self.from.prepare(&statement) else { continue };
            let Ok(mut rows) = statement.query([]) else { continue };
            while let Ok(Some(row)) = rows.next() {
                known.extend(row.get::<_, i64>(0).ok());
            }
        }
        known
    }
}

/// A row's values, also those with bytes that the disk has changed.
fn values(row: &rusqlite::Row<'_>, count: usize) -> Vec<Value> {
    let value = |column| match row.get_ref(column) {
        Ok(ValueRef::Text(bytes)) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        Ok(value) => Value::try_from(value).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    (0..count).map(value).collect()
}

/// How many rows were written: none if the values are not of a row's types.
fn unless_unfit(written: rusqlite::Result<usize>) -> rusqlite::Result<usize> {
    match written {
        Err(error) if super::trouble::is_its_own(&error) => Ok(0),
        written => written,
    }
}
