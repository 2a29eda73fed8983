//! What a file had that was removed or replaced while it was in use, or whose log was: written anew
//! into the file in its place.
//!
//! The old file is read through the connection that has it open: what was deleted stays readable
//! there. It goes into memory first, so that the connection can be closed. Of a row that both have,
//! the one that is further along stays, by its fence first.
//!
//! Several processes may have had the old file. Who parts with it has its lock, and nobody writes
//! after that to a file whose names are gone: so all of them keep the same. The first writes it
//! anew, and leaves a mark. What the others have is then older than the new file, where some of it
//! may be settled and deleted by now: they write nothing.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::queries as sql;
use super::recover::{unless_unfit, values};
use super::schema::migrate;
use crate::ledger::Millis;
use crate::ledger::clock::ClockId;

/// For how long a file says what was written anew into it, in milliseconds: longer than what others
/// have of it is recent.
const MARKED: Millis = 600_000;

/// More changes than any file counts.
const FAR: u64 = 1 << 40;

/// The tables of texts that are too long for their rows.
const TEXTS: [(&str, &str); 2] = [("long_records", "record"), ("long_events", "event")];

/// What was in a file, in memory.
pub(super) struct Kept {
    db: Connection,
    /// Whether it is all that the file had, and not what could be read of it.
    is_whole: bool,
    /// Tells it from anything else that a file had: an instance's number, which none has.
    mark: i64,
    /// How many changes it counted, from where it began: a copy of it counts from there, too.
    changes: Option<i64>,
}

/// What is known of a new file that something is written anew into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Whether the old one was known to be in place a short while ago.
    pub(super) is_recent: bool,
    /// When the old one was last known to be in place, on this steady clock.
    pub(super) seen: (Millis, Option<ClockId>),
    /// The present, in milliseconds since the epoch.
    pub(super) now: Millis,
}

/// What was written anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// How many delegations.
    pub(super) rows: usize,
    /// Whether the new file has heard of all that the old one had, by this process or by another.
    pub(super) is_whole: bool,
}

/// All that can be read of a file, in memory; `is_all` if nobody will write to it.
pub(super) fn kept(old: &Connection, is_all: bool) -> rusqlite::Result<Kept> {
    let mut db = Connection::open_in_memory()?;
    migrate(&mut db)?;
    db.execute_batch("BEGIN")?;
    let is_whole = is_all
        & copy_instances(old, &db)?
        & match Rows::of(old)? {
            Some(rows) => rows.write(old, &db, true)?.1,
            None => false,
        };
    db.execute_batch("COMMIT")?;
    let mark = digest(&db)?;
    Ok(Kept { db, is_whole, mark, changes: changes(old) })
}

/// Writes anew what only `old` has, in one transaction. What `new` has no row of at all is left out,
/// unless it is recent: it may have been settled there long ago.
pub(super) fn reconcile(old: &Kept, new: &Connection, place: Place) -> rusqlite::Result<Written> {
    new.execute_batch("BEGIN IMMEDIATE")?;
    let written = match new.prepare_cached(sql::IS_KNOWN)?.exists([old.mark])? {
        true => Written { rows: 0, is_whole: true },
        false => write(old, new, place)?,
    };
    new.execute_batch("COMMIT")?;
    Ok(written)
}

fn write(old: &Kept, new: &Connection, place: Place) -> rusqlite::Result<Written> {
    let newcomers = newcomers(&old.db, new, place.seen)?;
    copy_instances(&old.db, new)?;
    let Some(rows) = Rows::of(&old.db)? else { return Ok(Written { rows: 0, is_whole: false }) };
    let is_copy = old.changes.zip(changes(new)).is_some_and(|(old, new)| old.abs_diff(new) < FAR);
    if is_copy && old.is_whole {
        // First: their keys may be others' by now.
        delete_forgotten(&old.db, new, &newcomers)?;
    }
    let (rows, is_whole) = rows.write(&old.db, new, place.is_recent)?;
    if rows > 0 {
        // Some may have come free with it.
        new.execute_batch("UPDATE changes SET count = count + 1")?;
    }
    let is_whole = is_whole && place.is_recent && old.is_whole;
    if is_whole {
        // It ends as a lease does, which is nobody's.
        let until = place.now.saturating_add(MARKED);
        let clock = Value::Null;
        new.prepare_cached(sql::RENEW)?.execute(params![old.mark, until, MARKED, clock, clock])?;
    }
    Ok(Written { rows, is_whole })
}

/// The instances that have begun since the old file was last in place: it knows none of them.
fn newcomers(
    old: &Connection,
    new: &Connection,
    (seen, clock): (Millis, Option<ClockId>),
) -> rusqlite::Result<HashSet<i64>> {
    let mut is_known = old.prepare(sql::IS_KNOWN)?;
    let mut renewed =
        new.prepare("SELECT id FROM instances WHERE clock IS ?1 AND steady_until - term > ?2")?;
    let renewed = renewed.query_map(params![clock.map(ClockId::number), seen], |row| row.get(0))?;
    let mut newcomers = HashSet::new();
    for id in renewed {
        let id = id?;
        if !is_known.exists([id])? {
            newcomers.insert(id);
        }
    }
    Ok(newcomers)
}

fn changes(db: &Connection) -> Option<i64> {
    db.query_row(sql::CHANGES, [], |row| row.get(0)).ok()
}

/// Deletes what the log that is gone had deleted, and the file without it, or an earlier copy, still
/// has: else it would come again. Not what others have dispatched since: whoever knew the log wrote all
/// of it anew before that, so that its number is higher; and whoever did not began later, or holds it.
fn delete_forgotten(
    old: &Connection,
    new: &Connection,
    newcomers: &HashSet<i64>,
) -> rusqlite::Result<()> {
    let newest = "SELECT max(seq), max(dispatched_at) FROM delegations";
    let newest = old.query_row(newest, [], |row| Ok(values(row, 2)))?;
    let mut there = new.prepare(
        "SELECT seq, id, holder FROM delegations WHERE seq <= ?1 AND dispatched_at < ?2",
    )?;
    let mut is_kept = old.prepare(sql::EXISTS)?;
    let mut forgotten = Vec::new();
    let mut rows = there.query(params_from_iter(newest))?;
    while let Some(row) = rows.next()? {
        let holder: Option<i64> = row.get(2)?;
        let is_new = holder.is_some_and(|holder| newcomers.contains(&holder));
        if !is_new && !is_kept.exists([row.get::<_, String>(1)?])? {
            forgotten.push(row.get::<_, i64>(0)?);
        }
    }
    for seq in forgotten {
        new.prepare_cached("DELETE FROM delegations WHERE seq = ?1")?.execute([seq])?;
    }
    Ok(())
}

/// A number that is the same for all who have the same rows.
fn digest(db: &Connection) -> rusqlite::Result<i64> {
    let mut hasher = DefaultHasher::new();
    for table in ["instances ORDER BY id", "delegations ORDER BY seq"] {
        let mut all = db.prepare(&format!("SELECT * FROM {table}"))?;
        let count = all.column_count();
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..count {
                match row.get_ref(column)? {
                    ValueRef::Null => hasher.write_u8(0),
                    ValueRef::Integer(number) => hasher.write_i64(number),
                    ValueRef::Real(number) => hasher.write_u64(number.to_bits()),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
                        hasher.write_usize(bytes.len());
                        hasher.write(bytes);
                    }
                }
            }
        }
    }
    Ok(i64::from_ne_bytes(hasher.finish().to_ne_bytes()))
}

/// The holders of rows. Of one that the new file knows, too, the later lease counts: the file may
/// stand where its log was last copied into it. Whether all could be read.
fn copy_instances(old: &Connection, new: &Connection) -> rusqlite::Result<bool> {
    let Ok(mut all) = old.prepare("SELECT * FROM instances") else { return Ok(false) };
    let names = all.column_names();
    let (count, places) = (names.len(), vec!["?"; names.len()].join(", "));
    let later: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let (names, later) = (names.join(", "), later.join(", "));
    let mut insert = new.prepare(&format!(
        "INSERT INTO instances ({names}) VALUES ({places})
        ON CONFLICT (id) DO UPDATE SET {later}
        WHERE ifnull(excluded.steady_until, excluded.lease_until) >
            ifnull(instances.steady_until, instances.lease_until)"
    ))?;
    let Ok(mut rows) = all.query([]) else { return Ok(false) };
    // Damage ends the reading; what was read by then counts.
    loop {
        match rows.next() {
            Ok(Some(row)) => unless_unfit(insert.execute(params_from_iter(values(row, count))))?,
            end => return Ok(end.is_ok()),
        };
    }
}

/// The columns of a delegation, and where those are that decide.
struct Rows {
    names: Vec<String>,
    seq: usize,
    id: usize,
    fence: usize,
    state: usize,
    delivery: usize,
    key: usize,
    // Not in a file of an earlier schema.
    queued: Option<usize>,
}

impl Rows {
    /// None if the old file has no table any more that could be read.
    fn of(old: &Connection) -> rusqlite::Result<Option<Self>> {
        let Ok(all) = old.prepare("SELECT * FROM delegations") else { return Ok(None) };
        let names: Vec<String> = all.column_names().into_iter().map(str::to_owned).collect();
        let queued = names.iter().position(|column| column == "queued");
        let at = |name| names.iter().position(|column| column == name).unwrap_or(0);
        let (seq, id, fence) = (at("seq"), at("id"), at("fence"));
        let (state, delivery, key) = (at("state"), at("delivery"), at("idempotency_key"));
        Ok(Some(Self { names, seq, id, fence, state, delivery, key, queued }))
    }

    /// How many were written, and whether all that are to be there are.
    fn write(
        &self,
        old: &Connection,
        new: &Connection,
        is_recent: bool,
    ) -> rusqlite::Result<(usize, bool)> {
        let Ok(mut all) = old.prepare("SELECT * FROM delegations ORDER BY seq") else {
            return Ok((0, false));
        };
        let Ok(mut rows) = all.query([]) else { return Ok((0, false)) };
        let mut find = new.prepare(
            "SELECT seq, fence, state, delivery, queued FROM delegations
            WHERE id = ?1 AND state = 'running'
            UNION ALL SELECT seq, fence, state, delivery, queued FROM delegations
            WHERE id = ?1 AND state <> 'running'",
        )?;
        let (mut written, mut is_whole) = (0, true);
        loop {
            let mut row = match rows.next() {
                Ok(Some(row)) => values(row, self.names.len()),
                end => return Ok((written, is_whole && end.is_ok())),
            };
            let Value::Integer(old_seq) = row[self.seq] else { continue };
            let there = find.query_row([&row[self.id]], |there| {
                Ok((there.get::<_, i64>(0)?, standing(&values(there, 5)[1..])))
            });
            let seq = match there.optional()? {
                Some((seq, there)) => {
                    let decides =
                        [Some(self.fence), Some(self.state), Some(self.delivery), self.queued];
                    let value = |column: usize| row[column].clone();
                    if standing(&decides.map(|column| column.map_or(Value::Null, value))) <= there {
                        continue;
                    }
                    new.prepare_cached("DELETE FROM delegations WHERE seq = ?1")?.execute([seq])?;
                    Value::Integer(seq)
                }
                None if !is_recent => continue,
                None => {
                    let is_taken = "SELECT 1 FROM delegations WHERE seq = ?1";
                    match new.prepare_cached(is_taken)?.exists([old_seq])? {
                        true => Value::Null,
                        false => Value::Integer(old_seq),
                    }
                }
            };
            row[self.seq] = seq;
            if self.insert(new, &row)? == 0 {
                // Another has its key by now.
                row[self.key] = Value::Null;
                if self.insert(new, &row)? == 0 {
                    is_whole = false;
                    continue;
                }
            }
            copy_texts(old, old_seq, new, new.last_insert_rowid())?;
            written += 1;
        }
    }

    fn insert(&self, new: &Connection, row: &[Value]) -> rusqlite::Result<usize> {
        let (names, places) = (self.names.join(", "), vec!["?"; self.names.len()].join(", "));
        let insert = format!("INSERT OR IGNORE INTO delegations ({names}) VALUES ({places})");
        unless_unfit(new.prepare_cached(&insert)?.execute(params_from_iter(row)))
    }
}

/// How far a row is: its fence, then whether it began, whether it ended, whether it is known how, and
/// whether its event is still to be delivered; of these values.
fn standing(row: &[Value]) -> (i64, u8) {
    let fence = if let Value::Integer(fence) = row[0] { fence } else { 0 };
    let is = |value: &Value, what: &str| matches!(value, Value::Text(text) if text == what);
    let stage = match (is(&row[1], "running"), is(&row[2], "pending")) {
        (true, _) => u8::from(row[3] != Value::Integer(1)),
        (false, true) => 2 + u8::from(!is(&row[1], "lost")),
        (false, false) => 4,
    };
    (fence, stage)
}

fn copy_texts(
    old: &Connection,
    old_seq: i64,
    new: &Connection,
    new_seq: i64,
) -> rusqlite::Result<()> {
    for (table, column) in TEXTS {
        let read = format!("SELECT {column} FROM {table} WHERE seq = ?1");
        let text = old
            .prepare_cached(&read)
            .and_then(|mut read| read.query_row([old_seq], |row| Ok(values(row, 1).remove(0))));
        let Ok(text) = text else { continue };
        let put = format!("INSERT OR REPLACE INTO {table} (seq, {column}) VALUES (?1, ?2)");
        unless_unfit(new.prepare_cached(&put)?.execute(params![new_seq, text]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(instance: &str) -> Connection {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db).unwrap();
        db.execute_batch(&format!("INSERT INTO instances VALUES {instance}")).unwrap();
        db
    }

    fn steady_until(db: &Connection) -> i64 {
        db.query_row("SELECT steady_until FROM instances WHERE id = 1", [], |row| row.get(0))
            .unwrap()
    }

    /// F37: a lease that was renewed in the log alone is not over for whoever moves first.
    #[test]
    fn the_later_lease_of_an_instance_counts() {
        // The wall clock was set back in between.
        let (early, late) = ("(1, 900, 30, 7, 100)", "(1, 500, 30, 7, 130)");
        for (old, new) in [(early, late), (late, early)] {
            let (old, new) = (file(old), file(new));
            let kept = kept(&old, true).unwrap();
            let place = Place { is_recent: true, seen: (0, None), now: 500 };
            reconcile(&kept, &new, place).unwrap();
            assert_eq!(steady_until(&new), 130);
            assert_eq!(steady_until(&kept.db), steady_until(&old));
        }
    }
}
