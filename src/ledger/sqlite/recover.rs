//! Every row of a damaged file that can be read, into another file.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, params, params_from_iter};

use super::failure::Failure;
use super::paths::beside;
use super::writes::LONG;

/// What was recovered.
pub(super) struct Recovery {
    /// How many delegations.
    pub(super) rows: usize,
    /// Keeps others from writing to the damaged file.
    pub(super) lock: Option<Connection>,
}

/// The columns of a delegation but for `seq`, in the order of the schema.
const COLUMNS: &str = "id, holder, fence, state, delivery, attempts, session_key,
    origin_ui_session_id, parent_session_id, epoch, idempotency_key, dispatched_at, completed_at,
    settled_at, cancel_requested, queued";
const STATE: usize = 4;

/// Carries over what can be read.
pub(super) fn recover_rows(path: &Path, into: &Connection) -> Result<Recovery, Failure> {
    let mut lock = open(path).ok();
    if let Some(db) = &lock {
        match db.execute_batch("BEGIN IMMEDIATE") {
            Ok(()) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                return Err(Failure::Busy);
            }
            Err(_) => lock = None,
        }
    }
    let copy = beside(path, ".salvage-copy");
    let is_readable =
        lock.as_ref().is_some_and(|db| db.prepare("SELECT count(*) FROM delegations").is_ok());
    let copied = if is_readable { None } else { with_another_first_page(path, &copy, into) };
    let source = copied.as_ref().or(lock.as_ref());
    let rows = source.map_or(Ok(0), |from| copy_all(from, into));
    drop(copied);
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(beside(&copy, ending));
    }
    let rows = rows.map_err(|error| Failure::of(&error, path, Some(into)))?;
    Ok(Recovery { rows, lock })
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

fn copy_all(from: &Connection, into: &Connection) -> rusqlite::Result<usize> {
    into.execute_batch("BEGIN IMMEDIATE")?;
    let mut target = Target { from, into, rows: 0 };
    target.copy_instances()?;
    let all = |columns: &str| format!("SELECT seq, {columns} FROM delegations NOT INDEXED");
    // A file of an earlier schema has a column less.
    let all = match from.prepare(&all(COLUMNS)) {
        Ok(_) => all(COLUMNS),
        Err(_) => all(&COLUMNS.replace("queued", "0")),
    };
    // What is damaged ends a reading: so one from each end, then each that an index knows of.
    let is_whole = target.copy_rows(&format!("{all} ORDER BY seq"), None)?;
    if !is_whole {
        target.copy_rows(&format!("{all} ORDER BY seq DESC"), None)?;
        for seq in target.indexed() {
            target.copy_rows(&format!("{all} WHERE seq = ?1"), Some(seq))?;
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
    fn copy_instances(&self) -> rusqlite::Result<()> {
        // A file of an earlier schema has fewer columns.
        let all = ["clock, steady_until", "NULL, NULL"].iter().find_map(|steady| {
            let all = format!("SELECT id, lease_until, term, {steady} FROM instances");
            self.from.prepare(&all).ok()
        });
        let Some(mut all) = all else { return Ok(()) };
        let Ok(mut rows) = all.query([]) else { return Ok(()) };
        let insert = "INSERT OR IGNORE INTO instances (id, lease_until, term, clock, steady_until)
            VALUES (?, ?, ?, ?, ?)";
        let mut insert = self.into.prepare_cached(insert)?;
        while let Ok(Some(row)) = rows.next() {
            unless_unfit(insert.execute(params_from_iter(values(row, 5))))?;
        }
        Ok(())
    }

    /// Carries over what a statement reads until there is damage; whether there was none.
    fn copy_rows(&mut self, statement: &str, seq: Option<i64>) -> rusqlite::Result<bool> {
        let Ok(mut statement) = self.from.prepare_cached(statement) else { return Ok(false) };
        let Ok(mut rows) = statement.query(params_from_iter(seq)) else { return Ok(false) };
        loop {
            match rows.next() {
                Ok(Some(row)) => self.copy_row(values(row, 17))?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn copy_row(&mut self, mut row: Vec<Value>) -> rusqlite::Result<()> {
        let Value::Integer(seq) = row[0] else { return Ok(()) };
        let record = self.text("record", seq);
        let event = self.text("event", seq);
        let runs = row[STATE] == Value::Text("running".into());
        if !runs && event.is_none() {
            // How it ended is not known any more.
            row[STATE] = Value::Text("lost".into());
        }
        let insert = format!(
            "INSERT OR IGNORE INTO delegations (seq, {COLUMNS})
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        );
        let inserted = self.into.prepare_cached(&insert)?.execute(params_from_iter(row));
        if unless_unfit(inserted)? == 0 {
            return Ok(());
        }
        self.rows += 1;
        for (column, text) in [("record", record), ("event", event)] {
            let Some(text) = text else { continue };
            let put = match text.len() > LONG {
                true => format!("INSERT OR IGNORE INTO long_{column}s VALUES (?1, ?2)"),
                false => format!("UPDATE delegations SET {column} = ?2 WHERE seq = ?1"),
            };
            self.into.prepare_cached(&put)?.execute(params![seq, text])?;
        }
        Ok(())
    }

    /// A row's text, from wherever a file of any schema keeps it.
    fn text(&self, column: &str, seq: i64) -> Option<String> {
        let tables = ["delegations".to_owned(), format!("long_{column}s"), format!("{column}s")];
        let text = |row: &rusqlite::Row<'_>| {
            Ok(String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned())
        };
        tables.iter().find_map(|table| {
            let statement = format!("SELECT {column} FROM {table} WHERE seq = ?1");
            self.from.prepare_cached(&statement).ok()?.query_row([seq], text).ok()
        })
    }

    /// Every row that an index knows of.
    fn indexed(&self) -> BTreeSet<i64> {
        let mut known = BTreeSet::new();
        let indexes = [
            ("sqlite_autoindex_delegations_1", "1"),
            ("running", "state = 'running'"),
            ("ended", "state <> 'running'"),
            ("unsettled", "settled_at IS NULL"),
            ("unsettled", "settled_at IS NULL AND delivery IS NOT NULL"),
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
pub(super) fn values(row: &rusqlite::Row<'_>, count: usize) -> Vec<Value> {
    let value = |column| match row.get_ref(column) {
        Ok(ValueRef::Text(bytes)) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        Ok(value) => Value::try_from(value).unwrap_or(Value::Null),
        Err(_) => Value::Null,
    };
    (0..count).map(value).collect()
}

/// How many rows were written: none if the values are not of a row's types.
pub(super) fn unless_unfit(written: rusqlite::Result<usize>) -> rusqlite::Result<usize> {
    match written {
        Err(error) if super::failure::is_its_own(&error) => Ok(0),
        written => written,
    }
}
