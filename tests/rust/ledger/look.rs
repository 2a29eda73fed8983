//! Looks: they change nothing on disk, whatever is there (F36).

use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;

use super::*;

type About = (String, u64, u32, (i64, i64), Vec<u8>);

fn seen(folder: &Folder) -> Vec<About> {
    let about = |name: String| {
        let path = folder.0.join(&name);
        let about = fs::metadata(&path).unwrap();
        let modified = (about.mtime(), about.mtime_nsec());
        (name, about.ino(), about.mode(), modified, fs::read(&path).unwrap())
    };
    folder.names().into_iter().map(about).collect()
}

/// What a look reads, which changes nothing.
fn looked(folder: &Folder) -> Result<Vec<String>, Error> {
    let before = seen(folder);
    let ledger = process(&folder.file(), &Hands::new());
    for which in [Which::One("d"), Which::Running, Which::Elsewhere, Which::Dead] {
        let _ = ledger.look(which);
    }
    let rows = ledger.look(Which::Newest(9));
    let gone_by = soon();
    drop(ledger);
    assert!(Instant::now() < gone_by);
    let ids = rows.map(|rows| rows.iter().map(|row| (*row.claim.id).to_owned()).collect());
    assert_eq!(seen(folder), before);
    ids
}

/// A ledger with one row, closed in order.
fn closed() -> Folder {
    let folder = Folder::new();
    let ledger = process(&folder.file(), &Hands::new());
    dispatch(&*ledger, "d");
    drop(ledger);
    let gone_by = soon();
    while folder.names().len() > 1 {
        assert!(Instant::now() < gone_by);
    }
    folder
}

/// The same as a process leaves it that is killed: what it wrote is in the log.
fn killed(mode: &str) -> Folder {
    let (from, folder) = (Folder::new(), Folder::new());
    let shared_disk = Some(mode == "delete");
    let machine = Machine { shared_disk, shares_writer: false, ..Machine::default() };
    let ledger = SqliteLedger::on(options(&from.file()), machine);
    dispatch(&*ledger, "d");
    dispatch(&*ledger, "e");
    for name in from.names() {
        fs::copy(from.0.join(&name), folder.0.join(&name)).unwrap();
    }
    folder
}

#[test]
fn what_was_closed_in_order_is_looked_at() {
    assert_eq!(looked(&closed()).unwrap(), ["d"]);
}

#[test]
fn what_a_killed_process_left_is_looked_at() {
    assert_eq!(looked(&killed("wal")).unwrap(), ["d", "e"]);
    assert_eq!(looked(&killed("delete")).unwrap(), ["d", "e"]);
    // The index of the log alone is gone.
    let folder = killed("wal");
    fs::remove_file(folder.0.join("delegations.db-shm")).unwrap();
    assert_eq!(looked(&folder).unwrap(), ["d", "e"]);
}

#[test]
fn a_write_that_was_cut_short_is_looked_past() {
    let folder = closed();
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 2; PRAGMA cache_spill = 1;
        BEGIN; DELETE FROM delegations;
        CREATE TABLE much AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 9000)
            SELECT x, hex(randomblob(99)) FROM n;",
    )
    .unwrap();
    let left = Folder::new();
    for name in folder.names() {
        fs::copy(folder.0.join(&name), left.0.join(&name)).unwrap();
    }
    assert!(left.names().contains(&"delegations.db-journal".into()), "{:?}", left.names());
    assert_eq!(looked(&left).unwrap(), ["d"]);
}

#[test]
fn what_others_have_open_is_looked_at() {
    for shared_disk in [false, true] {
        let folder = Folder::new();
        let shared_disk = Some(shared_disk);
        let machine = Machine { shared_disk, shares_writer: false, ..Machine::default() };
        let ledger = SqliteLedger::on(options(&folder.file()), machine);
        for number in 0..50 {
            dispatch(&*ledger, &number.to_string());
            let looker = process(&folder.file(), &Hands::new());
            let found = looker.look(Which::Newest(1)).unwrap();
            assert_eq!(*found[0].claim.id, *number.to_string());
        }
        assert_eq!(looked(&folder).unwrap().len(), 9);
        // Nobody's lock is dropped by it.
        done(&*ledger, finish("7"));
    }
}

#[test]
fn no_file_is_made() {
    let folder = Folder::new();
    assert!(looked(&folder).unwrap().is_empty());
    let missing = process(&folder.0.join("no/such/delegations.db"), &Hands::new());
    assert!(missing.look(Which::Newest(9)).unwrap().is_empty());
    assert!(folder.names().is_empty());
}

/// F36: a damaged file is neither set aside nor recovered by who looks; what is wrong is said.
#[test]
fn a_damaged_file_is_left_for_who_writes() {
    let whole = fs::read(closed().file()).unwrap();
    for (from, to) in [(100, 4096), (4096, 8192), (16, 60), (0, 16)] {
        let folder = Folder::new();
        let mut bytes = whole.clone();
        bytes[from..to].fill(0xaa);
        fs::write(folder.file(), &bytes).unwrap();
        let error = looked(&folder).unwrap_err();
        assert!(matches!(error, Error::LedgerDamaged { .. }), "{from}: {error}");
    }
}

#[test]
fn a_recovered_file_without_its_name_is_looked_at() {
    let folder = closed();
    fs::rename(folder.file(), folder.0.join("delegations.db.salvaged")).unwrap();
    assert_eq!(looked(&folder).unwrap(), ["d"]);
}

#[test]
fn a_file_of_an_earlier_schema_stays_one() {
    let folder = Folder::new();
    let db = Connection::open(folder.file()).unwrap();
    db.execute_batch(include_str!("../../../src/ledger/sqlite/sql/0001_delegations.sql")).unwrap();
    db.execute_batch("PRAGMA user_version = 1; PRAGMA application_id = 0x68636c67;").unwrap();
    db.execute_batch(
        "INSERT INTO delegations VALUES (1, 'd', NULL, 1, 'running', NULL, 0, 'a', '', '', NULL,
        NULL, 5, NULL, NULL, 0)",
    )
    .unwrap();
    drop(db);
    assert_eq!(looked(&folder).unwrap(), ["d"]);
}

#[test]
fn a_path_of_any_characters_is_looked_at() {
    let folder = closed();
    for name in ["a b.db", "q?x=1.db", "h#1.db", "p%20.db", "\u{e4}\u{1f600}.db", "&;'\".db"] {
        let path = folder.0.join(name);
        fs::copy(folder.file(), &path).unwrap();
        let rows = process(&path, &Hands::new()).look(Which::Newest(9)).unwrap();
        assert_eq!(rows.len(), 1, "{name}");
    }
}
