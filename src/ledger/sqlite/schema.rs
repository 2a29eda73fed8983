//! The schema of a file, and how an older one is brought up to date.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::pass;
use crate::failpoint::Step;

/// The schema, one step after the other; a file says how many of them it has.
pub(super) const MIGRATIONS: [&str; 4] = [
    include_str!("sql/0001_delegations.sql"),
    include_str!("sql/0002_fewer_pages.sql"),
    include_str!("sql/0003_steady_leases.sql"),
    include_str!("sql/0004_queued.sql"),
];
/// The newest schema that this release knows.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;
/// What tells such a file from another program's.
pub(super) const APPLICATION: i64 = 0x6863_6c67;

/// Whose file it is, and how far.
pub(super) struct Version {
    /// The number of its program.
    pub(super) application: i64,
    /// How many steps of the schema it has.
    pub(super) schema: i64,
}

/// Whose file it is, and how far.
pub(super) fn version(db: &Connection) -> rusqlite::Result<Version> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get(0));
    Ok(Version { application: number("application_id")?, schema: number("user_version")? })
}

/// Brings the schema up to date.
pub(super) fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
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
    transaction.commit()?;
    // So that the tables begin at the same pages in every file, which a recovery relies on. Where
    // somebody else reads, the file stays as it is.
    let _ = db.execute_batch("VACUUM");
    Ok(())
}
